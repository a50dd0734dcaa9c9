"""The report of many tasks: what stands in its panels and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from studies import a_study

from neural_kernels.datasets.pools import Task
from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics import task_scores
from neural_kernels.reports import style, tasks
from neural_kernels.reports.convergence import COLUMNS

SIZES = (256, 1024, 4096)
PUBLISHED = [
    {"name": "GCN", "metric": "average_precision", "value": 0.2020, "test_set": "test", "source": "a page"},
    {"name": "GIN", "metric": "average_precision", "value": 0.204, "spread": 0.0028, "test_set": "test", "source": "b"},
    {"name": "PAS", "metric": "average_precision", "value": 0.3012, "test_set": "test", "source": "c"},
    {"name": "Elsewhere", "metric": "average_precision", "value": 0.9, "test_set": "other", "source": "d"},
]  # fmt: skip
STUDY = a_study(
    {"Small": None, "Large": None},
    title="Many assays",
    data={"name": "digits", "validation_examples": 100},
    ridge={"candidates": [1e-3]},
    solver={"direct_up_to": 4096, "tolerance": 1e-6},
    tasks={"published": PUBLISHED},
)


def made_up(
    count: int, task: Task = "multilabel", single: Sequence[int] = ()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics and scores of two kernels; the tasks ``single`` have one label only, and Large is the better one."""
    random = np.random.default_rng(0)
    tables, each, scaling = [], [], {"mean": [2.0] * count, "scale": [3.0] * count}
    labels = (random.random((400, count)) < np.geomspace(0.02, 0.4, count)).astype(float)
    labels[random.random(labels.shape) < 0.4] = np.nan
    labels[:, list(single)] = np.minimum(labels[:, list(single)], 0)
    if task == "regression":
        labels = random.normal(size=labels.shape)
    for place, kernel in enumerate(STUDY.kernels):
        for n in SIZES:
            facts = dict.fromkeys(metrics_table.FACTS, "x") | {
                "study": "many", "kernel": kernel, "kind": "ntk", "precision": "float64", "n": n, "size": 0, "draw": 0,
                "ridge": 1e-3, "converged": True,
            }  # fmt: skip
            tables.append(
                metrics_table.rows(facts, "train", {"seconds": 1.0, "residual": 1e-9, "iterations": 0})
            )
            for split in ("validation", "test"):
                predictions = np.nan_to_num(labels) + random.normal(size=labels.shape) * 100 / n**0.5 / (
                    1 + place
                )
                named = {"kernel": kernel, "n": n, "draw": 0, "split": split}
                names = [f"assay-{number}" for number in range(count)]
                each.append(task_scores.rows(named, names, predictions, labels, task, scaling))
                scores = {name: each[-1][name].mean() for name in task_scores.SCORES[task]}
                tables.append(metrics_table.rows(facts, split, {"mse": 1.0 / n, **scores}))
    return metrics_table.concat(tables), pd.concat(each, ignore_index=True)


def texts(figure: Figure) -> list[str]:
    found = [text.get_text() for text in figure.texts]
    return found + [text.get_text() for ax in figure.axes for text in ax.texts]


def test_published_figures_are_lines_with_their_names() -> None:
    metrics, scores = made_up(5)
    with style.context():
        figure = tasks._means_page(metrics, scores, STUDY, "test")
    precision, auc = figure.axes
    lines = [line for line in precision.lines if line.get_gid() == "published"]
    assert [np.asarray(line.get_ydata())[0] for line in lines] == [0.2020, 0.2040, 0.3012]
    names = {text.get_text(): text.get_position()[1] for text in precision.texts}
    assert list(names) == ["GCN 0.202", "GIN 0.204", "PAS 0.3012"]
    heights = list(names.values())
    assert min(np.diff(heights)) > 0.05
    assert not auc.texts
    low, high = precision.get_ylim()
    assert low < 0.2020
    assert high > 0.3012
    assert "Mean over 5 tasks, test set" in texts(figure)


def test_tasks_are_sorted_by_the_kernel_that_is_best_on_the_validation_set() -> None:
    metrics, scores = made_up(6, single=(2,))
    assert tasks.chosen_kernel(metrics) == "Large"
    with style.context():
        figure = tasks._each_page(metrics, scores, STUDY, "test")
    top, below = figure.axes
    points = {line.get_gid(): np.asarray(line.get_ydata()) for line in top.lines}
    assert (np.diff(points["Large"]) <= 0).all()
    assert len(points["Large"]) == len(points["Small"]) == 5
    last = scores.query("kernel == 'Large' and n == 4096 and split == 'test'").set_index("task")
    order = [label.get_text() for label in below.get_xticklabels()]
    assert "assay-2" not in order
    np.testing.assert_allclose(points["Large"], last.loc[order, "average_precision"])
    np.testing.assert_allclose(
        [bar.get_height() for bar in below.patches if isinstance(bar, Rectangle)],
        last.loc[order, "positives"],
    )
    np.testing.assert_allclose(points["chance"], last.loc[order, "positives"] / last.loc[order, "labelled"])
    assert any("Left out: 1 of 6 tasks" in text for text in texts(figure))


def test_tables_have_every_method_and_every_task() -> None:
    metrics, scores = made_up(6, single=(2,))
    means = tasks.means_table(metrics, scores, STUDY, "test")
    assert [row[0] for row in means.rows] == ["Small NTK", "Large NTK", "GCN", "GIN", "PAS"]
    assert means.rows[3] == ["GIN", "", "0.204 ± 0.0028", "", "b"]
    assert means.notes[0].startswith("Means over 5 of 6 tasks")
    each = tasks.tasks_table(metrics, scores, STUDY, "test")
    assert [row[0] for row in each.rows] == [f"assay-{number}" for number in range(6)]
    assert each.rows[2][3:] == ["", ""]
    assert each.header == ["Task", "Labelled", "Positives", "Average precision", "ROC-AUC"]


@pytest.mark.parametrize(
    ("count", "task"), [(1, "multilabel"), (60, "multilabel"), (1, "regression"), (3, "regression")]
)
def test_the_report_is_the_same_for_the_same_numbers(tmp_path: Path, count: int, task: Task) -> None:
    metrics, scores = made_up(count, task)
    histories = pd.DataFrame(columns=list(COLUMNS))
    for name in ("a.pdf", "b.pdf"):
        tasks.write_tasks_report(metrics, scores, STUDY, tmp_path / name, histories)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_root_mean_squared_errors_are_in_the_units_of_the_values() -> None:
    values = np.array([[1.0, 5.0], [3.0, np.nan], [5.0, 6.0]])
    predictions = np.array([[-1.0, 0.0], [0.0, 9.0], [1.0, 2.0]])
    scaling = {"mean": [3.0, 1.0], "scale": [2.0, 3.0]}
    named = {"kernel": "k", "n": 2, "draw": 0, "split": "test"}
    found = task_scores.rows(named, [], predictions, values, "regression", scaling)
    np.testing.assert_allclose(found["rmse"], [0.0, np.sqrt((4**2 + 1) / 2)])
    np.testing.assert_allclose(found["spearman"], [1, 1])
    assert found["labelled"].tolist() == [3, 2]
    assert found["task"].tolist() == ["0", "1"]
    assert found["positives"].isna().all()
