from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from studies import a_study

from neural_kernels.metrics import table as metrics_table
from neural_kernels.reports import one_sentence, style
from neural_kernels.reports.approximation_tables import approximations_table
from neural_kernels.reports.approximations import (
    approximations_figure,
    report_figures,
    write_approximations_figure,
    write_approximations_report,
)

METHODS = [
    "nystrom",
    "subset_of_regressors",
    "block_diagonal",
    "bayesian_committee_machine",
    "bayesian_committee_machine_independent",
]
SIZES = [2**k for k in range(6, 13)]
SECTIONS: dict[str, Any] = {
    "title": "A title",
    "ridge": {"candidates": [1e-4, 1e-2, 1.0]},
    "solver": {"preconditioner": {"method": "none", "rank": 500}},
    "approximations": {"sizes": [64], "jitter": {"log10_smallest": -6, "log10_largest": 0, "count": 4}},
}
STUDY = a_study(**SECTIONS)


def table(
    kernels: tuple[str, ...] = ("FC3",),
    methods: tuple[str, ...] = (*METHODS, "truncated_cg"),
    sizes: tuple[int, ...] = tuple(SIZES),
    *,
    test_sets: tuple[str, ...] = ("cifar10",),
    draws: int = 1,
    regression: bool = False,
) -> pd.DataFrame:
    """Losses that fall with size from method to method, above those of the full solution."""
    records: list[dict[str, Any]] = []

    def add(
        kernel: str, method: str, size: int, draw: int, loss: float, train: dict[str, Any], stop: str
    ) -> None:
        facts = {
            "study": "demo", "kernel": kernel, "architecture": "FC3", "kind": "ntk", "precision": "float64",
            "engine": "native", "preprocessing": "zca", "solver": method, "n": 8192, "size": size, "draw": draw,
            "ridge": 1e-2 if size != min(sizes) else 1.0, "stopped_by": stop,
            "converged": stop in ("direct", "tolerance"),
        }  # fmt: skip
        names = ("mse", "spearman") if regression else ("loss", "accuracy")
        scores = dict(zip(names, (loss, 0.6 - 2 * loss), strict=True))
        for split, values in {"train": train, **dict.fromkeys(("validation", *test_sets), scores)}.items():
            records.extend({**facts, "split": split, "metric": m, "value": v} for m, v in values.items())

    for kernel in kernels:
        add(kernel, "cholesky", 0, 0, 0.06, {"seconds": 9.0, "residual": 1e-14}, "direct")
        for place, method in enumerate(methods):
            for step, size in enumerate(sizes):
                for draw in range(draws):
                    loss = 0.09 - 0.003 * step - 0.001 * place + 0.0002 * draw
                    if method == "truncated_cg":
                        train = {"seconds": 0.1 * 2**step, "iterations": 2**step, "residual": 0.1 / 2**step}
                        add(kernel, method, 2**step, draw, loss, train, "truncated")
                    else:
                        jitter = {"jitter": 1e-2} if place < 2 else {}
                        add(kernel, method, size, draw, loss, {"seconds": size / 100, **jitter}, "direct")
    return metrics_table.check(pd.DataFrame(records))


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with style.context():
        yield


def all_text(figure: Figure) -> list[Text]:
    drawn: list[Text] = []
    for ax in figure.axes:
        drawn += [*ax.get_xticklabels(which="both"), *ax.get_yticklabels(which="both")]
        drawn += [ax.title, ax.xaxis.label, ax.yaxis.label]
    drawn += figure.texts
    for legend in figure.legends:
        drawn += legend.get_texts()
    return [text for text in dict.fromkeys(drawn) if text.get_visible() and text.get_text().strip()]


@pytest.mark.parametrize(
    "metrics",
    [
        table(),
        table(("FC3", "CV8"), sizes=(64, 512, 4096), draws=2, test_sets=("cifar10", "cifar10_1")),
        table(methods=("nystrom",), sizes=(64,)),
        table(methods=("truncated_cg",)),
        table(regression=True),
    ],
    ids=["all", "draws", "one point", "iterations alone", "regression"],
)
def test_no_text_overlaps_or_leaves_the_page(metrics: pd.DataFrame) -> None:
    for figure in report_figures(metrics, STUDY):
        figure.canvas.draw()
        texts = [(text, text.get_window_extent()) for text in all_text(figure)]
        texts = [(text, box) for text, box in texts if box.width > 0]
        for place, (text, box) in enumerate(texts):
            assert float(text.get_fontsize()) >= 8, text.get_text()
            inside = (
                box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 and box.y1 <= figure.bbox.height
            )
            assert inside, text.get_text()
            for other, its_box in texts[:place]:
                assert not box.overlaps(its_box), (text.get_text(), other.get_text())


def test_panels_and_legend_stay_apart() -> None:
    figure = approximations_figure(table(), STUDY, "FC3", "cifar10")
    figure.canvas.draw()
    boxes = [box for part in (*figure.axes, *figure.legends) if (box := part.get_tightbbox()) is not None]
    assert len(figure.axes) == 6
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_panels_show_the_numbers_of_the_table_and_the_exact_solution() -> None:
    metrics = table(draws=2)
    figure = approximations_figure(metrics, STUDY, "FC3", "cifar10")
    panels = {str(ax.get_gid()): ax for ax in figure.axes}
    assert set(panels) == {
        f"{metric} {column}" for metric in ("accuracy", "loss", "seconds") for column in (0, 1)
    }
    expected = {"accuracy": 100 * (0.6 - 2 * 0.06), "loss": 0.06, "seconds": 9.0}
    for name, ax in panels.items():
        lines = {str(line.get_gid()): line for line in ax.lines}
        assert np.asarray(lines["exact"].get_ydata())[0] == pytest.approx(expected[name.split()[0]])
        methods = METHODS if name.endswith("0") else ["truncated_cg"]
        assert {gid for gid in lines if gid not in ("exact", "draws")} == set(methods)
    drawn = next(line for line in panels["loss 0"].lines if line.get_gid() == "block_diagonal")
    np.testing.assert_array_equal(drawn.get_xdata(), SIZES)
    np.testing.assert_allclose(
        np.asarray(drawn.get_ydata()), [0.0881 - 0.003 * step for step in range(len(SIZES))]
    )


def test_the_table_has_a_row_for_each_solve_and_marks_ends_of_the_candidates() -> None:
    shown = approximations_table(table(draws=2), STUDY, "cifar10")
    assert len(shown.rows) == 1 + 6 * len(SIZES)
    rows = {(row[0], row[1]): row for row in shown.rows}
    assert rows["Exact (Cholesky)", ""][5:7] == ["0.0600", "48.00"]
    assert rows["Nyström", "64"][2] == "1e+00*"
    assert rows["Nyström", "128"][2:4] == ["1e-02", "1e-02"]
    assert rows["Block diagonal", "128"][3] == ""
    assert rows["Truncated CG", "4"][7] == "3e-02"
    assert any(note.startswith("*") for note in shown.notes)
    assert any("without a preconditioner" in note for note in shown.notes)
    assert any(note.startswith("Committee, single queries: predicts each") for note in shown.notes)


def test_the_two_committees_are_told_apart_by_name_colour_and_note() -> None:
    figure = approximations_figure(table(), STUDY, "FC3", "cifar10")
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert {"Bayesian committee machine", "Committee, single queries"} < set(names)
    assert vars(legend)["_ncols"] == 4  # seven names in two rows, of four and three
    lines = [line for line in figure.axes[0].lines if "committee" in str(line.get_gid())]
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 2
    without = table(methods=("nystrom", "bayesian_committee_machine_independent"))
    notes = approximations_table(without, STUDY, "cifar10").notes
    assert not any("predicts test examples together" in note for note in notes)


def test_only_solves_that_failed_are_alerts() -> None:
    metrics = table()
    assert approximations_table(metrics, STUDY, "cifar10").alerts == frozenset()
    failed = (metrics["solver"] == "truncated_cg") & (metrics["size"] == 8)
    metrics.loc[failed, "stopped_by"] = "stagnation"
    shown = approximations_table(metrics, STUDY, "cifar10")
    assert [shown.rows[row][:2] for row in shown.alerts] == [["Truncated CG", "8"]]


def test_the_preconditioner_of_the_truncated_iteration_is_named() -> None:
    study = a_study(**SECTIONS | {"solver": {"preconditioner": {"method": "greedy", "rank": 500}}})
    notes = approximations_table(table(), study, "cifar10").notes
    assert any("greedy, rank 500" in note for note in notes)


def test_equal_tables_give_equal_files(tmp_path: Path) -> None:
    for name in ("a.pdf", "b.pdf"):
        write_approximations_report(table(), STUDY, tmp_path / name)
    content = (tmp_path / "a.pdf").read_bytes()
    assert content == (tmp_path / "b.pdf").read_bytes()
    assert len(re.findall(rb"/Type /Page\b", content)) >= 2
    write_approximations_figure(table(), STUDY, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_incomplete_tables_are_refused() -> None:
    metrics = table(sizes=(64, 128))
    with pytest.raises(ValueError, match="no full solution of kernel FC3"):
        write_approximations_report(metrics[metrics["size"] > 0], STUDY, Path("unused.pdf"))
    with pytest.raises(ValueError, match="no approximation of kernel FC3"):
        write_approximations_report(metrics[metrics["size"] == 0], STUDY, Path("unused.pdf"))
    other = metrics.replace({"solver": {"nystrom": "magic"}})
    with pytest.raises(ValueError, match="magic"):
        write_approximations_report(other, STUDY, Path("unused.pdf"))


def test_one_sentence_names_the_lowest_loss_beside_the_full_solution() -> None:
    assert one_sentence.of_approximations(table(), STUDY) == (
        "of the approximations, Truncated CG of size 64 has the lowest loss on CIFAR-10: 0.067, where "
        "the full solution of FC3 NTK has 0.06"
    )
