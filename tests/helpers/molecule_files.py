"""Made-up folders in OGB's form, and tables of SMILES."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.datasets import atoms

# Methane, ethanol, benzene, pyridine, chiral bromochlorobutene, sodium chloride, a salt of ammonium.
SMILES = ("C", "CCO", "c1ccccc1", "c1ccncc1", "Cl[C@H](/C=C/C)Br", "[Na+].[Cl-]", "[NH4+].[O-]C=O")

NODES = [
    [[5, 0, 4, 5, 4, 0, 2, 0, 0]],
    [[5, 0, 4, 5, 3, 0, 2, 0, 0], [5, 0, 4, 5, 2, 0, 2, 0, 0], [7, 0, 2, 5, 1, 0, 2, 0, 0]],
    [[118, 4, 11, 11, 9, 5, 5, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0, 0]],
    [[6, 1, 3, 6, 0, 1, 1, 1, 0]],
    [[16, 2, 2, 4, 1, 2, 3, 0, 1], [8, 3, 1, 5, 0, 0, 4, 0, 0], [5, 0, 3, 5, 1, 0, 1, 1, 1]],
]
BONDS = [[], [[0, 1], [1, 2]], [[0, 1]], [], [[0, 1]]]
LABELS = np.array([[1, np.nan], [0, 1], [np.nan, 0], [0, 1], [1, 0]])
SPLIT = {"train": [4, 1, 0], "valid": [2], "test": [3]}


def write_table(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (",".join("" if value != value else f"{value:g}" for value in row) for row in rows)
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def write_folder(folder: Path, labels: np.ndarray = LABELS) -> Path:
    """Five molecules; the third has the last value of every feature, and two have no bond."""
    raw = folder / "raw"
    write_table(raw / "graph-label.csv.gz", labels.tolist())
    write_table(raw / "node-feat.csv.gz", [atom for atoms in NODES for atom in atoms])
    write_table(raw / "edge.csv.gz", [bond for bonds in BONDS for bond in bonds])
    write_table(raw / "num-node-list.csv.gz", [[len(atoms)] for atoms in NODES])
    write_table(raw / "num-edge-list.csv.gz", [[len(bonds)] for bonds in BONDS])
    write_split(folder / "split" / "scaffold", SPLIT)
    return folder


def write_split(folder: Path, split: dict[str, list[int]]) -> Path:
    for name, rows in split.items():
        write_table(folder / f"{name}.csv.gz", [[row] for row in rows])
    return folder


def decoded(channels: np.ndarray) -> np.ndarray:
    """The indices that ``atoms.encode`` was given."""
    features, start = [], 0
    for name, size in atoms.SIZES.items():
        if name in atoms.ORDINAL:
            features.append(channels[:, start])
            start += 1
        else:
            one_hot = channels[:, start : start + size]
            assert (one_hot.sum(axis=1) == 1).all()
            features.append(one_hot.argmax(axis=1))
            start += size
    assert start == atoms.CHANNELS == channels.shape[1]
    return np.stack(features, axis=1)
