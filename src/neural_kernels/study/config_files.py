"""The files config/<name>.yaml as they are written, before anything in them is checked.

A file is a study, or a comparison of studies, which has the key ``splits``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neural_kernels.errors import UserError
from neural_kernels.names import check_name, is_name
from neural_kernels.storage.strict_yaml import read_yaml, shown

COMPARISON_KEY = "splits"


def read_config(path: Path, prefix: str = "") -> Any:
    """What ``path`` holds, with the sections that it does not give of the file that its key ``like`` names.

    Args:
        prefix: how the file was come by, for messages.

    Raises:
        UserError: the file, or the one that it is like, is missing, is not YAML or has no name that a study can
            have, or the latter is like a third.
    """
    config = _read(path, prefix)
    if not isinstance(config, dict) or config.get("like") is None:
        return config
    if not isinstance(config["like"], str):
        raise UserError(f"{path}: like is {shown(config['like'])}, expected string")
    check_name(f"{path}: like", config["like"])
    other = _read(path.with_name(f"{config['like']}.yaml"), f"{path}: like: ")
    if not isinstance(other, dict) or COMPARISON_KEY in other:
        raise UserError(f"{path}: like is {config['like']!r}, expected the name of a study")
    if "like" in other:
        raise UserError(f"{path}: like is {config['like']!r}, which is like another study itself")
    # Its own title, so that two reports do not go by one name.
    return {key: value for key, value in other.items() if key != "title"} | config


def names(directory: Path) -> Iterator[str]:
    """Names of all files of a config directory; a file that has none is no study and no comparison."""
    return (path.stem for path in sorted(directory.glob("*.yaml")) if is_name(path.stem))


def is_comparison(path: Path) -> bool:
    """Whether the file compares studies; one that is damaged does not."""
    try:
        config = read_yaml(path)
    except UserError:
        return False
    return isinstance(config, dict) and COMPARISON_KEY in config


def similar(path: Path) -> str:
    """Which files beside ``path``, which is not there, have a similar name; empty where none has."""
    known = names(path.parent) if is_name(path.stem) else []
    found = difflib.get_close_matches(path.stem, list(known), n=3)
    return f" (similar: {', '.join(found)})" if found else ""


def _read(path: Path, prefix: str) -> Any:
    config = read_yaml(path, f"{prefix}there is no study {path.stem}: {path} is missing{similar(path)}")
    check_name(f"{prefix}{path}", path.stem)
    return config
