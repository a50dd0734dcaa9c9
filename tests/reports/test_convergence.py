from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from neural_kernels.reports import style
from neural_kernels.reports.convergence import COLUMNS, convergence_figures


def histories(kernels: Sequence[str], sizes: Sequence[int] = (512, 1024)) -> pd.DataFrame:
    rows = [
        (kernel, n, draw, iteration, column, 10.0 ** (-iteration / 3 - column), True, 0.1)
        for kernel in kernels
        for n in sizes
        for draw in range(2)
        for iteration in range(20)
        for column in range(3)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_a_panel_a_kernel_and_a_line_a_solve() -> None:
    with style.context():
        (figure,) = convergence_figures(histories(["FC3", "CV8"]), 1e-6)
    assert [axes.get_title() for axes in figure.axes] == ["FC3", "CV8"]
    for axes in figure.axes:
        *solves, tolerance = axes.get_lines()
        assert len(solves) == 4
        # The worst right-hand side is the first.
        np.testing.assert_allclose(np.asarray(solves[0].get_ydata()), 10.0 ** (-np.arange(20) / 3))
        assert set(np.asarray(tolerance.get_ydata())) == {1e-6}
        legend = axes.get_legend()
        assert legend is not None
        assert [text.get_text() for text in legend.get_texts()] == ["n = 512", "n = 1,024"]


def test_many_kernels_take_several_pages_and_none_takes_none() -> None:
    with style.context():
        assert len(convergence_figures(histories([f"K{i}" for i in range(5)]), 1e-6)) == 2
        assert convergence_figures(histories([]), 1e-6) == []
