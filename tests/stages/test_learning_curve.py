"""From the blocks of a study to the learning curve that its kernel matrix predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_studies import DIGITS, study_with_blocks

from neural_kernels.errors import UserError
from neural_kernels.machine import memory
from neural_kernels.stages import learning_curve
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.learning_curve import predict_learning_curve
from neural_kernels.stages.report import collect_metrics, report_scaling
from neural_kernels.stages.solve import solve
from neural_kernels.storage import sealed_parquet
from neural_kernels.study.study import Study, load_study

SIZES = 10, 20, 40, 60
CONFIG: dict[str, Any] = DIGITS | {
    "training_sizes": {"sizes": list(SIZES)},
    "draws": 2,
    "ridge": {"candidates": [1e-2]},
    "solver": {"direct_up_to": 40, "preconditioner": {"rank": 5}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    study, results = study_with_blocks(tmp_path_factory.mktemp("study"), CONFIG)
    for n in SIZES:
        solve(study, results, "FC", n, threads=1)
        evaluate_predictions(study, results, "FC", n)
    collect_metrics(study, results)
    return study, results


def curve(results: Path) -> pd.DataFrame:
    return sealed_parquet.read(results / "tiny/learning_curves/FC.parquet")


def test_every_size_up_to_the_direct_ones_is_predicted_and_reported(run: tuple[Study, Path]) -> None:
    study, results = run
    predict_learning_curve(study, results, "FC", threads=1)
    table = curve(results)
    assert table["n"].tolist() == list(SIZES)
    assert table["kernel_examples"].tolist() == [40] * 4
    assert table["predicted"].isna().tolist() == [False, False, False, True]
    assert "has 40 examples" in table["reason"].iloc[-1]
    report_scaling(study, results)
    reported = pd.read_csv(results / "tiny/learning_curves.csv")
    np.testing.assert_allclose(reported["predicted"], table["predicted"])
    metrics = pd.read_parquet(results / "tiny/metrics.parquet").query(
        "split == 'digits' and metric == 'loss'"
    )
    np.testing.assert_allclose(reported["measured"], metrics.groupby("n")["value"].mean())
    np.testing.assert_allclose(
        reported["deviation_percent"], 100 * (reported["predicted"] / reported["measured"] - 1)
    )
    # 33 test images and 40 to predict from.
    assert reported["deviation_percent"].abs().max() < 30


def test_a_curve_that_is_there_is_taken_over(run: tuple[Study, Path]) -> None:
    study, results = run
    predict_learning_curve(study, results, "FC")
    path = results / "tiny/learning_curves/FC.parquet"
    before = path.stat().st_mtime_ns
    predict_learning_curve(study, results, "FC")
    assert path.stat().st_mtime_ns == before


def variant(study: Study, folder: Path, **changes: Any) -> Study:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(CONFIG | changes))
    return load_study(path)


def test_without_a_direct_size_the_reason_stands_in_the_table(
    run: tuple[Study, Path], tmp_path: Path
) -> None:
    study = variant(run[0], tmp_path, solver={"direct_up_to": 5})
    assert study.predicted_from("FC") == 0
    predict_learning_curve(study, tmp_path / "results", "FC")
    assert set(curve(tmp_path / "results")["reason"]) == {"no training size is solved directly"}


def test_the_matrix_takes_half_of_the_memory_at_most(run: tuple[Study, Path], tmp_path: Path) -> None:
    data = CONFIG["data"] | {"train_examples": 1300}
    sizes = {"sizes": [1200]}
    small = variant(run[0], tmp_path, data=data, training_sizes=sizes, solver={"memory_gib": 0.02})
    assert small.predicted_from("FC") == 819
    assert 16 * 819**2 < 0.01 * 2**30 < 16 * 820**2


def test_too_little_memory_is_one_sentence(run: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    study, results = run
    (results / "tiny/learning_curves/FC.parquet").unlink(missing_ok=True)
    monkeypatch.setattr(memory, "left", lambda gib: 1000)
    with pytest.raises(UserError, match=r"matrix of 40 examples takes .* solver\.memory_gib leaves"):
        predict_learning_curve(study, results, "FC")


def test_labels_that_are_missing_are_a_reason(
    run: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results = run

    class Gaps:
        def load(self, name: str, count: int) -> np.ndarray:
            return np.full((count, 2), np.nan)

    (results / "tiny/learning_curves/FC.parquet").unlink(missing_ok=True)
    monkeypatch.setattr(learning_curve, "open_features_folder", lambda *given: Gaps())
    predict_learning_curve(study, results, "FC")
    assert curve(results)["predicted"].isna().all()
    assert curve(results)["reason"].str.startswith("labels are missing").all()


def test_what_is_missing_is_one_sentence(run: tuple[Study, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"kernel\.json"):
        predict_learning_curve(run[0], tmp_path, "FC")
    with pytest.raises(UserError, match="no kernel"):
        predict_learning_curve(run[0], tmp_path, "other")
