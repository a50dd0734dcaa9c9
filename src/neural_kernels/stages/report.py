"""From scores to the report of scaling: the stages of the rules collect_metrics and report_scaling."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from neural_kernels.metrics import table as metrics_table
from neural_kernels.reports import scaling
from neural_kernels.reports.convergence import COLUMNS
from neural_kernels.solvers import solved_size
from neural_kernels.storage import sealed_parquet
from neural_kernels.storage.files import write_atomically
from neural_kernels.study.folders import solution_folder
from neural_kernels.study.study import Study

log = logging.getLogger(__name__)


def collect_metrics(study: Study, results: Path) -> None:
    """Every number of the study in one table, ``metrics.parquet``."""
    folder = results / study.name / "metrics"
    paths = [
        folder / kernel / f"n{n}.parquet" for kernel in study.kernels for n in study.training_sizes(kernel)
    ]
    table = metrics_table.concat(metrics_table.read(path) for path in paths)
    metrics_table.write(table, results / study.name / "metrics.parquet")
    histories = _histories(study, results)
    sealed_parquet.write(results / study.name / "convergence.parquet", histories)


def _histories(study: Study, results: Path) -> pd.DataFrame:
    """Residuals of every iterative solve, a row for each iteration and right-hand side."""
    tables = [
        history.assign(kernel=kernel, n=n, draw=draw)
        for kernel in study.kernels
        for n in study.training_sizes(kernel)
        if study.method(n) == "iterative"
        for draw, history in enumerate(
            solved_size.histories(solution_folder(study, results, kernel, n), study.draws(n, kernel))
        )
    ]
    empty = pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)] if tables else empty


def report_scaling(study: Study, results: Path) -> None:
    """Fits, figure and PDF of the study, all drawn from ``metrics.parquet``."""
    histories = sealed_parquet.read(results / study.name / "convergence.parquet")
    table = metrics_table.read(results / study.name / "metrics.parquet")
    fits = scaling.fits_table(table, study)
    scaling.write_scaling_figure(table, study, results / study.name / "scaling.png")
    scaling.write_scaling_report(table, study, results / f"{study.name}_scaling.pdf", histories)
    write_table(results / study.name / "fits.csv", fits)
    write_table(results / study.name / "final.csv", scaling.final_table(table, study))
    log.info("%s", results / f"{study.name}_scaling.pdf")


def write_table(path: Path, table: pd.DataFrame) -> None:
    """``table`` as CSV, whole or not at all."""
    write_atomically(path, lambda file: file.write(table.to_csv(index=False).encode()))
