"""What is known of layers, and that nothing is assumed of others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from neural_kernels import architectures as arch
from neural_kernels import engines
from neural_kernels.architectures.facts import Facts, facts
from neural_kernels.engines import jax_engine, native_engine, neural_tangents_engine
from neural_kernels.engines.window_choice import form_of
from neural_kernels.errors import UserError

ENGINES = {"native": native_engine, "jax": jax_engine, "neural_tangents": neural_tangents_engine}


@dataclass(frozen=True)
class Unlisted(arch.Layer):
    """A layer that nothing lists."""


@dataclass(frozen=True)
class OfFactsOnly(arch.Layer):
    """A layer whose facts are known, but no engine has it."""


@facts.register
def _(layer: OfFactsOnly) -> Facts:
    return Facts(facts(arch.Dense()).inputs, pairs=False)


@dataclass(frozen=True)
class UnlistedActivation(arch.Activation):
    """An activation that no engine lists: that it acts at each position alone is all that is known."""


def around(layer: arch.Layer) -> arch.Architecture:
    return arch.Architecture("toy", (arch.Conv(), layer, arch.Flatten(), arch.Dense()))


def listed() -> list[type[arch.Layer]]:
    kinds = [kind for base in (arch.Layer, arch.Activation, arch.Pooling) for kind in base.__subclasses__()]
    own = [kind for kind in kinds if kind.__module__ == arch.Layer.__module__ and not kind.__subclasses__()]
    return [kind for kind in own if kind is not arch.WeightedSum]  # of which engines see the terms alone


@pytest.mark.parametrize("kind", listed(), ids=lambda kind: kind.__name__)
def test_every_layer_has_facts_and_every_engine_covers_it(kind: type[arch.Layer]) -> None:
    assert facts(kind()).inputs
    assert kind in jax_engine.LAYERS
    assert kind in neural_tangents_engine.LAYERS


def test_activations_that_a_config_can_name_are_all_of_them() -> None:
    named = {kind for kind in arch.ACTIVATIONS.values() if kind.__module__ == arch.Layer.__module__}
    assert named == {kind for kind in listed() if issubclass(kind, arch.Activation)}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_layer_that_nothing_lists_is_refused_by_every_engine(engine: str) -> None:
    sentence = (
        r"architecture toy: nothing is known of layer Unlisted, expected one that architectures\.facts lists"
    )
    with pytest.raises(UserError, match=sentence):
        engines.select(engine, around(Unlisted()), (4, 4, 1))
    with pytest.raises(UserError, match=sentence):
        engines.kernel_matrix(around(Unlisted()), np.ones((2, 4, 4, 1)), engine=engine)


@pytest.mark.parametrize("layer", [OfFactsOnly(), UnlistedActivation()], ids=["layer", "activation"])
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_names_the_layer_that_it_does_not_cover(engine: str, layer: arch.Layer) -> None:
    name = type(layer).__name__
    assert name in ENGINES[engine].uncovered(around(layer), (4, 4, 1))
    with pytest.raises(UserError, match=rf"no engine for architecture toy: .*{name}"):
        engines.select("auto", around(layer), (4, 4, 1))


@pytest.mark.parametrize("layer", [Unlisted(), OfFactsOnly()], ids=["unlisted", "of facts only"])
def test_a_layer_of_which_it_is_not_known_has_no_symmetry_and_no_window(layer: arch.Layer) -> None:
    assert not arch.is_flip_symmetric(around(layer))
    assert form_of(around(layer), "ntk") is None
    behind = arch.Architecture("toy", (arch.Conv(), arch.Flatten(), layer, arch.Dense()))
    assert form_of(behind, "ntk") is None
    listed_only = arch.Architecture("known", (arch.Conv(), arch.Relu(), arch.Flatten(), arch.Dense()))
    assert arch.is_flip_symmetric(listed_only)
    assert form_of(listed_only, "ntk") is not None


def test_a_kind_that_no_engine_knows_is_refused() -> None:
    with pytest.raises(UserError, match="kind is 'gp', expected nngp or ntk"):
        engines.kernel_matrix(arch.build("FC3"), np.ones((2, 3)), kind="gp")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="kind is 'gp', expected nngp or ntk"):
        engines.variances(arch.build("FC3"), np.ones((2, 3)), kind="gp")  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["FC", "CNNVec", "Myrtle", "Conv1D", "SimpleGNN"])
def test_an_activations_parameters_reach_it_from_every_family(family: str) -> None:
    leaky = arch.build(family, activation="leaky_relu", alpha=-0.25)
    assert {layer for layer in leaky.layers if isinstance(layer, arch.Activation)} == {arch.LeakyRelu(-0.25)}
    exponential = arch.build(family, activation="exp_normalized", gamma=2.0, shift=-0.5)
    chosen = {layer for layer in exponential.layers if isinstance(layer, arch.Activation)}
    assert chosen == {arch.ExpNormalized(2.0, -0.5)}
    assert arch.build(family, activation="relu", alpha=0.5) == arch.build(family, activation="relu")


def test_an_activations_parameter_out_of_range_is_named() -> None:
    with pytest.raises(UserError, match=r"alpha is -100000000.0, expected a number from -1e\+06 to 1e\+06"):
        arch.build("FC", activation="leaky_relu", alpha=-1e8)
    with pytest.raises(UserError, match="shift is nan, expected a number"):
        arch.build("FC", activation="exp_normalized", shift=float("nan"))
