"""The report of a tuning study: how the search went, what mattered, what it found, and whether that holds."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from neural_kernels.reports import style
from neural_kernels.reports.table_pages import table_pages
from neural_kernels.reports.tuning_panels import history_figure, slice_figures, transfer_figure
from neural_kernels.reports.tuning_summary import Results
from neural_kernels.reports.tuning_tables import comparison, top, winner, without_value


def write_tuning_report(results: Results, out: Path) -> None:
    """The report as a PDF of A4 pages; it appears whole or not at all, and equal results give equal bytes."""
    with style.context():
        style.write_pdf(report_figures(results), out, results.title)


def write_tuning_figure(results: Results, out: Path) -> None:
    """The first page alone, as .png or .svg by the name of ``out``."""
    with style.context():
        style.write_image(history_figure(results), out)


def report_figures(results: Results) -> list[Figure]:
    """The pages of the report, to be called within ``style.context()``."""
    pages = [history_figure(results), *slice_figures(results)]
    if results.transferred:
        pages.append(transfer_figure(results))
    footer = f"{results.title}  ·  study {results.study}"
    tables = [comparison(results), winner(results), top(results), *without_value(results)]
    return pages + table_pages(tables, footer, len(pages) + 1)
