"""Scores of single predictions in the units of the data, beside those of simple methods; and how far intervals hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neural_kernels.metrics import calibration
from neural_kernels.metrics.calibration import LEVELS
from neural_kernels.metrics.fold_scores import BEST_SHARE, ndcg, top_recall
from neural_kernels.prediction.example_table import LEFT_OUT
from neural_kernels.reports import style
from neural_kernels.reports.prediction_panels import scores
from neural_kernels.reports.table_pages import Table

__test__ = False  # no module of tests

SCORES = ("RMSE", "MAE", "R\N{SUPERSCRIPT TWO}", "Spearman", "NDCG", f"Best {BEST_SHARE} % found")
RANKING_NOTE = (
    f"NDCG: of the {BEST_SHARE} % that are predicted highest, gains are the measured values scaled to 0 to 1. "
    f"Best {BEST_SHARE} % found: which share of the {BEST_SHARE} % that measured highest is among as many that are "
    "predicted highest."
)


@dataclass(frozen=True)
class Case:
    """The rows of one test set and output with a measured value, of each kernel and simple method by its name.

    Attributes:
        kernels: by their names, ``prediction.example_table``.
        others: by what the methods are called.
    """

    split: str
    output: str
    kernels: Mapping[str, pd.DataFrame]
    others: Mapping[str, pd.DataFrame]

    @property
    def title(self) -> str:
        return ", ".join(filter(None, (style.test_set_name(self.split), self.output)))

    def errors(self) -> dict[str, float]:
        """Root mean square errors of the simple methods."""
        return {name: scores(*_pair(rows))[0] for name, rows in self.others.items()}


def cases(examples: Mapping[str, pd.DataFrame], others: pd.DataFrame | None, fewest: int) -> list[Case]:
    """Each test set and output with as many measured values.

    Args:
        examples: of each kernel.
        others: of the simple methods, with a column ``method``; None where there are none.
    """
    found: dict[tuple[str, str], dict[str, pd.DataFrame]] = {}
    for kernel, table in examples.items():
        tested = table[(table["split"] != LEFT_OUT) & table["measured"].notna()]
        for (split, output), rows in tested.groupby(["split", "output"], sort=False):
            if len(rows) >= fewest:
                found.setdefault((str(split), str(output)), {})[kernel] = rows
    return [Case(*key, kernels, dict(_of_methods(others, *key))) for key, kernels in found.items()]


def _of_methods(others: pd.DataFrame | None, split: str, output: str) -> Iterator[tuple[str, pd.DataFrame]]:
    if others is None or not len(others):
        return
    own = others[(others["split"] == split) & (others["output"] == output) & others["measured"].notna()]
    for method, rows in own.groupby("method", sort=False):
        yield str(method), rows


def score_table(case: Case, labels: Mapping[str, str], sizes: Mapping[str, int], trained: int) -> Table:
    """A row for each kernel and simple method.

    Args:
        labels, sizes: what people read for a kernel, and its n.
        trained: training examples of the simple methods.
    """
    rows = [
        (labels[kernel], f"{sizes[kernel]:,}", *ranked(*_pair(own))) for kernel, own in case.kernels.items()
    ]
    ours = len(rows)
    rows += [(name, f"{trained:,}", *ranked(*_pair(own))) for name, own in case.others.items()]
    count = len(next(iter(case.kernels.values())))
    return Table(
        f"{case.title}: scores of {count:,} test examples, in the units of the data",
        ("Method", "n", *SCORES),
        rows,
        numbers=frozenset(range(1, 2 + len(SCORES))),
        quoted=frozenset(range(ours, len(rows))),
        rules=frozenset({ours}) if ours < len(rows) else frozenset(),
        notes=(RANKING_NOTE,),
    )


def ranked(truth: np.ndarray, found: np.ndarray) -> tuple[str, ...]:
    """``SCORES`` as text, empty where one does not exist."""
    values = (*scores(truth, found), ndcg(truth, found), top_recall(truth, found))
    return tuple("" if np.isnan(value) else f"{value:.4g}" for value in values)


def interval_table(
    case: Case, examples: Mapping[str, pd.DataFrame], labels: Mapping[str, str]
) -> list[Table]:
    """How many test examples the intervals hold, of the Gaussian process and conformal; none without a spread.

    Args:
        examples: of each kernel, with what was left out, from which conformal intervals are.
    """
    rows = []
    for kernel, own in case.kernels.items():
        errors, spread = _errors(own)
        if spread is None:
            continue
        gaussian = calibration.coverage(errors / spread, np.array(LEVELS))
        reach = conformal_reach(examples[kernel], case.output)
        conformal = [""] * len(LEVELS)
        if reach is not None:
            conformal = [f"{np.mean(np.abs(errors / spread) <= one):.1%}" for one in reach]
        density = calibration.negative_log_density(errors, spread)
        rows.append((labels[kernel], *(f"{share:.1%}" for share in gaussian), *conformal, f"{density:.4g}"))
    if not rows:
        return []
    header = [f"{level:.0%}" for level in LEVELS] + [f"{level:.0%} conformal" for level in LEVELS]
    return [
        Table(
            f"{case.title}: share of test examples inside the intervals",
            ("Kernel", *header, "Negative log density"),
            rows,
            numbers=frozenset(range(1, 2 + len(header))),
            notes=(
                "Intervals of each probability: of the Gaussian process, and conformal, which reach as many of its "
                "standard deviations as left-out training examples needed. Density: mean, in nats.",
            ),
        )
    ]


def conformal_reach(rows: pd.DataFrame, output: str) -> list[float] | None:
    """Standard deviations that intervals of ``LEVELS`` reach, from what was left out; None where nothing was."""
    own = rows[(rows["split"] == LEFT_OUT) & (rows["output"] == output) & rows["measured"].notna()]
    errors, spread = _errors(own)
    if spread is None or not len(own):
        return None
    return [calibration.conformal_quantile(np.abs(errors / spread), level) for level in LEVELS]


def _errors(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray | None]:
    truth, found = _pair(rows)
    spread = rows["spread"].to_numpy(float)
    return truth - found, spread if bool((np.isfinite(spread) & (spread > 0)).all()) else None


def _pair(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows["measured"].to_numpy(float), rows["predicted"].to_numpy(float)
