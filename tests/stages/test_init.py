"""A new study's config fits the file that it was pointed at, and passes its check as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from user_files import write_arrays, write_molecules, write_sequences

from neural_kernels.cli import main
from neural_kernels.study.study import load_study

FORMS: dict[str, tuple[str, Any, list[str]]] = {
    "arrays": ("mine.npz", write_arrays, []),
    "sequences": ("mine.csv", write_sequences, []),
    "molecules": ("assays.csv", write_molecules, ["--smiles", "smiles", "--target", "inhibits_A"]),
}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [40, 3000])
def test_the_config_passes_its_check(form: str, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    name, write, options = FORMS[form]
    write(Path(name), count)
    assert main(["init", "config/mine.yaml", "--data", name, *options]) == 0
    assert "Next: snakemake --profile" in capsys.readouterr().out
    study = load_study(Path("config/mine.yaml"))
    assert study.data.name in ("arrays", "flip", "smiles")
    assert all(study.training_sizes(kernel)[0] * 3 < count for kernel in study.kernels)
    assert main(["check", "config/mine.yaml"]) == 0
    assert main(["init", "config/mine.yaml", "--data", name, *options]) == 2


@pytest.mark.parametrize(("shape", "kernel"), [((4, 3), "Conv1D"), ((6, 6, 1), "CV8")])
def test_arrays_of_any_shape_have_an_architecture(shape: tuple[int, ...], kernel: str) -> None:
    x, y = np.random.default_rng(0).normal(size=(50, *shape)), np.arange(50.0)
    np.savez("mine.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    assert main(["init", "config/mine.yaml", "--data", "mine.npz"]) == 0
    assert list(load_study(Path("config/mine.yaml")).kernels) == [kernel]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["config/mine.txt", "--data", "mine.npz"], "expected the name of a new study"),
        (["config/mine.yaml", "--data", "nothing.npz"], "nothing.npz"),
        (["config/mine.yaml", "--data", "mine.csv", "--smiles", "smile"], "has no column 'smile'"),
        (["config/mine.yaml", "--data", "mine.csv", "--target", "fit"], "has no column 'fit'"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_arrays(Path("mine.npz"), 30)
    write_sequences(Path("mine.csv"), 30)
    assert main(["init", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(Path().glob("config/*"))
