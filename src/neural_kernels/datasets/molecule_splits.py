"""Which molecules are for training, validation and test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from neural_kernels.datasets import ogb
from neural_kernels.errors import UserError
from neural_kernels.sections import Listed, NotNegative, Section, Seed

PARTS = ("train", "validation", "test")
# What a column of a table may call them.
NAMES = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


class SplitSettings(Section):
    """How molecules are split in train, validation and test."""

    method: Literal["scaffold", "random", "column", "files"] = Field(description="How.")
    fractions: Listed[NotNegative] = Field(
        (0.8, 0.1, 0.1),
        min_length=3,
        max_length=3,
        description="scaffold and random. Shares of train, validation and test, together 1.",
    )
    seed: Seed = Field(0, description="random only.")
    column: str | None = Field(None, description="column only. Name of the column.")
    folder: str | None = Field(None, description="files only. Where the files are.")


def split_rows(
    settings: SplitSettings,
    path: Path,
    rows: np.ndarray,
    scaffolds: Sequence[str] | None,
    parts: Sequence[str] | None,
    count: int,
) -> dict[str, np.ndarray]:
    """Places of the molecules of train, validation and test, each (m,) integers, ascending.

    Args:
        path: of the table, for errors.
        rows: (molecules,) their rows in the table.
        scaffolds: of each molecule, for the method scaffold.
        parts: of every row of the table the name of its part, for the method column.
        count: rows of the table.

    Raises:
        UserError: settings that cannot be, or a part of training or test examples that is empty.
    """
    if settings.method in ("scaffold", "random"):
        sizes = np.asarray(settings.fractions, float)
        if len(sizes) != len(PARTS) or (sizes < 0).any() or not np.isclose(sizes.sum(), 1):
            raise UserError(
                f"data.split.fractions is {list(settings.fractions)}, expected three numbers for train, validation and "
                "test that add up to 1"
            )
    if settings.method == "scaffold":
        assert scaffolds is not None
        found = by_scaffold(scaffolds, settings.fractions)
    elif settings.method == "random":
        found = at_random(len(rows), settings.fractions, settings.seed)
    elif settings.method == "column":
        if parts is None:
            raise UserError(
                "data.split.column is not given, expected the column that says train, validation or test"
            )
        found = _by_column(path, rows, parts)
    elif settings.folder is None:
        raise UserError(
            "data.split.folder is not given, expected a folder of train.csv.gz, valid.csv.gz, test.csv.gz"
        )
    else:
        places = np.full(count, -1)
        places[rows] = np.arange(len(rows))
        asked = ogb.read_split(Path(settings.folder), count)
        found = {part: places[own][places[own] >= 0] for part, own in asked.items()}
    for part in ("train", "test"):
        if not len(found[part]):
            raise UserError(
                f"{path}: data.split leaves none of the {len(rows)} molecules for {part}, expected at least one"
            )
    return found


def by_scaffold(scaffolds: Sequence[str], fractions: Sequence[float]) -> dict[str, np.ndarray]:
    """Molecules of one scaffold stay together, the largest sets go to train first (MoleculeNet, Wu et al. 2018).

    Sets are taken by size, and of equal ones that whose first molecule comes last; a set that would overfill train
    goes to validation, and one that would overfill both to test. This is the code that OGB's splits come from.
    """
    sets: dict[str, list[int]] = {}
    for place, scaffold in enumerate(scaffolds):
        sets.setdefault(scaffold, []).append(place)
    train_room, both_room = np.cumsum(fractions)[:2] * len(scaffolds)
    found: dict[str, list[int]] = {part: [] for part in PARTS}
    for places in sorted(sets.values(), key=lambda places: (len(places), places[0]), reverse=True):
        if len(found["train"]) + len(places) <= train_room:
            found["train"] += places
        elif len(found["train"]) + len(found["validation"]) + len(places) <= both_room:
            found["validation"] += places
        else:
            found["test"] += places
    return {part: np.sort(np.array(places, np.int64)) for part, places in found.items()}


def at_random(count: int, fractions: Sequence[float], seed: int) -> dict[str, np.ndarray]:
    """A partition of 0 to ``count`` - 1 by ``fractions``, which follows from ``seed``."""
    order = np.random.default_rng(seed).permutation(count)
    cuts = np.round(np.cumsum(fractions)[:2] * count).astype(int)
    return {part: np.sort(own) for part, own in zip(PARTS, np.split(order, cuts), strict=True)}


def _by_column(path: Path, rows: np.ndarray, parts: Sequence[str]) -> dict[str, np.ndarray]:
    found: dict[str, list[int]] = {part: [] for part in PARTS}
    for place, row in enumerate(rows):
        # A row without a part is in none.
        if not parts[row]:
            continue
        name = NAMES.get(parts[row].lower())
        if name is None:
            raise UserError(
                f"{path}: row {row + 1} is of part {parts[row]!r}, expected one of {', '.join(NAMES)}, or nothing"
            )
        found[name].append(place)
    return {part: np.array(places, np.int64) for part, places in found.items()}
