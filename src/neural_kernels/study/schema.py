"""The schemas of config files: checking a value against one, and filling in what it leaves out."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import referencing
from jsonschema.exceptions import ValidationError, best_match

from neural_kernels import names
from neural_kernels.errors import UserError
from neural_kernels.storage.strict_yaml import read_yaml, shown

SCHEMAS = Path(__file__).parents[1] / "schemas"

# What a string may have to be, as the schemas name it under format.
_FORMATS = {
    "name": (names.is_name, names.EXPECTED),
    "test_set_name": (names.is_test_set_name, names.TEST_SET_EXPECTED),
}
_LIMITS = {
    "minItems": "at least {} entries",
    "maxItems": "at most {} entries",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
}


def check_schema(where: str, value: Any, schema: str) -> None:
    """``validate`` and then ``complete``."""
    validate(where, value, schema)
    complete(value, schema)


def validate(where: str, value: Any, schema: str) -> None:
    """Check ``value``, which is found at ``where``, against a schema.

    Raises:
        UserError: the first thing that does not fit, with its key, what was found and what was expected.
    """
    validator, _ = _validator(schema)
    error = best_match(validator.iter_errors(value))
    if error is not None:
        raise UserError(f"{where}: {_sentence(error)}")
    _check_formulas(where, value, "")


def _check_formulas(where: str, value: Any, place: str) -> None:
    """Refuse text between dollars that is no formula: a report would end with it after all the work."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_formulas(where, item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, str) and value.count("$") > 1:
        from matplotlib import mathtext

        try:
            mathtext.MathTextParser("path").parse(value)
        except ValueError:
            raise UserError(
                f"{where}: {place} is {shown(value)}, expected a formula between its dollars, or \\$ for a dollar"
            ) from None


def complete(value: Any, schema: str) -> None:
    """Fill the defaults of a schema into a valid ``value``, and make integers of whole numbers written as 16.0."""
    validator, resolver = _validator(schema)
    _completed(value, validator.schema, resolver)


@functools.cache
def _validator(schema: str) -> tuple[Any, Any]:
    schemas = {path.name: read_yaml(path) for path in sorted(SCHEMAS.glob("*.schema.yaml"))}
    resources = [
        (name, referencing.Resource.from_contents({"$id": name, **content}))
        for name, content in schemas.items()
    ]
    registry: referencing.Registry = referencing.Registry().with_resources(resources)
    root = {"$id": schema, **schemas[schema]}
    formats = jsonschema.FormatChecker(formats=())
    for name, (fits, _) in _FORMATS.items():
        formats.checks(name)(lambda text, fits=fits: not isinstance(text, str) or fits(text))
    # The usual test of each pair for being equal takes minutes for a list of thousands.
    strict = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"uniqueItems": _unique})
    resolver = registry.resolver_with_root(referencing.Resource.from_contents(root))
    return strict(root, registry=registry, format_checker=formats), resolver


def _unique(validator: Any, asked: bool, items: Any, schema: Any) -> Iterator[ValidationError]:
    if not asked or not isinstance(items, list):
        return
    seen = set()
    for item in items:
        same = float(item) if isinstance(item, int) and not isinstance(item, bool) else item
        text = json.dumps(same, sort_keys=True)
        if text in seen:
            yield ValidationError(f"has {shown(item)} twice, expected entries that differ")
            return
        seen.add(text)


def _completed(value: Any, schema: Any, resolver: Any) -> Any:
    """A valid ``value`` with defaults and integers as the schema has them, through $ref, properties and if/then.

    Dictionaries and lists are changed in place.
    """
    if not isinstance(schema, dict):
        return value
    if "$ref" in schema:
        resolved = resolver.lookup(schema["$ref"])
        value = _completed(value, resolved.contents, resolved.resolver)
    types = schema.get("type", ())
    if isinstance(value, float) and "integer" in ([types] if isinstance(types, str) else types):
        return int(value)
    if isinstance(value, list):
        value[:] = [_completed(item, schema.get("items"), resolver) for item in value]
    if not isinstance(value, dict):
        return value
    if "if" in schema:
        validator = jsonschema.Draft202012Validator(schema["if"])
        _completed(value, schema.get("then" if validator.is_valid(value) else "else"), resolver)
    properties = schema.get("properties", {})
    for key, part in properties.items():
        if key not in value and (default := _default(part, resolver)) is not None:
            value[key] = default
        if key in value:
            value[key] = _completed(value[key], part, resolver)
    for key in value.keys() - properties.keys():
        value[key] = _completed(value[key], schema.get("additionalProperties"), resolver)
    return value


def _default(schema: Any, resolver: Any) -> Any:
    if "$ref" in schema and "default" not in schema:
        return _default(resolver.lookup(schema["$ref"]).contents, resolver)
    return copy.deepcopy(schema.get("default"))


def _sentence(error: ValidationError) -> str:
    expected: Any = error.validator_value
    found: Any = error.instance
    where = ".".join(str(part) for part in error.absolute_path) or "the file"
    match error.validator:
        case "additionalProperties":
            known = error.schema.get("properties", {})  # type: ignore[union-attr]
            unknown = sorted(set(found) - set(known))
            return f"unknown key {shown(unknown[0])} in {where}, expected one of {', '.join(known)}"
        case "required":
            missing = [key for key in expected if key not in found]
            return f"{where} lacks the key {missing[0]!r}"
        case "type":
            kinds = [expected] if isinstance(expected, str) else expected
            return f"{where} is {shown(found)}, expected {' or '.join(kinds)}"
        case "enum":
            return f"{where} is {shown(found)}, expected one of {', '.join(map(str, expected))}"
        case "format":
            return f"{where}: {shown(found)} cannot be a name, expected {_FORMATS[expected][1]}"
        case "pattern":
            return f"{where} is {shown(found)}, expected text of the form {expected}"
        case "uniqueItems":
            return f"{where} {error.message}"
        case limit if limit in _LIMITS:
            return f"{where} has {len(found)}, expected {_LIMITS[limit].format(expected)}"
    return f"{where}: {error.message}"
