"""The tuning report, drawn from records whose numbers are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from neural_kernels.metrics.objectives import OBJECTIVES
from neural_kernels.reports import one_sentence, style
from neural_kernels.reports.tuning import report_figures, write_tuning_figure, write_tuning_report
from neural_kernels.reports.tuning_panels import correlations, history_figure, slice_figures, transfer_figure
from neural_kernels.reports.tuning_summary import Results, drawn, range_of, text_of
from neural_kernels.reports.tuning_tables import comparison, top, winner, without_value
from neural_kernels.tuning.assessment import Assessment
from neural_kernels.tuning.candidate import Candidate
from neural_kernels.tuning.records import TrialRecord
from neural_kernels.tuning.settings import Transfer, Tuning
from neural_kernels.tuning.space import parse_space

SPACE = {
    "architecture": {
        "name": "Myrtle",
        "activation": {"choices": ["relu", "erf", "identity", "gelu", "exp_normalized"]},
        "gamma": {"low": 0.25, "high": 4.0, "log": True, "when": {"activation": "exp_normalized"}},
        "layer_norm": {"choices": [False, True]},
        "W_std": {"low": 0.5, "high": 3.0},
        "b_std": {"choices": [0.0, 0.1, 0.5]},
        "last_W_std": {"low": 0.1, "high": 10.0, "log": True},
        "first_filter_size": {"choices": [3, 5, 7]},
        "convs_per_pool": {"choices": [[1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4]]},
        "dense_layers": {"low": 0, "high": 2, "integer": True},
    },
    "preprocessing": {"method": "zca", "regularization": {"low": 1e-3, "high": 10.0, "log": True}},
    "kind": {"choices": ["nngp", "ntk"]},
}


BASELINE = Candidate({"name": "Myrtle10"}, "ntk", {"method": "zca", "regularization": 0.1})


def record(name: str, value: float, values: dict[str, Any], n: int = 100, **facts: Any) -> TrialRecord:
    loss = value if facts.get("objective", "loss") == "loss" else 1 - value
    scores = {"loss": loss, "accuracy": 1 - loss}
    parts = {"validation": scores, **dict.fromkeys(facts.get("tests", ()), scores)}
    assessment = Assessment(value, 1e-3, facts.get("edge", False), parts, "native", 12.3)
    candidate = parse_space("space", SPACE).candidate({"kind": "ntk", **values})
    return TrialRecord(
        name, "complete", None, values, candidate, assessment, facts.get("objective", "loss"), n, 200,
        "float32", {},
    )  # fmt: skip


def lost(name: str, state: Any, reason: str, values: dict[str, Any]) -> TrialRecord:
    candidate = parse_space("space", SPACE).candidate({"kind": "ntk", **values})
    return TrialRecord(name, state, reason, values, candidate, None, "loss", 100, 200, "float32", {})


def results(
    trials: int = 40, *, objective: str = "loss", transfer: bool = True, failures: bool = True,
    tests: tuple[str, ...] = ("cifar10",),
) -> Results:  # fmt: skip
    """Random trials; every seventh failed and every ninth pruned."""
    rng = np.random.default_rng(0)
    space = parse_space("space", SPACE)
    tuning = Tuning(
        space=space, baseline=BASELINE, baseline_name="Myrtle10", objective=objective, training_examples=100,
        judge_by="validation",
        validation_examples=200, trials=trials, sampler="tpe", startup_trials=10, first_trials=(), attempts=3,
        largest_seconds=None, transfer=Transfer(training_examples=2000, trials=12) if transfer else None, identity={},
    )  # fmt: skip
    records = []
    for number in range(trials):
        values = {h.name: h.ends()[rng.integers(len(h.ends()))] for h in space.hyperparameters if not h.when}
        values["W_std"] = float(rng.uniform(0.5, 3.0))
        if values["activation"] == "exp_normalized":
            values["gamma"] = 1.0
        value = 0.06 + 0.01 * abs(values["W_std"] - 1.4) + 0.002 * rng.random()
        name = str(number)
        if failures and number % 7 == 3:
            records.append(lost(name, "failed", "no ridge of the 20 candidates can be used", values))
        elif failures and number % 9 == 5:
            records.append(lost(name, "pruned", "its kernel would take 900 s here", values))
        else:
            value = 1 - 8 * value if objective == "accuracy" else value
            records.append(record(name, value, values, objective=objective))
    baseline = record(
        "baseline", 0.075 if objective == "loss" else 0.35, {}, objective=objective, tests=tests
    )
    found = Results(
        study="tune", title="A tuned title", tuning=tuning,
        objective=OBJECTIVES[objective], trials=records, tested={}, transferred=[], importances=None,
        test_examples=dict.fromkeys(tests, 1000),
    )  # fmt: skip
    best = found.ranking[0]
    assert best.assessment is not None
    tuned = record("tuned", best.assessment.value, best.hyperparameters, objective=objective, tests=tests)
    second = []
    if transfer:
        second = [record("baseline", 0.05, {}, 2000, objective=objective)]
        for one in found.ranking[:12]:
            assert one.assessment is not None
            second.append(record(one.name, one.assessment.value * 0.7, one.hyperparameters, 2000, edge=True))
    importances = {name: 0.1 for name in (h.name for h in space.hyperparameters if not h.when)}
    tested = {"tuned": tuned, "baseline": baseline}
    return replace(found, tested=tested, transferred=second, importances=importances)


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with style.context():
        yield


def points(figure: Figure, gid: str) -> tuple[np.ndarray, np.ndarray]:
    (line,) = [line for ax in figure.axes for line in ax.lines if line.get_gid() == gid]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def test_the_history_has_every_trial_and_the_best_so_far() -> None:
    found = results()
    figure = history_figure(found)
    numbers, values = points(figure, "trials")
    complete = [r for r in found.trials if r.state == "complete"]
    assert list(numbers) == [r.number for r in complete]
    np.testing.assert_array_equal(values, [r.assessment.value for r in complete if r.assessment])
    _, best = points(figure, "best")
    np.testing.assert_array_equal(best[:-1], np.minimum.accumulate(values))
    for state in ("pruned", "failed"):
        assert list(points(figure, state)[0]) == [r.number for r in found.trials if r.state == state]


def test_the_best_so_far_of_an_accuracy_rises() -> None:
    figure = history_figure(results(objective="accuracy"))
    _, values = points(figure, "trials")
    _, best = points(figure, "best")
    np.testing.assert_array_equal(best[:-1], np.maximum.accumulate(values))
    assert values.max() > 1  # per cent


def test_every_hyperparameter_has_a_panel_with_its_values() -> None:
    found = results()
    (figure,) = slice_figures(found)
    names = [h.name for h in found.tuning.space.hyperparameters]
    assert {ax.get_xlabel() for ax in figure.axes} == set(names)
    x, y = points(figure, "W_std")
    by_value = {r.assessment.value: r.hyperparameters["W_std"] for r in found.ranking if r.assessment}
    assert {b: a for a, b in zip(x, y, strict=True)} == by_value


def test_the_transfer_shows_both_objectives_and_their_correlations() -> None:
    found = results()
    figure = transfer_figure(found)
    x, y = points(figure, "transfer")
    assert len(x) == 12
    np.testing.assert_allclose(y, 0.7 * x)
    text = " ".join(text.get_text() for text in figure.texts)
    assert "Pearson correlation 1.000, Spearman rank correlation 1.000" in text


def test_correlations_need_three_points_that_differ() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    pearson, spearman = correlations(x, np.array([1.0, 3.0, 2.0, 4.0])) or (0, 0)
    assert pearson == pytest.approx(0.8)
    assert spearman == pytest.approx(0.8)
    assert correlations(x[:2], x[:2]) is None
    assert correlations(x, np.ones(4)) is None


def test_the_comparison_has_the_winner_and_the_baseline_at_both_sizes() -> None:
    found = results()
    table = comparison(found)
    best = found.ranking[0]
    assert best.assessment is not None
    assert [row[0] for row in table.rows] == [f"Best trial ({best.name})", "Myrtle10 NTK (baseline)"] * 2
    assert [row[1] for row in table.rows] == ["100", "100", "2,000", "2,000"]
    assert table.rows[0][2] == f"{best.assessment.value:.4f}"
    assert table.rows[1][5] == "92.5 ± 0.8"
    assert table.rows[3][4] == ""


def test_a_baseline_without_a_value_is_an_alert() -> None:
    found = results(transfer=False)
    failed = TrialRecord(
        "baseline", "failed", "no ridge can be used", {}, found.tuning.baseline, None, "loss", 100, 200,
        "float32", {},
    )  # fmt: skip
    found = replace(found, tested={**found.tested, "baseline": failed})
    table = comparison(found)
    assert table.alerts == {1}
    assert any("no ridge can be used" in note for note in table.notes)
    assert report_figures(found)


def test_the_ten_best_and_those_without_a_value() -> None:
    found = results()
    assert [row[1] for row in top(found).rows] == [r.name for r in found.ranking[:10]]
    (table,) = without_value(found)
    assert {row[1] for row in table.rows} == {"pruned", "failed"}
    assert without_value(results(failures=False)) == []
    shown = {row[0]: row[1] for row in winner(found).rows}
    assert shown["convs_per_pool"] == text_of(found.ranking[0].hyperparameters["convs_per_pool"])


def test_a_second_look_that_gave_nothing_is_drawn_empty() -> None:
    found = results(10)
    nothing = [replace(r, state="failed", reason="why", assessment=None) for r in found.transferred]
    assert report_figures(replace(found, transferred=nothing, test_examples={}))


@pytest.mark.parametrize(("trials", "objective"), [(1, "loss"), (4, "accuracy")])
def test_few_trials_give_a_report(trials: int, objective: str) -> None:
    assert report_figures(results(trials, objective=objective, transfer=trials > 1))


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    found = results(10)
    for name in ("a.pdf", "b.pdf"):
        write_tuning_report(found, tmp_path / name)
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
    write_tuning_figure(found, tmp_path / "h.png")
    assert (tmp_path / "h.png").stat().st_size > 10_000


def test_nothing_leaves_the_page() -> None:
    for figure in report_figures(results(tests=("cifar10", "cifar10_1"))):
        figure.canvas.draw()
        width, height = figure.bbox.size
        for text in [
            *figure.texts,
            *(t for ax in figure.axes for t in [ax.xaxis.label, ax.yaxis.label, ax.title]),
        ]:
            box = text.get_window_extent()
            assert box.x0 >= 0, text
            assert box.y0 >= 0, text
            assert box.x1 <= width, text
            assert box.y1 <= height, text


def test_names_for_people() -> None:
    space = parse_space("space", SPACE)
    known = {h.name: h for h in space.hyperparameters}
    assert range_of(known["gamma"]) == "0.25 to 4, logarithmic; only with activation exp_normalized"
    assert range_of(known["layer_norm"]) == "false, true"
    assert range_of(known["convs_per_pool"]).startswith("[1, 1, 1], [2, 2, 2]")
    assert drawn(record("3", 0.1, {"W_std": 1.5, "layer_norm": True})) == "W_std 1.5, layer_norm true"


@pytest.mark.parametrize("tests", [("cifar10",), ()])
def test_one_sentence_has_the_best_trial_beside_the_baseline(tests: tuple[str, ...]) -> None:
    found = results(objective="accuracy", tests=tests)
    best = found.ranking[0]
    said = one_sentence.of_tuning(found)
    assert said.startswith(f"trial {best.name} is the best of 40: accuracy {found.value(best):.1f} % on ")
    assert said.endswith(", where Myrtle10 NTK (baseline) has 35.0 %")
    assert ("CIFAR-10" in said) == bool(tests)
