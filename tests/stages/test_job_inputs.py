"""Which files and settings the jobs of a study need."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from neural_kernels.errors import UserError
from neural_kernels.stages import inputs
from neural_kernels.study.split_comparison import load_comparison
from neural_kernels.study.study import Study, load_study

BASE: dict[str, Any] = {
    "title": "Tiny",
    "data": {
        "name": "digits",
        "train_examples": 64,
        "validation_examples": 20,
        "test_sets": {"digits": {"examples": 40}},
    },
    "preprocessing": {"plain": {"method": "standardize"}},
    "kernels": {
        "FC": {
            "architecture": {"name": "FC", "depth": 1},
            "preprocessing": "plain",
            "test_examples": 30,
        }
    },
    "blocks": {"edge": 32},
    "training_sizes": {"sizes": [16, 64]},
    "draws": 2,
    "solver": {"direct_up_to": 16},
}
TUNING = {
    "baseline": "FC",
    "objective": "loss",
    "training_examples": 32,
    "trials": 3,
    "transfer": {"training_examples": 64, "trials": 2},
    "space": {
        "architecture": {"name": "FC", "depth": {"choices": [1, 2]}},
        "preprocessing": {"method": "standardize"},
        "kind": "ntk",
    },
}
AUGMENTED = {**BASE["data"], "train_examples": 32, "augmentation": {"factor": 2}}
TRAIN = "results/tiny/kernels/FC/train"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which nothing has been made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    return tmp_path


def study_of(name: str = "tiny", **changes: Any) -> Study:
    path = Path("config") / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**BASE, **changes}))
    return load_study(path)


def guest_of(study: Study, **changes: Any) -> Study:
    path = Path("config/guest.yaml")
    path.write_text(yaml.safe_dump({"title": "Guest", "kernels_from": study.name, **changes}))
    return load_study(path)


def touch(file: str) -> None:
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).touch()


def test_a_solve_needs_the_windows_of_its_draws_and_the_validation_rows() -> None:
    study = study_of()
    described = [
        f"{TRAIN}/kernel.json",
        "results/tiny/features/plain/features.json",
        "results/tiny/kernels/FC/validation/kernel.json",
    ]
    rows = "results/tiny/kernels/FC/validation/blocks/0-"
    # Two draws of 16 lie in one block, 64 examples in all of them.
    small = inputs.training_blocks(study, "FC", 16)
    assert small == [f"{TRAIN}/blocks/0-0.npy", f"{rows}0.npy", *described]
    large = inputs.training_blocks(study, "FC", 64)
    blocks = [f"{TRAIN}/blocks/{block}.npy" for block in ("0-0", "0-1", "1-1")]
    assert large == [*blocks, f"{rows}0.npy", f"{rows}1.npy", *described]


def test_a_study_that_takes_its_kernels_over_needs_those_of_the_other() -> None:
    guest = guest_of(study_of(), training_sizes={"sizes": [16]})
    needed = inputs.training_blocks(guest, "FC", 16) + inputs.evaluation_blocks(guest, "FC", 16)
    assert all(file.startswith("results/tiny/") for file in needed)
    assert inputs.solution(guest, "FC", 16) == "results/guest/solutions/FC/direct/n16/solved.json"
    assert inputs.data(guest) == "results/tiny/data/data.json"


def test_an_iterative_solve_has_a_folder_of_its_own_and_waits_for_no_other() -> None:
    study = study_of()
    assert not any("solutions" in file for file in inputs.training_blocks(study, "FC", 64))
    assert inputs.solution(study, "FC", 64) == "results/tiny/solutions/FC/iterative/n64/solved.json"


def test_a_learning_curve_needs_the_matrix_of_the_largest_direct_size_and_the_ridges_up_to_it() -> None:
    described = [f"{TRAIN}/kernel.json", "results/tiny/features/plain/features.json"]
    solved = "results/tiny/solutions/FC/direct/n16/solved.json"
    assert inputs.learning_curve_blocks(study_of(), "FC") == [f"{TRAIN}/blocks/0-0.npy", *described, solved]
    assert inputs.learning_curves(study_of()) == ["results/tiny/learning_curves/FC.parquet"]
    assert inputs.learning_curve_blocks(study_of(solver={"direct_up_to": 8}), "FC") == []
    assert inputs.learning_curve_blocks(study_of(data=AUGMENTED, training_sizes={"sizes": [32]}), "FC") == []


LADDER = {"sizes": [8, 16, 64]}
SOLVED, EVALUATED = (
    "results/tiny/solutions/FC/direct/small_sizes.json",
    "results/tiny/metrics/FC/small_sizes.json",
)


def test_small_sizes_are_asked_for_together_and_each_may_be_asked_for_alone() -> None:
    study = study_of(training_sizes=LADDER)
    assert inputs.metrics_files(study) == [EVALUATED, "results/tiny/metrics/FC/n64.parquet"]
    assert inputs.learning_curve_blocks(study, "FC")[-1:] == [SOLVED]
    assert [inputs.solved_with(study, "FC", n) for n in (8, 16)] == [SOLVED, SOLVED]
    assert inputs.solved_with(study, "FC", 64) == inputs.solution(study, "FC", 64)
    assert inputs.solution(study, "FC", 8) == "results/tiny/solutions/FC/direct/n8/solved.json"
    assert inputs.small_draws(study, "FC") == {8: 2, 16: 2}
    with pytest.raises(UserError, match="kernel FC has no two training sizes"):
        inputs.small_training_blocks(study_of(), "FC")


def test_small_sizes_need_what_each_of_them_needs() -> None:
    study = study_of(training_sizes=LADDER)
    each = [file for n in (8, 16) for file in inputs.training_blocks(study, "FC", n)]
    needed = inputs.small_training_blocks(study, "FC")
    assert len(needed) == len(set(needed))
    assert set(needed) == set(each)
    each = [file for n in (8, 16) for file in inputs.evaluation_blocks(study, "FC", n)]
    assert set(inputs.small_evaluation_blocks(study, "FC")) == set(each)


@pytest.mark.parametrize(
    ("function", "vouching", "pattern"),
    [
        (inputs.unsolved_small_sizes, SOLVED, "results/tiny/solutions/FC/direct/n{}/solved.json"),
        (inputs.unevaluated_small_sizes, EVALUATED, "results/tiny/metrics/FC/n{}.parquet"),
    ],
)
def test_small_sizes_are_made_again_where_one_is_missing_or_newer(
    function: Callable[[Study, str], list[str]], vouching: str, pattern: str
) -> None:
    study = study_of(training_sizes=LADDER)
    files = [pattern.format(n) for n in (8, 16)]
    # As results of an earlier version: what is not there is missed where it is needed, as any file.
    touch(files[0])
    assert function(study, "FC") == []
    touch(vouching)
    assert function(study, "FC") == [vouching]
    touch(files[1])
    os.utime(vouching, ns=(2 * 10**18, 2 * 10**18))
    assert function(study, "FC") == []
    os.utime(files[1], ns=(3 * 10**18, 3 * 10**18))
    assert function(study, "FC") == [vouching]


def test_scores_need_the_rows_of_every_test_set() -> None:
    needed = inputs.evaluation_blocks(study_of(), "FC", 64)
    rows = [
        f"results/tiny/kernels/FC/{part}/blocks/0-{j}.npy"
        for part in ("validation", "digits")
        for j in (0, 1)
    ]
    assert needed[:4] == rows
    assert needed[4:] == [
        "results/tiny/kernels/FC/validation/kernel.json",
        "results/tiny/kernels/FC/digits/kernel.json",
        "results/tiny/features/plain/features.json",
    ]


def test_a_block_that_is_there_by_either_name_needs_nothing() -> None:
    study = study_of()
    assert inputs.new_block(study, "FC", "train", 0, 1) == [f"{TRAIN}/kernel.json"]
    for folder in ("blocks", "kept"):
        touch(f"{TRAIN}/{folder}/0-1.npy")
        assert inputs.new_block(study, "FC", "train", 0, 1) == []
        Path(f"{TRAIN}/{folder}/0-1.npy").unlink()


def test_a_block_names_features_where_they_alone_are_missing() -> None:
    study, features = study_of(), "results/tiny/features/plain/features.json"
    touch(f"{TRAIN}/kernel.json")
    assert inputs.new_block(study, "FC", "train", 0, 1) == [f"{TRAIN}/kernel.json", features]
    touch(features)
    assert inputs.new_block(study, "FC", "train", 0, 1) == [f"{TRAIN}/kernel.json"]


def test_a_block_of_flips_needs_the_one_with_the_same_entries() -> None:
    study = study_of(data=AUGMENTED)
    assert inputs.new_block(study, "FC", "train", 1, 1)[1:] == [f"{TRAIN}/blocks/0-0.npy"]
    assert inputs.new_block(study, "FC", "train", 0, 1)[1:] == []
    assert inputs.new_block(study, "FC", "validation", 0, 1)[1:] == []


def test_deleted_blocks_are_those_that_are_read_and_not_there() -> None:
    study = study_of()
    every = inputs.study_blocks(study)
    assert inputs.deleted_blocks(study) == every
    assert len(every) == len(set(every)) == 3 + 2 + 2
    touch(f"{TRAIN}/blocks/0-1.npy")
    assert set(every) - set(inputs.deleted_blocks(study)) == {f"{TRAIN}/blocks/0-1.npy"}


def test_metrics_without_the_scores_of_tasks_are_made_again() -> None:
    study = study_of(tasks={})
    metrics = ["results/tiny/metrics/FC/n16.parquet", "results/tiny/metrics/FC/n64.parquet"]
    assert inputs.metrics_files(study) == metrics
    touch("results/tiny/metrics/FC/n64.tasks.parquet")
    assert inputs.unscored_metrics(study) == metrics[:1]
    tables = [f"results/tiny/{name}.parquet" for name in ("metrics", "convergence", "ridges", "baselines")]
    assert inputs.tasks_files(study) == tables
    assert inputs.tasks_files(study_of(tasks={}, baselines={"examples": 0})) == tables[:-1]
    with pytest.raises(UserError, match=r"config/plain.yaml has no section tasks"):
        inputs.tasks_files(study_of("plain"))


def test_a_comparison_needs_the_predictions_at_the_largest_size_of_each_study() -> None:
    study_of()
    path = Path("config/comparisons/several.yaml")
    path.parent.mkdir()
    config = {
        "title": "Several",
        "splits": {"one": "tiny", "two": None},
        "test_set": "digits",
        "published": [],
    }
    path.write_text(yaml.safe_dump(config))
    comparison = load_comparison(path)
    names = ("metrics", "ridges", "baselines", "test_predictions/FC/n64")
    needed = [f"results/tiny/{name}.parquet" for name in names]
    assert inputs.split_files(comparison) == needed
    assert inputs.long_report(comparison) == "results/several_splits.pdf"
    assert inputs.published(comparison) == ["Several", "", ["one", "two"], []]


def test_the_short_name_of_a_report_is_of_what_the_study_compares() -> None:
    section = {"methods": ["nystrom"], "sizes": [8]}
    both = study_of("both", approximations=section, data=AUGMENTED, tasks={})
    assert inputs.long_report(both) == "results/both_approximations.pdf"
    assert inputs.long_report(study_of("assays", tasks={})) == "results/assays_tasks.pdf"
    flipped = study_of("flipped", data=AUGMENTED)
    assert inputs.long_report(flipped) == "results/flipped_augmentation.pdf"
    assert inputs.long_report(guest_of(flipped)) == "results/guest_augmentation.pdf"
    single = {**AUGMENTED, "augmentation": {"factor": 1}}
    with pytest.raises(
        UserError, match=r"has no section approximations, no section tasks, no data.augmentation"
    ):
        inputs.long_report(study_of("single", data=single, training_sizes={"sizes": [16]}))


def test_an_approximation_needs_every_block_and_has_to_be_asked_for_in_the_config() -> None:
    study = study_of(approximations={"methods": ["nystrom"], "sizes": [8]})
    needed = inputs.approximation_blocks(study, "FC", "nystrom", 8)
    assert set(inputs.study_blocks(study)) < set(needed)
    assert f"{TRAIN}/kernel.json" in needed
    assert inputs.approximation_files(study) == [
        "results/tiny/metrics/FC/n64.parquet",
        "results/tiny/approximations/FC/nystrom/size8.parquet",
    ]
    assert set(inputs.approximation_settings(study)) == {"jitter", "draws"}
    with pytest.raises(UserError, match=r"config/tiny.yaml has no approximation nystrom of size 9"):
        inputs.approximation_blocks(study, "FC", "nystrom", 9)
    with pytest.raises(UserError, match=r"config/plain.yaml has no section approximations"):
        inputs.approximation_files(study_of("plain"))


def test_a_search_needs_its_trials_and_what_comes_after_them() -> None:
    study, folder = study_of(tuning=TUNING), "results/tiny/tuning"
    trials = [f"{folder}/trials/{trial}.json" for trial in range(3)]
    assert inputs.trial_files(study) == trials
    assert inputs.tuning_results(study) == [
        *trials,
        f"{folder}/test/tuned.json",
        f"{folder}/test/baseline.json",
        f"{folder}/transfer/baseline.json",
        f"{folder}/transfer/0.json",
        f"{folder}/transfer/1.json",
    ]
    assert inputs.transfer_examples(study) == 64
    started = f"{folder}/started.json"
    assert inputs.new_trial(study, 1) == [started, "results/tiny/data/data.json"]
    touch(trials[1])
    assert inputs.new_trial(study, 1) == []
    assert inputs.deleted_trials(study) == [trials[0], trials[2]]
    with pytest.raises(UserError, match=r"config/plain.yaml has no section tuning"):
        inputs.trial_files(study_of("plain"))
    alone = {key: value for key, value in TUNING.items() if key != "transfer"}
    with pytest.raises(UserError, match=r"config/alone.yaml has no section tuning.transfer"):
        inputs.transfer_examples(study_of("alone", tuning=alone))


def test_how_far_a_kernel_is_used_does_not_change_what_it_is() -> None:
    study = study_of()
    assert "test_examples" not in inputs.kernel_settings(study, "FC")
    assert inputs.kernel_settings(study, "FC")["architecture"] == {"name": "FC", "depth": 1}
    with pytest.raises(UserError, match="study tiny has no kernel 'CF', expected one of FC"):
        inputs.kernel_settings(study, "CF")


def test_settings_are_the_sections_that_are_asked_for() -> None:
    found = inputs.settings("draws", "tasks")(study_of())
    assert found == {"draws": 2, "tasks": None}
    assert inputs.preprocessing_settings(study_of(), "none_such") is None
    assert inputs.tested_sets(study_of()) == {"digits": {"examples": 40}}
