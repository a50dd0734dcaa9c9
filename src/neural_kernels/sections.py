"""What sections of a config are made of: frozen values that are checked as they are read, with a sentence a key.

A section is a class of fields with defaults, limits and descriptions; ``parse`` makes one of what a file holds. Numbers
are strict: no text, no true or false and nothing infinite is taken for one, but 16.0 is a whole number.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_serializer,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError, core_schema

from neural_kernels import names
from neural_kernels.errors import UserError
from neural_kernels.sentences import UNKNOWN_KEY, refusal, sentence
from neural_kernels.storage.strict_yaml import shown

T = TypeVar("T")

# Looking for plugins of pydantic's in all that is installed would take a tenth of the start of every job.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


class Section(BaseModel):
    """Keys of a config and their values; others are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        """Before all else: of a key that is misspelt, others may be missing."""
        if isinstance(value, dict):
            for key in value:
                if key not in cls.model_fields:
                    raise PydanticCustomError(UNKNOWN_KEY, "", {"key": key, "known": list(cls.model_fields)})
        return value

    @model_serializer(mode="wrap")
    def _given(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is null because it was left out."""
        return {
            key: value
            for key, value in plain(self).items()
            if value is not None or key in self.model_fields_set
        }

    def plain(self) -> dict[str, Any]:
        """The section as a file would hold it, with its defaults: numbers, text, lists and dictionaries."""
        return self.model_dump(mode="json")


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """What parses values of the type ``kind``, a section or a union of them."""
    return TypeAdapter(kind)


def parse(where: str, kind: type[T], value: Any) -> T:
    """``value``, which is found at ``where``, as a ``kind``.

    Raises:
        UserError: the first thing that does not fit, with its key, what was found and what was expected.
    """
    try:
        parsed: T = _adapter(kind).validate_python(value)  # type: ignore[arg-type]
    except ValidationError as error:
        raise UserError(f"{where}: {sentence(error, value)}") from None
    return parsed


@dataclass(frozen=True)
class NamedBy:
    """A section of one of several classes, of which a key of it says which: an annotation of their common class.

    As a union with that discriminator, but the class that is named is alone loaded, and what parses it made: for all
    data sets that took as long as a tenth of the start of a job.

    Attributes:
        base: their common class.
        named: the class of each name, which may load it.
    """

    key: str
    base: type[Section]
    names: Collection[str]
    named: Callable[[str], type[Section]]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._parse)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        options = tuple(map(self.named, self.names))
        union = Annotated[Union[options], Field(discriminator=self.key)]  # type: ignore[valid-type]  # noqa: UP007
        return handler(_adapter(union).core_schema)

    def _parse(self, value: Any) -> Section:
        if isinstance(value, self.base):
            return value
        if not isinstance(value, dict):
            raise PydanticKnownError("dict_type")
        if self.key not in value:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": f"'{self.key}'"})
        name = value[self.key]
        if not isinstance(name, str) or name not in self.names:
            tags = ", ".join(f"'{tag}'" for tag in self.names)
            context = {"discriminator": f"'{self.key}'", "tag": str(name), "expected_tags": tags}
            raise PydanticKnownError("union_tag_invalid", context)
        found: Section = _adapter(self.named(name)).validate_python(value)
        return found


class Deferred:
    """An annotation of a section that few files have: its module is loaded where one has it, or for the schema.

    Args:
        path: "module:class".
    """

    def __init__(self, path: str) -> None:
        self._path = path

    @functools.cached_property
    def _kind(self) -> Any:
        from pkgutil import resolve_name  # most jobs need none of them

        return resolve_name(self._path)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: _adapter(self._kind).validate_python(value)
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        # Of a chain each step is looked up, so that the section is defined once, wherever it may stand.
        return handler(core_schema.chain_schema([_adapter(self._kind).core_schema]))


# ------------------------------------------------------------------------------------- numbers


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_written(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """An integer stays one where any number may stand: results are known again by the text of their settings."""
    check(value)
    return value


WHOLE = BeforeValidator(_whole)
Whole = Annotated[int, WHOLE]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1), WHOLE]
# Of examples, of iterations, of a grid or a list.
Examples = Annotated[int, Field(ge=1, le=10**9), WHOLE]
SeveralExamples = Annotated[int, Field(ge=2, le=10**9), WHOLE]
Million = Annotated[int, Field(ge=1, le=10**6), WHOLE]
Thousand = Annotated[int, Field(ge=1, le=1000), WHOLE]

NUMBER = WrapValidator(_as_written), PlainSerializer(lambda value: value, return_type=Any)
Number = Annotated[float, *NUMBER]
UpToAMillion = Annotated[float, Field(gt=0, le=10**6), *NUMBER]
NotNegative = Annotated[float, Field(ge=0), *NUMBER]
Exponent = Annotated[float, Field(ge=-30, le=15), *NUMBER]


# ------------------------------------------------------------------------------------- lists


def _differ(value: Any) -> Any:
    """Before entries are looked at; a test of each pair for being equal would take minutes for thousands."""
    seen = set()
    for item in value if isinstance(value, list | tuple) else ():
        same = float(item) if isinstance(item, int) and not isinstance(item, bool) else item
        text = json.dumps(same, sort_keys=True, default=repr)
        if text in seen:
            raise refusal(f" has {shown(item)} twice, expected entries that differ")
        seen.add(text)
    return value


# A list of a file as a tuple.
LIST = Strict(False)
Listed = Annotated[tuple[T, ...], LIST]
_UNIQUE = {"uniqueItems": True}
Distinct = Annotated[tuple[T, ...], LIST, Field(json_schema_extra=_UNIQUE), BeforeValidator(_differ)]
NotEmpty = Annotated[
    tuple[T, ...], LIST, Field(min_length=1, json_schema_extra=_UNIQUE), BeforeValidator(_differ)
]
UpToAThousand = Annotated[
    tuple[T, ...],
    LIST,
    Field(min_length=1, max_length=1000, json_schema_extra=_UNIQUE),
    BeforeValidator(_differ),
]


# ------------------------------------------------------------------------------------- text


def _named(fits: Callable[[str], bool], expected: str) -> AfterValidator:
    def check(text: str) -> str:
        if not fits(text):
            raise refusal(f": {shown(text)} cannot be a name, expected {expected}")
        return text

    return AfterValidator(check)


def _formula(text: str) -> str:
    """Refuse text between dollars that is no formula: a report would end with it after all the work."""
    if text.count("$") > 1:
        from matplotlib import mathtext

        try:
            mathtext.MathTextParser("path").parse(text)
        except ValueError:
            raise refusal(
                f" is {shown(text)}, expected a formula between its dollars, or \\$ for a dollar"
            ) from None
    return text


# What may be one is said in one place, neural_kernels/names.py.
Name = Annotated[
    str, Field(json_schema_extra={"pattern": f"^{names.PATTERN}$"}), _named(names.is_name, names.EXPECTED)
]
TestSetName = Annotated[
    str,
    Field(json_schema_extra={"pattern": f"^{names.TEST_SET_PATTERN}$"}),
    _named(names.is_test_set_name, names.TEST_SET_EXPECTED),
]
# What a report may show.
Text = Annotated[str, Field(min_length=1), AfterValidator(_formula)]
Line = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_formula)]
Paragraph = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_formula)]
Path = Annotated[str, Field(min_length=1)]
