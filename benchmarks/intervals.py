"""How many test values lie in intervals of 50, 80 and 95 %: of the Gaussian process, and conformal.

    python benchmarks/intervals.py DATA [diabetes esol gb1 aav] [--train N] [--test N]

DATA holds ``ogb/ogbg_molesol`` (unpacked, its scaffold split), ``flip_gb1/splits.zip`` and
``aav/splits_reconstructed.zip``; diabetes is scikit-learn's, 60 % of it drawn to train. Of larger sets as many train
and test as --train and --test say, drawn by seed 0. Amplitude and ridge are chosen by leave-one-out or by the
likelihood, as a row says; conformal intervals are from left-out errors. Nothing is chosen on test values. Splits by
mutations, fitness or scaffold test on others than train, for which no interval promises anything.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes

from neural_kernels import NeuralKernelRegressor
from neural_kernels.metrics import calibration
from neural_kernels.metrics.calibration import LEVELS


class Problem(NamedTuple):
    """Inputs and values to train and to test on."""

    name: str
    x: Any
    y: np.ndarray
    test_x: Any
    test_y: np.ndarray


def diabetes(*_: Any) -> Iterator[Problem]:
    x, y = load_diabetes(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[: int(0.6 * len(x))], order[int(0.6 * len(x)) :]
    yield Problem("diabetes, random", x[train], y[train], x[test], y[test])


def esol(data: Path, *_: Any) -> Iterator[Problem]:
    folder = data / "ogb" / "ogbg_molesol"
    table = pd.read_csv(folder / "mapping" / "mol.csv.gz")
    values = table.drop(columns=["smiles", "mol_id"]).to_numpy(float)[:, 0]
    rows = {
        part: pd.read_csv(folder / "split" / "scaffold" / f"{part}.csv.gz", header=None)[0].to_numpy()
        for part in ("train", "valid", "test")
    }
    train, smiles = np.concatenate([rows["train"], rows["valid"]]), table["smiles"].to_numpy()
    yield Problem(
        "molesol, scaffold",
        smiles[train].tolist(),
        values[train],
        smiles[rows["test"]].tolist(),
        values[rows["test"]],
    )
    # The same molecules at random, where what conformal intervals assume is true.
    order = np.random.default_rng(0).permutation(len(values))
    train, test = order[: len(train)], order[len(train) :]
    yield Problem(
        "molesol, random", smiles[train].tolist(), values[train], smiles[test].tolist(), values[test]
    )


def sequences(name: str, path: Path, tables: list[str], count: int, tested: int) -> Iterator[Problem]:
    for table in tables:
        with zipfile.ZipFile(path) as archive:
            member = next(entry for entry in archive.namelist() if entry.endswith(f"{table}.csv"))
            rows = list(csv.DictReader(io.TextIOWrapper(archive.open(member), "utf-8")))
        random = np.random.default_rng(0)
        parts: list[Any] = []
        for part, most in (("train", count), ("test", tested)):
            own = [row for row in rows if row["set"] == part]
            chosen = random.permutation(len(own))[:most]
            parts += [
                [own[i]["sequence"] for i in chosen],
                np.array([float(own[i]["target"]) for i in chosen]),
            ]
        yield Problem(f"{name}, {table}", *parts)


def gb1(data: Path, count: int, tested: int) -> Iterator[Problem]:
    splits = ["sampled", "three_vs_rest", "two_vs_rest", "low_vs_high"]
    yield from sequences("GB1", data / "flip_gb1" / "splits.zip", splits, count, tested)


def aav(data: Path, count: int, tested: int) -> Iterator[Problem]:
    splits = ["sampled", "two_vs_many"]
    yield from sequences("AAV", data / "aav" / "splits_reconstructed.zip", splits, count, tested)


SETS = {"diabetes": diabetes, "esol": esol, "gb1": gb1, "aav": aav}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*", default=list(SETS))
    parser.add_argument("--train", type=int, default=1000)
    parser.add_argument("--test", type=int, default=1000)
    options = parser.parse_args()
    print(
        "| test set | train, test | by | RMSE | 50 % | 80 % | 95 % | conformal 50 % | 80 % | 95 % | density | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for name in options.names:
        for problem in SETS[name](options.data, options.train, options.test):
            for ridge in ("loo", "likelihood"):
                print(_row(problem, ridge), flush=True)


def _row(problem: Problem, ridge: str) -> str:
    begun = time.perf_counter()
    model = NeuralKernelRegressor(ridge=ridge).fit(problem.x, problem.y)
    mean, std = model.predict(problem.test_x, return_std=True)
    errors = problem.test_y - mean
    inside = [f"{share:.1%}" for share in calibration.coverage(errors / std, np.array(LEVELS))]
    inside += [f"{np.mean(np.abs(errors) <= model.interval_reach(level) * std):.1%}" for level in LEVELS]
    rmse, density = np.sqrt(np.mean(errors**2)), calibration.negative_log_density(errors, std)
    seconds = time.perf_counter() - begun
    sizes = f"{len(problem.y):,}, {len(errors):,}"
    return f"| {problem.name} | {sizes} | {ridge} | {rmse:.3g} | {' | '.join(inside)} | {density:.3g} | {seconds:.0f} |"


if __name__ == "__main__":
    main()
