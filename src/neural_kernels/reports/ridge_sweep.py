"""What each candidate of the ridge was worth at the largest n: the curve behind the choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neural_kernels.reports import style
from neural_kernels.solvers.criteria import TITLES

COLUMNS = (
    "kernel", "n", "draw", "criterion", "ridge", "loss", "error", "converged", "chosen", "acceleration"
)  # fmt: skip
PANELS_A_PAGE = 4


def rows(kernel: str, n: int, draw: int, solved: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the table, columns as ``COLUMNS``, of one solve.

    Args:
        solved: the record of the solve, as plain data. One without a choice has one row, whose loss is NaN.
    """
    details = solved["details"]
    choice = details.get("ridge_choice")
    tried = [{"ridge": solved["ridge"], "loss": None}] if choice is None else choice["candidates"]
    reasons = [details.get("acceleration", ""), details.get("panels", {}).get("reason", "")]
    own = {"kernel": kernel, "n": n, "draw": draw, "acceleration": "; ".join(filter(None, reasons))}
    return [
        own
        | {
            "criterion": "" if choice is None else choice["by"],
            "ridge": float(entry["ridge"]),
            "loss": np.nan if entry["loss"] is None else float(entry["loss"]),
            "error": np.nan if entry.get("error") is None else float(entry["error"]),
            "converged": bool(entry.get("converged", solved["converged"])),
            "chosen": float(entry["ridge"]) == float(solved["ridge"]),
        }
        for entry in tried
    ]


def as_table(found: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table of fixed columns and dtypes."""
    table = pd.DataFrame(list(found), columns=list(COLUMNS))
    kinds = {"n": "int64", "draw": "int64", "ridge": "float64", "loss": "float64", "error": "float64"}
    kinds |= {"converged": "bool", "chosen": "bool"}
    text = {column: "str" for column in ("kernel", "criterion", "acceleration")}
    return table.astype(kinds | text)


def ridge_figures(table: pd.DataFrame, labels: Mapping[str, str]) -> list[Figure]:
    """A panel for each kernel that chose its ridge at its largest n; no page where none did.

    To be called within ``style.context()``.

    Args:
        table: columns as ``COLUMNS``.
        labels: what kernels are called.
    """
    swept = {}
    for kernel in labels:
        own = table[(table["kernel"] == kernel) & table["loss"].notna() & (table["ridge"] > 0)]
        own = own[own["n"] == own["n"].max()]
        if own["ridge"].nunique() > 1:
            swept[kernel] = own
    kernels = list(swept)
    return [
        _page({kernel: swept[kernel] for kernel in kernels[first : first + PANELS_A_PAGE]}, labels)
        for first in range(0, len(kernels), PANELS_A_PAGE)
    ]


def _page(swept: Mapping[str, pd.DataFrame], labels: Mapping[str, str]) -> Figure:
    figure = style.new_figure(style.PAGE)
    style.draw_title(figure, "The ridge at the largest n")
    several = any(own["draw"].nunique() > 1 for own in swept.values())
    estimated = any(own["error"].notna().any() for own in swept.values())
    unsolved = any((~own["converged"]).any() for own in swept.values())
    notes = "Ring: the candidate that was chosen" + (", of each draw. " if several else ". ")
    notes += "The ridge is relative to the mean diagonal of the kernel. "
    if estimated:
        notes += "Bars: 99 % confidence of values estimated from random columns, the same for all candidates, so that "
        notes += "differences are known better. "
    if unsolved:
        notes += "Crosses: judged before they were solved. "
    columns = min(len(swept), 2)
    grid = figure.add_gridspec(
        1 if len(swept) <= 2 else 2, columns,
        left=0.09, right=0.97, top=0.84, bottom=style.above_notes(figure, notes), hspace=0.5, wspace=0.22,
    )  # fmt: skip
    for place, (kernel, own) in enumerate(swept.items()):
        axes = figure.add_subplot(grid[divmod(place, columns)])
        axes.set_title(f"{labels[kernel]}, n = {own['n'].iloc[0]:,}", fontweight="bold")
        _draw(axes, own)
    style.draw_notes(figure, notes.strip())
    return figure


def _draw(axes: Axes, own: pd.DataFrame) -> None:
    for number, (_, curve) in enumerate(own.groupby("draw")):
        curve = curve.sort_values("ridge")
        colour = style.COLOURS[number % len(style.COLOURS)]
        x, y = curve["ridge"].to_numpy(), curve["loss"].to_numpy()
        axes.plot(x, y, color=colour, linewidth=1.4, marker="o", markersize=3)
        if curve["error"].notna().any():
            axes.errorbar(x, y, yerr=curve["error"], color=colour, linewidth=0.8, capsize=2, fmt="none")
        unsolved = ~curve["converged"].to_numpy(dtype=bool)
        axes.plot(x[unsolved], y[unsolved], linestyle="none", marker="x", color=style.MUTED, markersize=7)
        picked = curve["chosen"].to_numpy(dtype=bool)
        axes.plot(
            x[picked],
            y[picked],
            linestyle="none",
            marker="o",
            markersize=10,
            markerfacecolor="none",
            color=colour,
        )
    axes.set_xscale("log")
    axes.set_xlabel("Ridge")
    axes.set_ylabel(TITLES[own["criterion"].iloc[0]].capitalize())
    axes.grid(visible=True)


def acceleration_notes(table: pd.DataFrame, labels: Mapping[str, str]) -> list[str]:
    """What made the iteration of each kernel's largest n shorter or its matrix smaller, and why; of those that
    iterated."""
    notes = []
    for kernel, label in labels.items():
        own = table[(table["kernel"] == kernel) & (table["acceleration"] != "")]
        if len(own):
            largest = own[own["n"] == own["n"].max()].iloc[0]
            notes.append(f"{label}, n = {largest['n']:,}: {largest['acceleration']}.")
    return notes
