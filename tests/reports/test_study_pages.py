"""What reports of studies say beside scores: baselines, which kernel is chosen, warnings, mutations, the worst."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from studies import a_study, metrics

from neural_kernels.baselines.methods import MEAN
from neural_kernels.datasets import variants
from neural_kernels.metrics.calibration import conformal_quantile
from neural_kernels.metrics.fold_scores import ndcg, top_recall
from neural_kernels.prediction import example_table
from neural_kernels.prediction.example_table import LEFT_OUT
from neural_kernels.reports import style
from neural_kernels.reports.beside_baselines import baseline_table
from neural_kernels.reports.example_pages import Shown, example_pages, example_tables
from neural_kernels.reports.kernel_choice import choice_table, choices, chosen, preferred
from neural_kernels.reports.mutation_pages import FEWEST, MOST_GROUPS, groups
from neural_kernels.reports.scaling import report_figures
from neural_kernels.reports.test_scores import cases, conformal_reach, interval_table, score_table
from neural_kernels.reports.warnings import warnings_of
from neural_kernels.reports.worst_examples import names_of

RANDOM = np.random.default_rng(5)
COUNT = 80


def rows(split: str, shift: float = 0.0, **more: Any) -> pd.DataFrame:
    truth = np.random.default_rng(1).normal(size=COUNT)
    columns = {
        "example": np.arange(COUNT),
        "output": "y",
        "predicted": truth + shift + 0.5 * np.random.default_rng(2).normal(size=COUNT),
        "measured": truth,
        "spread": 0.5,
        "nearest": np.arange(COUNT)[::-1].astype(float),
        "likeness": 0.9,
    }
    return pd.DataFrame({"split": split, **columns, **more})


EXAMPLES = {"FC": pd.concat([rows(LEFT_OUT), rows("test", 0.1)], ignore_index=True)}
OTHERS = pd.concat([rows("test", 2.0).assign(method=MEAN), rows("test", 1.0).assign(method="Random forest")])


def shown(**changes: Any) -> Shown:
    given: dict[str, Any] = {"others": OTHERS, "trained": 70, "preferred": "FC", "classes": None} | changes
    return Shown(EXAMPLES, {"FC": "FC NTK"}, {"FC": 90}, **given)


def test_scores_are_those_of_scipy_and_by_hand() -> None:
    (case,) = cases(EXAMPLES, OTHERS, 5)
    table = score_table(case, {"FC": "FC NTK"}, {"FC": 90}, 70)
    truth, found = (case.kernels["FC"][name].to_numpy() for name in ("measured", "predicted"))
    rmse, mae, r2, rank, gain, recall = map(float, table.rows[0][2:])
    assert rmse == pytest.approx(np.sqrt(np.mean((truth - found) ** 2)), rel=1e-3)
    assert mae == pytest.approx(np.abs(truth - found).mean(), rel=1e-3)
    assert r2 == pytest.approx(1 - np.mean((truth - found) ** 2) / truth.var(), rel=1e-2)
    assert rank == pytest.approx(spearmanr(truth, found).statistic, rel=1e-3)
    assert gain == pytest.approx(ndcg(truth, found), rel=1e-3)
    best = set(np.argsort(-truth)[:8]) & set(np.argsort(-found)[:8])
    assert recall == len(best) / 8
    assert [row[0] for row in table.rows] == ["FC NTK", MEAN, "Random forest"]


def test_recall_is_of_a_tenth_and_none_where_nothing_varies() -> None:
    truth = np.arange(20.0)
    assert top_recall(truth, truth) == 1
    assert top_recall(truth, -truth) == 0
    assert top_recall(truth, np.where(truth == 18, -1, truth)) == 0.5
    assert np.isnan(top_recall(np.ones(5), truth[:5]))
    assert np.isnan(top_recall(truth[:5], np.ones(5)))


def test_conformal_intervals_reach_what_left_out_examples_needed() -> None:
    (case,) = cases(EXAMPLES, None, 5)
    reach = conformal_reach(EXAMPLES["FC"], "y")
    own = EXAMPLES["FC"][EXAMPLES["FC"]["split"] == LEFT_OUT]
    scores = (own["measured"] - own["predicted"]).abs().to_numpy() / 0.5
    assert reach == [conformal_quantile(scores, level) for level in (0.5, 0.8, 0.95)]
    (table,) = interval_table(case, EXAMPLES, {"FC": "FC NTK"})
    tested = case.kernels["FC"]
    inside = ((tested["measured"] - tested["predicted"]).abs() <= reach[2] * 0.5).mean()
    assert table.rows[0][6] == f"{inside:.1%}"
    assert (
        interval_table(cases({"FC": rows("test", spread=np.nan)}, None, 5)[0], EXAMPLES, {"FC": "FC"}) == []
    )


def test_the_worst_come_first_with_what_is_nearest_and_what_that_measured() -> None:
    names = pd.DataFrame(
        {"split": "test", "example": np.arange(COUNT), "name": [f"V{k}A" for k in range(COUNT)]}
    )
    assert names_of(names)("test", 3) == "V3A"
    assert names_of(names)("train", 3) == names_of(None)("train", 3) == "train 3"
    (table,) = [table for table in example_tables(shown(names=None)) if "worst" in table.title]
    tested = EXAMPLES["FC"][EXAMPLES["FC"]["split"] == "test"]
    place = int((tested["measured"] - tested["predicted"]).abs().to_numpy().argmax())
    first = table.rows[0]
    assert first[0] == f"test {place}"
    assert first[4] == f"train {COUNT - 1 - place}"
    assert first[5] == f"{tested['measured'].iloc[COUNT - 1 - place]:.4g}"


def test_sequences_are_scored_by_their_mutations() -> None:
    mutations = np.repeat([1, 2, 3], [40, 35, 5])
    names = pd.DataFrame({"split": "test", "example": np.arange(COUNT), "name": "x", "mutations": mutations})
    (table,) = [table for table in example_tables(shown(names=names)) if "mutations" in table.title]
    # Three mutations have too few sequences; a row for each method.
    assert [row[0] for row in table.rows] == ["1"] * 3 + ["2"] * 3
    tested = EXAMPLES["FC"][EXAMPLES["FC"]["split"] == "test"].iloc[:40]
    assert float(table.rows[0][3]) == pytest.approx(
        spearmanr(tested["measured"], tested["predicted"]).statistic, abs=1e-3
    )
    with style.context():
        pages = example_pages(shown(names=names), "title", "foot")
    assert len(pages) == 2
    assert len(groups(np.repeat(np.arange(30), FEWEST))) == MOST_GROUPS
    assert groups(np.repeat(np.arange(30), FEWEST))[-1][0] == f"{MOST_GROUPS - 1} or more"


def test_sequences_are_named_by_what_differs_from_the_commonest_letters() -> None:
    texts = ["ACD", "ACD", "GCD", "AC", "GGG"]
    x = np.zeros((5, 3, 5), np.uint8)
    for row, text in enumerate(texts):
        for place, letter in enumerate(text.ljust(3, "-")):
            x[row, place, "ACDG-".index(letter)] = 1
    reference = variants.commonest(x)
    assert variants.named(x, reference, "ACDG") == ["reference", "reference", "A1G", "D3-", "A1G C2G D3G"]
    np.testing.assert_array_equal(variants.differences(x, reference), [0, 0, 1, 1, 3])


def test_classes_have_a_matrix_a_reliability_curve_and_the_least_expected() -> None:
    labels = RANDOM.integers(3, size=COUNT)
    prediction = np.eye(3)[labels] - 1 / 3 + 0.4 * RANDOM.normal(size=(COUNT, 3))
    odds = np.exp(2 * prediction)
    likely = odds / odds.sum(axis=1, keepdims=True)
    described = {"task": "classification"}
    near = np.arange(COUNT), np.full(COUNT, 0.5)
    table = example_table.rows("test", prediction, labels, described, None, likely, near)
    np.testing.assert_allclose(table["surprise"], -np.log(likely[np.arange(COUNT), labels]))
    np.testing.assert_allclose(table["loss"], ((prediction - np.eye(3)[labels] + 1 / 3) ** 2).mean(axis=1))
    left = example_table.rows(LEFT_OUT, prediction, labels, described, None, likely)
    given = Shown({"FC": pd.concat([left, table])}, {"FC": "FC NTK"}, {"FC": 80}, ["a", "b", "c"], "FC")
    with style.context():
        (page,) = example_pages(given, "title", "foot")
        assert [ax.get_title() for ax in page.axes] == [
            "Confusion matrix, shares of each true class",
            "Reliability",
        ]
    (worst,) = example_tables(given)
    assert worst.rows[0][0] == f"test {table['surprise'].argmax()}"


def test_lines_of_others_are_their_errors() -> None:
    with style.context():
        (page,) = example_pages(shown(), "title", "foot")
    errors = [float(np.asarray(line.get_ydata())[0]) for line in page.axes[3].lines[2:]]
    (case,) = cases(EXAMPLES, OTHERS, 5)
    np.testing.assert_allclose(errors, list(case.errors().values()))


def beside(examples: int = 70) -> pd.DataFrame:
    scores = {MEAN: (0.09, 0.1), "Random forest": (0.03, 0.55)}
    return pd.DataFrame(
        [
            {
                "method": name,
                "settings": "",
                "examples": examples,
                "split": "digits",
                "metric": metric,
                "value": value,
            }
            for name, values in scores.items()
            for metric, value in zip(("loss", "accuracy"), values, strict=True)
        ]
    )


def test_baselines_are_levels_in_the_panels_and_rows_of_a_table() -> None:
    table, study = metrics(["FC3"], ["digits"], [64, 256]), a_study()
    with style.context():
        panels, *_ = report_figures(table, study, baselines=beside())
        loss, accuracy = (
            [float(np.asarray(line.get_ydata())[0]) for line in ax.lines if line.get_gid() == "baseline"]
            for ax in panels.axes[:2]
        )
    assert loss == [0.09, 0.03]
    assert accuracy == pytest.approx([10, 55])
    # What is guessed takes no room from the others.
    assert panels.axes[1].get_ylim()[0] > 10
    assert "random forest (dashed)" in " ".join(text.get_text() for text in panels.texts)
    found = baseline_table(table, study, beside())
    assert [row[1:4] for row in found.rows] == [
        ["FC3 NTK", "256", f"{100 * (0.2 + 0.05 * np.log(256)):.2f}"],
        [MEAN, "70", "10.00"],
        ["Random forest", "70", "55.00"],
    ]


def test_validation_chooses_the_kernel_and_leaving_one_out_says_its_own() -> None:
    table = metrics(["FC3", "CV8"], ["digits"], [64], regression=True)
    here = (table["kernel"] == "CV8") & (table["split"] == "validation")
    table.loc[here, "value"] = 0.04
    examples = {"FC3": rows(LEFT_OUT), "CV8": rows(LEFT_OUT, 0.3)}
    found = choices(table, a_study(), examples)
    assert (chosen(found, "validation"), chosen(found, "left_out")) == ("CV8", "FC3")
    assert preferred(found) == "CV8"
    own = rows(LEFT_OUT)
    expected = ((own["measured"] - own["predicted"]) ** 2).mean() / own["measured"].var(ddof=0)
    assert found["left_out"].iloc[0] == pytest.approx(expected)
    marks = choice_table(table, a_study(), found)
    assert [[cell.endswith("*") for cell in row].index(True) for row in marks.rows] == [4, 3]
    alone = choices(table, a_study(), {})
    assert chosen(alone, "left_out") is None
    swept = pd.DataFrame(
        {"kernel": ["FC3", "CV8"], "n": 64, "draw": 0, "criterion": "loo", "loss": [0.2, 0.1]}
    )
    assert chosen(choices(table, a_study(), {}, swept.assign(chosen=True)), "left_out") == "CV8"


def test_ridges_at_an_end_and_solves_that_did_not_converge_are_warned_of() -> None:
    table = metrics(["FC3", "CV8"], ["digits"], [64, 2048], unconverged=(("FC3", 2048),))
    assert [one.where for one in warnings_of(table, a_study()) if one.serious] == ["n = 2,048"]
    ended = a_study(ridge={"log10_smallest": -4, "log10_largest": 1, "count": 6})
    found = [one.what for one in warnings_of(table, ended) if not one.serious]
    assert found == ["The ridge is the smallest that was tried, 1.0e-04: a better one may lie beyond."] * 2
    with style.context():
        panels, *others = report_figures(table, ended)
    assert any("3 warnings: see the table Warnings." in text.get_text() for text in panels.texts)
    assert any(text.get_text() == "Warnings" for page in others for text in page.texts)


def test_intervals_that_hold_too_few_are_warned_of() -> None:
    table = metrics(["FC"], ["test"], [64], regression=True)
    far = {"FC": pd.concat([rows(LEFT_OUT), rows("test", 2.0)])}
    (one,) = warnings_of(table, a_study(), far)
    assert one.where == "test, y"
    assert "Intervals of 95 % hold" in one.what
    assert warnings_of(table, a_study(), EXAMPLES) == []
