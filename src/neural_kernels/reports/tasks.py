"""The report of many tasks: their mean scores against n beside published ones, and the scores of each task."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics.evaluation import LOSS
from neural_kernels.metrics.table import VALIDATION
from neural_kernels.metrics.task_scores import SCORES
from neural_kernels.reports import style
from neural_kernels.reports.chosen import how_the_ridge_is_chosen
from neural_kernels.reports.scaling_summary import checked, footer, kernel_labels, task_of
from neural_kernels.reports.scaling_tables import solves
from neural_kernels.reports.solve_pages import solve_pages
from neural_kernels.reports.table_pages import Table, table_pages
from neural_kernels.reports.task_panels import each_task_figure, means_figure
from neural_kernels.reports.warnings import warning_table, warnings_of
from neural_kernels.study.sections import PublishedFigure
from neural_kernels.study.study import Study


def write_tasks_report(
    metrics: pd.DataFrame,
    scores: pd.DataFrame,
    study: Study,
    out: Path,
    histories: pd.DataFrame,
    ridges: pd.DataFrame | None = None,
    baselines: pd.DataFrame | None = None,
) -> None:
    """The report as a PDF of A4 pages: mean scores against n, each task, tables, how solves converged, what ridges were
    worth.

    Args:
        metrics: a metrics table of one study.
        scores: the scores of each of its tasks (``neural_kernels.task_scores``).
        study: what its file says, of which title, kernels, data, ridge, solver and tasks are read.
        out: path of the PDF; it appears whole or not at all, and equal input gives equal bytes.
        histories: residuals of the iterative solves (``reports.convergence``).
        ridges: what each candidate of the ridge was worth (``reports.ridge_sweep``).
        baselines: scores of simple methods (``reports.beside_baselines``).

    Raises:
        ValueError: not a metrics table, or one of several studies.
    """
    metrics = checked(metrics)
    foot, test_sets = footer(metrics, study), metrics_table.test_sets(metrics)
    with style.context():
        pages = [_means_page(metrics, scores, study, test_set) for test_set in test_sets]
        if scores["task"].nunique() > 1:
            pages += [_each_page(metrics, scores, study, test_set) for test_set in test_sets]
        tables = warning_table(warnings_of(metrics, study))
        tables += [means_table(metrics, scores, study, test_set, baselines) for test_set in test_sets]
        tables += [tasks_table(metrics, scores, study, test_set) for test_set in test_sets]
        pages += table_pages([*tables, solves(metrics, study)], foot, len(pages) + 1)
        pages += solve_pages(histories, ridges, kernel_labels(metrics, study), study.solver.tolerance)
        style.write_pdf(pages, out, study.title)


def write_tasks_figure(metrics: pd.DataFrame, scores: pd.DataFrame, study: Study, out: Path) -> None:
    """The mean scores of the first test set alone, as .png or .svg by the name of ``out``."""
    metrics = checked(metrics)
    with style.context():
        style.write_image(_means_page(metrics, scores, study, metrics_table.test_sets(metrics)[0]), out)


def at_largest(metrics: pd.DataFrame, scores: pd.DataFrame, test_set: str) -> pd.DataFrame:
    """Scores of each task at the largest n of each kernel, its first draw."""
    largest = metrics.groupby("kernel")["n"].max()
    chosen = (scores["n"] == scores["kernel"].map(largest)) & (scores["draw"] == 0)
    return scores.loc[chosen & (scores["split"] == test_set)]


def _means_page(metrics: pd.DataFrame, scores: pd.DataFrame, study: Study, test_set: str) -> Figure:
    tasks = scores["task"].nunique()
    name = style.test_set_name(test_set)
    heading = (
        study.title,
        f"Mean over {tasks} tasks, {name} set" if tasks > 1 else f"{name.capitalize()} set",
    )
    names, labels = SCORES[task_of(metrics)], kernel_labels(metrics, study)
    published, chosen = _published(study, test_set), how_the_ridge_is_chosen(study)
    return means_figure(metrics, names, heading, labels, test_set, published, chosen)


def _each_page(metrics: pd.DataFrame, scores: pd.DataFrame, study: Study, test_set: str) -> Figure:
    heading = study.title, f"Each task on the {style.test_set_name(test_set)} set, at the largest n"
    labels, score = kernel_labels(metrics, study), SCORES[task_of(metrics)][0]
    return each_task_figure(
        at_largest(metrics, scores, test_set), score, heading, labels, chosen_kernel(metrics)
    )


def _published(study: Study, test_set: str) -> list[PublishedFigure]:
    tasks = study.sections.tasks
    return [] if tasks is None else [entry for entry in tasks.published if entry.test_set == test_set]


# -------------------------------------------------------------------------------------------- tables


def means_table(
    metrics: pd.DataFrame,
    scores: pd.DataFrame,
    study: Study,
    test_set: str,
    baselines: pd.DataFrame | None = None,
) -> Table:
    """Mean scores of each kernel at its largest n, of simple methods, then the published ones with their sources."""
    shown = SCORES[task_of(metrics)]
    rows: list[list[str]] = []
    alerts: set[int] = set()
    for kernel, label in kernel_labels(metrics, study).items():
        own = metrics.loc[(metrics["kernel"] == kernel) & (metrics["split"] == test_set)]
        own = own.loc[own["n"] == own["n"].max()]
        if not own["converged"].all():
            alerts.add(len(rows))
        means = [_mean(own, metric) for metric in shown]
        rows.append([label, f"{own['n'].iloc[0]:,}", *means, "this study"])
    ours = len(rows)
    for method, count, values in _of_baselines(baselines, test_set):
        cells = [f"{values[metric]:.4f}" if metric in values else "" for metric in shown]
        rows.append([method, f"{count:,}", *cells, "a simple method, this study"])
    simple = len(rows)
    for entry in _published(study, test_set):
        spread = f" ± {entry.spread:g}" if entry.spread is not None else ""
        cells = [f"{entry.value:g}{spread}" if entry.metric == metric else "" for metric in shown]
        rows.append([entry.name, "", *cells, entry.source])
    counted = at_largest(metrics, scores, test_set)
    counted = counted.loc[counted["kernel"] == counted["kernel"].iloc[0]]
    there = int(counted[shown[0]].notna().sum())
    notes = []
    if there < len(counted):
        notes.append(
            f"Means over {there} of {len(counted)} tasks: those with both labels in the test set, as OGB's evaluator "
            "takes them."
        )
    elif there > 1:
        notes.append(f"Means over {there} tasks.")
    if alerts:
        notes.append("Bold red: a solve that did not converge.")
    header = ["Method", "n", *map(style.metric_name, shown), "Source"]
    return Table(
        f"Results on the {style.test_set_name(test_set)} set at the largest n",
        header,
        rows,
        numbers=frozenset({1, 2, 3}),
        alerts=frozenset(alerts),
        quoted=frozenset(range(ours, simple)),
        rules=frozenset({ours, simple} - {len(rows)}),
        notes=notes,
    )


def _of_baselines(
    baselines: pd.DataFrame | None, test_set: str
) -> Iterator[tuple[str, int, dict[str, float]]]:
    """Each simple method, the examples that it was fitted to, and its mean scores."""
    if baselines is None:
        return
    for method, part in baselines[baselines["split"] == test_set].groupby("method", sort=False):
        scores = {str(key): float(value) for key, value in zip(part["metric"], part["value"], strict=True)}
        yield str(method), int(part["examples"].iloc[0]), scores


def _mean(own: pd.DataFrame, metric: str) -> str:
    values = own.loc[own["metric"] == metric, "value"]
    return f"{values.mean():.4f}" if len(values) else ""


def tasks_table(metrics: pd.DataFrame, scores: pd.DataFrame, study: Study, test_set: str) -> Table:
    """Each task at the largest n, by the kernel with the best validation loss."""
    task = task_of(metrics)
    found = at_largest(metrics, scores, test_set)
    kernel = chosen_kernel(metrics)
    own = found.loc[found["kernel"] == kernel]
    label = kernel_labels(metrics, study)[kernel]
    rows = []
    for row in own.to_dict("records"):
        counts = [f"{row['labelled']:,.0f}"]
        if task == "multilabel":
            counts.append(f"{row['positives']:,.0f}")
        rows.append([str(row["task"]), *counts, *(_number(row[name]) for name in SCORES[task])])
    header = ["Task", "Labelled", *(["Positives"] if task == "multilabel" else [])]
    header += [style.metric_name(name).removeprefix("Mean ").capitalize() for name in SCORES[task]]
    header = [name.replace("Roc-auc", "ROC-AUC").replace("Rmse", "RMSE") for name in header]
    return Table(
        f"Each task on the {style.test_set_name(test_set)} set: {label}, n = {int(own['n'].iloc[0]):,}",
        header,
        rows,
        numbers=frozenset(range(1, len(header))),
        notes=["Blank: the task lacks one of both labels there."] if task == "multilabel" else [],
    )


def chosen_kernel(metrics: pd.DataFrame) -> str:
    """The kernel that does best on the validation set at its largest n; the first where there is none."""
    task = task_of(metrics)
    best: tuple[float, str] | None = None
    for kernel, own in metrics.groupby("kernel", sort=False):
        own = own.loc[(own["n"] == own["n"].max()) & (own["split"] == VALIDATION)]
        metric = "average_precision" if (own["metric"] == "average_precision").any() else LOSS[task]
        values = own.loc[own["metric"] == metric, "value"]
        cost = values.mean() * (-1 if metric == "average_precision" else 1) if len(values) else np.inf
        if best is None or cost < best[0]:
            best = float(cost), str(kernel)
    assert best is not None
    return best[1]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"
