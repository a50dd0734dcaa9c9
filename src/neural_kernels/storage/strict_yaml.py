"""YAML files that people write, read strictly: what would hide a mistake is refused, with its line or its key.

Beside plain YAML 1.1: ``1e-6`` is a number, as in YAML 1.2; dates, base 60 and numbers that start with 0 are text, and
so refused where a number is expected. Refused are keys that come twice, keys that are no text, tags of other types,
numbers that are not finite or huge, control characters, and files that are large, deeply nested or grow by aliases.
"""

from __future__ import annotations

import copy
import functools
import re
import unicodedata
from pathlib import Path
from typing import Any

import yaml

from neural_kernels.errors import UserError

MOST_BYTES = 256 * 2**10
MOST_VALUES = 10_000
"""Keys and values, those that aliases repeat included."""
DEEPEST = 20
MOST_CHARACTERS = 10_000
LARGEST_NUMBER = 10**15

_TAG = "tag:yaml.org,2002:"
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")


# The C library's parser where PyYAML was built with it: the same values, ten times as fast.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)$")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$"
    r"|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)
_BOOLEAN = re.compile("|".join(f"(?:{w}|{w.title()}|{w.upper()})$" for w in _TRUE + _FALSE))
_NULL = re.compile(r"(?:~|null|Null|NULL|)$")

for _kind, _pattern, _first in (
    ("bool", _BOOLEAN, "tTfFyYnNoO"),
    ("int", _INTEGER, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("null", _NULL, ["~", "n", "N", ""]),
    ("merge", re.compile("<<$"), "<"),
):
    _Loader.add_implicit_resolver(_TAG + _kind, _pattern, list(_first))


def read_yaml(path: Path, missing: str | None = None) -> Any:
    """What ``path`` holds: dictionaries, lists, str, int, float, bool and None, none of them shared.

    Args:
        missing: the sentence where there is no such file, for a better one than that it is missing.

    Raises:
        UserError: a file that is missing, cannot be read or is not such YAML.
    """
    return copy.deepcopy(_parsed(path, _text(path, missing or f"{path} is missing")))


# A study that several others are like, or take their kernels from, is read for each of them.
@functools.lru_cache(maxsize=256)
def _parsed(path: Path, text: str) -> Any:
    try:
        _check_size(path, text)
        node = yaml.compose(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise UserError(f"{path} is not valid YAML: {problem}{place}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if node is None:
        raise UserError(f"{path} is empty, expected keys and their values")
    return _Builder(path).value(node, "", ())


def shown(value: Any) -> str:
    """``value`` for a sentence, shortened."""
    try:
        text = value if isinstance(value, _Text) else repr(value)
    except ValueError:  # an integer of thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:60]}...{text[-10:]}"


class _Text(str):
    """Text to be shown as it is written."""


def _text(path: Path, missing: str) -> str:
    try:
        if not path.exists():
            raise UserError(missing)
        if not path.is_file():
            raise UserError(
                f"{path} is {'a folder' if path.is_dir() else 'no plain file'}, expected a YAML file"
            )
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{shown(_Text(path))} cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{path} has more than {MOST_BYTES:,} bytes, expected a config of some kB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not valid YAML: byte {error.start} is {content[error.start]:#04x}, expected text in UTF-8"
        ) from None


def _check_size(path: Path, text: str) -> None:
    """Before anything that calls itself for each level, or keeps what it finds."""
    depth = values = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        values += isinstance(event, yaml.NodeEvent)
        if depth > DEEPEST:
            line = event.start_mark.line + 1  # type: ignore[union-attr]
            raise UserError(
                f"{path}, line {line}: nested more than {DEEPEST} deep, expected a config's few levels"
            )
        if values > MOST_VALUES:
            raise UserError(f"{path} has more than {MOST_VALUES:,} keys and values, expected some hundreds")


class _Builder:
    """Makes values of nodes, those that aliases repeat each time anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.left = MOST_VALUES

    def value(self, node: yaml.Node, place: str, above: tuple[yaml.Node, ...]) -> Any:
        self.left -= 1
        if self.left < 0:
            raise UserError(
                f"{self.path} has more than {MOST_VALUES:,} keys and values with what its aliases repeat, expected "
                "some hundreds"
            )
        if any(node is other for other in above):
            raise self._error(
                node, f"{place or 'the file'} holds an alias of itself, expected values that end"
            )
        if len(above) >= DEEPEST:
            raise self._error(node, f"nested more than {DEEPEST} deep, expected a config's few levels")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, place)
        kind = "map" if isinstance(node, yaml.MappingNode) else "seq"
        self._check_tag(node, (kind,))
        above = (*above, node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, above)
        return [self.value(item, _below(place, number), above) for number, item in enumerate(node.value)]

    def _mapping(self, node: yaml.Node, place: str, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, place)
            line = key_node.start_mark.line + 1
            if key in lines:
                where = "" if not place else f" in {place}"
                raise UserError(
                    f"{self.path}: key {key!r} comes twice{where}, in lines {lines[key]} and {line}"
                )
            lines[key] = line
            if key_node.tag == _TAG + "merge":
                merged = self._merged(value_node, place, above)
            else:
                own[key] = self.value(value_node, _below(place, key), above)
        return merged | own

    def _merged(self, node: yaml.Node, place: str, above: tuple[yaml.Node, ...]) -> dict[str, Any]:
        """What << takes over: of several mappings the first has the last word."""
        found = self.value(node, _below(place, "<<"), above)
        parts = found if isinstance(found, list) else [found]
        merged: dict[str, Any] = {}
        for part in reversed(parts):
            if not isinstance(part, dict):
                raise self._error(node, f"<< is {shown(part)}, expected an alias of keys and their values")
            merged |= part
        return merged

    def _key(self, node: yaml.Node, place: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in (_TAG + "str", _TAG + "merge"):
            found = shown(_Text(node.value)) if isinstance(node, yaml.ScalarNode) else "a list or keys"
            inside = f" in {place}" if place else ""
            raise self._error(
                node, f"a key{inside} is {found or 'empty'}, expected text, in quotes if need be"
            )
        return self._string(node, place)

    def _scalar(self, node: yaml.ScalarNode, place: str) -> Any:
        kind = self._check_tag(node, ("str", "int", "float", "bool", "null", "merge"))
        text, where = node.value, place or "the file"
        if kind in ("str", "merge"):
            return self._string(node, where)
        pattern = {"bool": _BOOLEAN, "null": _NULL, "int": _INTEGER, "float": _FLOAT}[kind]
        if not (pattern.match(text) or (kind == "float" and _INTEGER.match(text))):
            raise self._error(node, f"{where} is {shown(text)}, expected what its tag says, {kind}")
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() in _TRUE
        return self._number(text, kind, where)

    def _number(self, text: str, kind: str, where: str) -> int | float:
        plain = text.replace("_", "")
        if "." in plain and plain.lstrip("+-.")[:3].lower() in ("inf", "nan"):
            raise UserError(f"{self.path}: {where} is {text}, expected a finite number")
        # A float has room for integers of any length, which int() has not.
        number: int | float = float(plain)
        if not abs(number) <= LARGEST_NUMBER:
            raise UserError(
                f"{self.path}: {where} is {shown(_Text(text))}, expected a number of at most {LARGEST_NUMBER:.0e}"
            )
        # Negative zero is zero, but another kernel's fingerprint.
        return int(plain) if kind == "int" else number + 0.0

    def _string(self, node: yaml.Node, where: str) -> str:
        text: str = node.value
        if len(text) > MOST_CHARACTERS:
            raise self._error(node, f"text of {len(text):,} characters, expected at most {MOST_CHARACTERS:,}")
        for character in text:
            if character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cs"):
                raise self._error(
                    node, f"{where or 'a key'} has the character {character!r}, expected printable text"
                )
        return text

    def _check_tag(self, node: yaml.Node, allowed: tuple[str, ...]) -> str:
        kind = node.tag.removeprefix(_TAG)
        if not node.tag.startswith(_TAG) or kind not in allowed:
            found = shown(_Text(node.tag.replace(_TAG, "!!")))
            raise self._error(node, f"the tag {found} is not allowed, expected text, numbers, lists and keys")
        return str(kind)

    def _error(self, node: yaml.Node, problem: str) -> UserError:
        return UserError(f"{self.path}, line {node.start_mark.line + 1}: {problem}")


def _below(place: str, key: str | int) -> str:
    return f"{place}.{key}" if place else str(key)
