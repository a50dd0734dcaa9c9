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

SHAPES = {"Conv1D": (12, 4), "SimpleGNN": (None, 5)}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_named_architecture_is_built_and_ends_in_one_position(name):
    architecture = build(name)
    assert output_shape(architecture, SHAPES.get(name, (32, 32, 3))) == ()
    assert isinstance(architecture.layers[-1], Dense)
    assert hash(architecture) == hash(build(name))


@pytest.mark.parametrize(
    ("name", "convs", "pools"), [("Myrtle5", 4, 2), ("Myrtle7", 6, 2), ("Myrtle10", 9, 2), ("CV8", 8, 0)]
)
def test_depth_counts_the_layers_with_weights(name, convs, pools):
    layers = build(name).layers
    assert sum(isinstance(layer, Conv) for layer in layers) == convs
    assert sum(isinstance(layer, AvgPool) for layer in layers) == pools
    assert sum(isinstance(layer, GlobalAvgPool) for layer in layers) == (pools > 0)


def test_the_fingerprint_is_of_the_layers_not_of_the_name():
    assert build("FC", depth=3).fingerprint() == build("FC3").fingerprint()
    assert build("FC3", W_std=1.0).fingerprint() != build("FC3").fingerprint()


@given(
    st.sampled_from(["relu", "erf", "gelu", "identity", "exp_normalized"]), st.booleans(), st.integers(0, 2)
)
def test_the_choices_of_the_papers_search_reach_the_layers(activation, layer_norm, dense_layers):
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
        ("CV8", {"filter_size": 3.0}, "filter_size is 3.0, expected an integer"),
        ("FC", {"depth": True}, "depth is True, expected an integer"),
        ("FC", {"W_std": 0}, "W_std is 0, expected a positive number"),
        ("FC", {"b_std": -1}, "b_std is -1, expected zero or a positive number"),
        ("FC", {"W_std": float("nan")}, "W_std is nan, expected a positive number"),
        ("FC", {"activation": "selu"}, "activation is 'selu', expected one of"),
        ("Conv1D", {"pooling": "max"}, "pooling is 'max', expected one of"),
    ],
)
def test_a_wrong_parameter_is_named(name, parameters, sentence):
    with pytest.raises(UserError, match=sentence):
        build(name, **parameters)


def test_pooling_that_does_not_divide_the_image_is_named():
    with pytest.raises(UserError, match=r"AvgPool of window 2 does not divide its input of 15x15 positions"):
        output_shape(build("Myrtle5"), (15, 15, 3))
    with pytest.raises(UserError, match="Conv needs positions"):
        output_shape(build("CV8"), (192,))


def test_cost_of_a_pair():
    assert covariance_entries(build("FC3"), (32, 32, 3)) == 1
    assert covariance_entries(build("CV8"), (32, 32, 3)) == 32**2
    assert covariance_entries(build("Myrtle10"), (32, 32, 3)) == 32**4
    assert covariance_entries(build("SimpleGNN"), (30, 5)) == 30**2
    assert covariance_entries(build("SimpleGNN"), (None, 5)) == TYPICAL_NODES**2
