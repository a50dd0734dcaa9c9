from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from comparisons import PUBLISHED, TABLE, write_metrics, write_study, write_table

from neural_kernels.errors import UserError
from neural_kernels.study.published_table import load_table

SHIPPED = Path(__file__).parents[2] / "config" / "tables" / "table1.yaml"


def test_the_shipped_table_names_kernels_that_its_studies_have() -> None:
    table = load_table(SHIPPED)
    assert table.test_sets == ("cifar10", "cifar10_1", "cifar5m")
    for group in table.groups:
        for study, kernel in group.runs:
            found = table.study(study)
            assert kernel in found.kernels, (study, kernel)
            assert found.data.name in ("cifar10", "cifar5m")


def test_only_studies_that_were_run_have_metrics(tmp_path: Path) -> None:
    table = load_table(write_table(tmp_path))
    assert table.metrics_files(tmp_path / "results") == {}
    small = write_metrics(tmp_path, "small", {10: {"cifar10": 0.5}})
    other = write_metrics(tmp_path, "not_in_the_table", {10: {"cifar10": 0.5}})
    assert other.is_file()
    assert table.metrics_files(tmp_path / "results") == {"small": small}


def test_studies_are_those_of_the_config_folder(tmp_path: Path) -> None:
    write_study(tmp_path, "small", [10], {"cifar10": 100})
    assert load_table(write_table(tmp_path)).study("small").training_sizes("FC3") == [10]
    with pytest.raises(UserError, match="there is no study large"):
        load_table(write_table(tmp_path)).study("large")


GROUP = TABLE["architectures"][0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"titel": "A"}, "unknown key 'titel'"),
        ({"architectures": [{**GROUP, "runs": ["small"]}]}, "architectures.0.runs.0"),
        ({"architectures": [{**GROUP, "runs": ["../etc/FC3"]}]}, "architectures.0.runs.0"),
        ({"architectures": [GROUP, {**GROUP, "published": []}]}, "small/FC3 is in the runs of two architectures"),
        ({"test_sets": ["cifar10"]}, "FC, 'CG' has an accuracy on 'cifar5m', expected one of cifar10"),
        (
            {"architectures": [{**GROUP, "published": [{**PUBLISHED[0], "method": "dropout"}]}]},
            "is 'dropout', expected one of none, flips",
        ),
        (
            {"architectures": [{**GROUP, "published": [{**PUBLISHED[0], "accuracy": {"cifar10": 641}}]}]},
            "accuracy.cifar10",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    path = write_table(tmp_path, **changes)
    with pytest.raises(UserError, match=r"mine\.yaml") as error:
        load_table(path)
    assert sentence in str(error.value)


def test_a_table_that_is_missing_or_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no table other"):
        load_table(tmp_path / "other.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(UserError, match="not valid YAML"):
        load_table(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text(yaml.safe_dump([1]))
    with pytest.raises(UserError, match=r"list\.yaml"):
        load_table(tmp_path / "list.yaml")
