"""The schema fragments of the config accept what the code reads, and nothing else."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from neural_kernels.datasets import DATASETS
from neural_kernels.datasets.augmentation import LARGEST_MAGNITUDE, OPERATIONS

SCHEMAS = Path(__file__).parents[2] / "workflow" / "schemas"


def errors(schema, value):
    validator = jsonschema.Draft202012Validator(yaml.safe_load((SCHEMAS / schema).read_text()))
    return [error.message for error in validator.iter_errors(value)]


@pytest.mark.parametrize("schema", ["data.schema.yaml", "preprocessing.schema.yaml"])
def test_schema_is_valid_and_describes_every_key(schema):
    content = yaml.safe_load((SCHEMAS / schema).read_text())
    jsonschema.Draft202012Validator.check_schema(content)
    assert content["additionalProperties"] is False
    assert all("description" in value for value in content["properties"].values())


def test_names_are_those_of_the_code():
    content = yaml.safe_load((SCHEMAS / "data.schema.yaml").read_text())
    assert content["properties"]["name"]["enum"] == sorted(DATASETS)
    augmentation = content["properties"]["augmentation"]["properties"]
    assert augmentation["operations"]["items"]["enum"] == augmentation["operations"]["default"]
    assert augmentation["operations"]["default"] == list(OPERATIONS)
    assert augmentation["magnitude"]["maximum"] == LARGEST_MAGNITUDE


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "digits"}, None),
        ({"name": "cifar10", "path": "a", "test_sets": {"cifar10_1": {"path": "b", "version": "v4"}}}, None),
        ({"name": "cifar10"}, "'path' is a required property"),
        ({"name": "digits", "train": 3}, "'train' was unexpected"),
        ({"name": "digits", "train_examples": 0}, "less than the minimum"),
        ({"name": "digits", "test_sets": {"digits": {"size": 3}}}, "'size' was unexpected"),
        ({"name": "cifar5m", "path": "a", "train_parts": [5]}, "greater than the maximum"),
        ({"name": "digits", "augmentation": {"factor": 2}}, None),
        ({"name": "digits", "augmentation": {}}, "'factor' is a required property"),
        ({"name": "digits", "augmentation": {"factor": 0}}, "less than the minimum"),
        ({"name": "digits", "augmentation": {"factor": 3, "operations": ["Rotate"]}}, "is not one of"),
        ({"name": "digits", "augmentation": {"factor": 3, "magnitude": 11}}, "greater than the maximum"),
        ({"name": "digits", "flips": True}, "'flips' was unexpected"),
    ],
)
def test_data(data, message):
    found = errors("data.schema.yaml", data)
    assert (found == []) if message is None else any(message in error for error in found)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"method": "zca", "regularization": 0.1, "per_image_normalization": False, "fit_examples": 10},
            None,
        ),
        ({"method": "pca"}, "is not one of"),
        ({"regularization": 0.1}, "'method' is a required property"),
        ({"method": "zca", "reg": 0.1}, "'reg' was unexpected"),
        ({"method": "zca", "regularization": -1}, "less than the minimum"),
    ],
)
def test_preprocessing(entry, message):
    found = errors("preprocessing.schema.yaml", entry)
    assert (found == []) if message is None else any(message in error for error in found)
