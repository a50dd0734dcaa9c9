"""An architecture as a config gives it: the name of a family and its parameters, which ``build`` checks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from neural_kernels.sentences import refusal
from neural_kernels.storage.strict_yaml import shown


def _parameter(value: Any) -> Any:
    if value is None or isinstance(value, dict):
        raise refusal(f" is {shown(value)}, expected number or string or boolean or array")
    return value


def _searched(value: Any) -> Any:
    if value is None:
        raise refusal(" is None, expected number or string or boolean or array or object")
    return value


def _named(value: dict[str, Any]) -> dict[str, Any]:
    if "name" not in value:
        raise refusal(" lacks the key 'name'")
    return _text(value, "name")


def _named_or_in_a_file(value: dict[str, Any]) -> dict[str, Any]:
    return _text(value, "file") if "file" in value else _named(value)


def _text(value: dict[str, Any], key: str) -> dict[str, Any]:
    if not isinstance(value[key], str) or not value[key]:
        raise refusal(f".{key} is {shown(value[key])}, expected string")
    return value


ArchitectureSection = Annotated[
    dict[str, Annotated[Any, AfterValidator(_parameter)]],
    Field(json_schema_extra={"anyOf": [{"required": ["name"]}, {"required": ["file"]}]}),
    AfterValidator(_named_or_in_a_file),
]
"""Or, under file, where these are."""

SearchedArchitecture = Annotated[
    dict[str, Annotated[Any, AfterValidator(_searched)]],
    Field(json_schema_extra={"required": ["name"]}),
    AfterValidator(_named),
]
"""Whose parameters may also be choices and ranges."""
