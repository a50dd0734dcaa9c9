"""A table of what was run beside what is published: its file, config/tables/<table>.yaml, as values.

It is no study: it names kernels of studies, starts none of them, and shows those that have been run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from neural_kernels.errors import UserError
from neural_kernels.names import check_name
from neural_kernels.sections import NUMBER, Distinct, Listed, Section, TestSetName, Text, parse
from neural_kernels.study import config_files
from neural_kernels.study.folders import METRICS, at
from neural_kernels.study.study import Study, load_study

Method = Literal["none", "flips", "augmentation", "cifar5m", "finite"]
# Rows of an architecture, in this order. No kernel of ours is a finite network.
OWN_METHODS: tuple[Method, ...] = ("none", "flips", "augmentation", "cifar5m")


class Published(Section):
    """Numbers of others, as printed."""

    method: Method = Field(
        description="Rows that they stand below; finite is for networks that were trained, the last ones."
    )
    label: Text = Field(description="The method as printed.")
    source: Text = Field(description="Who published it.")
    n: Text | None = Field(None, description="Training examples as printed.")
    factor: Text | None = Field(None, description="Augmentation factor as printed.")
    accuracy: Mapping[str, Annotated[float, Field(ge=0, le=100), *NUMBER]] = Field(
        min_length=1, description="Test set to accuracy in %."
    )


class GroupSection(Section):
    """A group of rows."""

    name: Text = Field(description="What the group is called.")
    runs: Distinct[Annotated[str, Field(pattern="^[^/]+/[^/]+$")]] = Field(
        max_length=1000, description="Kernels of studies on CIFAR-10 or CIFAR-5m, as <study>/<kernel>."
    )
    published: Listed[Published] = Field(
        max_length=1000, description="Published numbers, in their order within a method."
    )


class TableFile(Section):
    """A table of what was run beside what is published, config/tables/<table>.yaml: results/<table>.pdf and .md."""

    title: Text = Field(description="Heading of the table.")
    test_sets: Distinct[TestSetName] = Field(
        min_length=1, max_length=100, description="Names of the test sets, a column each."
    )
    printed_in: Text = Field(description="Where the published numbers were read.")
    architectures: Listed[GroupSection] = Field(
        min_length=1, max_length=100, description="Groups of rows, in their order."
    )


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
    config = parse(str(path), TableFile, config_files.read(path, "table"))
    groups = tuple(_group(path, entry, config.test_sets) for entry in config.architectures)
    runs = [run for group in groups for run in group.runs]
    for run in runs:
        if runs.count(run) > 1:
            raise UserError(f"{path}: {'/'.join(run)} is in the runs of two architectures, expected one")
    return ComparisonTable(
        path.stem, config.title, config.test_sets, config.printed_in, groups, path.parent.parent
    )


def _group(path: Path, entry: GroupSection, test_sets: Sequence[str]) -> Group:
    for numbers in entry.published:
        for test_set in numbers.accuracy:
            if test_set not in test_sets:
                raise UserError(
                    f"{path}: {entry.name}, {numbers.label!r} has an accuracy on {test_set!r}, expected one of "
                    f"{', '.join(test_sets)}"
                )
    runs = tuple((study, kernel) for study, kernel in (run.split("/") for run in entry.runs))
    for name in (name for run in runs for name in run):
        check_name(f"{path}: {entry.name}, runs", name)
    return Group(entry.name, runs, entry.published)
