"""A study without a validation set: its ridge is chosen by what the training examples say of themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_studies import DIGITS, study_with_blocks

from neural_kernels.errors import UserError
from neural_kernels.metrics import table as metrics_table
from neural_kernels.stages import inputs
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.report import collect_metrics, report_scaling
from neural_kernels.stages.solve import solve
from neural_kernels.storage.files import read_json
from neural_kernels.study.folders import solution_folder
from neural_kernels.study.study import Study, load_study

CONFIG: dict[str, Any] = DIGITS | {
    "data": {**DIGITS["data"], "train_examples": 40, "validation_examples": 0},
    "training_sizes": {"sizes": [10, 20, 40]},
    "draws": 2,
    "ridge": {"candidates": [1e-4, 1e-2, 1.0], "choose_by": "loo"},
    "solver": {"direct_up_to": 20, "tolerance": 1e-10, "preconditioner": {"rank": 5}},
}


def study_of(folder: Path, **changes: Any) -> Study:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIG | changes))
    return load_study(folder / "tiny.yaml")


@pytest.mark.parametrize("criterion", ["loo", "gcv", "likelihood"])
def test_a_study_runs_to_its_report_without_validation_examples(tmp_path: Path, criterion: str) -> None:
    ridge = {**CONFIG["ridge"], "choose_by": criterion}
    study, results = study_with_blocks(tmp_path, CONFIG | {"ridge": ridge})
    for n in (10, 20, 40):
        solve(study, results, "FC", n, threads=1)
        evaluate_predictions(study, results, "FC", n)
    collect_metrics(study, results)
    report_scaling(study, results)
    solved = {n: read_json(solution_folder(study, results, "FC", n) / "solved.json") for n in (10, 20, 40)}
    choices = {n: [draw["details"]["ridge_choice"] for draw in found["draws"]] for n, found in solved.items()}
    assert {choice["by"] for n in choices for choice in choices[n]} == {criterion}
    # Above the direct sizes the criterion is an estimate, and says how good.
    assert {entry["error"] for choice in choices[20] for entry in choice["candidates"]} == {None}
    assert all(entry["error"] > 0 for choice in choices[40] for entry in choice["candidates"])
    metrics = metrics_table.read(results / "tiny/metrics.parquet")
    assert set(metrics["split"]) == {"train", "digits"}
    assert (results / "tiny_scaling.pdf").exists()


def test_a_solve_waits_for_the_validation_kernel_only_where_it_chooses(tmp_path: Path) -> None:
    data = {**CONFIG["data"], "validation_examples": 15}
    by_itself = study_of(tmp_path, data=data)
    validated = study_of(tmp_path, data=data, ridge={**CONFIG["ridge"], "choose_by": "validation"})

    def of_validation(study: Study) -> list[str]:
        return [path for path in inputs.training_blocks(study, "FC", 20) if "validation" in path]

    assert of_validation(validated)
    assert not of_validation(by_itself)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"ridge": {"candidates": [1e-4, 1e-2]}},
            "data.validation_examples is 0, expected a validation set to choose by, or one number in "
            "ridge.candidates or ridge.choose_by loo, gcv or likelihood, and no approximations",
        ),
        (
            {"solver": {"direct_up_to": 20, "block": False}},
            "ridge.choose_by is 'loo', but training size 40 of kernel FC is above solver.direct_up_to, 20, and "
            "solver.block is false: expected sizes that are solved directly, or 'validation'",
        ),
        (
            {"solver": {"direct_up_to": 20, "preconditioner": {"method": "greedy"}}},
            "and solver.preconditioner.method is greedy",
        ),
        (
            {"ridge": {"candidates": [1e-4, 1e-2], "choose_by": "leave-one-out"}},
            "ridge.choose_by is 'leave-one-out', expected one of validation, loo, gcv, likelihood",
        ),
    ],
)
def test_what_cannot_be_chosen_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError) as error:
        study_of(tmp_path, **changes)
    assert sentence in " ".join(str(error.value).split())


def test_copies_of_one_image_do_not_predict_each_other(tmp_path: Path) -> None:
    data = {
        "name": "cifar10", "path": "x", "train_examples": 40, "validation_examples": 0,
        "augmentation": {"factor": 2}, "test_sets": {"cifar10": {"examples": 10}},
    }  # fmt: skip
    sizes = {"sizes": [20, 40]}
    with pytest.raises(UserError, match=r"copies of each image .* which predict each other: expected"):
        study_of(
            tmp_path, data=data, training_sizes=sizes, kernels={"FC": {**CONFIG["kernels"]["FC"]}}, draws=1
        )
    likely = {**CONFIG["ridge"], "choose_by": "likelihood"}
    study_of(tmp_path, data=data, training_sizes=sizes, ridge=likely, draws=1, solver={"direct_up_to": 80})
