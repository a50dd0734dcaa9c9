"""Comparisons of splits: what the file says, and a tiny one from its tables to its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import spearmanr

from neural_kernels.errors import UserError
from neural_kernels.metrics import table as metrics_table
from neural_kernels.stages import (
    splits as split_stages,
)
from neural_kernels.stages.data import prepare_data, preprocess_data
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.kernels import compute_block, declare_kernel
from neural_kernels.stages.report import collect_metrics
from neural_kernels.stages.solve import solve
from neural_kernels.storage import sealed_parquet
from neural_kernels.study.folders import predictions_file
from neural_kernels.study.split_comparison import load_comparison
from neural_kernels.study.study import Study, load_study

SPLITS = {
    "title": "Tiny proteins",
    "note": "Made up.",
    "splits": {"few": "few", "many": "many", "elsewhere": None},
    "published": [{"name": "Others", "source": "nobody", "values": {"few": 0.5, "elsewhere": -0.1}}],
}
ALONE: dict[str, Any] = {"published": []}
COMPARISON = "comparisons/proteins.yaml"
FEW: dict[str, Any] = {
    "title": "few",
    "data": {"name": "flip", "path": "few.csv", "validation_examples": None},
    "preprocessing": {"plain": {"method": "standardize"}},
    "kernels": {
        "FC": {"architecture": {"name": "FC", "depth": 1}, "preprocessing": "plain"},
        "Conv1D": {"architecture": {"name": "Conv1D"}, "preprocessing": "plain", "test_examples": 25},
    },
    "blocks": {"edge": 64},
    "training_sizes": {"smallest": 9},
    "ridge": {"candidates": [1e-4, 1e-2, 1.0]},
}
MANY: dict[str, Any] = {"title": "many", "like": "few", "data": FEW["data"] | {"path": "many.csv"}}


def table(rng: np.random.Generator, count: int) -> str:
    """Variants of one sequence of 12, at three sites, whose target is a sum over the sites and noise."""
    letters, wild = list("ACDEFG"), rng.choice(list("ACDEFG"), 12)
    effects = rng.normal(size=(3, len(letters)))
    rows = ["sequence,target,set,validation"]
    for row in range(count):
        sites = rng.integers(0, len(letters), 3)
        sequence = wild.copy()
        sequence[4:7] = [letters[k] for k in sites]
        value = 10 + 3 * (effects[[0, 1, 2], sites].sum() + 0.1 * rng.normal())
        part = "test," if row % 2 else "train,True" if row % 10 == 0 else "train,"
        rows.append(f"{''.join(sequence)},{value:.6f},{part}")
    return "\n".join(rows)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Config and results of a comparison whose studies have been run, in one folder."""
    folder = tmp_path_factory.mktemp("comparison")
    rng = np.random.default_rng(0)
    for name, config, count in (("few", FEW, 60), ("many", MANY, 120)):
        (folder / f"{name}.csv").write_text(table(rng, count))
        config = config | {"data": config["data"] | {"path": str(folder / f"{name}.csv")}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / COMPARISON).parent.mkdir()
    (folder / COMPARISON).write_text(yaml.safe_dump(SPLITS, sort_keys=False))
    for study in load_comparison(folder / COMPARISON).run.values():
        _run(study, folder / "results")
    return folder


def _run(study: Study, results: Path) -> None:
    prepare_data(study, results)
    preprocess_data(study, results, "plain")
    for kernel in study.kernels:
        for part in ("train", "validation", "test"):
            store = declare_kernel(study, results, kernel, part)
            for block in store.grid.blocks():
                compute_block(study, results, kernel, part, block, threads=1)
        for n in study.training_sizes(kernel):
            solve(study, results, kernel, n, threads=1)
            evaluate_predictions(study, results, kernel, n)
        split_stages.predict_tests(study, results, kernel, study.training_sizes(kernel)[-1])
    collect_metrics(study, results)


def test_predictions_are_those_that_were_scored(finished: Path) -> None:
    study, results = load_study(finished / "many.yaml"), finished / "results"
    metrics = metrics_table.read(results / "many/metrics.parquet")
    raw = pd.read_csv(finished / "many.csv").query("set == 'test'")["target"].to_numpy()
    for kernel, examples in (("FC", 60), ("Conv1D", 25)):
        n = study.training_sizes(kernel)[-1]
        found = pd.read_parquet(results / f"many/test_predictions/{kernel}/n{n}.parquet")
        assert set(found["test_set"]) == {"test"}
        # In the units of the table.
        assert len(found) == examples
        assert set(found["measured"]) <= set(raw)
        scored = metrics.query(f"kernel == '{kernel}' and n == {n} and split == 'test'").set_index("metric")[
            "value"
        ]
        assert spearmanr(found["predicted"], found["measured"]).statistic == pytest.approx(scored["spearman"])
        train = pd.read_csv(finished / "many.csv").query("set == 'train' and validation != True")["target"]
        error = ((found["predicted"] - found["measured"]) ** 2).mean() / train.var(ddof=0)
        assert error == pytest.approx(scored["mse"])
        assert scored["spearman"] > 0.8


def test_the_report_has_every_split_and_chooses_by_validation(finished: Path) -> None:
    comparison, results = load_comparison(finished / COMPARISON), finished / "results"
    split_stages.report_splits(comparison, results)
    assert (results / "proteins_splits.pdf").read_bytes().startswith(b"%PDF")
    assert (results / "proteins/splits.png").read_bytes().startswith(b"\x89PNG")
    rows = pd.read_csv(results / "proteins/splits.csv")
    assert rows["split"].tolist() == ["few", "few", "many", "many", "elsewhere"]
    assert rows["Others"].tolist()[::2] == pytest.approx([0.5, np.nan, -0.1], nan_ok=True)
    assert rows["test_examples"].tolist()[:4] == [30, 25, 60, 25]
    assert rows["n"].tolist()[:4] == [24, 24, 48, 48]
    for split in ("few", "many"):
        own = rows.loc[rows["split"] == split]
        assert own.loc[own["chosen"], "validation_mse"].tolist() == [own["validation_mse"].min()]


def test_what_is_no_single_regression_is_refused(finished: Path) -> None:
    study, results = load_study(finished / "few.yaml"), finished / "results"
    with pytest.raises(UserError, match="study few has no training size 7 of kernel FC"):
        split_stages.predict_tests(study, results, "FC", 7)
    path = predictions_file(study, results, "FC", 24)
    whole = path.read_bytes()
    try:
        sealed_parquet.write(path, pd.read_parquet(path).assign(output=1))
        with pytest.raises(UserError, match="study few predicts several targets"):
            split_stages.report_splits(load_comparison(finished / COMPARISON), results)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"splits": {"few": "gone"}, **ALONE},
            "splits.few is 'gone', expected a study, but .*gone.yaml is missing",
        ),
        ({"splits": {"few": None}, **ALONE}, "no split has a study"),
        (
            {"splits": {"few": "few", "again": "few"}, **ALONE},
            "splits.few is 'few', which is the study of another",
        ),
        ({"splits": {"few": "few"}}, "published.0.values has 'elsewhere', expected one of few"),
        ({"test_set": "valid"}, "test_set is 'valid', but study few has test"),
        ({"published": [{"name": "Others", "values": {}}]}, "published.0 lacks the key 'source'"),
        ({"published": [{"name": "n", "source": "s", "values": {"few": 7}}]}, "published.0.values.few"),
        ({"kernels": {}}, "unknown key 'kernels' in the file"),
    ],
)
def test_mistakes_in_a_comparison_are_named(
    finished: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    for name in ("few", "many"):
        (tmp_path / f"{name}.yaml").write_text((finished / f"{name}.yaml").read_text())
    config = SPLITS | changes
    path = tmp_path / "comparisons" / "mine.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    with pytest.raises(UserError, match=message):
        load_comparison(path)
