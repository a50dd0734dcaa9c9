"""A tiny study, stage by stage in one process, against the same computed directly."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_studies import DIGITS, study_with_blocks

from neural_kernels import solvers
from neural_kernels.engines import kernel_matrix
from neural_kernels.errors import UserError
from neural_kernels.metrics import table as metrics_table
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.kernels import compute_block, declare_kernel, verify_blocks
from neural_kernels.stages.report import collect_metrics
from neural_kernels.stages.solve import solve, solver_settings
from neural_kernels.storage.files import read_json
from neural_kernels.study.study import Study, load_study

CONFIG = DIGITS | {
    "training_sizes": {"sizes": [20, 60]},
    "draws": 2,
    "ridge": {"candidates": [1e-6, 1e-3, 1e-1]},
    "solver": {"direct_up_to": 20, "tolerance": 1e-10, "preconditioner": {"rank": 15}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """The study and its results, all stages done."""
    study, results = study_with_blocks(tmp_path_factory.mktemp("study"), CONFIG)
    for n in (20, 60):
        solve(study, results, "FC", n, threads=1)
        evaluate_predictions(study, results, "FC", n)
    collect_metrics(study, results)
    return study, results


def direct(study: Study, results: Path, window: tuple[int, int], ridge: float) -> np.ndarray:
    """Predictions on the test set, computed with dense NumPy from the features."""
    features = results / "tiny" / "features" / "plain"
    x, y = (
        np.load(features / "train.npy")[slice(*window)],
        np.load(features / "train_targets.npy")[slice(*window)],
    )
    architecture = study.kernels["FC"].architecture
    kernel = kernel_matrix(architecture, x)
    kernel += ridge * np.mean(np.diag(kernel)) * np.eye(len(x))
    cross = kernel_matrix(architecture, np.load(features / "digits.npy")[:33], x)
    return cross @ np.linalg.solve(kernel, y)


@pytest.mark.parametrize("n", [20, 60])
def test_metrics_are_those_of_a_dense_solve(run: tuple[Study, Path], n: int) -> None:
    study, results = run
    table = metrics_table.read(results / "tiny" / "metrics.parquet")
    labels = np.load(results / "tiny" / "features" / "plain" / "digits_labels.npy")[:33]
    targets = np.load(results / "tiny" / "features" / "plain" / "digits_targets.npy")[:33]
    for draw, window in enumerate(study.windows(n, "FC")):
        rows = table.query(f"n == {n} and draw == {draw} and split == 'digits'").set_index("metric")
        predictions = direct(study, results, window, rows["ridge"].iloc[0])
        assert rows["value"]["loss"] == pytest.approx(np.mean((predictions - targets) ** 2), rel=1e-6)
        assert rows["value"]["accuracy"] == np.mean(predictions.argmax(1) == labels)


@pytest.mark.parametrize(
    ("where", "solver"), [("direct/n20", "cholesky"), ("iterative/n60", "block_lanczos")]
)
def test_the_ridge_has_the_smallest_validation_loss_at_every_size(
    run: tuple[Study, Path], where: str, solver: str
) -> None:
    _, results = run
    solved = read_json(results / "tiny" / "solutions" / "FC" / where / "solved.json")
    assert solved["ridge_source"] == "validation set"
    for draw in solved["draws"]:
        tried = draw["details"]["ridge_choice"]["candidates"]
        assert draw["ridge"] == min(tried, key=lambda entry: entry["loss"])["ridge"]
        assert {entry["ridge"] for entry in tried} == {1e-6, 1e-3, 1e-1}
        assert draw["solver"] == solver
        assert draw["converged"]


def test_the_config_gives_each_column_its_own_directions(run: tuple[Study, Path], tmp_path: Path) -> None:
    for block in (True, False):
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(CONFIG | {"solver": {"block": block}}))
        settings = solver_settings(load_study(tmp_path / "study.yaml"), [1e-3], None)
        assert settings.block is block


def test_random_pivots_follow_from_the_seed(tmp_path: Path) -> None:
    for seed in (0, 7):
        (tmp_path / "seeded.yaml").write_text(yaml.safe_dump(CONFIG | {"seed": seed}))
        settings = solver_settings(load_study(tmp_path / "seeded.yaml"), [1e-3], None)
        assert settings.preconditioner == solvers.PreconditionerSettings("auto", 15, seed)


def test_stored_blocks_are_the_kernel(run: tuple[Study, Path]) -> None:
    study, results = run
    x = np.load(results / "tiny" / "features" / "plain" / "train.npy")
    expected = kernel_matrix(study.kernels["FC"].architecture, x)
    block = np.load(results / "tiny" / "kernels" / "FC" / "train" / "blocks" / "1-3.npy", allow_pickle=False)
    np.testing.assert_allclose(block, expected[17:34, 51:60], rtol=1e-12)


def test_verification_reads_every_block(run: tuple[Study, Path]) -> None:
    study, results = run
    verify_blocks(study, results, "FC", "train")
    path = results / "tiny" / "kernels" / "FC" / "train" / "blocks" / "0-3.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"0-3\.npy is truncated"):
        verify_blocks(study, results, "FC", "train")
    path.write_bytes(content)


def test_blocks_that_cannot_be_are_refused(run: tuple[Study, Path]) -> None:
    study, results = run
    with pytest.raises(UserError, match="ask for 1-2"):
        compute_block(study, results, "FC", "train", (2, 1), None)
    with pytest.raises(UserError, match="outside the 4 x 4 blocks"):
        compute_block(study, results, "FC", "train", (0, 4), None)
    with pytest.raises(UserError, match="has no part 'test'"):
        declare_kernel(study, results, "FC", "test")


def test_a_finished_block_needs_no_features(tmp_path: Path) -> None:
    study, results = study_with_blocks(tmp_path, DIGITS)
    path = results / "tiny/kernels/FC/train/blocks/0-1.npy"
    content = path.read_bytes()
    path.unlink()  # as Snakemake does before a job
    shutil.rmtree(results / "tiny/features")
    compute_block(study, results, "FC", "train", (0, 1), threads=1)
    assert path.read_bytes() == content
