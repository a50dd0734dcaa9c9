"""The stage of simple methods: their scores are of the study's own test sets, and what they predict stands beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from tiny_studies import DIGITS, study_with_blocks

from neural_kernels import sealed_arrays
from neural_kernels.baselines import methods
from neural_kernels.errors import UserError
from neural_kernels.reports.worst_examples import names_of
from neural_kernels.stages import inputs, job_memory
from neural_kernels.stages.baselines import fit_baselines
from neural_kernels.storage import sealed_parquet
from neural_kernels.storage.files import read_json, write_json
from neural_kernels.study import folders
from neural_kernels.study.folders import at
from neural_kernels.study.study import Study


@pytest.fixture(autouse=True)
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "TREES", 5)


def read(study: Study, results: Path, pattern: str) -> pd.DataFrame:
    return sealed_parquet.read(at(results, pattern, study=study.name))


def test_scores_follow_from_the_first_examples_and_the_test_sets(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(90, 4)), random.normal(size=90)
    y += 10 + 3 * x[:, 0]
    np.savez(tmp_path / "a.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    data = {
        "name": "arrays",
        "path": str(tmp_path / "a.npz"),
        "train_examples": 45,
        "validation_examples": 15,
    }
    config = DIGITS | {"data": data, "training_sizes": {"sizes": [20, 40]}, "baselines": {"examples": 30}}
    config["kernels"] = {"FC": DIGITS["kernels"]["FC"] | {"test_examples": 25}}
    study, results = study_with_blocks(tmp_path, config)
    fit_baselines(study, results, threads=1)
    found = read(study, results, folders.BASELINES)
    assert set(found["examples"]) == {30}
    assert set(found["split"]) == {"validation", "test"}
    rows = read(study, results, folders.BASELINE_EXAMPLES)
    assert set(rows["split"]) == {"test"}
    ridge = rows[rows["method"] == "Ridge regression"]
    np.testing.assert_array_equal(ridge["measured"], y[60:85])
    train_x, train_y = (np.load(results / f"tiny/data/train_{name}.npy")[:30] for name in "xy")
    chosen = float(found[found["method"] == "Ridge regression"]["settings"].iloc[0].removeprefix("ridge "))
    mean, std = train_x.mean(axis=0), train_x.std(axis=0)
    # A ridge is relative to targets' own scale, on which predictions do not depend.
    own = Ridge(chosen).fit((train_x - mean) / std, train_y.ravel())
    np.testing.assert_allclose(ridge["predicted"], own.predict((x[60:85] - mean) / std), rtol=0.02)
    spread = np.load(results / "tiny/data/train_y.npy").std()
    mse = found[
        (found["method"] == "Ridge regression") & (found["split"] == "test") & (found["metric"] == "mse")
    ]
    expected = ((ridge["predicted"] - ridge["measured"]) ** 2).mean() / spread**2
    assert mse["value"].item() == pytest.approx(expected, rel=1e-6)
    before = at(results, folders.BASELINES, study="tiny").stat().st_mtime_ns
    fit_baselines(study, results, threads=1)
    assert at(results, folders.BASELINES, study="tiny").stat().st_mtime_ns == before
    assert job_memory.fit_baselines(study) == job_memory.PROGRAM + 1
    assert inputs.baselines(study) == ["results/tiny/baselines.parquet"]


def test_sequences_are_named_and_a_study_may_do_without(tmp_path: Path) -> None:
    letters = ["ACDEFGHIKL"[k % 10] + "CDA" for k in range(30)] + ["ACDA"] * 20
    lines = ["sequence,target,set,validation"]
    lines += [f"{text},{k % 7},{'test' if k % 3 == 0 else 'train'}," for k, text in enumerate(letters)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    data = {"name": "flip", "path": str(tmp_path / "a.csv"), "train_examples": 25, "validation_examples": 5}
    config = DIGITS | {"data": data, "training_sizes": {"sizes": [20]}}
    config["kernels"] = {"FC": {"architecture": {"name": "FC", "depth": 1}, "preprocessing": "plain"}}
    study, results = study_with_blocks(tmp_path, config)
    fit_baselines(study, results, threads=1)
    names = read(study, results, folders.NAMES)
    assert set(names["split"]) == {"train", "validation", "test"}
    assert set(names[names["name"] == "reference"]["mutations"]) == {0}
    assert (names[names["name"] != "reference"]["name"].str.fullmatch("A1[A-Z]")).all()
    (tmp_path / "off").mkdir()
    off = DIGITS | {"baselines": {"examples": 0}}
    study, results = study_with_blocks(tmp_path / "off", off)
    with pytest.raises(UserError, match=r"baselines\.examples is 0"):
        fit_baselines(study, results)
    assert inputs.baselines(study) == []


def test_others_are_named_by_line_row_or_file(tmp_path: Path) -> None:
    pytest.importorskip("rdkit", reason="reading SMILES needs the package rdkit")
    lines = [f"{'C' * (k + 1)}O,{k / 7}" for k in range(60)]
    (tmp_path / "mine.csv").write_text("\n".join(["smiles,y", *lines]))
    data: dict[str, Any] = {
        "name": "smiles",
        "path": str(tmp_path / "mine.csv"),
        "split": {"method": "random"},
    }
    data |= {"validation_examples": None, "train_examples": 40}
    config = DIGITS | {"data": data, "training_sizes": {"sizes": [40]}}
    config["kernels"] = {"FC": {"architecture": {"name": "SimpleGNN"}, "preprocessing": "plain"}}
    study, results = study_with_blocks(tmp_path, config)
    fit_baselines(study, results, threads=1)
    names = read(study, results, folders.NAMES)
    assert list(names.columns) == ["split", "example", "name"]
    rows = pd.read_csv(results / "tiny/data/rows.csv")
    for part in ("train", "test"):
        own = names[names["split"] == part]
        assert own["name"].tolist() == [f"line {line}" for line in rows[rows["part"] == part]["line"]]
    assert names_of(names)("test", 0).startswith("line ")


def test_data_without_rows_has_no_names_and_is_not_fitted_again(tmp_path: Path) -> None:
    study, results = study_with_blocks(tmp_path, DIGITS | {"baselines": {"examples": 20}})
    path = results / "tiny/data/data.json"
    described = read_json(path)
    del described[sealed_arrays.KEY]["rows.csv"]
    write_json(path, described)
    fit_baselines(study, results, threads=1)
    assert not len(read(study, results, folders.NAMES))
    before = at(results, folders.BASELINES, study="tiny").stat().st_mtime_ns
    fit_baselines(study, results, threads=1)
    assert at(results, folders.BASELINES, study="tiny").stat().st_mtime_ns == before
