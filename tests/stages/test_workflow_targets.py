"""What a target of the workflow asks of the config folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hostile_configs import APPROXIMATIONS, BASE, COMPARISON, TABLE, TUNING, make_folder, text_of

from neural_kernels.errors import UserError
from neural_kernels.stages.targets import check_target, short_names


def augmented(images: int, factor: int) -> dict[str, Any]:
    data = {**BASE["data"], "train_examples": images, "augmentation": {"factor": factor}}
    return {**BASE, "data": data}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project") / "config"
    make_folder(folder)
    studies = {
        "broken": {**BASE, "blok": 1},
        "guest": {"title": "Guest", "kernels_from": "broken"},
        "tuned": {**BASE, **TUNING},
        "approximated": {**BASE, **APPROXIMATIONS},
        "comparisons/several": COMPARISON,
        "comparisons/torn_comparison": {**COMPARISON, "splits": {"one": "gone"}, "published": []},
        "augmented": augmented(images=16, factor=4),
        "off_factor": augmented(images=32, factor=2),
        "assayed": {**BASE, "tasks": {}},
        "mine_tuning": {**BASE, **APPROXIMATIONS},
        "tables/mine": TABLE,
        "tables/bad": {**TABLE, "titel": "x"},
        "tables/twice": TABLE,
        "twice": {**BASE, **APPROXIMATIONS},
        "twice_scaling": {**BASE, **APPROXIMATIONS},
        "x`touch pwned`": BASE,
    }
    for name, content in studies.items():
        (folder / f"{name}.yaml").write_text(text_of(content))
    (folder / "folder.yaml").mkdir()
    (folder / "torn.yaml").write_text("title: [")
    (folder / "latin.yaml").write_bytes("title: Größe".encode("latin-1"))
    return folder


@pytest.mark.parametrize(
    "target",
    [
        "results/base_scaling.pdf", "./results/base_scaling.pdf", "results/base/kernels/FC/train/blocks/0-1.npy",
        "results/base/metrics/FC/n16.parquet", "results/base/features/white/features.json",
        "results/base/data/data.json",
        "results/base/logs/anything.log", "results/tuned_tuning.pdf", "results/tuned/tuning/trials/4.json",
        "results/approximated.pdf", "results/approximated_approximations.pdf", "results/augmented_augmentation.pdf",
        "results/assayed_tasks.pdf", "results/assayed.pdf", "results/augmented.pdf", "results/several.pdf",
        "results/several_splits.pdf", "results/several/splits.png", "results/mine.pdf", "results/mine_tuning.pdf",
        "results/mine.md", "results/logs/x.log", "elsewhere/results/nope_scaling.pdf", "--report=results/x.html",
        "results/report.html", "results/base/solutions/Myrtle/direct/n16/solved.json",
    ],
)  # fmt: skip
def test_targets_that_there_are_pass(config: Path, target: str) -> None:
    check_target(target, config)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("results/broken_scaling.pdf", "broken.yaml: unknown key 'blok'"),
        ("results/broken.pdf", "broken.yaml: unknown key 'blok'"),
        ("results/broken_tuning.pdf", "broken.yaml: unknown key 'blok'"),
        ("results/broken/metrics.parquet", "broken.yaml: unknown key 'blok'"),
        ("results/guest_scaling.pdf", "broken.yaml: unknown key 'blok'"),
        ("results/folder_scaling.pdf", "folder.yaml is a folder"),
        ("results/torn.pdf", "torn.yaml is not valid YAML"),
        ("results/latin/data/data.json", "expected text in UTF-8"),
        ("results/x`touch pwned`_scaling.pdf", "cannot be a name"),
        ("results/bsae_scaling.pdf", r"no study bsae: .*bsae.yaml is missing \(similar: base\)"),
        ("results/nothing.pdf", "there is no study nothing"),
        ("results/bad.pdf", "bad.yaml: unknown key 'titel'"),
        ("results/min.md", r"there is no table min: .* \(similar: mine\)"),
        ("results/base.pdf", "has no section approximations, no section tasks, no data.augmentation"),
        ("results/base_tuning.pdf", "config/base.yaml has no section tuning"),
        ("results/base/tuning/trials/0.json", "config/base.yaml has no section tuning"),
        ("results/tuned/tuning/trials/5.json", "study tuned has no trial 5, expected 0 to 4"),
        ("results/torn_comparison.pdf", "splits.one is 'gone'"),
        ("results/torn_comparison/splits.csv", "splits.one is 'gone'"),
        ("results/torn_comparison_splits.pdf", "splits.one is 'gone'"),
        ("results/base_splits.pdf", "there is no comparison base: .*comparisons/base.yaml is missing"),
        ("results/sevral_splits.pdf", r"there is no comparison sevral: .* \(similar: several\)"),
        ("results/several_scaling.pdf", "comparisons/several.yaml compares studies, expected one of those"),
        ("results/several/metrics.parquet", "comparisons/several.yaml compares studies, expected one of those"),
        ("results/base_approximations.pdf", "config/base.yaml has no section approximations, which results/base_app"),
        ("results/base_tasks.pdf", "config/base.yaml has no section tasks, which results/base_tasks.pdf would report"),
        ("results/base_augmentation.pdf", "config/base.yaml has no data.augmentation of factor 2 or more"),
        ("results/off_factor_augmentation.pdf", "training_sizes has n = 16 for kernel FC, expected multiples of"),
        ("results/off_factor.pdf", "training_sizes has n = 16 for kernel FC, expected multiples of"),
        ("results/base/kernels/CF/train/kernel.json", "study base has no kernel 'CF', expected one of FC, Myrtle"),
        ("results/base/kernels/FC/tset/kernel.json", "study base has no part 'tset', expected one of train"),
        ("results/base/kernels/FC/train/blocks/2-2.npy", "block 2-2 is outside the 2 x 2 blocks"),
        ("results/base/kernels/FC/train/blocks/1-0.npy", "below the diagonal of a symmetric kernel: ask for 0-1"),
        ("results/base/metrics/FC/n17.parquet", "training size 17 is not on the ladder of kernel FC"),
        ("results/base/solutions/Myrtle/direct/n64/solved.json", "training size 64 is not on the ladder of kernel My"),
        ("results/base/metrics/FC/n016.parquet", "training size 016 is not on the ladder of kernel FC"),
        ("results/base/metrics/FC/n" + 5000 * "9" + ".parquet", "is not on the ladder of kernel FC"),
        ("results/base/kernels/FC/train/blocks/00-1.npy", "block 00-1 is outside the 2 x 2 blocks"),
        ("results/base/kernels/FC/train/blocks/0-" + 5000 * "1" + ".npy", "is outside the 2 x 2 blocks"),
        ("results/twice.pdf", "would be the report of .*tables/twice.yaml and of .*config/twice.yaml: rename one"),
        ("results/twice_scaling.pdf", "would be the report of .*twice_scaling.yaml and of .*twice.yaml: rename one"),
        ("results/base/features/zca/features.json", "study base has no preprocessing 'zca', expected one of plain"),
    ],
)  # fmt: skip
def test_others_are_one_sentence(config: Path, target: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as found:
        check_target(target, config)
    assert "\n" not in str(found.value)


def test_a_short_name_is_no_table_and_no_whole_name_of_another_report(config: Path) -> None:
    found = short_names(config)
    assert {"base", "several", "approximated", "mine_tuning"} <= set(found)
    assert not {"mine", "twice", "twice_scaling", "x`touch pwned`"} & set(found)
