"""The files of a config folder as they are written, before anything in them is checked.

A study is config/<study>.yaml, a comparison of several splits' studies config/comparisons/<comparison>.yaml, and a
table of what was run beside what is published config/tables/<table>.yaml. config/config.yaml is none of them: it has
what Snakemake is told of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from neural_kernels.errors import UserError
from neural_kernels.names import check_name, is_name
from neural_kernels.sentences import similar
from neural_kernels.storage.strict_yaml import read_yaml, shown

COMPARISONS, TABLES = "comparisons", "tables"
"""Folders in that of the studies."""

WORKFLOW = "config"
"""The file beside the studies that is none, by the name that Snakemake's tools expect."""

Kind = Literal["study", "comparison", "table"]
_KINDS: dict[str, Kind] = {COMPARISONS: "comparison", TABLES: "table"}


def read_config(path: Path, prefix: str = "") -> Any:
    """What ``path`` holds, with the sections that it does not give of the file that its key ``like`` names.

    Args:
        prefix: how the file was come by, for messages.

    Raises:
        UserError: the file is no study's; or it, or the one that it is like, is missing, is not YAML or has no name
            that a study can have, or the latter is like a third.
    """
    if kind(path) == "comparison":
        raise UserError(f"{prefix}{path} compares studies, expected one of those that it names")
    config = read(path, "study", prefix)
    if not isinstance(config, dict) or config.get("like") is None:
        return config
    if not isinstance(config["like"], str):
        raise UserError(f"{path}: like is {shown(config['like'])}, expected string")
    check_name(f"{path}: like", config["like"])
    other = read(path.with_name(f"{config['like']}.yaml"), "study", f"{path}: like: ")
    if not isinstance(other, dict):
        raise UserError(f"{path}: like is {config['like']!r}, expected the name of a study")
    if "like" in other:
        raise UserError(f"{path}: like is {config['like']!r}, which is like another study itself")
    # Its own title, so that two reports do not go by one name.
    return {key: value for key, value in other.items() if key != "title"} | config


def kind(path: Path) -> Kind:
    """What the file is, by its folder."""
    return _KINDS.get(path.absolute().parent.name, "study")


def read(path: Path, expected: Kind, prefix: str = "") -> Any:
    """What ``path`` holds, the file of a study, comparison or table.

    Raises:
        UserError: the file is missing, is not YAML or has no name that a study can have.
    """
    config = read_yaml(path, f"{prefix}there is no {expected} {path.stem}: {path} is missing{_similar(path)}")
    check_name(f"{prefix}{path}", path.stem)
    if expected == "study" and path.stem == WORKFLOW:
        raise UserError(f"{prefix}{path} is what Snakemake is told of all studies: give a study another name")
    return config


def names(directory: Path) -> Iterator[str]:
    """Names of all studies, comparisons or tables in their folder; a file that cannot be named is none."""
    stems = (path.stem for path in sorted(directory.glob("*.yaml")))
    return (stem for stem in stems if is_name(stem) and stem != WORKFLOW)


def _similar(path: Path) -> str:
    """Which files beside ``path``, which is not there, have a similar name; empty where none has."""
    return similar(path.stem, list(names(path.parent))) if is_name(path.stem) else ""
