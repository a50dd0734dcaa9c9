"""The tables of the tuning report, as text for people."""

from __future__ import annotations

import math
from collections.abc import Iterable

from neural_kernels.reports import style
from neural_kernels.reports.style import PERCENT
from neural_kernels.reports.table_pages import Table
from neural_kernels.reports.tuning_summary import (
    OBJECTIVE_NAMES,
    WINNER,
    Results,
    drawn,
    judged_on,
    range_of,
    scale,
    text_of,
)
from neural_kernels.tuning.records import TrialRecord

TOP = 10
METRICS = {
    "classification": ("loss", "accuracy"),
    "regression": ("mse", "spearman"),
    "multilabel": ("mse", "average_precision"),
}
AT_EDGE, UNCONVERGED, PASSED_OVER = "*", "!", "\N{DAGGER}"


def comparison(results: Results) -> Table:
    """The winner beside the baseline: validation set, test sets, and the second look."""
    metrics = METRICS[results.objective.task]
    header = ["Kernel", "n", *(f"Validation {_name(metric)}" for metric in metrics)]
    for test_set in results.test_examples:
        header += [f"{style.test_set_name(test_set)} {_name(metric)}" for metric in metrics]
    header += ["Ridge", "Seconds"]
    best = results.ranking[0]
    entries = [(f"{WINNER} ({best.name})", results.tested["tuned"])]
    entries.append((results.baseline_label(), results.baseline))
    again = {record.name: record for record in results.transferred}
    for name, (label, _) in zip((best.name, "baseline"), list(entries), strict=True):
        if name in again:
            entries.append((label, again[name]))
    rows = [_compared(results, label, record, metrics) for label, record in entries]
    alerts = {row for row, (_, record) in enumerate(entries) if record.assessment is None}
    notes = [
        f"n: training examples. Validation examples: {results.baseline.validation_examples:,}, "
        + (
            "which chose nothing: trial and ridge were chosen by leave-one-out."
            if results.baseline.judged_by == "loo"
            else "the same ones that chose trial and ridge."
        )
    ]
    if results.test_examples:
        counts = ", ".join(f"{style.test_set_name(name)} {n:,}" for name, n in results.test_examples.items())
        notes.append(
            f"Test examples: {counts}; they were predicted once, after the last trial, by these two kernels only."
            + (" ± standard error over the test examples." if "accuracy" in metrics else "")
        )
    if results.transferred:
        notes.append("Rows without test scores: the second look with another number of training examples.")
    notes += [f"{entries[row][0]}: {entries[row][1].reason}" for row in sorted(alerts)]
    notes += _ridge_notes(record for _, record in entries)
    return Table(
        "The best trial and the baseline",
        header,
        rows,
        numbers=frozenset(range(1, len(header))),
        alerts=frozenset(alerts),
        rules=frozenset({2} if len(rows) > 2 else ()),
        notes=notes,
    )


def _compared(results: Results, label: str, record: TrialRecord, metrics: tuple[str, ...]) -> list[str]:
    found = record.assessment
    if found is None:
        blanks = len(metrics) * (1 + len(results.test_examples))
        return [label, f"{record.training_examples:,}", *[record.state, *[""] * (blanks - 1)], "", ""]
    cells = [label, f"{record.training_examples:,}"]
    for part, examples in {"validation": 0, **results.test_examples}.items():
        scores = found.scores.get(part, {})
        cells += [_number(metric, scores.get(metric), examples) for metric in metrics]
    return [*cells, _ridge(record), _seconds(found.seconds)]


def winner(results: Results) -> Table:
    """What the best trial drew, and what it could have drawn."""
    best = results.ranking[0]
    fixed = results.tuning.space.fixed
    rows = [
        [h.name, text_of(best.hyperparameters[h.name]), range_of(h)]
        for h in results.tuning.space.hyperparameters
        if h.name in best.hyperparameters
    ]
    rows += [
        [name, text_of(value), "fixed"]
        for section in ("architecture", "preprocessing", "kind")
        for name, value in fixed[section].items()
        if value is not None
    ]
    assert best.assessment is not None
    rows.append(["ridge", _ridge(best), "the best of the study's candidates, for every trial"])
    notes = [
        f"results/{results.study}/tuned.yaml holds this for the kernels of other studies. The ranges are this "
        "study's: the paper's text does not give its own."
    ]
    return Table(
        f"{WINNER}: {best.name} of {len(results.trials)}",
        ["Hyperparameter", "Value", "Searched"],
        rows,
        notes=notes + _ridge_notes([best]),
    )


def top(results: Results) -> Table:
    """The ten best trials."""
    metrics = METRICS[results.objective.task]
    rows = []
    shown = results.ranking[:TOP]
    for place, record in enumerate(shown, start=1):
        found = record.assessment
        assert found is not None
        scores = found.scores["validation"]
        rows.append(
            [
                str(place),
                record.name,
                *(_number(metric, scores.get(metric)) for metric in metrics),
                _ridge(record),
                _seconds(found.seconds),
                drawn(record),
            ]
        )
    names = [_name(metric).capitalize() for metric in metrics]
    header = ["", "Trial", *names, "Ridge", "Seconds", "Drawn"]
    return Table(
        f"The {'ten' if len(rows) == TOP else len(rows)} best trials {judged_on(results.baseline)}"
        + (", and their scores on the validation examples" if results.baseline.judged_by == "loo" else ""),
        header,
        rows,
        numbers=frozenset(range(len(header) - 1)),
        notes=_ridge_notes(shown),
    )


def without_value(results: Results) -> list[Table]:
    """Trials that were pruned or failed, with the reason of each; no table where there are none."""
    lost = [record for record in results.trials if record.state != "complete"]
    if not lost:
        return []
    rows = [
        [
            record.name,
            record.state,
            str(record.reason),
            drawn(record),
        ]
        for record in lost
    ]
    return [Table("Trials without a value", ["Trial", "State", "Reason", "Drawn"], rows, frozenset({0}))]


def _name(metric: str) -> str:
    return OBJECTIVE_NAMES.get(metric, style.metric_name(metric).lower())


def _number(metric: str, value: float | None, examples: int = 0) -> str:
    """``value`` as it is shown, an accuracy over so many ``examples`` with its standard error."""
    if value is None:
        return ""
    if metric not in PERCENT:
        return f"{value:.4f}"
    error = f" ± {100 * math.sqrt(value * (1 - value) / examples):.1f}" if examples else ""
    return f"{value * scale(metric):.1f}{error}"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 10 else f"{seconds:.1f}"


def _ridge(record: TrialRecord) -> str:
    assert record.assessment is not None
    found = record.assessment
    marks = {
        AT_EDGE: found.ridge_at_edge,
        UNCONVERGED: not found.converged,
        PASSED_OVER: found.ridges_passed_over,
    }
    return f"{found.ridge:.0e}{''.join(mark for mark, there in marks.items() if there)}"


def _ridge_notes(records: Iterable[TrialRecord]) -> list[str]:
    """What the marks of ``_ridge`` say, of those that these records have."""
    found = [record.assessment for record in records if record.assessment is not None]
    notes = []
    if any(each.ridge_at_edge for each in found):
        notes.append(
            f"{AT_EDGE} the smallest or largest candidate of the ridge: a better one may lie beyond."
        )
    if not all(each.converged for each in found):
        largest = max(each.residual or 0.0 for each in found if not each.converged)
        notes.append(
            f"{UNCONVERGED} the solve did not reach the tolerance: relative residuals up to {largest:.0e}."
        )
    if any(each.ridges_passed_over for each in found):
        notes.append(
            f"{PASSED_OVER} smaller ridges were passed over: the kernel is singular to rounding there."
        )
    return notes
