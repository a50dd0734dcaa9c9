"""The features that a kernel is made from, known again after they were lost and made anew.

A fit on another machine can give features that differ by rounding, and so have another hash; the blocks that were
made from the first ones are as good as ever. Beside its kernel.json a store keeps

    made_from.json       hashes of the features that its kernel was declared with, and of those accepted since
    rows.sketch.npy      the sketch (``preprocessing.sketch``) of the first ones, of the rows and of the columns
    columns.sketch.npy

which outlives features/. Features are compared with the first ones alone, so that what is accepted cannot wander.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels import sealed_arrays
from neural_kernels.blocks import KernelStore
from neural_kernels.errors import UserError
from neural_kernels.preprocessing import sketch
from neural_kernels.preprocessing.sketch import sketch_file
from neural_kernels.sealed_arrays import SealedFolder, record_of
from neural_kernels.storage.files import write_json, write_npy

log = logging.getLogger(__name__)

SIDES = ("rows", "columns")


@dataclass(frozen=True)
class Known:
    """Features of one side of a kernel.

    Attributes:
        hash: of the features that the kernel was declared with, as its kernel.json has it.
        structure: see ``sketch.structure``.
        rounding: largest difference that rounding explains, see ``sketch.tolerance``.
        accepted: hashes of all features that blocks may be computed from.
    """

    hash: str
    structure: str
    rounding: float
    accepted: tuple[str, ...]

    @staticmethod
    def of(features: Mapping[str, Any], part: str) -> Known:
        """What a features.json says of a part."""
        found = features["feature_hashes"][part]
        return Known(found, features["structures"][part], features["rounding"], (found,))

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {"accepted": list(self.accepted)}


@dataclass(frozen=True)
class KernelFeatures:
    """What a store's made_from.json says.

    Attributes:
        sides: by their names, ``SIDES``.
        flipped_images: of the rows, see ``flip_symmetry``.
    """

    sides: dict[str, Known]
    flipped_images: int

    def write(self, folder: Path, checksums: Mapping[str, Any]) -> None:
        sides = {side: known.as_json() for side, known in self.sides.items()}
        described = {**sides, "flipped_images": self.flipped_images, sealed_arrays.KEY: dict(checksums)}
        write_json(file(folder), described)


def file(folder: Path) -> Path:
    """The summary in a store's folder, which one of an earlier version lacks."""
    return folder / "made_from.json"


def _open(folder: Path) -> tuple[KernelFeatures, SealedFolder] | None:
    """What is known in a store's folder, None in one of an earlier version."""
    if not file(folder).exists():
        return None
    sealed = sealed_arrays.open_folder(file(folder))
    sides = {}
    for side in SIDES:
        known = sealed.summary[side]
        sides[side] = Known(**known | {"accepted": tuple(known["accepted"])})
    return KernelFeatures(sides, sealed.summary["flipped_images"]), sealed


def _parts(part: str) -> dict[str, str]:
    return {"rows": part, "columns": "train"}


def recognized(folder: Path, part: str, features: SealedFolder) -> KernelFeatures:
    """The features at hand, as those that the kernel in ``folder`` was declared with where these differ by rounding.

    Args:
        part: the one whose features are the rows'.

    Raises:
        DamagedFile: a sketch is not what was written.
    """
    at_hand = {side: Known.of(features.summary, name) for side, name in _parts(part).items()}
    new = KernelFeatures(at_hand, features.summary["flipped_images"])
    opened = _open(folder)
    if opened is None:
        return new
    known, sealed = opened
    sides = {}
    for side, name in _parts(part).items():
        first, found = known.sides[side], at_hand[side]
        if found.hash in first.accepted:
            sides[side] = first
            continue
        if found.structure != first.structure:
            return new
        before = sealed.load(f"{side}.sketch.npy")
        difference = sketch.difference(before, features.load(sketch_file(Path(f"{name}.npy")).name))
        if not difference <= first.rounding:
            return new
        log.warning(
            "%s: the features of %s were made anew and differ by at most %.1e of an example's norm, which is rounding, "
            "from those that the kernel was declared with: its blocks are kept (hash %s, now %s)",
            folder,
            name,
            difference,
            first.hash[:12],
            found.hash[:12],
        )
        sides[side] = replace(first, accepted=(*first.accepted, found.hash))
    return replace(known, sides=sides)


def keep(store: KernelStore, part: str, features: SealedFolder, known: KernelFeatures) -> None:
    """Write down what ``recognized`` found, once the kernel is declared with it."""
    folder, opened = store.directory, _open(store.directory)
    same = opened is not None and all(
        opened[0].sides[side].hash == side_known.hash for side, side_known in known.sides.items()
    )
    if opened is not None and same:
        if known != opened[0]:
            known.write(folder, opened[1].summary[sealed_arrays.KEY])
        return
    # A record beside sketches of other features would be taken for damaged.
    file(folder).unlink(missing_ok=True)
    records = {}
    for side, name in _parts(part).items():
        sketched: np.ndarray = features.load(sketch_file(Path(f"{name}.npy")).name)
        write_npy(folder / f"{side}.sketch.npy", sketched)
        records[f"{side}.sketch.npy"] = record_of(sketched)
    known.write(folder, records)


def check(store: KernelStore, part: str, features: SealedFolder) -> int:
    """Check that blocks of the kernel may be computed from the features at hand.

    Returns:
        How many leading rows are followed by their flips.

    Raises:
        UserError: they are others than those that it was declared with.
    """
    opened = _open(store.directory)
    for side, name in _parts(part).items():
        declared, found = store.description[side]["hash"], features.summary["feature_hashes"][name]
        accepted = {declared}
        if opened is not None and opened[0].sides[side].hash == declared:
            accepted.update(opened[0].sides[side].accepted)
        if found not in accepted:
            raise UserError(
                f"{features.summary_file}: the features of {name} are not those that {store.directory} was declared "
                f"with (hash {found[:12]}, expected {declared[:12]}): declare the kernel again"
            )
    flipped = features.summary if opened is None else vars(opened[0])
    return int(flipped["flipped_images"])
