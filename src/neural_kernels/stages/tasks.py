"""The stage of the rule report_tasks."""

from __future__ import annotations

from pathlib import Path

from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics import task_scores
from neural_kernels.reports import one_sentence, tasks
from neural_kernels.stages import findings
from neural_kernels.stages.report import read_baselines
from neural_kernels.storage import sealed_parquet
from neural_kernels.study import folders
from neural_kernels.study.folders import at, task_scores_file
from neural_kernels.study.study import Study


def report_tasks(study: Study, results: Path) -> None:
    """Figure and PDF of the scores of each task, and their means beside published ones."""
    histories = sealed_parquet.read(at(results, folders.CONVERGENCE, study=study.name))
    table = metrics_table.read(at(results, folders.METRICS, study=study.name))
    scores = task_scores.read(
        task_scores_file(study, results, kernel, n)
        for kernel in study.kernels
        for n in study.training_sizes(kernel)
    )
    pdf = at(results, folders.report("tasks"), study=study.name)
    tasks.write_tasks_figure(table, scores, study, at(results, folders.figure("tasks"), study=study.name))
    ridges = sealed_parquet.read(at(results, folders.RIDGES, study=study.name))
    baselines = read_baselines(study, results)
    tasks.write_tasks_report(table, scores, study, pdf, histories, ridges, baselines)
    findings.keep(pdf, "tasks", study.name, one_sentence.of_scores(table, study))
