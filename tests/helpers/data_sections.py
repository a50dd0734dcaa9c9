"""Data sets by the section ``data`` of a config as a file holds it: checked as a study's, then opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np

from neural_kernels import datasets
from neural_kernels.datasets import DataSummary
from neural_kernels.datasets.inputs import Inputs
from neural_kernels.datasets.options import DataOptions
from neural_kernels.datasets.pools import Dataset, Pool
from neural_kernels.sections import Section, parse

# What the fixture ``contents_of`` does: from a pool to all its examples and targets.
Contents = Callable[[Pool], tuple[Any, np.ndarray]]


class File(Section):
    data: datasets.Data


def data_section(data: Mapping[str, Any]) -> DataOptions:
    """The section as a value; UserError as of a study."""
    return parse("mine.yaml", File, {"data": dict(data)}).data


def open_dataset(data: Mapping[str, Any]) -> Dataset:
    return datasets.open_dataset(data_section(data))


def check_data(data: Mapping[str, Any]) -> DataSummary:
    return datasets.check_data(data_section(data))


def examine_data(data: Mapping[str, Any], seed: int) -> np.ndarray:
    return datasets.examine_data(data_section(data), seed)


def prepare_data(data: Mapping[str, Any], directory: Path, seed: int) -> None:
    datasets.prepare_data(data_section(data), directory, seed)


def read_own_inputs(data: Mapping[str, Any], path: Path) -> Inputs:
    """What the data set makes of a file to predict, before it is held against the training examples."""
    options = data_section(data)
    reader = datasets.DATASETS[options.name].inputs
    assert reader is not None
    found: Inputs = resolve_name(reader)(options, path)
    return found


def read_inputs(
    data: Mapping[str, Any], path: Path, input_shape: tuple[int | None, ...], kind: str
) -> Inputs:
    return datasets.read_inputs(data_section(data), path, input_shape, kind)
