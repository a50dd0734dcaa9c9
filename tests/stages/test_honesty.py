"""What a study says of a solve that rounding limits, from its record to its metrics."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny_studies import study_with_blocks

from neural_kernels import blocks
from neural_kernels.metrics import table as metrics_table
from neural_kernels.solvers.definiteness import NotAKernel
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.solve import solve
from neural_kernels.storage.files import read_json
from neural_kernels.study.folders import metrics_file, solution_folder, store_folder
from neural_kernels.study.study import Study

N = 40


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A study whose training examples are there twice."""
    folder = tmp_path_factory.mktemp("twice")
    random = np.random.default_rng(0)
    x, y = np.repeat(random.normal(size=(30, 6)), 2, axis=0), random.normal(size=(60, 2))
    np.savez(folder / "a.npz", x_train=x, y_train=y, x_digits=x[:40], y_digits=y[:40])
    config = {
        "title": "t",
        "data": {
            "name": "arrays",
            "path": str(folder / "a.npz"),
            "train_examples": N,
            "validation_examples": 20,
        },
        "preprocessing": {"plain": {"method": "none"}},
        "kernels": {"FC": {"architecture": {"name": "FC", "depth": 1}, "preprocessing": "plain"}},
        "blocks": {"edge": 20},
        "training_sizes": {"sizes": [N]},
        "ridge": {"candidates": [1e-18, 1e-17, 1e-2]},
        "solver": {"direct_up_to": N},
    }
    return study_with_blocks(folder, config)


def test_ridges_passed_over_are_in_the_record_and_the_metrics(made: tuple[Study, Path]) -> None:
    study, results = made
    solve(study, results, "FC", N, threads=1)
    evaluate_predictions(study, results, "FC", N)
    solved = read_json(solution_folder(study, results, "FC", N) / "solved.json")
    assert solved["draws"][0]["details"]["ridge_choice"]["passed_over"] == [1e-17, 1e-18]
    table = metrics_table.read(metrics_file(study, results, "FC", N))
    assert table.loc[table["metric"] == "ridges_passed_over", "value"].tolist() == [2.0]


def test_a_residual_above_the_tolerance_is_not_converged_in_the_metrics(made: tuple[Study, Path]) -> None:
    study, results = made
    solver = study.solver.model_copy(update={"tolerance": 1e-30})
    study = dataclasses.replace(study, sections=study.sections.model_copy(update={"solver": solver}))
    solve(study, results, "FC", N, threads=1)
    evaluate_predictions(study, results, "FC", N)
    table = metrics_table.read(metrics_file(study, results, "FC", N))
    assert set(table["stopped_by"]) == {"direct"}
    assert not table["converged"].any()


def test_a_block_of_another_kernel_ends_the_solve(made: tuple[Study, Path]) -> None:
    study, results = made
    store = blocks.open_store(store_folder(study, results, "FC", "train"))
    whole = blocks.read_block(store, 0, 1)
    blocks.write_block(store, 0, 1, 30 * whole, store.read_record(0, 1))
    with pytest.raises(NotAKernel, match="verify-blocks"):
        solve(study, results, "FC", N, threads=1)
    blocks.write_block(store, 0, 1, whole, store.read_record(0, 1))
