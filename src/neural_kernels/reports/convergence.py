"""How iterative solves converged: the residual of each iterative solve against its iterations."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from neural_kernels.reports import style

COLUMNS = ("kernel", "n", "draw", "iteration", "column", "residual", "recomputed", "seconds")
PANELS_A_PAGE = 4


def convergence_figures(
    histories: pd.DataFrame, tolerance: float, helped: Sequence[str] = ()
) -> list[Figure]:
    """A panel for each kernel: the largest relative residual of any right-hand side, a line for each n.

    To be called within ``style.context()``.

    Args:
        histories: a row for each solve, iteration and right-hand side, columns as ``COLUMNS``; without
            rows there is no page.
        tolerance: of the relative residual, drawn as a line.
        helped: what made the iterations shorter, sentences.
    """
    kernels = list(dict.fromkeys(histories["kernel"]))
    return [
        _page(histories, kernels[first : first + PANELS_A_PAGE], tolerance, helped)
        for first in range(0, len(kernels), PANELS_A_PAGE)
    ]


def _page(histories: pd.DataFrame, kernels: list[str], tolerance: float, helped: Sequence[str]) -> Figure:
    figure = style.new_figure(style.PAGE)
    style.draw_title(figure, "Convergence of iterative solves")
    lines = (
        "Each line: the worst right-hand side still iterated on or already converged. Dashed: the tolerance."
    )
    notes = " ".join([lines, *helped])
    grid = figure.add_gridspec(
        1 if len(kernels) <= 2 else 2, min(len(kernels), 2),
        left=0.09, right=0.97, top=0.84, bottom=style.above_notes(figure, notes), hspace=0.45, wspace=0.22,
    )  # fmt: skip
    for place, kernel in enumerate(kernels):
        axes = figure.add_subplot(grid[divmod(place, 2)])
        rows = histories[histories["kernel"] == kernel]
        for line, (n, solves) in enumerate(rows.groupby("n")):
            colour = style.COLOURS[line % len(style.COLOURS)]
            for draw, solve in solves.groupby("draw"):
                worst = solve.groupby("iteration")["residual"].max()
                label = f"n = {n:,}" if draw == solves["draw"].min() else None
                axes.plot(worst.index, worst.to_numpy(), color=colour, linewidth=1.2, label=label)
        axes.axhline(tolerance, color=style.MUTED, linewidth=0.8, linestyle="--")
        axes.set_yscale("log")
        axes.set_title(kernel, fontweight="bold")
        axes.set_xlabel("Iterations")
        axes.set_ylabel("Largest relative residual")
        axes.grid(visible=True)
        axes.legend(frameon=False, ncols=2)
    style.draw_notes(figure, notes)
    return figure
