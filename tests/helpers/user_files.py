"""Small files of the forms that people bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


def write_arrays(path: Path, count: int) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(count, 2)), np.arange(count) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x[:100], y_test=y[:100])


def write_sequences(path: Path, count: int) -> None:
    random = np.random.default_rng(0)
    letters = random.choice(list("ACDE"), (count, 4))
    rows = (f"{''.join(row)},{k % 7},{'test' if k % 5 == 0 else 'train'},\n" for k, row in enumerate(letters))
    path.write_text("sequence,target,set,validation\n" + "".join(rows))


def write_molecules(path: Path, count: int) -> None:
    pytest.importorskip("rdkit")
    rings = ("c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCNCC1", "c1ccoc1", "C1CCCC1")
    rows = (f"m{k},{'C' * (k % 9)}{rings[k % 6]},{k % 2},{k // 2 % 2}\n" for k in range(count))
    path.write_text("name,smiles,inhibits_A,inhibits_B\n" + "".join(rows))
