"""The scaling report of a study: the panels of the paper's Fig. 2, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from neural_kernels.metrics import table as metrics_table
from neural_kernels.reports import style
from neural_kernels.reports.beside_baselines import baseline_table, trained_on
from neural_kernels.reports.example_pages import Shown, example_pages, example_tables
from neural_kernels.reports.kernel_choice import choice_table, choices, preferred
from neural_kernels.reports.predicted_curves import predicted_table, predictions
from neural_kernels.reports.scaling_panels import scaling_figure
from neural_kernels.reports.scaling_summary import (
    checked,
    final_table,
    fits_table,
    footer,
    kernel_labels,
    solves_table,
)
from neural_kernels.reports.scaling_tables import exponents, findings, results, solves
from neural_kernels.reports.solve_pages import solve_pages
from neural_kernels.reports.table_pages import table_pages
from neural_kernels.reports.warnings import warning_table, warnings_of
from neural_kernels.study.study import Study

__all__ = [
    "final_table",
    "fits_table",
    "predicted_table",
    "solves_table",
    "write_scaling_figure",
    "write_scaling_report",
]

COLUMNS_A_PAGE = 4


@dataclass(frozen=True)
class Tested:
    """Test examples one by one.

    Attributes:
        examples: of the largest n of each kernel (``prediction.example_table``).
        classes: their names, in a classification.
        others: the same rows of simple methods, with a column ``method``.
        names: what examples are called and, of sequences, their numbers of mutations (``stages.baselines``).
    """

    examples: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    classes: Sequence[str] | None = None
    others: pd.DataFrame | None = None
    names: pd.DataFrame | None = None


def write_scaling_report(
    metrics: pd.DataFrame,
    study: Study,
    out: str | Path,
    histories: pd.DataFrame | None = None,
    predicted: pd.DataFrame | None = None,
    ridges: pd.DataFrame | None = None,
    tested: Tested | None = None,
    baselines: pd.DataFrame | None = None,
) -> None:
    """The report as a PDF of A4 pages: panels, exponents and results, how each solve went and converged, and what each
    ridge was worth.

    Args:
        metrics: a metrics table (``neural_kernels.metrics_table``) of one study.
        study: what its file says, of which title, seed, kernels and fit are read.
        histories: residuals of the iterative solves (``reports.convergence``), for a page of their own.
        predicted: learning curves that kernel matrices predict (``reports.predicted_curves``).
        ridges: what each candidate of the ridge was worth (``reports.ridge_sweep``), for a page of its own.
        tested: test examples of the largest n of each kernel, for pages of their own.
        baselines: scores of simple methods (``reports.beside_baselines``), which are lines and rows.
        out: path of the PDF; it appears whole or not at all, and equal tables give equal bytes.

    Raises:
        ValueError: not a metrics table, of several studies, or without losses of a test set.
    """
    metrics = checked(metrics)
    labels = kernel_labels(metrics, study)
    with style.context():
        pages = report_figures(metrics, study, predicted, ridges, tested, baselines)
        pages += solve_pages(histories, ridges, labels, study.solver.tolerance)
        style.write_pdf(pages, Path(out), study.title)


def write_scaling_figure(
    metrics: pd.DataFrame,
    study: Study,
    out: str | Path,
    predicted: pd.DataFrame | None = None,
    baselines: pd.DataFrame | None = None,
) -> None:
    """The panels of all test sets alone, as .png or .svg by the name of ``out``.

    Raises:
        ValueError: as ``write_scaling_report``, or another ending.
    """
    metrics = checked(metrics)
    with style.context():
        figure = scaling_figure(metrics, study, metrics_table.test_sets(metrics), predicted, baselines)
        style.write_image(figure, Path(out))


def report_figures(
    metrics: pd.DataFrame,
    study: Study,
    predicted: pd.DataFrame | None = None,
    ridges: pd.DataFrame | None = None,
    tested: Tested | None = None,
    baselines: pd.DataFrame | None = None,
) -> list[Figure]:
    """The pages of the report but those of solves, to be called within ``style.context()``."""
    tested, labels, foot = tested or Tested(), kernel_labels(metrics, study), footer(metrics, study)
    baselines = None if baselines is None or not len(baselines) else baselines
    choice = choices(metrics, study, tested.examples, ridges)
    warned = warnings_of(metrics, study, tested.examples)
    test_sets = metrics_table.test_sets(metrics)
    pages = [
        scaling_figure(
            metrics, study, test_sets[first : first + COLUMNS_A_PAGE], predicted, baselines, len(warned)
        )
        for first in range(0, len(test_sets), COLUMNS_A_PAGE)
    ]
    tables = [
        *warning_table(warned),
        exponents(metrics, study),
        *findings(metrics, study),
        results(metrics, study),
    ]
    # Of single predictions there are tables in the units of the data.
    alone = baselines is not None and (tested.classes is not None or not tested.examples)
    tables += [baseline_table(metrics, study, baselines)] if baselines is not None and alone else []
    tables.append(choice_table(metrics, study, choice))
    if tested.examples:
        sizes = {kernel: int(metrics.loc[metrics["kernel"] == kernel, "n"].max()) for kernel in labels}
        shown = Shown(
            tested.examples,
            labels,
            sizes,
            tested.classes,
            preferred(choice),
            tested.others,
            0 if baselines is None else trained_on(baselines),
            tested.names,
        )
        pages += example_pages(shown, study.title, foot)
        tables += example_tables(shown)
    if predicted is not None:
        tables += predictions(metrics, study, predicted)
    pages += table_pages(tables, foot, len(pages) + 1)
    return pages + table_pages([solves(metrics, study)], foot, len(pages) + 1)
