"""What is wrong with a section of a config, in a sentence: pydantic finds it, and says it for programmers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from neural_kernels.storage.strict_yaml import shown

UNKNOWN_KEY = "unknown_key"
_REFUSED = "refused"

_KINDS = {
    "int_type": "integer",
    "float_type": "number",
    "string_type": "string",
    "bool_type": "boolean",
    "tuple_type": "array",
    "dict_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
    "finite_number": "a finite number",
}
_LIMITS = {
    "less_than_equal": ("le", "greater than the maximum"),
    "less_than": ("lt", "greater than or equal to the maximum"),
    "greater_than_equal": ("ge", "less than the minimum"),
    "greater_than": ("gt", "less than or equal to the minimum"),
}
_LENGTHS = {
    "too_short": ("min_length", "at least"),
    "too_long": ("max_length", "at most"),
    "string_too_short": ("min_length", "at least"),
    "string_too_long": ("max_length", "at most"),
}
# Where the error of a key stands in what pydantic says of a place.
_KEY = "[key]"
_WHOLE = "the file"


def refusal(text: str) -> PydanticCustomError:
    """An error of a value whose sentence is its place and ``text``."""
    return PydanticCustomError(_REFUSED, "{text}", {"text": text})


def similar(word: str, known: list[str]) -> str:
    """Which of the ``known`` words are similar, as a remark; empty where none is."""
    import difflib

    found = difflib.get_close_matches(word, known, n=3)
    return f" (similar: {', '.join(found)})" if found else ""


def sentence(error: ValidationError, value: Any) -> str:
    """The first thing that is wrong with ``value``: its key, what was found, what was expected."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "missing":
        *above, key = first["loc"]
        return f"{_place(above, value)} lacks the key {key!r}"
    return _sentence(first, _place(first["loc"], value))


def _sentence(error: ErrorDetails, where: str) -> str:
    found, kind, facts = error["input"], error["type"], error.get("ctx", {})
    if kind == _REFUSED:
        return f"{where}{facts['text']}"
    if kind == UNKNOWN_KEY:
        key, known = facts["key"], facts["known"]
        return f"unknown key {shown(key)} in {where}{similar(key, known)}, expected one of {', '.join(known)}"
    if kind in _KINDS:
        return f"{where} is {shown(found)}, expected {_KINDS[kind]}"
    if kind in _LIMITS:
        limit, exceeded = _LIMITS[kind]
        return f"{where}: {shown(found)} is {exceeded} of {_number(facts[limit])}"
    if kind in _LENGTHS:
        limit, bound = _LENGTHS[kind]
        things = "characters" if isinstance(found, str) else "keys" if isinstance(found, dict) else "entries"
        return f"{where} has {len(found)}, expected {bound} {facts[limit]} {things}"
    if kind == "literal_error":
        return f"{where} is {shown(found)}, expected one of {_listed(facts['expected'])}"
    if kind == "union_tag_invalid":
        key = facts["discriminator"].strip("'")
        at = key if where == _WHOLE else f"{where}.{key}"
        known = _listed(facts["expected_tags"])
        text = found[key]
        return f"{at} is {shown(text)}, expected one of {known}{similar(str(text), known.split(', '))}"
    if kind == "union_tag_not_found":
        key = facts["discriminator"].strip("'")
        return f"{where} lacks the key {key!r}{similar(key, list(map(str, found)))}"
    if kind == "string_pattern_mismatch":
        return f"{where} is {shown(found)}, expected text of the form {facts['pattern']}"
    return f"{where} is {shown(found)}: {error['msg']}"


def _place(found: Sequence[int | str], value: Any) -> str:
    """The keys to what is wrong, without pydantic's own words: which member of a union was tried, or that a key is."""
    place: list[int | str] = []
    for part in found:
        if part == _KEY:
            place.pop()
        elif isinstance(value, dict | list | tuple) and (part in value or isinstance(part, int)):
            place.append(part)
            value = value[part]  # type: ignore[index]
    return ".".join(map(str, place)) or _WHOLE


def _number(limit: float) -> str:
    return str(int(limit)) if limit == int(limit) else repr(limit)


def _listed(expected: str) -> str:
    """'a', 'b' or 'c' as a, b, c."""
    return expected.replace(" or ", ", ").replace("'", "")
