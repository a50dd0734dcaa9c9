"""``fit --folds``: each fold is predicted from the others, and the scores are those of a fit by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from neural_kernels import NeuralKernelRegressor
from neural_kernels.cli import main
from neural_kernels.metrics.fold_scores import mean_and_error, ndcg
from neural_kernels.reports import fitted_model
from neural_kernels.reports.table_pages import Table, table_pages

WILD = "ACDEFGHIKLMN"
EFFECTS = np.random.default_rng(1).normal(size=(len(WILD), 4))


def assay() -> pd.DataFrame:
    """Every variant of a short protein by four letters, in ProteinGym's columns."""
    random = np.random.default_rng(0)
    rows = []
    for place, old in enumerate(WILD):
        for number, new in enumerate("WYVT"):
            sequence = WILD[:place] + new + WILD[place + 1 :]
            score = EFFECTS[place].mean() + 0.5 * EFFECTS[place, number] + 0.05 * random.normal()
            rows.append((f"{old}{place + 1}{new}", sequence, score, place % 3, place * 3 // len(WILD)))
    names = ["mutant", "mutated_sequence", "DMS_score", "fold_modulo_5", "fold_contiguous_5"]
    return pd.DataFrame(rows, columns=names)


@pytest.fixture(autouse=True)
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted_model, "TREES", 3)


def by_hand(table: pd.DataFrame, column: str) -> pd.DataFrame:
    rows = []
    for fold in sorted(table[column].unique()):
        held = table[column] == fold
        model = NeuralKernelRegressor(inputs="strings", ridge="loo", sequence_length=len(WILD))
        model.fit(table["mutated_sequence"][~held].tolist(), table["DMS_score"][~held])
        found, measured = (
            model.predict(table["mutated_sequence"][held].tolist()),
            table["DMS_score"][held].to_numpy(),
        )
        rows.append(
            (fold, (~held).sum(), held.sum(), model.ridge_, spearmanr(found, measured).statistic,
             np.sqrt(np.mean((found - measured) ** 2)))
        )  # fmt: skip
    return pd.DataFrame(rows, columns=["fold", "trained", "tested", "ridge", "spearman", "rmse"])


@pytest.mark.parametrize(
    "inputs", [("--sequence", "mutated_sequence"), ("--mutations", "mutant", "--wild-type", WILD)]
)
def test_scores_of_folds_are_those_of_fits_by_hand(
    inputs: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = assay()
    table.to_csv(tmp_path / "assay.csv", index=False)
    drawn: list[Table] = []

    def seen(tables: list[Table], *rest: Any) -> object:
        drawn.extend(tables)
        return table_pages(tables, *rest)

    monkeypatch.setattr(fitted_model, "table_pages", seen)
    model = tmp_path / "model"
    fit = ["fit", str(tmp_path / "assay.csv"), *inputs, "--target", "DMS_score", "--output", str(model)]
    assert main([*fit, "--folds", "fold_contiguous_5"]) == 0
    found, expected = pd.read_csv(model / "folds.csv"), by_hand(table, "fold_contiguous_5")
    assert len(found) == 3
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-7, err_msg=name)
    held = expected["spearman"]
    said = capsys.readouterr().out
    error = held.std(ddof=1) / np.sqrt(3)
    assert (
        f"DMS_score by 3 folds of fold_contiguous_5: Spearman {held.mean():.3f} ± {error:.3f}, RMSE " in said
    )
    assert drawn[0].title == "DMS_score: folds of fold_contiguous_5"
    assert [row[0] for row in drawn[0].rows] == ["0", "1", "2", "Mean ± s.e."]
    assert drawn[0].rows[1][4] == f"{held[1]:.4g}"
    # The model and its left-out predictions are those without folds, whose scores then go.
    assert main([*fit, "--folds", "fold_modulo_5"]) == 0
    assert not found.equals(pd.read_csv(model / "folds.csv"))
    assert main(fit) == 0
    assert not (model / "folds.csv").exists()
    assert said.split(";")[0].strip() == capsys.readouterr().out.splitlines()[-1].strip()


def test_the_held_out_fold_chooses_nothing(tmp_path: Path) -> None:
    table = assay()
    fit = ["--sequence", "mutated_sequence", "--target", "DMS_score", "--folds", "fold_modulo_5"]
    ridges = []
    for name, held_out_values in (
        ("measured", table["DMS_score"]),
        ("shuffled", table["DMS_score"][::-1].to_numpy()),
    ):
        changed = table.assign(
            DMS_score=np.where(table["fold_modulo_5"] == 1, held_out_values, table["DMS_score"])
        )
        changed.to_csv(tmp_path / f"{name}.csv", index=False)
        assert main(["fit", str(tmp_path / f"{name}.csv"), *fit, "--output", str(tmp_path / name)]) == 0
        ridges.append(pd.read_csv(tmp_path / name / "folds.csv"))
    assert ridges[0]["ridge"][1] == ridges[1]["ridge"][1]
    assert ridges[0]["rmse"][1] != ridges[1]["rmse"][1]


def test_targets_with_gaps_are_scored_where_they_are_known(tmp_path: Path) -> None:
    table = assay()
    table["other"] = np.where(np.arange(len(table)) % 4 == 0, np.nan, table["DMS_score"] ** 2)
    table.loc[0, "fold_modulo_5"] = np.nan
    table.to_csv(tmp_path / "assay.csv", index=False)
    model = tmp_path / "model"
    fit = ["fit", str(tmp_path / "assay.csv"), "--sequence", "mutated_sequence", "--output", str(model)]
    assert main([*fit, "--target", "DMS_score", "other", "--folds", "fold_modulo_5"]) == 0
    found = pd.read_csv(model / "folds.csv").set_index(["target", "fold"])
    assert found.loc[("DMS_score", 0.0), "tested"] == 15
    assert found.loc[("other", 0.0), "tested"] == 12
    assert pd.read_csv(model / "left_out.csv")["reason"].tolist() == ["no value for fold_modulo_5"]


def test_numbers_are_learned_from_without_the_column_of_folds(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"a": random.normal(size=40), "group": np.arange(40) % 4})
    table["y"] = np.sin(table["a"])
    table.to_csv(tmp_path / "table.csv", index=False)
    model = tmp_path / "model"
    fit = ["fit", str(tmp_path / "table.csv"), "--target", "y", "--output", str(model), "--folds", "group"]
    assert main(fit) == 0
    assert '"seen": ["a"]' in (model / "model.json").read_text().replace("\n", "").replace("  ", "")
    assert (pd.read_csv(model / "folds.csv")["spearman"] > 0.9).all()


MISTAKES = {
    ("fold_random_5",): "has no column 'fold_random_5'",
    ("mutant",): "column mutant has 96 different values, expected 2 to 50 folds",
    ("one",): "column one has 1 different values",
    ("mutated_sequence",): "mutated_sequence is both the column of folds and a target or an input",
    ("few",): "fold 1 of column few has 4 values of DMS_score, expected at least 5",
    ("strange",): "fold b of column strange has the letter 'X', which no other fold has",
    (
        "fold_modulo_5",
        "--task",
        "classification",
    ): "--folds gives scores of numbers, but DMS_score has classes",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_in_folds_is_one_sentence_and_nothing_is_written(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = assay().assign(one=1)
    table["few"] = np.where(np.arange(48) < 4, 1, 2)
    table["strange"] = np.where(np.arange(48) < 24, "a", "b")
    table.loc[40, "mutated_sequence"] = "ACDEFGHIKLXN"
    if arguments[0] == "mutant":
        table = pd.concat([table, table.assign(mutant=table["mutant"] + "+")])
    table.to_csv(tmp_path / "assay.csv", index=False)
    fit = ["fit", str(tmp_path / "assay.csv"), "--sequence", "mutated_sequence", "--target", "DMS_score"]
    assert main([*fit, "--output", str(tmp_path / "model"), "--folds", *arguments]) == 2
    assert MISTAKES[arguments] in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_ndcg_is_that_of_proteingym() -> None:
    random = np.random.default_rng(0)
    measured, predicted = random.normal(size=57), random.normal(size=57)
    gains = (measured - measured.min()) / (measured.max() - measured.min())
    discounts = 1 / np.log2(np.arange(2, 7))
    expected = (gains[np.argsort(-predicted)[:5]] * discounts).sum() / (
        np.sort(gains)[::-1][:5] * discounts
    ).sum()
    assert ndcg(measured, predicted) == pytest.approx(expected)
    assert ndcg(measured, measured) == pytest.approx(1.0)
    assert np.isnan(ndcg(np.ones(10), np.arange(10.0)))


def test_a_score_that_a_fold_lacks_is_left_out_of_the_mean() -> None:
    np.testing.assert_allclose(mean_and_error([1.0, np.nan, 3.0]), (2.0, 1.0))
    assert np.isnan(mean_and_error([np.nan])).all()
    mean, error = mean_and_error([2.0])
    assert mean == 2.0
    assert np.isnan(error)
