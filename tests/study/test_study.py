from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from neural_kernels import architectures
from neural_kernels.errors import UserError
from neural_kernels.preprocessing.options import AsItIs
from neural_kernels.study.config_files import names as config_names
from neural_kernels.study.published_table import load_table
from neural_kernels.study.split_comparison import load_comparison
from neural_kernels.study.study import Study, load_study

CONFIG = Path(__file__).parents[2] / "config"

MINIMAL: dict[str, Any] = {
    "title": "t",
    "data": {
        "name": "digits",
        "train_examples": 100,
        "validation_examples": 20,
        "test_sets": {"digits": {"examples": 50}},
    },
    "preprocessing": {"plain": {"method": "none"}},
    "kernels": {"FC": {"architecture": {"name": "FC"}, "preprocessing": "plain"}},
}


def study_of(tmp_path: Path, name: str = "mine", **changes: Any) -> Study:
    path = tmp_path / f"{name}.yaml"
    config = {**MINIMAL, **changes}
    path.write_text(yaml.safe_dump({key: value for key, value in config.items() if value is not None}))
    return load_study(path)


def test_every_study_that_ships_is_valid() -> None:
    names = list(config_names(CONFIG))
    assert {"demo", "cifar5m"} <= set(names)
    for name in names:
        study = load_study(CONFIG / f"{name}.yaml")
        assert all(study.training_sizes(kernel) for kernel in study.kernels)


def test_every_comparison_and_table_that_ships_names_studies_that_there_are() -> None:
    comparisons = list(config_names(CONFIG / "comparisons"))
    assert comparisons == ["aav", "gb1"]
    for name in comparisons:
        assert load_comparison(CONFIG / "comparisons" / f"{name}.yaml").run
    for name in config_names(CONFIG / "tables"):
        load_table(CONFIG / "tables" / f"{name}.yaml").check_runs()


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    assert study.precision == "float64"
    assert study.solver.preconditioner.rank > 0
    assert study.blocks.edge == 5000
    assert study.kernels["FC"].kind == "ntk"
    assert len(study.ridge_candidates()) == 20


def test_the_ladder_is_powers_of_two_and_ends_at_the_largest_size(tmp_path: Path) -> None:
    assert study_of(tmp_path).training_sizes("FC") == [16, 32, 64, 100]
    ladder = {"smallest": 10, "largest": 90, "factor": 3}
    assert study_of(tmp_path, training_sizes=ladder).training_sizes("FC") == [10, 30, 90]
    assert study_of(tmp_path, training_sizes={"sizes": [50, 20]}).training_sizes("FC") == [20, 50]
    limited = {"FC": {**MINIMAL["kernels"]["FC"], "largest_training_size": 40}}
    assert study_of(tmp_path, kernels=limited).training_sizes("FC") == [16, 32]


def test_draws_are_disjoint_and_stay_inside_what_is_computed(tmp_path: Path) -> None:
    study = study_of(tmp_path, draws=3)
    assert study.windows(32, "FC") == [(0, 32), (32, 64), (64, 96)]
    assert study.windows(64, "FC") == [(0, 64)]


def test_a_costly_kernel_can_have_smaller_blocks(tmp_path: Path) -> None:
    costly = {"FC": {**MINIMAL["kernels"]["FC"], "block_edge": 7}}
    assert study_of(tmp_path).block_edge("FC") == 5000
    assert study_of(tmp_path, kernels=costly).block_edge("FC") == 7


def test_evaluation_can_be_cut_for_a_costly_kernel(tmp_path: Path) -> None:
    assert study_of(tmp_path).evaluation_sizes("FC") == {"validation": 20, "digits": 50}
    costly = {"FC": {**MINIMAL["kernels"]["FC"], "test_examples": 30, "validation_examples": 8}}
    assert study_of(tmp_path, kernels=costly).evaluation_sizes("FC") == {"validation": 8, "digits": 30}


def test_sizes_that_are_left_out_are_read_from_the_data(tmp_path: Path) -> None:
    data = {"name": "digits", "validation_examples": 100}
    study = study_of(tmp_path, data=data)
    assert study.part_sizes["train"] + 100 + study.part_sizes["digits"] == 1797


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"blok": {}}, "unknown key 'blok' in the file"),
        ({"blocks": {"egde": 5}}, "unknown key 'egde' in blocks"),
        ({"blocks": {"edge": 0}}, "blocks.edge: 0 is less than the minimum of 1"),
        ({"title": None}, "lacks the key 'title'"),
        ({"precision": "float16"}, "precision is 'float16', expected one of float64, float32"),
        ({"seed": "x"}, "seed is 'x', expected integer"),
        ({"training_sizes": {"sizes": [200]}}, r"n = 200, but data.train_examples gives 100"),
        ({"training_sizes": {"smallest": 101}}, "smallest is 101, expected at most"),
        (
            {"kernels": {"FC": {"architecture": {"name": "FCC"}, "preprocessing": "plain"}}},
            "kernels.FC.architecture: architecture is 'FCC'",
        ),
        (
            {"kernels": {"FC": {"architecture": {"name": "FC", "width": 3}, "preprocessing": "plain"}}},
            "has no parameter 'width', expected depth",
        ),
        (
            {"kernels": {"FC": {"architecture": {"name": "FC", "W_std": "big"}, "preprocessing": "plain"}}},
            "W_std is 'big', expected a number",
        ),
        (
            {"kernels": {"FC": {"architecture": {"name": "FC"}, "preprocessing": "zca"}}},
            "expected one of plain",
        ),
        (
            {"kernels": {"../FC": {"architecture": {"name": "FC"}, "preprocessing": "plain"}}},
            "cannot be a name, expected at most 100 letters",
        ),
        ({"kernels_from": "other"}, "may not be given together with kernels_from"),
        ({"use_kernels": ["FC"]}, "use_kernels"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_key(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        study_of(tmp_path, **changes)
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_broken_yaml(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no study absent"):
        load_study(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1,")
    with pytest.raises(UserError, match=r"broken\.yaml is not valid YAML"):
        load_study(tmp_path / "broken.yaml")
    (tmp_path / "text.yaml").write_text("just text")
    with pytest.raises(UserError, match="the file is 'just text', expected object"):
        load_study(tmp_path / "text.yaml")


def test_kernels_of_another_study_are_shared(tmp_path: Path) -> None:
    study_of(
        tmp_path,
        "owner",
        kernels={
            **MINIMAL["kernels"],
            "FC5": {"architecture": {"name": "FC", "depth": 5}, "preprocessing": "plain"},
        },
    )
    path = tmp_path / "guest.yaml"
    path.write_text("title: guest\nkernels_from: owner\nuse_kernels: [FC5]\n")
    guest = load_study(path)
    assert (guest.name, guest.owner, list(guest.kernels)) == ("guest", "owner", ["FC5"])
    path.write_text("title: guest\nkernels_from: owner\nuse_kernels: [FC7]\n")
    with pytest.raises(UserError, match="use_kernels names 'FC7'"):
        load_study(path)
    path.write_text("title: guest\nkernels_from: nobody\n")
    with pytest.raises(UserError, match="kernels_from: there is no study nobody"):
        load_study(path)


# ------------------------------------------------------------------------------- augmentation


def augmented(tmp_path: Path, factor: int = 4, **changes: Any) -> Study:
    return study_of(tmp_path, data=MINIMAL["data"] | {"augmentation": {"factor": factor}}, **changes)


def test_an_augmented_training_set_is_so_many_times_its_images(tmp_path: Path) -> None:
    study = augmented(tmp_path, training_sizes={"smallest": 100, "factor": 2})
    assert study.part_sizes == {"train": 400, "validation": 20, "digits": 50}
    assert (study.images, study.flipped_images, study.augmentation_factor) == (100, 100, 4)
    assert study.training_sizes("FC") == [100, 200, 400]
    assert study.augmentation_factors("FC") == [1, 2, 4]
    assert study.data.augmentation is not None
    assert study.data.augmentation.magnitude == 4
    plain = study_of(tmp_path)
    assert (plain.images, plain.flipped_images, plain.augmentation_factor) == (100, 0, 1)


def test_no_draw_holds_copies_of_another_draws_images(tmp_path: Path) -> None:
    study = augmented(tmp_path, draws=3, training_sizes={"sizes": [30, 50, 100, 200]})
    assert study.windows(30, "FC") == [(0, 30), (30, 60), (60, 90)]
    assert study.windows(50, "FC") == [(0, 50), (50, 100)]
    assert study.windows(100, "FC") == [(0, 100)]
    assert study.windows(200, "FC") == [(0, 200)]


def test_sizes_that_are_no_factors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training_sizes has n = 150 for kernel FC, .* of the 100 images"):
        augmented(tmp_path, training_sizes={"sizes": [100, 150]}).augmentation_factors("FC")
    with pytest.raises(UserError, match=r"config/mine.yaml has no data.augmentation"):
        study_of(tmp_path).augmentation_factors("FC")
    with pytest.raises(
        UserError, match=r"n = 401, but data.train_examples gives 400 with its augmented copies"
    ):
        augmented(tmp_path, training_sizes={"sizes": [401]})


def test_the_augmentation_studies_that_ship_keep_the_symmetry_of_flips() -> None:
    for name in ("augmentation_small", "augmentation_myrtle_small"):
        study = load_study(CONFIG / f"{name}.yaml")
        for kernel in study.kernels.values():
            assert study.augmentation_factors(kernel.name)[-1] == study.augmentation_factor
            assert study.images % study.block_edge(kernel.name) == 0
            fitted = study.preprocessing[kernel.preprocessing]
            assert not isinstance(fitted, AsItIs)
            assert fitted.fit_examples == 2 * study.images
            assert all(study.method(n) == "direct" for n in study.training_sizes(kernel.name))


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        (
            {"operations": ["Identity", "Rotate"]},
            r"operations\.1 is 'Rotate', expected one of FlipLR, Solarize",
        ),
        ({"magnitude": 11}, r"magnitude: 11 is greater than the maximum of 10"),
        ({"factor": 0}, r"factor: 0 is less than the minimum of 1"),
        ({"cutout": 8}, r"unknown key 'cutout' in data\.augmentation, expected one of factor, operations"),
    ],
)
def test_an_augmentation_that_there_is_not_is_one_sentence(
    tmp_path: Path, section: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        study_of(tmp_path, data=MINIMAL["data"] | {"augmentation": {"factor": 4} | section})


# ------------------------------------------------------------------------------------- tuned kernels

TUNED: dict[str, Any] = {
    "architecture": {"name": "Myrtle", "convs_per_pool": [1, 1], "W_std": 1.5},
    "kind": "nngp",
    "preprocessing": {"method": "zca", "regularization": 0.3},
    "ridge": 1e-3,
}


def with_tuned(tmp_path: Path, kernel: dict[str, Any], content: Any = TUNED, **changes: Any) -> Study:
    (tmp_path / "tuned.yaml").write_text(yaml.safe_dump(content))
    return study_of(tmp_path, kernels={"T": kernel}, **changes)


def test_a_tuned_file_gives_architecture_kind_and_preprocessing(tmp_path: Path) -> None:
    file = str(tmp_path / "tuned.yaml")
    study = with_tuned(tmp_path, {"tuned": file, "largest_training_size": 50})
    kernel = study.kernels["T"]
    expected = architectures.build(**TUNED["architecture"])
    assert kernel.architecture.fingerprint() == expected.fingerprint()
    assert (kernel.kind, kernel.preprocessing) == ("nngp", "T")
    assert study.preprocessing["T"].plain() == {
        "method": "zca", "regularization": 0.3, "per_image_normalization": True
    }  # fmt: skip
    assert study.training_sizes("T")[-1] == 32


def test_an_architecture_file_gives_the_architecture_alone(tmp_path: Path) -> None:
    file = str(tmp_path / "tuned.yaml")
    for content in (TUNED, {"architecture": TUNED["architecture"]}):
        kernel = {"architecture": {"file": file}, "preprocessing": "plain"}
        study = with_tuned(tmp_path, kernel, content)
        assert study.kernels["T"].architecture == architectures.build(**TUNED["architecture"])
        assert (study.kernels["T"].kind, study.kernels["T"].preprocessing) == ("ntk", "plain")


def test_a_guest_takes_over_tuned_kernels_as_well(tmp_path: Path) -> None:
    (tmp_path / "tuned.yaml").write_text(yaml.safe_dump(TUNED))
    kernels = {"T": {"tuned": str(tmp_path / "tuned.yaml")}, **MINIMAL["kernels"]}
    study_of(tmp_path, "owner", kernels=kernels)
    (tmp_path / "guest.yaml").write_text("title: guest\nkernels_from: owner\nuse_kernels: [T]\n")
    guest = load_study(tmp_path / "guest.yaml")
    assert guest.kernels["T"].architecture == architectures.build(**TUNED["architecture"])


@pytest.mark.parametrize(
    ("kernel", "content", "sentence"),
    [
        ({"tuned": "FILE", "kind": "ntk"}, TUNED, "kernels.T.kind may not be given together with tuned"),
        ({"tuned": "FILE", "preprocessing": "plain"}, TUNED, "kernels.T.preprocessing may not be given"),
        ({"tuned": "nowhere.yaml"}, TUNED, "kernels.T: nowhere.yaml is missing"),
        ({"tuned": "FILE"}, {**TUNED, "kind": "gp"}, "tuned.yaml: kind is 'gp', expected one of nngp, ntk"),
        ({"tuned": "FILE"}, {"architecture": TUNED["architecture"]}, "tuned.yaml lacks the key 'kind'"),
        (
            {"tuned": "FILE"},
            {**TUNED, "preprocessing": {"method": "pca"}},
            "tuned.yaml, preprocessing: method is 'pca', expected one of zca",
        ),
        (
            {"tuned": "FILE"},
            {**TUNED, "architecture": {"name": "Myrtle", "width": 3}},
            "kernels.T.architecture: architecture Myrtle has no parameter 'width'",
        ),
        ({"preprocessing": "plain"}, TUNED, "kernels.T lacks the key 'architecture'"),
        (
            {"architecture": {"file": "FILE", "depth": 3}, "preprocessing": "plain"},
            TUNED,
            "kernels.T: architecture has depth beside file, which stands alone",
        ),
        (
            {"architecture": {"depth": 3}, "preprocessing": "plain"},
            TUNED,
            "architecture lacks the key 'name'",
        ),
        ({"architecture": {"file": 3}, "preprocessing": "plain"}, TUNED, "architecture.file is 3"),
    ],
)
def test_a_mistake_with_a_tuned_file_is_one_sentence(
    tmp_path: Path, kernel: dict[str, Any], content: dict[str, Any], sentence: str
) -> None:
    file = str(tmp_path / "tuned.yaml")
    kernel = yaml.safe_load(yaml.safe_dump(kernel).replace("FILE", file))
    with pytest.raises(UserError, match=sentence) as caught:
        with_tuned(tmp_path, kernel, content)
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tuned_preprocessing_does_not_replace_another(tmp_path: Path) -> None:
    preprocessing = {"T": {"method": "none"}, **MINIMAL["preprocessing"]}
    with pytest.raises(UserError, match=r"gets the kernel's name, but preprocessing\.T is there"):
        with_tuned(tmp_path, {"tuned": str(tmp_path / "tuned.yaml")}, preprocessing=preprocessing)


# ------------------------------------------------------------------------------------------- tuning

TUNING: dict[str, Any] = {
    "baseline": "FC",
    "training_examples": 50,
    "space": {
        "architecture": {"name": "FC", "W_std": {"low": 1.0, "high": 2.0}},
        "preprocessing": {"method": "none"},
    },
}


def test_the_defaults_of_a_tuning_section(tmp_path: Path) -> None:
    tuning = study_of(tmp_path, tuning=TUNING).tuning
    assert tuning is not None
    assert (tuning.objective, tuning.sampler, tuning.attempts, tuning.transfer) == ("loss", "tpe", 3, None)
    assert tuning.space.candidate({"W_std": 1.5}).kind == "ntk"
    assert study_of(tmp_path).tuning is None


def test_what_changes_no_trial_is_no_part_of_its_identity(tmp_path: Path) -> None:
    def identity(**changes: Any) -> dict[str, Any]:
        tuning = study_of(tmp_path, tuning={**TUNING, **changes}).tuning
        assert tuning is not None
        return tuning.identity

    assert identity() == identity(
        trials=7, attempts=2, largest_seconds=5.0, transfer={"training_examples": 60}
    )
    assert identity() != identity(training_examples=51)
    assert identity() != identity(validation_examples=10)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"baseline": "FC9"}, "tuning.baseline is 'FC9', expected one of the kernels FC"),
        ({"training_examples": 101}, "tuning.training_examples is 101, but the section data gives 100"),
        ({"validation_examples": 21}, "tuning.validation_examples is 21, but the section data gives 20"),
        ({"transfer": {"training_examples": 101}}, "tuning.transfer.training_examples is 101"),
        ({"objective": "auc"}, "tuning.objective is 'auc', expected one of loss, accuracy, mse"),
        ({"space": {"architecture": {"name": "FC"}}}, "tuning.space lacks the key 'preprocessing'"),
        (
            {"space": {**TUNING["space"], "preprocessing": {"method": {"choices": ["zca"]}}}},
            "tuning.space.preprocessing.method is .* expected one of zca",
        ),
    ],
)
def test_a_mistake_in_a_tuning_section_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        study_of(tmp_path, tuning={**TUNING, **changes})
    assert "mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)
