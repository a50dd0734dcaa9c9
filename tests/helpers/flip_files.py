"""Made-up tables in the form of FLIP."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HEADER = "sequence,target,set,validation"
# Rows of no split, a stop, a short sequence that is filled up, and validation rows marked as FLIP marks them.
ROWS = (
    "ACD,1.5,train,",
    "AC*,-2.0,train,True",
    "GGG,7.0,,",
    "A,0.25,train,False",
    "ACDE,3.0,test,",
    "WYCA,-1.0,test,",
    "ACC,0.5,train,",
)


def text(rows: Sequence[str] = ROWS, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def write_csv(path: Path, rows: Sequence[str] = ROWS, header: str = HEADER) -> Path:
    path.write_text(text(rows, header))
    return path


def write_zip(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def random_rows(
    rng: np.random.Generator, count: int, length: int = 12, letters: str = "ACDEFGHIKL"
) -> list[str]:
    """Variants of one sequence with a target that its letters explain: half to train, a tenth of it to validate."""
    wild = rng.choice(list(letters), length)
    effects = rng.normal(size=(length, len(letters)))
    rows = []
    for row in range(count):
        mutant = wild.copy()
        sites = rng.choice(length, rng.integers(1, 4), replace=False)
        mutant[sites] = rng.choice(list(letters), len(sites))
        effect = sum(effects[site, letters.index(mutant[site])] for site in sites)
        part = ("train,True" if row % 20 == 0 else "train,") if row % 2 == 0 else "test,"
        rows.append(f"{''.join(mutant)},{10 + 3 * effect:.6f},{part}")
    return rows
