"""Every key of a config, for people and for editors: docs/configuration.md and JSON schemas, written from the sections.

python -m neural_kernels.study.reference docs
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neural_kernels.sections import Section
from neural_kernels.study.published_table import TableFile
from neural_kernels.study.sections import Sections
from neural_kernels.study.split_comparison import ComparisonFile

FILES: dict[str, tuple[str, type[Section]]] = {
    "study": ("A study, config/&lt;study&gt;.yaml", Sections),
    "comparison": (
        "A comparison of the splits of a benchmark, config/comparisons/&lt;comparison&gt;.yaml",
        ComparisonFile,
    ),
    "table": ("A table beside published numbers, config/tables/&lt;table&gt;.yaml", TableFile),
}
_INTRODUCTION = """# Every key of a config

Written from the code by `python -m neural_kernels.study.reference docs`. A study needs a title and, where it is not
`like` another and takes no other's kernels, `data`, `preprocessing` and `kernels`; keys that are left out take the
defaults given here. An editor that knows JSON schema completes and checks a study by
[schemas/study.json](schemas/study.json), named in the file's first line:

    # yaml-language-server: $schema=../docs/schemas/study.json
"""
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}


def write(directory: Path) -> None:
    """Write ``contents`` below ``directory``."""
    for name, text in contents().items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def contents() -> dict[str, str]:
    """The text of each file by its name."""
    texts = [_INTRODUCTION]
    files = {}
    for name, (heading, kind) in FILES.items():
        schema = kind.model_json_schema()
        files[f"schemas/{name}.json"] = json.dumps(schema, indent=1) + "\n"
        texts += [f"## {heading}\n", *_sections(schema, "", schema, set())]
    return {"configuration.md": "\n".join(texts), **files}


def _sections(schema: dict[str, Any], place: str, root: dict[str, Any], shown: set[int]) -> Iterator[str]:
    """Tables of keys: those of ``schema``, whose place in the file is ``place``, then of each section in it.

    Of a section that stands in several places the first has the table; ``shown`` are the identities of those.
    """
    if id(schema) in shown:
        return
    shown.add(id(schema))
    if place:
        yield f"### {place}\n"
    yield _text(schema, root) + "\n"
    yield "| key | what it is | value | default |\n|---|---|---|---|"
    below = []
    for key, field in schema["properties"].items():
        at = f"{place}.{key}" if place else key
        below += [(at + suffix, inner) for suffix, inner in _inner(field, root)]
        required = key in schema.get("required", ())
        default = "" if required or field.get("default") is None else f"`{json.dumps(field['default'])}`"
        if len(default) > 60:
            default = ""
        cells = (
            f"`{key}`",
            _text(field, root),
            _value(field, root),
            "required" if required else default,
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""
    for at, inner in below:
        yield from _sections(inner, at, root, shown)


def _text(field: dict[str, Any], root: dict[str, Any]) -> str:
    """The description; of a key that says no more than its section does, that of the section."""
    if "description" not in field:
        field = root["$defs"][field["$ref"].rpartition("/")[2]]
    return (
        " ".join(str(field["description"]).split())
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("*", "\\*")
    )


def _inner(field: dict[str, Any], root: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sections that a value may be, and what stands between the key and each."""
    if "$ref" in field:
        inner = root["$defs"][field["$ref"].rpartition("/")[2]]
        yield "", inner
    for choice in (*field.get("anyOf", ()), *field.get("allOf", ())):
        yield from _inner(choice, root)
    for choice in field.get("oneOf", ()):
        ((_, inner),) = _inner(choice, root)
        yield f" ({_tag(inner)})", inner
    if isinstance(entry := field.get("additionalProperties"), dict):
        yield from ((f".&lt;name&gt;{suffix}", inner) for suffix, inner in _inner(entry, root))
    if patterns := field.get("patternProperties"):
        for entry in patterns.values():
            yield from ((f".&lt;name&gt;{suffix}", inner) for suffix, inner in _inner(entry, root))
    if isinstance(entry := field.get("items"), dict):
        yield from ((f"[]{suffix}", inner) for suffix, inner in _inner(entry, root))


def _tag(section: dict[str, Any]) -> str:
    """What tells one member of a union from the others: the name of a data set, the method of a preprocessing."""
    return next(str(field["const"]) for field in section["properties"].values() if "const" in field)


def _value(field: dict[str, Any], root: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field and "type" not in field:
        return " or ".join(_value(choice, root) for choice in field["anyOf"])
    if "$ref" in field or "oneOf" in field:
        return "keys below"
    kind = str(field.get("type", "any"))
    if kind == "array":
        return f"list of {_value(field.get('items', {}), root)}"
    if kind == "object":
        return "keys and values"
    bounds = [text.format(_number(field[key])) for key, text in _BOUNDS.items() if key in field]
    return ", ".join([kind, *bounds])


def _number(bound: float) -> str:
    return f"{int(bound):,}" if bound == int(bound) else repr(bound)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
