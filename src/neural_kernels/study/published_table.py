"""A table of what was run beside what is published: its file, config/tables/<table>.yaml, as values.

It is no study: it names kernels of studies, starts none of them, and shows those that have been run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from neural_kernels.errors import UserError
from neural_kernels.names import check_name
from neural_kernels.study import config_files
from neural_kernels.study.folders import METRICS, at
from neural_kernels.study.schema import check_schema
from neural_kernels.study.study import Study, load_study

Method = Literal["none", "flips", "augmentation", "cifar5m", "finite"]
# Rows of an architecture, in this order. No kernel of ours is a finite network.
OWN_METHODS: tuple[Method, ...] = ("none", "flips", "augmentation", "cifar5m")


@dataclass(frozen=True)
class Published:
    """Numbers of others: ``accuracy`` in percent by test set; ``n`` and ``factor`` as printed, or empty."""

    method: Method
    label: str
    source: str
    accuracy: Mapping[str, float]
    n: str = ""
    factor: str = ""


@dataclass(frozen=True)
class Group:
    """One architecture: the kernels that may fill its rows, as (study, kernel), and what is published of it."""

    name: str
    runs: tuple[tuple[str, str], ...]
    published: tuple[Published, ...]


@dataclass(frozen=True)
class ComparisonTable:
    """A validated table; ``studies_folder`` is where the configs of its studies are."""

    name: str
    title: str
    test_sets: tuple[str, ...]
    printed_in: str
    groups: tuple[Group, ...]
    studies_folder: Path

    def metrics_files(self, results: Path) -> dict[str, Path]:
        """Metrics table of each named study that has been run, in the order of the file.

        Raises:
            UserError: one was damaged, and has not been made again.
        """
        names = dict.fromkeys(study for group in self.groups for study, _ in group.runs)
        files = {name: at(results, METRICS, study=name) for name in names}
        for file in files.values():
            if not file.is_file() and file.with_name(file.name + ".rejected").exists():
                raise UserError(
                    f"{file} was damaged and has been set aside: make it again, 'snakemake {file}', or remove "
                    f"{file}.rejected to leave its study out"
                )
        return {name: file for name, file in files.items() if file.is_file()}

    def study(self, name: str) -> Study:
        """The validated study; see ``load_study``."""
        return load_study(self.studies_folder / f"{name}.yaml")

    def check_runs(self) -> None:
        """Refuse a study that there is not, or one without the kernel that the table names."""
        for group in self.groups:
            for name, kernel in group.runs:
                known = self.study(name).kernels
                if kernel not in known:
                    raise UserError(
                        f"table {self.name}, {group.name}: study {name} has no kernel {kernel!r}, expected one of "
                        f"{', '.join(known)}"
                    )


def load_table(path: Path) -> ComparisonTable:
    """The table in ``path``, config/tables/<table>.yaml; its studies are in config.

    Raises:
        UserError: the file is missing, is not YAML or does not fit the schema, names a kernel of a study twice,
            or has a published number for a test set that is no column.
    """
    config = config_files.read(path, "table")
    check_schema(str(path), config, "comparison.schema.yaml")
    groups = tuple(_group(path, entry, config["test_sets"]) for entry in config["architectures"])
    runs = [run for group in groups for run in group.runs]
    for run in runs:
        if runs.count(run) > 1:
            raise UserError(f"{path}: {'/'.join(run)} is in the runs of two architectures, expected one")
    return ComparisonTable(
        path.stem,
        config["title"],
        tuple(config["test_sets"]),
        config["printed_in"],
        groups,
        path.parent.parent,
    )


def _group(path: Path, entry: Mapping[str, Any], test_sets: list[str]) -> Group:
    published = tuple(Published(**numbers) for numbers in entry["published"])
    for numbers in published:
        for test_set in numbers.accuracy:
            if test_set not in test_sets:
                raise UserError(
                    f"{path}: {entry['name']}, {numbers.label!r} has an accuracy on {test_set!r}, expected one of "
                    f"{', '.join(test_sets)}"
                )
    runs = tuple((study, kernel) for study, kernel in (run.split("/") for run in entry["runs"]))
    for name in (name for run in runs for name in run):
        check_name(f"{path}: {entry['name']}, runs", name)
    return Group(entry["name"], runs, published)
