from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_kernels.architectures import (
    FAMILIES,
    AvgPool,
    Conv,
    Dense,
    ExpNormalized,
    GlobalAvgPool,
    LayerNorm,
    build,
    covariance_entries,
    output_shape,
)
from neural_kernels.errors import UserError
from neural_kernels.graphs import TYPICAL_NODES

SHAPES: dict[str, Any] = {"Conv1D": (12, 4), "SimpleGNN": (None, 5)}


@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - {"Sum"}))  # which has no meaning without its terms
def test_every_named_architecture_is_built_and_ends_in_one_position(name: str) -> None:
    architecture = build(name)
    assert output_shape(architecture, SHAPES.get(name, (32, 32, 3))) == ()
    assert isinstance(architecture.layers[-1], Dense)
    assert hash(architecture) == hash(build(name))


@pytest.mark.parametrize(
    ("name", "convs", "pools"), [("Myrtle5", 4, 2), ("Myrtle7", 6, 2), ("Myrtle10", 9, 2), ("CV8", 8, 0)]
)
def test_depth_counts_the_layers_with_weights(name: str, convs: int, pools: int) -> None:
    layers = build(name).layers
    assert sum(isinstance(layer, Conv) for layer in layers) == convs
    assert sum(isinstance(layer, AvgPool) for layer in layers) == pools
    assert sum(isinstance(layer, GlobalAvgPool) for layer in layers) == (pools > 0)


def test_the_fingerprint_is_of_the_layers_not_of_the_name() -> None:
    assert build("FC", depth=3).fingerprint() == build("FC3").fingerprint()
    assert build("FC3", W_std=1.0).fingerprint() != build("FC3").fingerprint()


@given(
    st.sampled_from(["relu", "erf", "gelu", "identity", "exp_normalized"]), st.booleans(), st.integers(0, 2)
)
def test_the_choices_of_the_papers_search_reach_the_layers(
    activation: str, layer_norm: bool, dense_layers: int
) -> None:
    architecture = build(
        "Myrtle",
        activation=activation,
        layer_norm=layer_norm,
        dense_layers=dense_layers,
        gamma=0.5,
        first_filter_size=5,
        convs_per_pool=[1, 2],
    )
    convs = [layer for layer in architecture.layers if isinstance(layer, Conv)]
    assert [conv.filter_size for conv in convs] == [5, 3, 3]
    assert sum(isinstance(layer, LayerNorm) for layer in architecture.layers) == (3 if layer_norm else 0)
    assert sum(isinstance(layer, Dense) for layer in architecture.layers) == dense_layers + 1
    gammas = [layer.gamma for layer in architecture.layers if isinstance(layer, ExpNormalized)]
    assert gammas == ([0.5] * (3 + dense_layers) if activation == "exp_normalized" else [])


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("Myrtle11", {}, "architecture is 'Myrtle11', expected one of"),
        ("Myrtle", {"depth": 6}, "depth is 6, expected 5, 7 or 10"),
        ("Myrtle5", {"depth": 5}, "has no parameter 'depth'"),
        ("CV8", {"filter_size": 4}, "filter_size is 4, expected an odd positive number"),
        ("CV8", {"filter_size": 3.5}, "filter_size is 3.5, expected an integer"),
        ("CV8", {"filter_size": -1}, "filter_size is -1, expected an odd positive number"),
        ("CV8", {"filter_size": 1001}, "filter_size is 1001, expected an integer from 1 to 999"),
        ("CV8", {"layer_norm": "false"}, "layer_norm is 'false', expected true or false"),
        ("CV8", {"layer_norm": 1}, "layer_norm is 1, expected true or false"),
        ("FC", {"depth": 0}, "depth is 0, expected an integer from 1 to 1000"),
        ("FC", {"depth": -1}, "depth is -1, expected an integer from 1 to 1000"),
        ("FC", {"depth": 10**9}, "depth is 1000000000, expected an integer from 1 to 1000"),
        ("CNNVec", {"depth": 0.0}, "depth is 0, expected an integer from 1 to 1000"),
        ("Conv1D", {"depth": 0}, "depth is 0, expected an integer from 1 to 1000"),
        ("SimpleGNN", {"depth": -3}, "depth is -3, expected an integer from 1 to 1000"),
        ("SimpleGNN", {"self_loops": "no"}, "self_loops is 'no', expected true or false"),
        ("Myrtle", {"dense_layers": -1}, "dense_layers is -1, expected an integer from 0 to 1000"),
        ("Myrtle", {"convs_per_pool": []}, r"convs_per_pool is \[\], expected a list of integers"),
        ("Myrtle", {"convs_per_pool": [0, 0]}, "expected 1 to 1000 layers together"),
        ("Myrtle", {"convs_per_pool": [1, True]}, "convs_per_pool.1 is True, expected an integer"),
        ("Myrtle", {"convs_per_pool": [1, [2]]}, r"convs_per_pool.1 is \[2\], expected an integer"),
        ("Myrtle", {"convs_per_pool": 3}, "convs_per_pool is 3, expected a list of integers"),
        ("Myrtle", {"convs_per_pool": [10**9]}, "convs_per_pool.0 is 1000000000, expected an integer"),
        ("FC", {"activation": ["relu"]}, r"activation is \['relu'\], expected a name"),
        ("Conv1D", {"pooling": True}, "pooling is True, expected a name"),
        ("FC", {"W_std": True}, "W_std is True, expected a number"),
        ("FC", {"W_std": 1e300}, r"W_std is 1e\+300, expected a number from 1e-06 to 1e\+06"),
        ("FC", {"W_std": 1e-300}, "W_std is 1e-300, expected a number from"),
        ("FC", {"last_W_std": -1}, "last_W_std is -1, expected a positive number"),
        ("FC", {"b_std": float("inf")}, "b_std is inf, expected a number from"),
        ("FC", {"gamma": 0}, "gamma is 0, expected a positive number"),
        ("FC", {"gamma": float("nan")}, "gamma is nan, expected a positive number"),
        ("FC", {"depth": True}, "depth is True, expected an integer"),
        ("FC", {"W_std": 0}, "W_std is 0, expected a positive number"),
        ("FC", {"b_std": -1}, "b_std is -1, expected zero or a positive number"),
        ("FC", {"W_std": float("nan")}, "W_std is nan, expected a positive number"),
        ("FC", {"activation": "selu"}, "activation is 'selu', expected one of"),
        ("Conv1D", {"pooling": "max"}, "pooling is 'max', expected one of"),
    ],
)
def test_a_wrong_parameter_is_named(name: str, parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        build(name, **parameters)


def test_whole_numbers_are_integers_however_they_are_written() -> None:
    assert build("FC", depth=2.0).fingerprint() == build("FC", depth=2).fingerprint()
    written = build("Myrtle", convs_per_pool=[1.0, 2], filter_size=5.0, dense_layers=0.0)
    assert written.fingerprint() == build("Myrtle", convs_per_pool=[1, 2], filter_size=5).fingerprint()


def test_negative_zero_is_zero() -> None:
    assert build("FC", b_std=-0.0).fingerprint() == build("FC", b_std=0.0).fingerprint()


def test_pooling_that_does_not_divide_the_image_is_named() -> None:
    with pytest.raises(UserError, match=r"AvgPool of window 2 does not divide its input of 15x15 positions"):
        output_shape(build("Myrtle5"), (15, 15, 3))
    with pytest.raises(UserError, match="Conv needs positions"):
        output_shape(build("CV8"), (192,))


def test_cost_of_a_pair() -> None:
    assert covariance_entries(build("FC3"), (32, 32, 3)) == 1
    assert covariance_entries(build("CV8"), (32, 32, 3)) == 32**2
    assert covariance_entries(build("Myrtle10"), (32, 32, 3)) == 32**4
    assert covariance_entries(build("SimpleGNN"), (30, 5)) == 30**2
    assert covariance_entries(build("SimpleGNN"), SHAPES["SimpleGNN"]) == TYPICAL_NODES**2
