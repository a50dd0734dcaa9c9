"""A tiny study of approximations, stage by stage in one process, against dense NumPy and the full solution."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_studies import DIGITS, EXAMPLES, study_with_blocks

from neural_kernels import blocks
from neural_kernels.engines import Kind, kernel_matrix, variances
from neural_kernels.errors import UserError
from neural_kernels.metrics import table as metrics_table
from neural_kernels.solvers.approximations import (
    bayesian_committee_machine,
    bayesian_committee_machine_independent,
    draw_partition,
    draw_subset,
    low_rank_features,
    nystrom,
    subset_of_regressors,
)
from neural_kernels.solvers.approximations import selection as approximations
from neural_kernels.solvers.approximations.part_kernels import PartKernels
from neural_kernels.solvers.operator import DenseOperator
from neural_kernels.stages import approximations as own
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.solve import solve, solver_settings
from neural_kernels.study.folders import approximation_file
from neural_kernels.study.study import Study, load_study

N = EXAMPLES
RIDGES = [1e-3, 1e-1, 10.0]
JITTERS = [1e-10, 1e-2]
LOW_RANK = ("nystrom", "subset_of_regressors")
DIRECT = [
    *LOW_RANK,
    "block_diagonal",
    "bayesian_committee_machine",
    "bayesian_committee_machine_independent",
]
# Test examples that are predicted together, where the parts of a partition have 12: 33 of digits, 25 of validation.
CHUNKS = {"digits": [0, 11, 22, 33], "validation": [0, 9, 18, 25]}
CONFIG = DIGITS | {
    "training_sizes": {"sizes": [N]},
    "ridge": {"candidates": RIDGES},
    "solver": {"preconditioner": {"method": "none"}, "tolerance": 1e-10},
    "approximations": {
        "methods": [*DIRECT, "truncated_cg"],
        "sizes": [12, N],
        "iterations": [2, 100],
        "jitter": {"candidates": JITTERS},
        "draws": 2,
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """The study and its results, all stages done."""
    study, results = study_with_blocks(tmp_path_factory.mktemp("study"), CONFIG)
    solve(study, results, "FC", N, threads=1)
    evaluate_predictions(study, results, "FC", N)
    for method, size in study.approximations():
        own.approximate(study, results, "FC", method, size, threads=1)
    own.collect_approximations(study, results)
    own.report_approximations(study, results)
    return study, results


@pytest.fixture(scope="module")
def table(run: tuple[Study, Path]) -> pd.DataFrame:
    return metrics_table.read(run[1] / "tiny" / "approximations.parquet")


@pytest.fixture(scope="module")
def data(run: tuple[Study, Path]) -> dict[str, Any]:
    """K, K(test, train), K(validation, train), targets and validation targets, from the features."""
    study, results = run
    features = results / "tiny" / "features" / "plain"
    x, test, validation = (np.load(features / f"{part}.npy") for part in ("train", "digits", "validation"))
    architecture = study.kernels["FC"].architecture
    kernel, cross, judged = (kernel_matrix(architecture, left, x) for left in (x, test[:33], validation))
    y, t, v = (np.load(features / f"{part}_targets.npy") for part in ("train", "digits", "validation"))
    return {
        "kernel": kernel,
        "digits": (cross, t[:33], kernel_matrix(architecture, test[:33])),
        "validation": (judged, v, kernel_matrix(architecture, validation)),
        "targets": y,
    }


def committee(
    kernel: np.ndarray,
    cross: np.ndarray,
    prior: np.ndarray,
    y: np.ndarray,
    partition: Sequence[np.ndarray],
    ridge: float,
) -> np.ndarray:
    return bayesian_committee_machine(
        lambda p: kernel[np.ix_(p, p)], lambda p: cross[:, p], prior, y, partition, ridge
    )


def expected_losses(
    data: dict[str, Any], method: str, size: int, seed: int, part: str
) -> dict[tuple[float, float | None], float]:
    """Loss on ``part`` for every candidate, (ridge, jitter) to loss, by the public methods on dense arrays."""
    cross, targets, prior = data[part]
    kernel, y = data["kernel"], data["targets"]
    subset, partition = draw_subset(N, size, seed), draw_partition(N, size, seed)
    losses = {}
    for ridge in RIDGES:
        for jitter in JITTERS if method in LOW_RANK else [None]:
            if jitter is not None:
                solve = nystrom if method == "nystrom" else subset_of_regressors
                features = low_rank_features(DenseOperator(kernel), subset, jitter, y.shape[1])
                predictions = cross @ solve(features, y, ridge)
            elif method == "block_diagonal":
                predictions = np.zeros(targets.shape)
                for part_ in partition:
                    among = kernel[np.ix_(part_, part_)]
                    shifted = among + ridge * np.diag(among).mean() * np.eye(len(part_))
                    predictions += cross[:, part_] @ np.linalg.solve(shifted, y[part_])
            elif method == "bayesian_committee_machine":
                bounds = CHUNKS[part] if size == 12 else [0, len(cross)]
                chunks = [slice(*ends) for ends in itertools.pairwise(bounds)]
                predictions = np.vstack(
                    [committee(kernel, cross[c], prior[c, c], y, partition, ridge) for c in chunks]
                )
            else:
                predictions = bayesian_committee_machine_independent(
                    lambda p: kernel[np.ix_(p, p)], lambda p: cross[:, p], np.diag(prior), y, partition, ridge
                )
            losses[ridge, jitter] = np.mean((predictions - targets) ** 2)
    return losses


@pytest.mark.parametrize("size", [12, N])
@pytest.mark.parametrize("method", DIRECT)
def test_the_candidate_with_the_smallest_validation_loss_is_tested(
    table: pd.DataFrame, data: dict[str, Any], method: str, size: int
) -> None:
    for draw in range(2):
        rows = table.query(f"solver == '{method}' and size == {size} and draw == {draw}")
        judged = expected_losses(data, method, size, seed=draw, part="validation")
        tested = expected_losses(data, method, size, seed=draw, part="digits")
        value = rows.set_index(["split", "metric"])["value"]
        chosen = rows["ridge"].iloc[0], value.get(("train", "jitter"))
        assert value["validation", "loss"] == pytest.approx(min(judged.values()), rel=1e-6)
        assert judged[chosen] == pytest.approx(min(judged.values()), rel=1e-6)
        assert value["digits", "loss"] == pytest.approx(tested[chosen], rel=1e-6)


@pytest.mark.parametrize("method", DIRECT)
def test_with_all_examples_the_answer_is_the_exact_one(
    run: tuple[Study, Path], table: pd.DataFrame, data: dict[str, Any], method: str, tmp_path: Path
) -> None:
    study, results = run
    problem = own._problem(study, results, study.kernels["FC"], N, tmp_path, threads=1)
    settings = solver_settings(study, RIDGES, 1)
    found = approximations.approximate(problem, method, N, 0, settings, jitters=[1e-13])
    assert found.ridge == table[table["size"] == 0]["ridge"].iloc[0]
    shifted = data["kernel"] + found.ridge * np.diag(data["kernel"]).mean() * np.eye(N)
    expected = data["digits"][0] @ np.linalg.solve(shifted, data["targets"])
    np.testing.assert_allclose(found.predict("digits"), expected, rtol=0, atol=1e-7 * np.abs(expected).max())


def test_truncated_iterations_are_no_failure_and_end_in_the_exact_answer(table: pd.DataFrame) -> None:
    facts = table.query("solver == 'truncated_cg' and split == 'train' and draw == 0")
    few, many = facts[facts["size"] == 2], facts[facts["size"] == 100]
    assert set(few["stopped_by"]) == {"truncated"}
    assert set(many["stopped_by"]) == {"tolerance"}
    assert few.set_index("metric")["value"]["iterations"] == 2
    loss = table.query("split == 'digits' and metric == 'loss' and draw == 0")
    exact = loss[loss["size"] == 0]["value"].iloc[0]
    assert loss.query("solver == 'truncated_cg' and size == 100")["value"].iloc[0] == pytest.approx(
        exact, 1e-6
    )
    assert loss.query("solver == 'truncated_cg' and size == 2")["value"].iloc[0] != pytest.approx(exact, 1e-3)


def test_the_table_has_a_solve_for_every_approximation_and_draw(
    run: tuple[Study, Path], table: pd.DataFrame
) -> None:
    study, results = run
    seconds = table.query("split == 'train' and metric == 'seconds' and size > 0")
    found = set(zip(seconds["solver"], seconds["size"], seconds["draw"], strict=True))
    assert found == {(method, size, draw) for method, size in study.approximations() for draw in (0, 1)}
    assert len(seconds) == len(found)
    assert (seconds["value"] > 0).all()
    assert (results / "tiny_approximations.pdf").read_bytes().startswith(b"%PDF")
    assert (results / "tiny" / "approximations.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("matrices", [1, 2, 100])
def test_kernels_of_parts_are_those_of_the_store_however_many_fit(
    run: tuple[Study, Path], data: dict[str, Any], matrices: int
) -> None:
    _, results = run
    store = blocks.open_store(results / "tiny" / "kernels" / "FC" / "train")
    partition = draw_partition(50, 13, seed=3)
    window = (5, 55)
    kernels = PartKernels(store, window, partition, budget=matrices * 8 * 13**2)
    for _ in range(2):
        for part in partition:
            expected = data["kernel"][np.ix_(part + 5, part + 5)]
            np.testing.assert_allclose(kernels(part), expected, rtol=1e-12)


def test_what_cannot_be_is_refused_before_any_work(run: tuple[Study, Path], tmp_path: Path) -> None:
    study, results = run
    with pytest.raises(UserError, match="has no nystrom of size 13"):
        own.approximate(study, results, "FC", "nystrom", 13)
    without = {key: value for key, value in CONFIG.items() if key != "approximations"}
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(without))
    with pytest.raises(UserError, match="has no section approximations"):
        own.approximate(load_study(tmp_path / "plain.yaml"), results, "FC", "nystrom", 12)
    large = CONFIG | {"approximations": {"sizes": [N + 1]}}
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(large))
    with pytest.raises(UserError, match=f"sizes has {N + 1}, expected at most {N}"):
        load_study(tmp_path / "large.yaml")
    store = blocks.open_store(results / "tiny" / "kernels" / "FC" / "train")
    with pytest.raises(UserError, match="among the 12 examples of a part"):
        PartKernels(store, (0, N), draw_partition(N, 12, 0), budget=100)


def test_missing_labels_are_refused(run: tuple[Study, Path], tmp_path: Path) -> None:
    study, results = run
    problem = own._problem(study, results, study.kernels["FC"], N, tmp_path, threads=1)
    problem.targets[3, 2] = np.nan
    settings = solver_settings(study, RIDGES, 1)
    with pytest.raises(UserError, match="labels are missing"):
        approximations.approximate(problem, "nystrom", 12, 0, settings, [1e-6])


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_variances_are_the_diagonal_of_the_kernel(run: tuple[Study, Path], kind: Kind) -> None:
    study, _ = run
    architecture = study.kernels["FC"].architecture
    x = np.random.default_rng(0).normal(size=(37, 8, 8, 1))
    expected = np.diag(kernel_matrix(architecture, x, kind=kind))
    np.testing.assert_allclose(variances(architecture, x, kind=kind), expected, rtol=1e-13)


def test_kernels_among_test_examples_are_kept_until_the_numbers_are_there(
    run: tuple[Study, Path], data: dict[str, Any], tmp_path: Path
) -> None:
    study, results = run
    problem = own._problem(study, results, study.kernels["FC"], N, tmp_path, threads=1)
    store = problem.queries["digits"].among(11)
    assert [store.block_path(i, i).exists() for i in range(3)] == [True] * 3
    assert not store.block_path(0, 1).exists()
    for i in range(3):
        own_rows = slice(*store.grid.row_range(i))
        expected = data["digits"][2][own_rows, own_rows]
        np.testing.assert_allclose(blocks.read_block(store, i, i), expected, rtol=1e-12)
    before = store.block_path(1, 1).stat().st_mtime_ns
    store.block_path(0, 0).unlink()
    again = problem.queries["digits"].among(11)
    assert again.block_path(0, 0).exists()
    assert store.block_path(1, 1).stat().st_mtime_ns == before
    assert not list((results / "tiny" / "approximations").rglob("*.queries"))


@pytest.mark.parametrize("lost", ["blocks/1-1.npy", "blocks/1-1.json", "kernel.json"])
def test_a_folder_that_a_kill_left_behind_is_taken_up(
    run: tuple[Study, Path], table: pd.DataFrame, lost: str
) -> None:
    study, results = run
    path = approximation_file(study, results, "FC", "bayesian_committee_machine", 12)
    before = metrics_table.read(path)
    folder = path.with_suffix(".queries")
    problem = own._problem(study, results, study.kernels["FC"], N, folder, threads=1)
    problem.queries["validation"].among(9)
    (folder / "validation-25-9" / lost).unlink()
    own.approximate(study, results, "FC", "bayesian_committee_machine", 12, threads=1)
    after = metrics_table.read(path)
    same = before["metric"] != "seconds"
    np.testing.assert_array_equal(after["value"][same], before["value"][same])
    assert not folder.exists()
