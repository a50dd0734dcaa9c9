"""The sections data and preprocessing take what the code reads, and nothing else."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from data_sections import data_section

from neural_kernels.datasets import DATASETS, options_of
from neural_kernels.datasets.augmentation import OPERATIONS, OperationName
from neural_kernels.errors import UserError
from neural_kernels.preprocessing.options import KEYS, Method, parse_preprocessing


def test_names_are_those_of_the_code() -> None:
    names = [options_of(name).model_fields["name"].default for name in DATASETS]
    assert names == list(DATASETS) == sorted(names)
    assert get_args(OperationName) == tuple(OPERATIONS)
    assert tuple(KEYS) == get_args(Method)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "digits"}, None),
        ({"name": "cifar10", "path": "a", "test_sets": {"cifar10_1": {"path": "b", "version": "v4"}}}, None),
        ({"name": "cifar10"}, "data lacks the key 'path'"),
        ({"name": "digits", "train": 3}, "unknown key 'train' in data"),
        ({"name": "digits", "train_exampels": 3}, r"'train_exampels' in data .similar: train_examples,"),
        ({"name": "cifar", "path": "a"}, r"data.name is 'cifar', expected one of .* .similar: cifar5m, cifar10"),
        ({"name": "digits", "train_examples": 0}, "data.train_examples: 0 is less than the minimum of 1"),
        ({"name": "digits", "test_sets": {"digits": {"size": 3}}}, "unknown key 'size' in data.test_sets.digits"),
        ({"name": "digits", "table": "low_vs_high"}, "unknown key 'table' in data"),
        ({"name": "cifar5m", "path": "a", "train_parts": [5]}, r"data.train_parts.0: 5 is greater than the maximum"),
        ({"name": "digits", "augmentation": {"factor": 2}}, None),
        ({"name": "digits", "augmentation": {}}, "data.augmentation lacks the key 'factor'"),
        ({"name": "digits", "augmentation": {"factor": 3, "operations": ["Rotate"]}}, "expected one of FlipLR"),
        ({"name": "tiny_imagenet", "path": "a", "image_size": 8.0}, None),
        ({"name": "digits", "flips": True}, "unknown key 'flips' in data"),
    ],
)  # fmt: skip
def test_data(data: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert data_section(data_section(data).plain()) == data_section(data)
        return
    with pytest.raises(UserError, match=message):
        data_section(data)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"method": "zca", "per_image_normalization": False, "fit_examples": 10}, None),
        ({"method": "none"}, None),
        ({"method": "pca"}, "method is 'pca', expected one of zca, standardize, none"),
        ({"regularization": 0.1}, "the file lacks the key 'method'"),
        ({"method": "zca", "reg": 0.1}, "unknown key 'reg' in the file"),
        ({"method": "standardize", "regularization": 0.1}, "unknown key 'regularization' in the file"),
        ({"method": "zca", "regularization": -1}, "regularization: -1 is less than the minimum of 0"),
    ],
)
def test_preprocessing(entry: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert entry.items() <= parse_preprocessing("mine.yaml", entry).plain().items()
        return
    with pytest.raises(UserError, match=message):
        parse_preprocessing("mine.yaml", entry)
