"""A comparison: one file that names the studies of several splits of a data set, and published figures for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from neural_kernels.datasets import DataSummary
from neural_kernels.errors import UserError
from neural_kernels.sections import NUMBER, Line, Listed, Name, Section, TestSetName, Text, parse
from neural_kernels.study import config_files
from neural_kernels.study.study import Study, load_study


class Published(Section):
    """Spearman correlations that somebody else has reported."""

    name: Text = Field(description="Header of the column.")
    source: Text = Field(description="Where the figures are from, and what they are.")
    values: Mapping[str, Annotated[float, Field(ge=-1, le=1), *NUMBER]] = Field(
        description="Spearman correlation of each split."
    )


class ComparisonFile(Section):
    """Studies of several splits of one data set beside published figures, with the report results/<name>_splits.pdf.

    Each split is a study of its own, with its own training set and so its own kernels.
    """

    title: Line = Field(description="Title of the report.")
    note: Line | None = Field(
        None,
        description="What a reader has to know before comparing figures; stands in red on every page of figures, where "
        "two lines have room, and below the table.",
    )
    splits: Mapping[Name, Name | None] = Field(
        min_length=1,
        max_length=100,
        description="The splits in the order of the report, each with the study that was run on it; null is one that "
        "was not run, whose row has published figures alone.",
    )
    test_set: TestSetName = Field("test", description="The test set of these studies that is compared.")
    published: Listed[Published] = Field(
        (), max_length=100, description="Published figures, a column of the table each."
    )


@dataclass(frozen=True)
class Comparison:
    """A validated comparison.

    ``studies`` has every split, in the order of the report, with None for one that was not run; ``note`` is empty
    or what a reader has to know before comparing.
    """

    name: str
    title: str
    note: str
    test_set: str
    studies: Mapping[str, Study | None]
    published: tuple[Published, ...]

    @property
    def run(self) -> dict[str, Study]:
        """The splits that were run."""
        return {split: study for split, study in self.studies.items() if study is not None}


def load_comparison(path: Path) -> Comparison:
    """The comparison in ``path``, config/comparisons/<comparison>.yaml, with its studies; they are in config.

    Raises:
        UserError: the file or a study of it is missing or does not fit its schema, no split was run, two splits have
            one study, or a published figure is of a split that the comparison does not have.
    """
    config = parse(str(path), ComparisonFile, config_files.read(path, "comparison"))
    named = config.splits
    if not any(named.values()):
        raise UserError(f"{path}: no split has a study, expected at least one that was run")
    for split, name in named.items():
        if name is not None and list(named.values()).count(name) > 1:
            raise UserError(f"{path}: splits.{split} is {name!r}, which is the study of another split too")
    for place, column in enumerate(config.published):
        for split in column.values.keys() - named.keys():
            raise UserError(
                f"{path}: published.{place}.values has {split!r}, expected one of {', '.join(named)}"
            )
    studies = {
        split: None if name is None else _study(path, split, name, config.test_set)
        for split, name in named.items()
    }
    return Comparison(path.stem, config.title, config.note or "", config.test_set, studies, config.published)


def check_comparable(study: Study, data: DataSummary) -> None:
    """Refuse a study whose predictions cannot be ranked against those of others."""
    if data.task != "regression" or data.outputs != 1:
        raise UserError(
            f"study {study.name} is a {data.task} of {data.outputs} outputs, expected a regression of one to compare"
        )


def _study(path: Path, split: str, name: str, test_set: str) -> Study:
    file = path.parent.parent / f"{name}.yaml"
    if not file.is_file():
        raise UserError(f"{path}: splits.{split} is {name!r}, expected a study, but {file} is missing")
    study = load_study(file)
    tests = [part for part in study.part_sizes if part not in ("train", "validation")]
    if test_set not in tests:
        raise UserError(f"{path}: test_set is {test_set!r}, but study {name} has {', '.join(tests)}")
    return study
