"""What fit would fit, as a study: the workflow comes to the same ridge and the same predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from neural_kernels import NeuralKernelClassifier, NeuralKernelRegressor
from neural_kernels.cli import main
from neural_kernels.study.study import load_study

RANDOM = np.random.default_rng(0)
NUMBERS = pd.DataFrame(RANDOM.normal(size=(60, 3)), columns=["a", "b", "c"])
NUMBERS["yield"] = 3 + NUMBERS["a"] + np.abs(NUMBERS["b"]) + 0.1 * RANDOM.normal(size=60)
NUMBERS["kind"] = np.where(NUMBERS["a"] > 0, "warm", "cold")
SEQUENCES = pd.DataFrame({"variant": ["".join(RANDOM.choice(list("ACDEZ"), 6)) for _ in range(60)]})
SEQUENCES["fitness"] = [text.count("A") + 0.1 * RANDOM.normal() for text in SEQUENCES["variant"]]
MOLECULES = pd.DataFrame({"smiles": [f"{'C' * (k % 9 + 1)}{'O' * (k % 3)}" for k in range(60)]})
MOLECULES["mass"] = MOLECULES["smiles"].str.len() + 0.1 * RANDOM.normal(size=60)
CONFIG = Path("config/mine.yaml")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(table: pd.DataFrame, *options: str, capsys: pytest.CaptureFixture[str]) -> str:
    table.to_csv("measured.csv", index=False)
    assert main(["fit", "measured.csv", *options, "--write-config", str(CONFIG)]) == 0
    return capsys.readouterr().out


def solved(estimator: type) -> Any:
    """The study as its workflow solves it, with every row that trains."""
    study = load_study(CONFIG)
    [kernel], n = study.kernels, study.part_sizes["train"]
    for verb in (
        ["prepare-data"],
        ["preprocess-data", "--preprocessing", "prepared"],
        ["declare-kernel", "--kernel", kernel, "--part", "train"],
        ["compute-block", "--kernel", kernel, "--part", "train", "--block", "0-0"],
        ["solve", "--kernel", kernel, "--size", str(n)],
    ):
        assert main([verb[0], str(CONFIG), *verb[1:]]) == 0, verb
    return estimator.from_study(CONFIG)  # type: ignore[attr-defined]


def test_a_study_of_numbers_is_the_fit(capsys: pytest.CaptureFixture[str]) -> None:
    said = written(NUMBERS, "--features", "a", "b", "c", "--target", "yield", capsys=capsys)
    assert "54 rows train, 6 test. Next: neural-kernels plan config/mine.yaml" in said
    parts = np.load("data/mine.npz")
    own = NeuralKernelRegressor().fit(parts["x_train"], parts["y_train"])
    found = solved(NeuralKernelRegressor)
    assert found.ridge_ == pytest.approx(own.ridge_, rel=1e-12)
    np.testing.assert_allclose(found.predict(parts["x_test"]), own.predict(parts["x_test"]), rtol=1e-7)


def test_a_study_of_classes_is_the_fit(capsys: pytest.CaptureFixture[str]) -> None:
    written(NUMBERS, "--features", "a", "b", "--target", "kind", "--architecture", "FC", capsys=capsys)
    parts = np.load("data/mine.npz")
    own = NeuralKernelClassifier("FC").fit(parts["x_train"], parts["class_names"][parts["y_train"]])
    found = solved(NeuralKernelClassifier)
    assert found.ridge_ == pytest.approx(own.ridge_, rel=1e-12)
    assert list(found.predict(parts["x_test"])) == list(own.predict(parts["x_test"]))


def test_a_study_of_sequences_is_the_fit(capsys: pytest.CaptureFixture[str]) -> None:
    written(SEQUENCES, "--sequence", "variant", "--target", "fitness", capsys=capsys)
    table = pd.read_csv("data/mine.csv")
    train, test = (table[table["set"] == part] for part in ("train", "test"))
    own = NeuralKernelRegressor(inputs="strings").fit(train["sequence"].tolist(), train["fitness"])
    found = solved(NeuralKernelRegressor)
    assert found.ridge_ == pytest.approx(own.ridge_, rel=1e-12)
    sequences = test["sequence"].tolist()
    np.testing.assert_allclose(found.predict(sequences), own.predict(sequences), rtol=1e-7)


def test_a_study_of_molecules_is_the_fit(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rdkit")
    options = ("--smiles", "smiles", "--target", "mass", "--architecture", "SimpleGNN")
    written(MOLECULES, *options, capsys=capsys)
    table = pd.read_csv("data/mine.csv")
    train, test = (table[table["set"] == part] for part in ("train", "test"))
    own = NeuralKernelRegressor("SimpleGNN", inputs="molecules").fit(train["smiles"].tolist(), train["mass"])
    found = solved(NeuralKernelRegressor)
    assert found.ridge_ == pytest.approx(own.ridge_, rel=1e-12)
    smiles = test["smiles"].tolist()
    np.testing.assert_allclose(found.predict(smiles), own.predict(smiles), rtol=1e-7)


@pytest.mark.parametrize(
    ("table", "options", "sentence"),
    [
        (NUMBERS, ["--target", "yield"], "expected either --output, the folder of the model, or --write-config"),
        (NUMBERS, ["--target", "yield", "--output", "model", "--write-config", "config/new.yaml"], "either --output"),
        (NUMBERS, ["--target", "yield", "--folds", "c", "--write-config", "config/new.yaml"], "--folds is of a fit"),
        (NUMBERS, ["--target", "yield", "--write-config", "config/taken.yaml"], "is there already"),
        (NUMBERS, ["--target", "yield", "--write-config", "config/old.yaml"], "data/old.npz is there already"),
        (NUMBERS, ["--target", "yield", "--write-config", "new.txt"], "expected the name of a new study"),
        (
            NUMBERS,
            ["--target", "yield", "--architecture", "FCN", "--write-config", "config/new.yaml"],
            "'FCN'",
        ),
        (
            MOLECULES,
            ["--smiles", "smiles", "--target", "mass", "--write-config", "config/new.yaml"],
            "together, which no study has: expected --architecture",
        ),
        (
            SEQUENCES.assign(kind=["warm", "cold"] * 30),
            ["--sequence", "variant", "--target", "kind", "--write-config", "config/new.yaml"],
            "kind has classes, which a study of sequences does not learn",
        ),
        (
            SEQUENCES.assign(other=[1.5, np.nan] * 30),
            ["--sequence", "variant", "--target", "fitness", "other", "--write-config", "config/new.yaml"],
            "have blanks, which a study of sequences does not take",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_writes_nothing(
    table: pd.DataFrame, options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--smiles" in options:
        pytest.importorskip("rdkit")
    Path("config").mkdir()
    Path("data").mkdir()
    for taken in ("config/taken.yaml", "data/old.npz"):
        Path(taken).write_text("mine")
    table.to_csv("measured.csv", index=False)
    assert main(["fit", "measured.csv", *options]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert sentence in said[0]
    files = {str(path) for path in Path().rglob("*") if path.is_file()}
    assert files == {"measured.csv", "config/taken.yaml", "data/old.npz"}
