"""The methods: the mean, ridge regression, nearest neighbours, a random forest.

What a method has to choose it chooses on training examples: ridge regression and neighbours by leaving one out, and a
forest is grown as it usually is. All predict what kernels do, targets: of classes, their shares less 1 / C.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from neural_kernels.baselines.circular import fingerprints
from neural_kernels.baselines.neighbours import Neighbours
from neural_kernels.graphs import Examples, Graphs

Kind = Literal["numbers", "letters", "graphs"]

MEAN = "Mean"
TREES = 100
MOST_LOOKED_AT = 300
"""Features that a split of a tree looks at: of thousands, more take minutes."""
RIDGES = np.logspace(-3, 6, 19)


@dataclass(frozen=True)
class Fitted:
    """What a method predicts.

    Attributes:
        name: what people call it, with what it sees.
        settings: what was chosen, and what is fixed, in words.
        predictions: (m, C) float64 targets of each part.
    """

    name: str
    settings: str
    predictions: Mapping[str, np.ndarray]


def fit_all(
    kind: Kind | None,
    train: Examples,
    targets: np.ndarray,
    parts: Mapping[str, Examples],
    classes: bool,
    threads: int = 1,
) -> Iterator[Fitted]:
    """Fit each method to the training examples, and predict the others.

    Args:
        kind: what examples are, "letters" one-hot; None where nothing is known of them, so that the mean alone is
            left.
        targets: (n, C) float64, NaN where one is missing; of classes, one-hot less 1 / C.
        parts: the examples to predict.
        classes: whether a classification.
    """
    counts = (~np.isnan(targets)).sum(axis=0)
    means = np.nansum(targets, axis=0) / np.maximum(counts, 1)
    yield Fitted(MEAN, "", {part: np.tile(means, (len(x), 1)) for part, x in parts.items()})
    if kind is None:
        return
    x, tests = _flat(kind, train, parts)
    if not x.shape[1]:
        return
    seen = {"numbers": "", "letters": ", one-hot", "graphs": ", fingerprints"}[kind]
    found, ridges = _ridge(x, targets, tests)
    said = (
        f"ridge {ridges[0]:.3g}"
        if np.ptp(ridges) == 0
        else f"ridges {ridges.min():.3g} to {ridges.max():.3g}"
    )
    yield Fitted(f"Ridge regression{seen}", said, found)
    asked = Neighbours(x, targets, tanimoto=kind == "graphs")
    alike = {"numbers": "", "letters": ", letters that differ", "graphs": ", Tanimoto"}[kind]
    yield Fitted(
        f"Nearest neighbours{alike}",
        "1 neighbour" if asked.count == 1 else f"{asked.count} neighbours",
        {part: asked.predict(test) for part, test in tests.items()},
    )
    yield Fitted(f"Random forest{seen}", "", _forest(x, targets, tests, classes, threads))


def _flat(
    kind: Kind, train: Examples, parts: Mapping[str, Examples]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Rows of numbers, without those that are the same in all training examples; numbers are standardised."""

    def rows(examples: Examples) -> np.ndarray:
        if isinstance(examples, Graphs):
            return fingerprints(examples)
        return np.asarray(examples, np.float64).reshape(len(examples), -1)

    x = rows(train)
    varied = np.ptp(x, axis=0) > 0
    centre, scale = 0.0, 1.0
    if kind == "numbers":
        centre, scale = x[:, varied].mean(axis=0), x[:, varied].std(axis=0)
    return (x[:, varied] - centre) / scale, {
        part: (rows(examples)[:, varied] - centre) / scale for part, examples in parts.items()
    }


def _ridge(
    x: np.ndarray, targets: np.ndarray, tests: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    from sklearn.linear_model import RidgeCV

    found = {part: np.zeros((len(test), targets.shape[1])) for part, test in tests.items()}
    ridges = []
    for known, tasks in _by_known(targets):
        model = RidgeCV(RIDGES, alpha_per_target=len(tasks) > 1).fit(x[known], targets[np.ix_(known, tasks)])
        ridges += np.atleast_1d(model.alpha_).tolist()
        for part, test in tests.items():
            found[part][:, tasks] = model.predict(test).reshape(len(test), -1)
    return found, np.array(ridges)


def _forest(
    x: np.ndarray, targets: np.ndarray, tests: Mapping[str, np.ndarray], classes: bool, threads: int
) -> dict[str, np.ndarray]:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    found = {part: np.zeros((len(test), targets.shape[1])) for part, test in tests.items()}
    if classes:
        labels, count = targets.argmax(axis=1), targets.shape[1]
        forest = RandomForestClassifier(TREES, random_state=0, n_jobs=threads).fit(x, labels)
        for part, test in tests.items():
            found[part][:, forest.classes_] = forest.predict_proba(test)
            found[part] -= 1 / count
        return found
    looked_at = min(max(1, x.shape[1] // 3), MOST_LOOKED_AT)
    for known, tasks in _by_known(targets):
        own = targets[np.ix_(known, tasks)]
        model = RandomForestRegressor(TREES, max_features=looked_at, random_state=0, n_jobs=threads)
        model.fit(x[known], own[:, 0] if len(tasks) == 1 else own)
        for part, test in tests.items():
            found[part][:, tasks] = model.predict(test).reshape(len(test), -1)
    return found


def _by_known(targets: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows with a target, and the tasks that have these: all at once where none is missing, else one by one."""
    missing = np.isnan(targets)
    if not missing.any():
        yield np.arange(len(targets)), np.arange(targets.shape[1])
        return
    for task in range(targets.shape[1]):
        known = np.flatnonzero(~missing[:, task])
        if len(known) > 1:
            yield known, np.array([task])
