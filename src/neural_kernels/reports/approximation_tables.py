"""The table of a report of approximations, as text for people."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neural_kernels.metrics.evaluation import LOSS, SCORE
from neural_kernels.metrics.table import TRAIN, VALIDATION
from neural_kernels.reports import style
from neural_kernels.reports.chosen import (
    AT_END,
    AT_END_NOTE,
    candidate_ends,
    chosen,
    count_passed_over,
    passed_over_note,
)
from neural_kernels.reports.scaling_summary import kernel_labels, task_of
from neural_kernels.reports.style import PERCENT
from neural_kernels.reports.table_pages import Table
from neural_kernels.solvers.approximations.registry import APPROXIMATIONS
from neural_kernels.solvers.registry import SOLVERS
from neural_kernels.study.approximation_settings import TRUNCATED
from neural_kernels.study.study import Study

COMMITTEE = "bayesian_committee_machine"
# Methods in the order of legends and tables, and what people read.
NAMES = {name: approximation.title for name, approximation in APPROXIMATIONS.items()}


def _name(solver: str) -> str:
    return SOLVERS[solver].title if solver in SOLVERS else NAMES[solver]


def approximations_table(metrics: pd.DataFrame, study: Study, test_set: str) -> Table:
    """A row for each kernel, method and size: what was chosen, what it gives on one test set and what it took."""
    task = task_of(metrics)
    score = SCORE[task]
    labels = kernel_labels(metrics, study)
    rows: list[list[str]] = []
    alerts: set[int] = set()
    starts: list[tuple[str, str]] = []
    for kernel, label in labels.items():
        own = metrics.loc[metrics["kernel"] == kernel]
        exact = list(own.loc[own["size"] == 0, "solver"].unique())
        for method in [*exact, *(name for name in NAMES if name in set(own["solver"]))]:
            for size, part in own.loc[own["solver"] == method].groupby("size"):
                if not (part["converged"] | (part["stopped_by"] == "truncated")).all():
                    alerts.add(len(rows))
                starts.append((kernel, method))
                ridges = part.loc[part["split"] == TRAIN].groupby("draw")["ridge"].first().to_numpy()
                name = _name(method)
                rows.append(
                    [
                        label,
                        name,
                        f"{size:,}" if size else "",
                        chosen(ridges, candidate_ends(study.ridge_candidates())),
                        chosen(
                            _numbers(part, TRAIN, "jitter"),
                            candidate_ends(study.jitter_candidates()),
                        ),
                        f"{_numbers(part, VALIDATION, LOSS[task]).mean():.4f}",
                        _mean(_numbers(part, test_set, LOSS[task]), 4),
                        _mean(_numbers(part, test_set, score) * (100 if score in PERCENT else 1), 2),
                        _residual(part),
                        _seconds(_numbers(part, TRAIN, "seconds")),
                    ]
                )
    header = ["Kernel", "Method", "Size", "Ridge", "Jitter", "Validation loss", style.metric_name(LOSS[task])]
    header += [style.metric_name(score), "Residual", "Seconds"]
    heading = f"Approximations on {style.test_set_name(test_set)}"
    first_number = 2
    if len(labels) == 1:
        heading = f"{rows[0][0]}: {heading[0].lower()}{heading[1:]}"
        header, rows, first_number = header[1:], [row[1:] for row in rows], 1
    return Table(
        heading,
        header,
        rows,
        numbers=frozenset(range(first_number, len(header))),
        alerts=frozenset(alerts),
        rules=frozenset(row for row in range(1, len(rows)) if starts[row] != starts[row - 1]),
        notes=_notes(
            metrics, study, labels, any(AT_END in cell for row in rows for cell in row), bool(alerts)
        ),
    )


def _notes(
    metrics: pd.DataFrame, study: Study, labels: dict[str, str], at_end: bool, alerts: bool
) -> list[str]:
    notes = [
        "Size: rank, training examples of a part, or iterations. Ridge and jitter: relative to the mean diagonal of "
        "the kernel, chosen by the validation loss; the test sets have no part in it. Seconds: one solve with the "
        "chosen values, the kernel in memory; of the Bayesian committee machine, whose solve depends on the examples "
        "that it predicts, one prediction of the validation set."
    ]
    used = set(metrics["solver"])
    notes += [f"{one.title}: {one.note}" for name, one in APPROXIMATIONS.items() if one.note and name in used]
    if (metrics["solver"] == TRUNCATED).any():
        preconditioner, rank = study.solver.preconditioner.unchosen, study.solver.preconditioner.rank
        with_what = (
            "without a preconditioner"
            if preconditioner == "none"
            else f"with the study's preconditioner ({preconditioner}, rank {rank:,}; its time is counted)"
        )
        notes.append(
            f"Truncated CG: conjugate gradients {with_what}, stopped on purpose after so many iterations; residual: "
            "the largest true relative residual of any right-hand side that was left."
        )
    if at_end:
        notes.append(AT_END_NOTE)
    counts = []
    solves = metrics.loc[metrics["split"] == TRAIN]
    for (kernel, solver, size), part in solves.groupby(["kernel", "solver", "size"], sort=False):
        method = _name(str(solver))
        counts.append((f"{labels[str(kernel)]} {method} {size or ''}".rstrip(), count_passed_over(part)))
    notes += passed_over_note(counts)
    if (metrics["draw"] > 0).any():
        notes.append(
            "Mean ± standard deviation over draws of the random subsets; ridges and jitters as a range."
        )
    if alerts:
        notes.append("Bold red: a solve that ended before it converged, and not on purpose.")
    return notes


def _numbers(part: pd.DataFrame, split: str, metric: str) -> np.ndarray:
    """One number for each draw, (draws,)."""
    return part.loc[(part["split"] == split) & (part["metric"] == metric), "value"].to_numpy()


def _mean(values: np.ndarray, digits: int) -> str:
    if len(values) == 0:
        return ""
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def _residual(part: pd.DataFrame) -> str:
    values = _numbers(part, TRAIN, "residual")
    return f"{values.max():.0e}" if len(values) else ""


def _seconds(values: np.ndarray) -> str:
    mean = values.mean()
    return f"{mean:,.0f}" if mean >= 100 else f"{mean:.2g}"
