"""A candidate: what makes a kernel on given data, and the file by which one study hands it to others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from neural_kernels import architectures
from neural_kernels.architectures import Architecture
from neural_kernels.engines import Kind
from neural_kernels.errors import UserError
from neural_kernels.preprocessing.options import Preprocessing, parse_preprocessing
from neural_kernels.storage.files import write_atomically
from neural_kernels.storage.strict_yaml import read_yaml

KEYS = ("architecture", "kind", "preprocessing")


@dataclass(frozen=True)
class Candidate:
    """One kernel as a study's config describes it, in plain data.

    Attributes:
        architecture: the name of a family and its parameters.
        kind: "ntk" or "nngp".
        preprocessing: an entry of a study's section preprocessing.
    """

    architecture: dict[str, Any]
    kind: Kind
    preprocessing: dict[str, Any]

    def build(self) -> Architecture:
        """The architecture as a value.

        Raises:
            UserError: a parameter that the family refuses.
        """
        return architectures.build(**self.architecture)

    def options(self) -> Preprocessing:
        """The preprocessing as a value.

        Raises:
            UserError: a key or a value that its method refuses.
        """
        return parse_preprocessing("preprocessing", self.preprocessing)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def write_candidate(path: Path, candidate: Candidate, ridge: float, found: Mapping[str, Any]) -> None:
    """``candidate`` as YAML that studies can name, with the ridge that was best there and how it was ``found``."""
    comment = (
        "# Written by a tuning study. Name it in another study's kernels: docs/how-to/tuning.md says how.\n"
    )
    content = {**candidate.as_json(), "ridge": ridge, "found": dict(found)}
    text = comment + yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110)
    write_atomically(path, lambda file: file.write(text.encode()))


def read_candidate(path: Path) -> dict[str, Any]:
    """The mapping in a file like those of ``write_candidate``; a file of one's own may hold the architecture alone.

    Raises:
        UserError: the file is missing, is not YAML, or has no architecture.
    """
    content = read_yaml(path, f"{path} is missing, expected a tuned architecture")
    if not isinstance(content, dict) or not isinstance(content.get("architecture"), dict):
        raise UserError(
            f"{path} has no section architecture, expected the name of a family and its parameters"
        )
    if not isinstance(content["architecture"].get("name"), str):
        raise UserError(f"{path}: architecture lacks the key 'name'")
    return content
