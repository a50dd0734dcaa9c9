"""What a reader of a report has to know before its numbers: ridges at an end, solves that did not converge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neural_kernels.metrics.calibration import coverage
from neural_kernels.metrics.table import TRAIN
from neural_kernels.prediction.example_table import LEFT_OUT
from neural_kernels.reports import style
from neural_kernels.reports.chosen import candidate_ends, count_passed_over
from neural_kernels.reports.scaling_summary import kernel_labels
from neural_kernels.reports.table_pages import Table
from neural_kernels.study.study import Study

FEWEST = 50
"""Test examples without which coverage says little."""
HELD = (0.90, 0.98)
"""Of intervals of 95 %, what is no reason for a warning."""


@dataclass(frozen=True)
class Warned:
    """What is warned of: the kernel by its label, sizes or a test set in words, and a sentence.

    ``serious`` where the numbers themselves are not what they say.
    """

    kernel: str
    where: str
    what: str
    serious: bool = False


def warnings_of(
    metrics: pd.DataFrame, study: Study, examples: Mapping[str, pd.DataFrame] | None = None
) -> list[Warned]:
    """All there is to warn of, kernel by kernel."""
    found: list[Warned] = []
    for kernel, label in kernel_labels(metrics, study).items():
        own = metrics[(metrics["kernel"] == kernel) & (metrics["split"] == TRAIN)]
        found += _of_solves(label, own, study)
        found += _of_intervals(label, (examples or {}).get(kernel))
    return found


def warning_table(found: Sequence[Warned]) -> list[Table]:
    """The table, none where there is nothing to warn of."""
    if not found:
        return []
    return [
        Table(
            "Warnings",
            ("Kernel", "Where", "What"),
            [(one.kernel, one.where, one.what) for one in found],
            alerts=frozenset(place for place, one in enumerate(found) if one.serious),
        )
    ]


def _of_solves(label: str, own: pd.DataFrame, study: Study) -> Iterator[Warned]:
    solves = own.drop_duplicates(["n", "draw"])
    unsolved = solves[~solves["converged"]]
    if len(unsolved):
        residuals = own[(own["metric"] == "residual") & ~own["converged"]]["value"]
        worst = f", residual up to {residuals.max():.1e}" if len(residuals) else ""
        yield Warned(label, _sizes(unsolved), f"The solve did not converge{worst}.", serious=True)
    ends = candidate_ends(study.ridge_candidates())
    if ends is not None:
        for end, name in zip(ends, ("smallest", "largest"), strict=True):
            at_end = solves[np.isclose(solves["ridge"], end, atol=0)]
            if len(at_end):
                what = f"The ridge is the {name} that was tried, {end:.1e}: a better one may lie beyond."
                yield Warned(label, _sizes(at_end), what)
    for n, part in own.groupby("n"):
        if count := count_passed_over(part):
            what = (
                f"{count} candidates of the ridge were passed over: the kernel is singular to rounding there."
            )
            yield Warned(label, f"n = {n:,}", what)


def _of_intervals(label: str, rows: pd.DataFrame | None) -> Iterator[Warned]:
    if rows is None or "spread" not in rows:
        return
    for (split, output), part in rows.groupby(["split", "output"], sort=False):
        known = part[part["measured"].notna() & (part["spread"] > 0)]
        if split == LEFT_OUT or len(known) < FEWEST:
            continue
        scores = (known["measured"] - known["predicted"]) / known["spread"]
        inside = float(coverage(scores.to_numpy(), np.array([0.95]))[0])
        by_chance = 3 * np.sqrt(0.95 * 0.05 / len(known))
        if not HELD[0] <= inside <= HELD[1] and abs(inside - 0.95) > by_chance:
            where = ", ".join(filter(None, (style.test_set_name(str(split)), str(output))))
            yield Warned(label, where, f"Intervals of 95 % hold {inside:.1%} of the test examples.")


def _sizes(solves: pd.DataFrame) -> str:
    sizes = sorted(set(solves["n"]))
    listed = ", ".join(f"{n:,}" for n in sizes[:4])
    return f"n = {listed}" + (f" and {len(sizes) - 4} more" if len(sizes) > 4 else "")
