"""The files config/<name>.yaml as they are written, before anything in them is checked.

A file is a study, or a comparison of studies, which has the key ``splits``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from neural_kernels.errors import UserError

COMPARISON_KEY = "splits"


def read_config(path: Path, prefix: str = "") -> Any:
    """What ``path`` holds, over the file that its key ``like`` names.

    Args:
        prefix: how the file was come by, for messages.

    Raises:
        UserError: the file, or the one that it is like, is missing or is not YAML, or the latter is like a third.
    """
    config = _read(path, prefix)
    if not isinstance(config, dict) or not isinstance(config.get("like"), str):
        return config
    other = _read(path.with_name(f"{config['like']}.yaml"), f"{path}: like: ")
    if not isinstance(other, dict) or COMPARISON_KEY in other:
        raise UserError(f"{path}: like is {config['like']!r}, expected the name of a study")
    if "like" in other:
        raise UserError(f"{path}: like is {config['like']!r}, which is like another study itself")
    # Its own title, so that two reports do not go by one name.
    return _over({key: value for key, value in other.items() if key != "title"}, config)


def names(directory: Path) -> Iterator[str]:
    """Names of all files of a config directory."""
    return (path.stem for path in sorted(directory.glob("*.yaml")))


def is_comparison(path: Path) -> bool:
    """Whether the file compares studies; one that is damaged does not."""
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(config, dict) and COMPARISON_KEY in config


def _read(path: Path, prefix: str) -> Any:
    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{prefix}there is no study {path.stem}: {path} is missing") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def _over(below: Any, above: Any) -> Any:
    """``above``, and of the mappings in it what ``below`` says and they do not."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return below | {key: _over(below.get(key), value) for key, value in above.items()}
