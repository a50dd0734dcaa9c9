"""The criteria of ``criteria`` where nothing is factorised, from random columns w with known A^-1 w, with their errors.

The diagonal of A^-1 is sum_w w (A^-1 w) / sum_w w^2, entry by entry (Bekas, Kokiopoulou, Saad 2007), its trace the sum
of that, and log det A the mean of w^T log(A) w by the quadrature of the Lanczos process (Ubaru, Chen, Saad 2017), all
for standard normal w. A criterion is no linear function of these, so that its expectation differs from its value at
them: it is corrected, and its error found, by leaving groups of the random columns out (the jackknife, Efron 1982).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from neural_kernels.solvers.criteria import Criterion, InverseFacts, Loss, judge

GROUPS = 10
"""Of random columns, each left out once."""

LEAST_COLUMNS = 4 * GROUPS
"""Random columns without which an estimate is not worth its name."""

CONFIDENCE = 0.99


class Estimate(NamedTuple):
    """A value, and half the width of its interval at 99 % confidence (Student's t over the groups)."""

    value: float
    error: float


@dataclass(frozen=True)
class InverseSums:
    """What random columns say of A^-1.

    Attributes:
        products: (n, groups) sum over a group's columns w of w (A^-1 w).
        squares: (n, groups) likewise of w^2; zero where a label is missing.
        log_determinants: (groups,) mean over a group's columns of what each gives for log det A.
        least: (n,) what no entry of the diagonal of A^-1 is below, 1 / A_ii.
        outputs: C, whose columns have the same labels.
    """

    products: np.ndarray
    squares: np.ndarray
    log_determinants: np.ndarray
    least: np.ndarray
    outputs: int

    def facts(self, without: int | None = None) -> InverseFacts:
        """From all groups, or from all but one."""
        kept = np.arange(self.products.shape[1]) != (-1 if without is None else without)
        squares = self.squares[:, kept].sum(axis=1)
        diagonal = np.full(len(squares), np.nan)
        np.divide(self.products[:, kept].sum(axis=1), squares, out=diagonal, where=squares > 0)
        diagonal = np.maximum(diagonal, self.least)
        return InverseFacts(
            np.repeat(diagonal[:, None], self.outputs, axis=1),
            np.full(self.outputs, self.log_determinants[kept].mean()),
        )


def group_sums(random: np.ndarray, solved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``products`` and ``squares`` of ``InverseSums``, from rows of the random columns and of A^-1 times them."""
    groups = grouped(random.shape[1])
    products = np.stack([(random[:, g] * solved[:, g]).sum(axis=1) for g in groups], axis=1)
    return products, np.stack([(random[:, g] ** 2).sum(axis=1) for g in groups], axis=1)


def group_means(values: np.ndarray) -> np.ndarray:
    """The mean of each group's random columns, (groups,), of one value a column, (m,)."""
    return np.array([values[group].mean() for group in grouped(len(values))])


def judge_estimated(
    criterion: Criterion, targets: np.ndarray, coefficients: np.ndarray, sums: InverseSums, loss: Loss
) -> Estimate:
    """The criterion of a solution, estimated; arguments as of ``criteria.judge``."""
    return jackknife(
        lambda without: judge(criterion, targets, coefficients, sums.facts(without), loss),
        sums.products.shape[1],
    )


def jackknife(statistic: Callable[[int | None], float], groups: int) -> Estimate:
    """A statistic of ``groups`` groups without its bias of first order, and its error.

    Args:
        statistic: of all groups where given None, or of all but one.
    """
    left_out = np.array([statistic(group) for group in range(groups)])
    value = groups * statistic(None) - (groups - 1) * left_out.mean()
    spread = np.sqrt((groups - 1) / groups * ((left_out - left_out.mean()) ** 2).sum())
    from scipy import stats

    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, groups - 1)
    return Estimate(float(value), float(quantile * spread))


def grouped(columns: int) -> Sequence[slice]:
    """Contiguous groups of about equally many of so many columns."""
    ends = np.linspace(0, columns, min(GROUPS, columns) + 1).astype(int)
    return [slice(first, end) for first, end in itertools.pairwise(ends)]
