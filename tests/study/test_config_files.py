"""Config files as they are written: likeness, and which kind a file is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from neural_kernels.errors import UserError
from neural_kernels.study import config_files
from neural_kernels.study.study import load_study

BASE: dict[str, Any] = {
    "title": "base",
    "data": {
        "name": "digits",
        "train_examples": 100,
        "validation_examples": 20,
        "test_sets": {"digits": {"examples": 50}},
    },
    "preprocessing": {"plain": {"method": "none"}},
    "kernels": {"FC": {"architecture": {"name": "FC", "depth": 2}, "preprocessing": "plain"}},
    "training_sizes": {"smallest": 10},
}


def write(folder: Path, name: str, config: Any) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_study_like_another_says_only_what_differs(tmp_path: Path) -> None:
    write(tmp_path, "base", BASE)
    changes = {"data": BASE["data"] | {"train_examples": 60}, "draws": 2}
    study = load_study(write(tmp_path, "mine", {"title": "mine", "like": "base", **changes}))
    assert (study.name, study.owner, study.title) == ("mine", "mine", "mine")
    assert study.part_sizes == {"train": 60, "validation": 20, "digits": 50}
    assert study.sections.kernels["FC"].architecture == {"name": "FC", "depth": 2}
    assert study.training_sizes("FC") == [10, 20, 40, 60]
    assert load_study(tmp_path / "base.yaml").training_sizes("FC") == [10, 20, 40, 80, 100]


def test_a_section_that_is_given_replaces_the_whole_one(tmp_path: Path) -> None:
    write(tmp_path, "base", BASE | {"tasks": {}})
    kernels = {"Wide": {"architecture": {"name": "FC", "depth": 3}, "preprocessing": "plain"}}
    changes = {"kernels": kernels, "training_sizes": {"largest": 64}, "tasks": None}
    study = load_study(write(tmp_path, "mine", {"title": "mine", "like": "base", **changes}))
    assert list(study.kernels) == ["Wide"]
    assert study.training_sizes("Wide") == [16, 32, 64]
    assert not study.has_tasks


def test_kernels_may_come_from_a_study_like_another(tmp_path: Path) -> None:
    write(tmp_path, "base", BASE)
    write(tmp_path, "mine", {"title": "mine", "like": "base", "data": BASE["data"] | {"train_examples": 60}})
    study = load_study(write(tmp_path, "guest", {"title": "guest", "kernels_from": "mine"}))
    assert (study.owner, study.training_examples) == ("mine", 60)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"title": "t", "like": "gone"}, r"mine.yaml: like: there is no study gone: .*gone.yaml is missing"),
        ({"title": "t", "like": "second"}, "like is 'second', which is like another study itself"),
        ({"title": "t", "like": "listed"}, "like is 'listed', expected the name of a study"),
        ({"title": "t", "like": 3}, "like is 3, expected string"),
        ({"like": "base"}, "lacks the key 'title'"),
        (
            {"title": "t", "like": "base", "data": {"nmae": "digits"}},
            r"data lacks the key 'name' \(similar: nmae\)",
        ),
        ({"title": "t", "like": "base", "data": {"train_examples": 9}}, "data lacks the key 'name'"),
    ],
)
def test_what_a_study_cannot_be_like(tmp_path: Path, config: Any, message: str) -> None:
    write(tmp_path, "base", BASE)
    write(tmp_path, "second", {"title": "t", "like": "base"})
    write(tmp_path, "listed", ["base"])
    with pytest.raises(UserError, match=message):
        load_study(write(tmp_path, "mine", config))


def test_the_folder_says_what_a_file_is(tmp_path: Path) -> None:
    write(tmp_path, "base", BASE)
    (tmp_path / "damaged.yaml").write_text("splits: [")
    (tmp_path / "no name.yaml").write_text("")
    for folder in ("comparisons", "tables"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, "several", {"title": "t", "splits": {"a": "base"}})
    assert list(config_files.names(tmp_path)) == ["base", "damaged"]
    assert list(config_files.names(tmp_path / "comparisons")) == ["several"]
    assert list(config_files.names(tmp_path / "nowhere")) == []
    paths = [tmp_path / name for name in ("base.yaml", "comparisons/several.yaml", "tables/several.yaml")]
    assert [config_files.kind(path) for path in paths] == ["study", "comparison", "table"]


def test_a_comparison_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "comparisons").mkdir()
    path = write(tmp_path / "comparisons", "several", {"title": "t", "splits": {"a": "base"}})
    with pytest.raises(
        UserError, match=r"several.yaml compares studies, expected one of those that it names"
    ):
        load_study(path)
