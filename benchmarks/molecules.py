"""What the default estimator makes of molecules beside a random forest and a Gaussian process of Tanimoto's kernel.

    python benchmarks/molecules.py DATA [esol bace tox21 muv] [--molecules N] [--scaffold]

DATA holds ``ogb/ogbg_molesol`` and ``ogb/ogbg_molbace`` (unpacked, with their scaffold splits), and the tables
``moleculenet/tox21.csv.gz`` and ``muv.csv.gz``, split at random; as many train as --molecules says, and of
MUV, whose labels are nearly all missing or negative, those with a positive label come first. Of OGB's sets the
validation molecules train too. With --scaffold they don't, and tables are split as OGB's are, by scaffold, eight tenths
to train (at most --molecules of them): what graph networks are published for. Nothing is chosen by test labels.

For each set and method: RMSE or the mean ROC-AUC of the tasks, its interval over resampled test molecules, the coverage
of the 95 % interval of a regression, and seconds of fitting and predicting.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import roc_auc_score

from neural_kernels import NeuralKernelRegressor
from neural_kernels.datasets import molecule_splits, molecules

RESAMPLED = 200


@dataclass(frozen=True)
class Problem:
    """Molecules, values (n, tasks) with NaN where one is missing, and which of them train and test."""

    name: str
    smiles: list[str]
    values: np.ndarray
    train: np.ndarray
    test: np.ndarray

    @property
    def regression(self) -> bool:
        known = self.values[~np.isnan(self.values)]
        return not np.isin(known, (0, 1)).all()

    def score(self, predictions: np.ndarray, test: np.ndarray | None = None) -> float:
        """RMSE, or mean ROC-AUC over tasks with both labels, of predictions for ``test`` or all test molecules."""
        places = np.arange(len(self.test)) if test is None else test
        truth, found = self.values[self.test][places], predictions[places]
        if self.regression:
            return float(np.sqrt(np.nanmean((truth - found) ** 2)))
        scores = []
        for task in range(truth.shape[1]):
            known = ~np.isnan(truth[:, task])
            if len(set(truth[known, task])) == 2:
                scores.append(roc_auc_score(truth[known, task], found[known, task]))
        return float(np.mean(scores))


def from_ogb(name: str, folder: Path, scaffold: bool) -> Problem:
    table = pd.read_csv(folder / "mapping" / "mol.csv.gz")
    values = table.drop(columns=["smiles", "mol_id"]).to_numpy(float)
    rows = {
        part: pd.read_csv(folder / "split" / "scaffold" / f"{part}.csv.gz", header=None)[0].to_numpy()
        for part in ("train", "valid", "test")
    }
    train = rows["train"] if scaffold else np.concatenate([rows["train"], rows["valid"]])
    return Problem(name, table["smiles"].tolist(), values, train, rows["test"])


def from_table(name: str, path: Path, count: int) -> Problem:
    table = pd.read_csv(path)
    table = table.iloc[molecules.parse(table["smiles"].tolist()).rows]
    order = np.random.default_rng(0).permutation(len(table))
    values = table.drop(columns=["smiles", "mol_id"]).to_numpy(float)[order]
    positive = np.nansum(values, axis=1) > 0
    if positive.mean() < 0.05:
        order, values = (np.concatenate([rows[positive], rows[~positive]]) for rows in (order, values))
    keep = np.random.default_rng(1).permutation(min(len(order), count + count // 2))
    smiles = table["smiles"].to_numpy()[order[keep]].tolist()
    return Problem(name, smiles, values[keep], np.arange(count), np.arange(count, len(keep)))


def by_scaffold(name: str, path: Path, count: int) -> Problem:
    table = pd.read_csv(path)
    found = molecules.parse(table["smiles"].tolist(), scaffolds=True)
    assert found.scaffolds is not None
    table = table.iloc[found.rows]
    parts = molecule_splits.by_scaffold(found.scaffolds, (0.8, 0.1, 0.1))
    train = np.random.default_rng(1).permutation(parts["train"])[:count]
    values = table.drop(columns=["smiles", "mol_id"]).to_numpy(float)
    return Problem(name, table["smiles"].tolist(), values, train, parts["test"])


Method = Callable[[Problem], tuple[np.ndarray, np.ndarray | None]]


def neural_kernel(problem: Problem) -> tuple[np.ndarray, np.ndarray | None]:
    train = [problem.smiles[row] for row in problem.train]
    test = [problem.smiles[row] for row in problem.test]
    model = NeuralKernelRegressor().fit(train, problem.values[problem.train])
    print(f"  weights {', '.join(f'{weight:.3g}' for weight in model.weights_)}, ridge {model.ridge_:g}")
    if problem.regression:
        mean, std = model.predict(test, return_std=True)
        return mean, std
    return model.predict(test), None


def random_forest(problem: Problem) -> tuple[np.ndarray, np.ndarray | None]:
    x = molecules.fingerprints(problem.smiles)
    kind = RandomForestRegressor if problem.regression else RandomForestClassifier
    columns = []
    for values in problem.values.T:
        train = problem.train[~np.isnan(values[problem.train])]
        forest = kind(500, random_state=0, n_jobs=-1).fit(x[train], values[train])
        found = (
            forest.predict(x[problem.test]) if problem.regression else forest.predict_proba(x[problem.test])
        )
        columns.append(found if problem.regression else found[:, -1] * (len(forest.classes_) == 2))
    return np.stack(columns, axis=1), None


def tanimoto(problem: Problem) -> tuple[np.ndarray, np.ndarray | None]:
    """Of fingerprints' bits, its ridge by leave-one-out."""
    x = (molecules.fingerprints(problem.smiles) > 0).astype(np.float64)
    shared = x @ x.T
    sizes = np.diag(shared)
    K = shared / (sizes[:, None] + sizes - shared)
    given = NeuralKernelRegressor(kernel="precomputed")
    given.fit(K[np.ix_(problem.train, problem.train)], problem.values[problem.train])
    return given.predict(K[np.ix_(problem.test, problem.train)]), None


METHODS: dict[str, Method] = {
    "neural kernels": neural_kernel,
    "random forest, Morgan": random_forest,
    "Gaussian process, Tanimoto": tanimoto,
}


def problems(data: Path, names: list[str], count: int, scaffold: bool) -> Iterator[Problem]:
    for name in names:
        if name in ("esol", "bace"):
            yield from_ogb(name, data / "ogb" / f"ogbg_mol{name}", scaffold)
        elif scaffold:
            yield by_scaffold(name, data / "moleculenet" / f"{name}.csv.gz", count)
        else:
            yield from_table(name, data / "moleculenet" / f"{name}.csv.gz", count)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("names", nargs="*", default=["esol", "bace", "tox21", "muv"])
    parser.add_argument("--molecules", type=int, default=2000)
    parser.add_argument("--scaffold", action="store_true")
    options = parser.parse_args()
    for problem in problems(options.data, options.names, options.molecules, options.scaffold):
        print(f"{problem.name}: {len(problem.train)} molecules train, {len(problem.test)} test")
        for name, method in METHODS.items():
            begun = time.perf_counter()
            predictions, std = method(problem)
            seconds = time.perf_counter() - begun
            random = np.random.default_rng(0)
            count = len(problem.test)
            spread = [problem.score(predictions, random.integers(0, count, count)) for _ in range(RESAMPLED)]
            low, high = np.quantile(spread, [0.025, 0.975])
            line = f"  {name:28} {problem.score(predictions):.3f} [{low:.3f}, {high:.3f}]  {seconds:6.1f} s"
            if std is not None:
                inside = np.abs(problem.values[problem.test] - predictions) <= 1.96 * std
                line += f"  95 % interval covers {inside.mean():.1%}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
