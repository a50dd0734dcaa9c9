"""The tables of the scaling report, as text for people."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from neural_kernels.metrics.evaluation import LOSS
from neural_kernels.metrics.scaling_laws import NO_POWER_LAW, interval
from neural_kernels.reports import style
from neural_kernels.reports.chosen import how_the_ridge_is_chosen, passed_over_note
from neural_kernels.reports.scaling_panels import evaluated_on
from neural_kernels.reports.scaling_summary import (
    final_table,
    fits_table,
    kernel_labels,
    shown_metrics,
    solves_table,
    task_of,
)
from neural_kernels.reports.table_pages import Table
from neural_kernels.study.study import Study

RESAMPLED = {
    "draws": "the bootstrap resamples draws within n",
    "residuals": "the bootstrap resamples residuals of the fit",
}


def exponents(metrics: pd.DataFrame, study: Study) -> Table:
    """Exponent, intervals, floor, range and R^2 of each kernel on each test set."""
    fits = fits_table(metrics, study)
    floors = bool((fits["floor"] > 0).any())
    rows = []
    for fit in fits.to_dict("records"):
        names = [fit["label"], style.test_set_name(fit["test_set"])]
        if fit["reason"]:
            short = NO_POWER_LAW if fit["reason"].startswith(NO_POWER_LAW) else "no fit"
            rows.append([*names, short, "", "", *[""] * floors, "", "", "", ""])
            continue
        pure = fit["floor"] == 0
        rows.append(
            [
                *names,
                f"{fit['alpha']:.3f}",
                "" if np.isnan(fit["alpha_low"]) else interval(fit["alpha_low"], fit["alpha_high"]),
                interval(fit["line_low"], fit["line_high"]) if pure else "",
                *[""] * (floors and pure),
                *[f"{fit['floor']:.3g}"] * (floors and not pure),
                f"{fit['n_min']:,} to {fit['n_max']:,}",
                str(fit["points"]),
                f"{fit['r_squared']:.4f}",
                f"{fit['left_out']} unconverged left out" if fit["left_out"] else "",
            ]
        )
    percent = 100 * study.fit.confidence
    header = [
        "Kernel",
        "Test set",
        style.ALPHA,
        f"{percent:g} % interval",
        "if no floor",
        *["Floor"] * floors,
        "Fitted range of n",
        "Sizes",
        "R²",
        "Remarks",
    ]
    note = (
        f"{style.metric_name(LOSS[task_of(metrics)])} = a·n⁻ᵅ, least squares on the logarithms; where that is "
        f"rejected at 5 %, a·n⁻ᵅ + floor, or no power law. {_range_rule(study)} The interval of {style.ALPHA} allows "
        "for a floor that the sizes do not show; the narrower one holds if there is none."
    )
    used = [text for name, text in RESAMPLED.items() if name in set(fits["resampled"].dropna())]
    if used:
        note += f" For that one {' or, where an n has a single draw, '.join(used)}."
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return Table(
        "Scaling exponents of the test loss",
        header,
        rows,
        numbers=frozenset(range(2, 8 + floors)),
        rules=_starts([row[0] for row in rows]),
        notes=[note],
    )


def findings(metrics: pd.DataFrame, study: Study) -> list[Table]:
    """Why a curve is no pure power law, or has no fit or interval: a table, none where every curve is one."""
    rows = []
    for fit in fits_table(metrics, study).to_dict("records"):
        found = fit["reason"] or fit["remark"]
        if not found:
            continue
        if not fit["reason"] and fit["floor"] > 0:
            line = f"{fit['line_alpha']:.3f} {interval(fit['line_low'], fit['line_high'])}"
            found += f". A straight line would give {line}"
        rows.append([fit["label"], style.test_set_name(fit["test_set"]), found])
    if not rows:
        return []
    header = ["Kernel", "Test set", "What the points say"]
    return [Table("Curves without a pure power law", header, rows, rules=_starts([row[0] for row in rows]))]


def _range_rule(study: Study) -> str:
    fit = study.fit
    first = "the shallow start is found and left out"
    if fit.n_min is not None:
        first = f"n from {fit.n_min:,} (config)"
    last = f", n up to {fit.n_max:,} (config)" if fit.n_max is not None else ""
    return f"Range: {first}{last}."


def results(metrics: pd.DataFrame, study: Study) -> Table:
    """Loss and scores of each kernel on each test set at the largest n that it was solved for."""
    final = final_table(metrics, study)
    loss, *scores = shown_metrics(metrics)
    found = list(dict.fromkeys(final["metric"]))
    shown = [metric for metric in (*scores, loss) if metric in found]
    shown += [metric for metric in found if metric not in shown]
    rows: list[list[str]] = []
    alerts: set[int] = set()
    for (label, test_set, n), part in final.groupby(["label", "test_set", "n"], sort=False):
        cells = {str(row["metric"]): _result(row) for row in part.to_dict("records")}
        if not part["converged"].all():
            alerts.add(len(rows))
        names = [str(label), style.test_set_name(str(test_set))]
        rows.append(
            [*names, f"{n:,}", str(part["draws"].max()), *(cells.get(metric, "") for metric in shown)]
        )
    notes = [evaluated_on(study, kernel_labels(metrics, study))]
    if final["draws"].max() > 1:
        notes.append("Mean ± standard deviation over draws of the training set.")
    if alerts:
        notes.append("Bold red: a solve that did not converge is part of the number.")
    return Table(
        "Results at the largest n",
        ["Kernel", "Test set", "n", "Draws", *map(style.metric_name, shown)],
        rows,
        numbers=frozenset(range(2, 4 + len(shown))),
        alerts=frozenset(alerts),
        rules=_starts([row[0] for row in rows]),
        notes=[note for note in notes if note],
    )


def _result(row: dict[Any, Any]) -> str:
    scale, digits = (100, 2) if row["metric"] in style.PERCENT else (1, 4 if row["mean"] >= 0.01 else 6)
    spread = "" if np.isnan(row["sd"]) else f" ± {scale * row['sd']:.{digits}f}"
    return f"{scale * row['mean']:.{digits}f}{spread}"


def solves(metrics: pd.DataFrame, study: Study) -> Table:
    """How each solve went: what was asked for, what it took and what stopped it."""
    table = solves_table(metrics, study)
    rows = [
        [
            solve["label"],
            solve["engine"],
            solve["solver"],
            f"{solve['n']:,}",
            str(solve["draws"]),
            _ridges(solve["ridge_low"], solve["ridge_high"]),
            "" if np.isnan(solve["iterations"]) else f"{solve['iterations']:,.0f}",
            "" if np.isnan(solve["residual"]) else _power(solve["residual"]),
            "" if np.isnan(solve["seconds"]) else _seconds(solve["seconds"]),
            solve["stopped_by"].replace("_", " ") + ("" if solve["converged"] else " (not converged)"),
        ]
        for solve in table.to_dict("records")
    ]
    alerts = frozenset(np.flatnonzero(~table["converged"].to_numpy(dtype=bool)).tolist())
    notes = [
        f"Ridge: {how_the_ridge_is_chosen(study)}, relative to the mean diagonal of the kernel. Residual: true "
        "relative residual, the largest of all right-hand sides and draws. Iterations: the most of all draws. Seconds: "
        "the mean over draws."
    ]
    notes += passed_over_note(
        (f"{solve['label']}, n = {solve['n']:,}", solve["passed_over"]) for solve in table.to_dict("records")
    )
    if alerts:
        notes.append("Bold red: solves that did not converge; open points, left out of the fits.")
    single = sorted(set(table.loc[table["precision"] == "float32", "label"]))
    if single:
        notes.append(f"Kernel computed in single precision (float32): {'; '.join(single)}.")
    else:
        notes.append("All kernels computed in double precision (float64).")
    header = [
        "Kernel",
        "Engine",
        "Solver",
        "n",
        "Draws",
        "Ridge",
        "Iterations",
        "Residual",
        "Seconds",
        "Stopped by",
    ]
    return Table(
        "How each solve went",
        header,
        rows,
        numbers=frozenset(range(3, 9)),
        alerts=alerts,
        rules=_starts([row[0] for row in rows]),
        notes=notes,
    )


def _ridges(low: float, high: float) -> str:
    return _power(low) if low == high else f"{_power(low)} \N{EN DASH} {_power(high)}"


def _power(value: float) -> str:
    """1.0e-6: as "e" formats it, without the padding of the exponent."""
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}e{int(exponent)}"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.2g}"


def _starts(names: list[str]) -> frozenset[int]:
    """Rows where another kernel starts; none where every row is another one."""
    starts = frozenset(row for row in range(1, len(names)) if names[row] != names[row - 1])
    return starts if len(starts) < len(names) - 1 else frozenset()
