"""Which studies have everything but their blocks done where Snakemake runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_studies import DIGITS

from neural_kernels.errors import UserError
from neural_kernels.planning.small_work import LOGIN, seconds_beside_blocks
from neural_kernels.stages.local_work import SECONDS, all_small, local_seconds
from neural_kernels.stages.targets import studies_of_target
from neural_kernels.study.config_files import names
from neural_kernels.study.study import Study, load_study

CONFIG = Path(__file__).parents[2] / "config"


def study(folder: Path, **changes: Any) -> Study:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(DIGITS | changes))
    return load_study(folder / "tiny.yaml")


@pytest.mark.parametrize("name", ["demo"])
def test_studies_that_need_no_download_and_have_a_thousand_examples_are_small(name: str) -> None:
    assert all_small([load_study(CONFIG / f"{name}.yaml")], SECONDS)


def test_a_study_whose_data_is_not_at_hand_is_not(tmp_path: Path) -> None:
    tiny = study(tmp_path)
    missing = load_study(CONFIG / "cifar5m.yaml")
    assert all_small([tiny], SECONDS)
    assert not all_small([tiny, missing], SECONDS)
    assert not all_small([], SECONDS)
    assert not all_small([tiny], 0)


@pytest.mark.parametrize("name", list(names(CONFIG)))
def test_of_what_ships_studies_are_small_up_to_a_thousand_examples_and_not_from_five(name: str) -> None:
    found = load_study(CONFIG / f"{name}.yaml")
    if found.tuning is not None:
        pytest.skip("a search is its trials")
    n = max(found.training_sizes(kernel)[-1] for kernel in found.kernels)
    seconds = seconds_beside_blocks(found, (32, 32, 3), 10, LOGIN)
    assert seconds <= SECONDS or n > 1000
    assert seconds > SECONDS or n < 5000


def test_more_of_anything_takes_longer(tmp_path: Path) -> None:
    few = seconds_beside_blocks(study(tmp_path), (8, 8, 1), 10)
    assert seconds_beside_blocks(study(tmp_path), (64, 64, 1), 10) > few
    zca = {"plain": {"method": "zca", "regularization": 0.1}}
    assert seconds_beside_blocks(study(tmp_path, preprocessing=zca), (8, 8, 1), 10) > few
    approximated = {"methods": ["nystrom"], "sizes": [4]}
    assert seconds_beside_blocks(study(tmp_path, approximations=approximated), (8, 8, 1), 10) > few


@pytest.mark.parametrize("value", ["much", True, -1, float("nan"), 1e12])
def test_the_limit_is_a_number(value: object) -> None:
    assert local_seconds(None) == SECONDS
    assert local_seconds(0) == 0
    with pytest.raises(UserError, match=r"local_seconds is .*, expected seconds from 0"):
        local_seconds(value)


def test_the_studies_of_a_target(tmp_path: Path) -> None:
    study(tmp_path)
    (tmp_path / "two.yaml").write_text("title: Two\nlike: tiny\n")
    (tmp_path / "comparisons").mkdir()
    (tmp_path / "comparisons/several.yaml").write_text(
        "title: S\nsplits: {one: tiny, two: two}\ntest_set: digits\n"
    )
    for target, expected in {
        "results/tiny_scaling.pdf": ["tiny"],
        "results/tiny.pdf": ["tiny"],
        "results/tiny/metrics.parquet": ["tiny"],
        "./results/two/kernels/FC/train/blocks/0-0.npy": ["two"],
        "results/several_splits.pdf": ["tiny", "two"],
        "results/several.pdf": ["tiny", "two"],
        "results/several/splits.csv": ["tiny", "two"],
        "results/table1.pdf": [],
        "results/nothing_scaling.pdf": [],
        "--report=results/x.html": [],
    }.items():
        assert studies_of_target(target, tmp_path) == expected, target
