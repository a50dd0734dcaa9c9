"""The stage of the rule report_tasks."""

from __future__ import annotations

import logging
from pathlib import Path

from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics import task_scores
from neural_kernels.reports import tasks
from neural_kernels.storage import sealed_parquet
from neural_kernels.study.folders import (
    metrics_file,
)
from neural_kernels.study.study import Study

log = logging.getLogger(__name__)


def report_tasks(study: Study, results: Path) -> None:
    """Figure and PDF of the scores of each task, and their means beside published ones."""
    histories = sealed_parquet.read(results / study.name / "convergence.parquet")
    table = metrics_table.read(results / study.name / "metrics.parquet")
    scores = task_scores.read(
        metrics_file(study, results, kernel, n).with_suffix(".tasks.parquet")
        for kernel in study.kernels
        for n in study.training_sizes(kernel)
    )
    tasks.write_tasks_figure(table, scores, study, results / study.name / "tasks.png")
    tasks.write_tasks_report(table, scores, study, results / f"{study.name}.pdf", histories)
    log.info("%s", results / f"{study.name}.pdf")
