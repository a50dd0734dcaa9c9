"""From a table to a model, its report and predictions, on the command line, without a study."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from neural_kernels import NeuralKernelClassifier, NeuralKernelRegressor
from neural_kernels.cli import main
from neural_kernels.datasets.mutations import mutated
from neural_kernels.reports import fitted_model
from neural_kernels.stages.fit import Columns, _mutations

RANDOM = np.random.default_rng(0)
TABLE = pd.DataFrame(RANDOM.normal(size=(60, 3)), columns=["a", "b", "c"])
TABLE["name"] = [f"sample {k}" for k in range(60)]
TABLE["yield"] = 3 + TABLE["a"] + np.abs(TABLE["b"]) + 0.1 * RANDOM.normal(size=60)
TABLE["kind"] = np.where(TABLE["a"] > 0, "warm", "cold")
SEQUENCES = ["".join(RANDOM.choice(list("ACDE"), 6)) for _ in range(40)]
FITNESS = [sequence.count("A") + 0.1 * RANDOM.normal() for sequence in SEQUENCES]


@pytest.fixture(autouse=True)
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Baselines are not what is tested here, and take most of the time of a small fit."""
    monkeypatch.setattr(fitted_model, "TREES", 3)


def test_numbers_are_learned_and_predicted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TABLE.iloc[:50].to_csv(tmp_path / "measured.csv", index=False)
    TABLE.iloc[50:].drop(columns=["yield", "kind"]).to_csv(tmp_path / "new.csv", index=False)
    model = tmp_path / "model"
    fit = ["fit", str(tmp_path / "measured.csv"), "--target", "yield", "--output", str(model)]
    assert main(fit) == 0
    assert "left-out RMSE" in capsys.readouterr().out
    assert (model / "report.pdf").read_bytes().startswith(b"%PDF")
    own = NeuralKernelRegressor().fit(TABLE[["a", "b", "c"]].to_numpy()[:50], TABLE["yield"][:50])
    assert json.loads((model / "model.json").read_text())["ridge"] == own.ridge_
    assert main(["predict", str(model), str(tmp_path / "new.csv")]) == 0
    found = pd.read_csv(tmp_path / "new_predictions.csv")
    assert list(found.columns[:4]) == ["a", "b", "c", "name"]
    mean, std = own.predict(TABLE[["a", "b", "c"]].to_numpy()[50:], return_std=True)
    np.testing.assert_allclose(found["prediction"], mean, rtol=1e-8)
    np.testing.assert_allclose(found["std"], std, rtol=1e-6)
    assert (found["std_function"] < found["std"]).all()
    assert ((found["low_95"] < mean) & (mean < found["high_95"])).all()
    np.testing.assert_allclose(found["upper_confidence_bound"], mean + 2 * found["std_function"])
    np.testing.assert_array_equal(found["rank"], found["prediction"].rank(ascending=False))
    by_row = pd.read_csv(model / "leave_one_out.csv")
    np.testing.assert_array_equal(by_row["line"], np.arange(50) + 2)
    np.testing.assert_allclose(by_row["prediction"], own.loo_predictions_, rtol=1e-8)
    np.testing.assert_allclose(by_row["std"], own.loo_spread(), rtol=1e-6)
    places, likeness = own.nearest(TABLE[["a", "b", "c"]].to_numpy()[50:])
    assert (found["nearest_training_line"] == places + 2).all()
    np.testing.assert_allclose(found["nearest_similarity"], likeness, rtol=1e-9)
    # The same again goes on with what is there; another model does not go into its folder.
    assert main(fit) == 0
    assert main([*fit, "--architecture", "FC"]) == 2
    assert main(["fit", str(tmp_path / "measured.csv"), "--target", "a", "--output", str(model)]) == 2


def test_intervals_cover_what_they_say() -> None:
    levels = (0.5, 0.8, 0.95)
    inside = []
    for seed in range(6):
        random = np.random.default_rng(seed)
        x = random.normal(size=(700, 3))
        y = np.sin(x).sum(axis=1) + 0.3 * random.standard_t(3, size=700)
        fitted = NeuralKernelRegressor().fit(x[:200], y[:200])
        ends = [fitted.predict_interval(x[200:], level) for level in levels]
        inside.append([((low <= y[200:]) & (y[200:] <= high)).mean() for low, high in ends])
    np.testing.assert_allclose(np.mean(inside, axis=0), levels, atol=0.05)
    low, high = fitted.predict_interval(x[200:], 0.9999)
    assert np.isinf(high - low).all()


def test_classes_have_probabilities(tmp_path: Path) -> None:
    TABLE.iloc[:50].to_csv(tmp_path / "measured.csv", index=False)
    TABLE.iloc[50:].to_csv(tmp_path / "new.csv", index=False)
    arguments = ["--features", "a", "b", "--target", "kind", "--output", str(tmp_path / "model")]
    assert main(["fit", str(tmp_path / "measured.csv"), *arguments]) == 0
    output = tmp_path / "out.parquet"
    assert (
        main(
            [
                "predict",
                str(tmp_path / "model"),
                "--inputs",
                str(tmp_path / "new.csv"),
                "--output",
                str(output),
            ]
        )
        == 0
    )
    found = pd.read_parquet(output)
    own = NeuralKernelClassifier().fit(TABLE[["a", "b"]].to_numpy()[:50], TABLE["kind"][:50])
    p = own.predict_proba(TABLE[["a", "b"]].to_numpy()[50:])
    np.testing.assert_allclose(found[["probability_cold", "probability_warm"]], p, rtol=1e-4)
    assert (found["class"] == own.classes_[p.argmax(axis=1)]).all()


def test_rows_that_cannot_be_used_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*zip(SEQUENCES, FITNESS, strict=True), ("AC?", 1.0), ("", 2.0), ("ACDE", "")]
    measured = pd.DataFrame(rows, columns=["sequence", "fitness"])
    measured.to_csv(tmp_path / "measured.csv", index=False)
    model = tmp_path / "model"
    assert main(
        ["fit", str(tmp_path / "measured.csv"), "--sequence", "sequence", "--target", "fitness", "--output", str(model)]
    ) == 0  # fmt: skip
    left = pd.read_csv(model / "left_out.csv")
    assert left["line"].tolist() == [42, 43, 44]
    assert left["reason"].tolist() == [
        "'AC?' is no sequence of letters", "no value for sequence", "no value for fitness",
    ]  # fmt: skip
    fresh = ["ACDEAC", "A A", "ACDEACD", "ACZEAC"]
    pd.DataFrame({"sequence": fresh}).to_csv(tmp_path / "new.1.csv", index=False)
    assert main(["predict", str(model), str(tmp_path / "new.1.csv")]) == 0
    assert len(pd.read_csv(tmp_path / "new.1_predictions.csv")) == 1
    listed = pd.read_csv(tmp_path / "new.1_predictions_left_out.csv")
    assert listed["line"].tolist() == [3, 4, 5]
    said = capsys.readouterr().err
    assert "line 4 is left out: it has 7 letters, more than any trained on, 6" in said
    assert "line 5 is left out: it has 'Z', a letter that was not trained on" in said


def test_long_sequences_are_called_by_what_differs() -> None:
    columns = Columns("strings", ("sequence",), ("fitness",), False)
    long = _mutations(["A" * 50, "A" * 50, "A" * 49 + "C", "A" * 48], columns)
    assert long is not None
    assert long.counts.tolist() == [0, 0, 1, 2]
    assert long.names == ["reference", "reference", "A50C", "A49- A50-"]
    short = _mutations(["acd", "ACG"], replace(columns, wild_type="ACD"))
    assert short is not None
    assert (short.counts.tolist(), short.reference, short.names) == ([0, 1], "the wild type", ["acd", "ACG"])
    assert _mutations(["C"], replace(columns, inputs="molecules")) is None


def test_a_ridge_at_an_end_and_a_solve_that_did_not_converge_are_warned_of() -> None:
    x = TABLE[["a", "b", "c"]].to_numpy()
    fitted = NeuralKernelRegressor(ridges=[10.0, 100.0]).fit(x, TABLE["yield"])
    (said,) = fitted_model.warnings_of(fitted)
    assert said == "The best ridge, 10, is at an end of those that were tried."
    fitted.solve_ = replace(fitted.solve_, column_residuals=[0.5], column_stops=["max_iterations"])
    assert not fitted.solve_.converged
    assert fitted_model.warnings_of(fitted)[0] == "The solve has not converged: residual 5.0e-01."
    assert fitted_model.warnings_of(NeuralKernelRegressor(ridge=0.1).fit(x, TABLE["yield"])) == []


WILD = "ACDEFGHIKL"


def test_mutations_of_a_wild_type_are_the_sequences_that_they_make(tmp_path: Path) -> None:
    mutations = [f"{WILD[k]}{k + 1}{new}" for k in range(10) for new in "WYV"]
    mutations = [*mutations, *(f"{a}:{b}" for a, b in zip(mutations[:9], mutations[9:18], strict=True)), "WT"]
    fitness = [text.count("W") - text.count("V") + 0.1 * RANDOM.normal() for text in mutations]
    measured = pd.DataFrame({"mutant": [*mutations, "A2V", "C2"], "DMS_score": [*fitness, 1.0, 1.0]})
    measured.to_csv(tmp_path / "measured.csv", index=False)
    (tmp_path / "wild.fasta").write_text(f">P1 a protein\n{WILD[:5]}\n{WILD[5:]}\n>P2\nAAA\n")
    model = tmp_path / "model"
    fit = ["fit", str(tmp_path / "measured.csv"), "--target", "DMS_score", "--output", str(model)]
    assert main([*fit, "--mutations", "mutant"]) == 2
    assert main([*fit, "--mutations", "mutant", "--wild-type", str(tmp_path / "wild.fasta")]) == 0
    assert pd.read_csv(model / "left_out.csv")["reason"].tolist() == [
        "'A2V' has the mutation A2V, but the wild type has C there",
        "'C2' has the mutation 'C2', expected one as A123V",
    ]
    sequences = [mutated(WILD, text) for text in mutations]
    assert sequences[-1] == WILD
    own = NeuralKernelRegressor().fit(sequences, fitness)
    assert (
        main(["predict", str(model), str(tmp_path / "measured.csv"), "--output", str(tmp_path / "out.csv")])
        == 0
    )
    found = pd.read_csv(tmp_path / "out.csv")
    np.testing.assert_allclose(found["prediction"], own.predict(sequences), rtol=1e-8)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("A11V", "10 positions"),
        ("A1V:A1W", "changes position 1 twice"),
        ("A0V", "10 positions"),
        ("1AV", "expected one as"),
    ],
)
def test_what_is_no_mutation_is_said(text: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        mutated(WILD, text)


def test_molecules_are_learned_from_their_smiles(tmp_path: Path) -> None:
    pytest.importorskip("rdkit")
    smiles = ["C" * k + end for k in range(1, 7) for end in ("", "O", "N", "Cl")]
    table = pd.DataFrame(
        {"smiles": [*smiles, "C(("], "mass": [*map(len, smiles), 9], "flag": ["1", "0"] * 12 + ["1"]}
    )
    table.to_csv(tmp_path / "measured.csv", index=False)
    arguments = ["fit", str(tmp_path / "measured.csv"), "--smiles", "smiles"]
    assert main([*arguments, "--target", "mass", "--output", str(tmp_path / "mass")]) == 0
    assert main([*arguments, "--target", "mass", "flag", "--output", str(tmp_path / "both")]) == 0
    for name in ("mass", "both"):
        output = tmp_path / f"{name}.csv"
        assert (
            main(["predict", str(tmp_path / name), str(tmp_path / "measured.csv"), "--output", str(output)])
            == 0
        )
        found = pd.read_csv(output)
        assert len(found) == 24
        column = "prediction" if name == "mass" else "prediction_mass"
        assert np.corrcoef(found[column], found["mass"])[0, 1] > 0.9


def table_of(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": RANDOM.normal(size=40), "b": RANDOM.normal(size=40), **columns})


ODD_TABLES = {
    "labels as floats with a blank": (table_of(y=[*[0.0, 1.0] * 19, None, 1.0]), 0, "left-out accuracy"),
    "one example of a class": (table_of(y=["few"] + ["many"] * 39), 0, "left-out accuracy"),
    "a class each": (table_of(y=[f"c{k}" for k in range(40)]), 0, "left-out accuracy"),
    "a text among numbers": (
        table_of(y=[*RANDOM.normal(size=39), "<0.1"]),
        2,
        "line 41: column y has '<0.1'",
    ),
    "one value for all": (table_of(y=[2.0] * 40), 0, "left-out RMSE 0"),
    "a target with few values": (
        table_of(y=[*RANDOM.normal(size=40)], z=[1.0, 2.0, *[None] * 38]),
        0,
        "z: left-out",
    ),
    "a feature with a text": (
        table_of(c=[*range(39), "NA"], y=[*RANDOM.normal(size=40)]),
        0,
        "column c is not learned",
    ),
}


@pytest.mark.parametrize("name", ODD_TABLES)
def test_odd_tables_are_fitted_or_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, status, sentence = ODD_TABLES[name]
    table.to_csv(tmp_path / "odd.csv", index=False)
    targets = ["y", "z"] if "z" in table else ["y"]
    fit = ["fit", str(tmp_path / "odd.csv"), "--target", *targets, "--output", str(tmp_path / "model")]
    assert main(fit) == status
    streams = capsys.readouterr()
    assert sentence in streams.out + streams.err
    if status == 0:
        assert main(["predict", str(tmp_path / "model"), str(tmp_path / "odd.csv")]) == 0
        found = pd.read_csv(tmp_path / "odd_predictions.csv")
        assert "low_95" not in found or name == "a target with few values" or found["low_95"].notna().all()


def test_another_architecture_takes_the_folder_of_a_fit_that_never_began(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "measured.csv", index=False)
    fit = ["fit", str(tmp_path / "measured.csv"), "--target", "yield", "--output", str(tmp_path / "model")]
    assert main([*fit, "--architecture", "Conv1D"]) == 2
    assert main(fit) == 0


MISTAKES = {
    ("--target", "yields"): "has no column 'yields', expected one of a, b, c, name, yield, kind",
    ("--target", "yield", "--smiles", "name", "--sequence", "name"): "--smiles and --sequence are given",
    ("--target", "a", "--features", "a", "b"): "a is both a target and an input",
    ("--target", "kind", "yield"): "are classes, expected one column",
    (
        "--target",
        "yield",
        "--features",
        "name",
    ): "line 2: column name has 'sample 0', expected a finite number",
    ("--target", "yield", "yield"): "yield is given twice",
    ("--target", "yield", "--architecture", "FC9"): "architecture is 'FC9'",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    TABLE.to_csv(tmp_path / "measured.csv", index=False)
    assert main(["fit", str(tmp_path / "measured.csv"), *arguments, "--output", str(tmp_path / "model")]) == 2
    said = capsys.readouterr().err
    assert MISTAKES[arguments] in said
    assert "Traceback" not in said


def test_a_model_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TABLE.to_csv(tmp_path / "new.csv", index=False)
    assert main(["predict", str(tmp_path), str(tmp_path / "new.csv")]) == 2
    assert "has no model.json, expected the folder that neural-kernels fit wrote" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "model"), str(tmp_path / "new.csv")]) == 2
    assert "is neither a study's config nor the folder of a model" in capsys.readouterr().err
    (tmp_path / "study.yaml").touch()
    assert main(["predict", str(tmp_path / "study.yaml"), str(tmp_path / "new.csv")]) == 2
    assert "predictions by a study need --kernel" in capsys.readouterr().err
    TABLE.iloc[:20].to_csv(tmp_path / "measured.csv", index=False)
    model = tmp_path / "model"
    assert main(["fit", str(tmp_path / "measured.csv"), "--target", "yield", "--output", str(model)]) == 0
    inside = ["--output", str(model / "training.csv")]
    assert main(["predict", str(model), str(tmp_path / "new.csv"), *inside]) == 2
    assert "in the folder of the model" in capsys.readouterr().err
    text = (model / "training.csv").read_text()
    (model / "training.csv").write_text(text.replace("0", "1", 1))
    assert main(["predict", str(model), str(tmp_path / "new.csv")]) == 2
    assert "is not what model.json was fitted on" in capsys.readouterr().err
