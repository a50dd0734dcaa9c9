"""The report of a comparison of splits on made-up numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from studies import a_study, metrics

from neural_kernels.reports import one_sentence, style
from neural_kernels.reports.split_tables import all_kernels, beside_published
from neural_kernels.reports.splits import Run, by_split, prediction_figures, summary, write_splits_report
from neural_kernels.study.split_comparison import Comparison, Published

KERNELS = ["FC", "Conv1D"]
STUDY = a_study(dict.fromkeys(KERNELS))
NAMES = ["mut_des", "one_vs_many", "two_vs_many", "seven_vs_many", "low_vs_high", "sampled"]


def run(unconverged: tuple[tuple[str, int], ...] = ()) -> Run:
    rng = np.random.default_rng(0)
    measured = rng.normal(size=300)
    frame = pd.DataFrame({"test_set": "test", "example": range(300), "output": 0, "measured": measured})
    predictions = {k: frame.assign(predicted=measured + rng.normal(size=300)) for k in KERNELS}
    table = metrics(KERNELS, ["test"], [64, 128, 2048], regression=True, unconverged=unconverged)
    # The second kernel is the better one on the validation set, and the worse one on the test set.
    second = table["kernel"] == "Conv1D"
    table.loc[second & (table["split"] == "validation"), "value"] = 0.01
    table.loc[second & (table["metric"] == "spearman"), "value"] -= 0.1
    pearson = table.loc[table["metric"] == "spearman"].assign(metric="pearson")
    return Run(STUDY, pd.concat([table, pearson], ignore_index=True), predictions)


def comparison(names: list[str], note: str = "Mind this.") -> Comparison:
    published = (Published(name="Others", source="somebody", values={names[0]: 0.79}),)
    # Studies are looked at by the stages alone: here a name says that there is one.
    studies = {name: None if name == "mut_des" else name for name in names}
    return Comparison("aav", "A title", note, "test", studies, published)  # type: ignore[arg-type]


def test_kernels_are_chosen_on_the_validation_set() -> None:
    table = summary(comparison(NAMES[:3]), {name: run() for name in NAMES[1:3]})
    assert table["split"].tolist() == ["mut_des", *["one_vs_many"] * 2, *["two_vs_many"] * 2]
    assert table.loc[table["chosen"], "kernel"].tolist()[1:] == ["Conv1D", "Conv1D"]
    chosen = table.loc[table["chosen"] & (table["split"] == "two_vs_many")].iloc[0]
    other = table.loc[~table["chosen"] & (table["split"] == "two_vs_many")].iloc[0]
    assert chosen["spearman"] < other["spearman"]
    assert chosen["n"] == 2048
    assert chosen["test_examples"] == 300


def test_without_a_validation_set_kernels_are_chosen_by_leaving_one_out() -> None:
    validated = run()
    table = validated.metrics[validated.metrics["split"] != "validation"]
    losses = {"FC": 0.3, "Conv1D": 0.5}
    left_out = {"draw": 0, "criterion": "loo"}
    ridges = pd.DataFrame(
        {"kernel": kernel, "n": n, "loss": losses[kernel] + worse, "chosen": not worse, **left_out}
        for kernel in KERNELS
        for n in (64, 2048)
        for worse in (0.0, 0.1)
    )
    own = replace(validated, metrics=table, ridges=ridges)
    found = summary(comparison(NAMES[:2]), {NAMES[1]: own})
    assert found.loc[found["chosen"], "kernel"].tolist()[1:] == ["FC"]
    assert found.set_index("kernel")["left_out_mse"].dropna().to_dict() == losses
    notes = beside_published(comparison(NAMES[:2]), found).notes
    assert any("the smallest leave-one-out error" in note for note in notes)
    chosen = summary(comparison(NAMES[:2]), {NAMES[1]: validated})
    assert "the smallest validation error" in beside_published(comparison(NAMES[:2]), chosen).notes[1]


def test_the_table_leaves_cells_empty_where_nothing_was_run_or_published() -> None:
    table = beside_published(comparison(NAMES[:2]), summary(comparison(NAMES[:2]), {NAMES[1]: run()}))
    assert list(table.header) == ["Split", "Others", "Here", "Kernel", "n", "Test examples"]
    assert list(table.rows[0]) == ["mut_des", "0.79", "", "", "", ""]
    score = 0.2 + 0.05 * np.log(2048) - 0.1
    assert list(table.rows[1]) == ["one_vs_many", "", f"{score:.3f}", "Conv1D NTK", "2,048", "300"]
    assert table.notes[0] == "Others: somebody."
    assert table.notes[-1] == "Mind this."


def test_solves_that_did_not_converge_are_alerts() -> None:
    runs = {NAMES[1]: run(unconverged=(("Conv1D", 2048),))}
    these = comparison(NAMES[:2])
    assert beside_published(these, summary(these, runs)).alerts == {1}
    assert all_kernels(these, summary(these, runs)).alerts == {1}
    clean = summary(these, {NAMES[1]: run()})
    assert not beside_published(these, clean).alerts
    assert not all_kernels(these, clean).alerts


def test_each_split_is_a_test_set_of_one_table() -> None:
    table, study = by_split(comparison(NAMES[:3]), {name: run() for name in NAMES[1:3]})
    assert list(table["split"].unique()) == NAMES[1:3]
    assert set(table["study"]) == {"aav"}
    assert list(study.kernels) == KERNELS


@pytest.mark.parametrize("count", [1, 5])
def test_panels_have_equal_axes_and_stay_apart(count: int) -> None:
    these, runs = comparison(NAMES[1 : 1 + count]), {name: run() for name in NAMES[1 : 1 + count]}
    with style.context():
        (figure,) = prediction_figures(these, runs, summary(these, runs))
        panels = [ax for ax in figure.axes if str(ax.get_gid()).startswith("predictions")]
        assert [ax.get_title() for ax in panels] == NAMES[1 : 1 + count]
        assert all(ax.get_xlim() == ax.get_ylim() for ax in panels)
        figure.canvas.draw()
        boxes = [box for ax in figure.axes if (box := ax.get_tightbbox()) is not None]
        page = figure.bbox
        for place, box in enumerate(boxes):
            assert page.x0 <= box.x0 < box.x1 <= page.x1
            assert page.y0 <= box.y0 < box.y1 <= page.y1
            assert not any(box.overlaps(other) for other in boxes[place + 1 :])


def test_equal_numbers_give_equal_bytes(tmp_path: Path) -> None:
    these, runs = comparison(NAMES[1:3]), {name: run() for name in NAMES[1:3]}
    for name in "ab":
        write_splits_report(these, runs, tmp_path / f"{name}.pdf")
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


def test_one_sentence_has_the_correlation_of_each_split_that_was_run() -> None:
    these = comparison(NAMES[:3])
    score = f"{0.2 + 0.05 * np.log(2048) - 0.1:.3f}"
    assert one_sentence.of_splits(summary(these, {name: run() for name in NAMES[1:3]})) == (
        f"Spearman correlations one_vs_many {score} (Conv1D NTK) and two_vs_many {score} (Conv1D NTK)"
    )
    assert one_sentence.of_splits(summary(these, {})) == "no split has been run"
