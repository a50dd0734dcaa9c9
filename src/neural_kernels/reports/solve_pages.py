"""The pages that every report of solved sizes ends with: how iterations converged, and what each ridge was worth."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from neural_kernels.reports.convergence import convergence_figures
from neural_kernels.reports.ridge_sweep import acceleration_notes, ridge_figures


def solve_pages(
    histories: pd.DataFrame | None, ridges: pd.DataFrame | None, labels: Mapping[str, str], tolerance: float
) -> list[Figure]:
    """Pages of what there is, to be called within ``style.context()``.

    Args:
        histories: residuals of the iterative solves (``convergence``).
        ridges: what each candidate of the ridge was worth (``ridge_sweep``).
        labels: what kernels are called.
        tolerance: of the relative residual.
    """
    helped = [] if ridges is None else acceleration_notes(ridges, labels)
    pages = [] if histories is None else convergence_figures(histories, tolerance, helped)
    return pages if ridges is None else pages + ridge_figures(ridges, labels)
