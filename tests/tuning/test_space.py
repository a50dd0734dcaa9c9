"""What a search space accepts, draws and refuses."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_kernels.errors import UserError
from neural_kernels.tuning.space import SearchSpace, parse_space

SECTION: dict[str, Any] = {
    "architecture": {
        "name": "Myrtle",
        "activation": {"choices": ["relu", "erf", "exp_normalized"]},
        "gamma": {"low": 0.25, "high": 4.0, "log": True, "when": {"activation": "exp_normalized"}},
        "layer_norm": {"choices": [False, True]},
        "W_std": {"low": 0.5, "high": 3.0},
        "convs_per_pool": {"choices": [[1, 1], [2, 1, 1]]},
        "dense_layers": {"low": 0, "high": 2, "integer": True},
        "b_std": 0.2,
    },
    "preprocessing": {
        "method": "zca",
        "regularization": {"low": 1e-3, "high": 10.0, "log": True},
        "per_image_normalization": True,
    },
    "kind": {"choices": ["nngp", "ntk"]},
}


def changed(**changes: Any) -> dict[str, Any]:
    """The section with entries like architecture__W_std replaced."""
    section = copy.deepcopy(SECTION)
    for key, value in changes.items():
        part, _, name = key.partition("__")
        if name:
            section[part][name] = value
        else:
            section[part] = value
    return section


def drawn(space: SearchSpace, seed: int, trials: int = 20) -> Iterator[tuple[Any, Any]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(trials):
        trial = study.ask()
        yield trial, space.draw(trial)
        study.tell(trial, 0.0)


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_every_draw_is_in_the_space_and_makes_an_architecture(seed: int) -> None:
    space = parse_space("tuning.space", SECTION)
    for _, values in drawn(space, seed):
        assert ("gamma" in values) == (values["activation"] == "exp_normalized")
        assert 0.25 <= values.get("gamma", 1.0) <= 4.0
        assert 0.5 <= values["W_std"] <= 3.0
        assert values["dense_layers"] in (0, 1, 2)
        assert values["convs_per_pool"] in ([1, 1], [2, 1, 1])
        candidate = space.candidate(values)
        assert candidate.kind == values["kind"]
        assert candidate.preprocessing == {
            "method": "zca", "regularization": values["regularization"], "per_image_normalization": True
        }  # fmt: skip
        assert candidate.architecture["b_std"] == 0.2
        assert ("gamma" in candidate.architecture) == ("gamma" in values)
        candidate.build()
        json.dumps(values)


def test_numbers_are_such_as_a_person_would_write() -> None:
    space = parse_space("tuning.space", SECTION)
    for trial, values in drawn(space, 0):
        for name in ("W_std", "regularization"):
            assert len(f"{values[name]:.12g}".replace(".", "").lstrip("0").split("e")[0]) <= 4
            assert values[name] == pytest.approx(trial.params[name], rel=1e-3)


def test_a_rounded_number_stays_in_its_range() -> None:
    space = parse_space("tuning.space", changed(architecture__W_std={"low": 1.00004, "high": 1.00006}))
    assert all(1.00004 <= values["W_std"] <= 1.00006 for _, values in drawn(space, 0))


def test_kind_and_regularization_may_be_fixed() -> None:
    section = changed(kind="nngp", preprocessing={"method": "zca", "regularization": 0.1})
    space = parse_space("tuning.space", section)
    (_, values), *_ = drawn(space, 0, trials=1)
    assert space.candidate(values).kind == "nngp"
    assert space.candidate(values).preprocessing == section["preprocessing"]


def test_a_candidate_has_only_what_its_preprocessing_uses() -> None:
    section = changed(preprocessing={"method": "standardize", "regularization": 0.1, "fit_examples": 20})
    space = parse_space("tuning.space", section)
    (_, values), *_ = drawn(space, 0, trials=1)
    assert space.candidate(values).preprocessing == {"method": "standardize", "fit_examples": 20}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"architecture__width": {"choices": [1]}}, "has no parameter 'width'"),
        ({"architecture__W_std": {"low": -1.0, "high": 2.0}}, "W_std is -1.0, expected a positive number"),
        ({"architecture__W_std": {"low": 2.0, "high": 2.0}}, "architecture.W_std goes from 2.0 to 2.0"),
        ({"architecture__W_std": {"low": "a", "high": 2.0}}, "goes from 'a' to 2.0, expected two numbers"),
        (
            {"architecture__W_std": {"low": 0.0, "high": 2.0, "log": True}},
            "W_std.low is 0.0, expected a positive",
        ),
        ({"architecture__W_std": {"low": 1.0, "high": 2.0, "log": 3}}, "log and integer are 3 and False"),
        ({"architecture__W_std": {"low": 1.0}}, "W_std has the keys low; expected choices, or low and high"),
        ({"architecture__W_std": {"lo": 1.0, "high": 2.0}}, "W_std has the keys lo, high; expected"),
        ({"architecture__W_std": {"choices": []}}, r"W_std.choices is \[\], expected a list"),
        ({"architecture__W_std": {"choices": [1.0, 1.0]}}, "W_std.choices has a value twice: 1.0, 1.0"),
        ({"architecture__filter_size": {"choices": [3, 4]}}, "filter_size is 4, expected an odd"),
        ({"architecture__dense_layers": {"low": 0, "high": 1.5, "integer": True}}, "two whole numbers"),
        ({"architecture__name": {"choices": ["FC"]}}, "architecture.name is searched"),
        ({"architecture__gamma": {"choices": [1], "when": {"W_std": 1}}}, "gamma.when names 'W_std'"),
        ({"architecture__gamma": {"choices": [1], "when": 3}}, "gamma.when is 3, expected hyperparameters"),
        (
            {"architecture__gamma": {"choices": [1], "when": {"activation": ["tanh"]}}},
            'gamma.when.activation has \'tanh\', expected one of "relu", "erf"',
        ),
        ({"preprocessing__method": "none"}, "regularization is searched, but the method is none"),
        ({"preprocessing__regularization": {"choices": [-1]}}, "regularization has -1, expected numbers"),
        ({"kind": {"choices": ["ntk", "gp"]}}, r"space.kind has \['ntk', 'gp'\]"),
        ({"kind": "gp"}, "space.kind is 'gp'"),
    ],
)
def test_a_mistake_is_one_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        parse_space("tuning.space", changed(**changes))
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("tuning.space")


def test_a_space_of_fixed_values_is_refused() -> None:
    section = {"architecture": {"name": "FC"}, "preprocessing": {"method": "none"}, "kind": "ntk"}
    with pytest.raises(UserError, match=r"tuning\.space has no hyperparameter"):
        parse_space("tuning.space", section)


def test_given_hyperparameters_are_checked() -> None:
    space = parse_space("s.yaml: space", SECTION)
    space.check("here", {"W_std": 1, "layer_norm": True, "convs_per_pool": [2, 1, 1], "dense_layers": 2})
    assert space.stored({"W_std": 1.5, "layer_norm": True}) == {"W_std": 1.5, "layer_norm": "true"}
    for values, expected in (
        ({"depth": 3}, "here names 'depth', expected hyperparameters: activation"),
        ({"W_std": 4.0}, r"here: W_std is 4\.0, expected a number from 0\.5 to 3\.0"),
        ({"dense_layers": 1.5}, r"dense_layers is 1\.5, expected a whole number from 0 to 2"),
        ({"activation": "gelu"}, r"activation is 'gelu', expected one of \"relu\", \"erf\""),
    ):
        with pytest.raises(UserError, match=expected):
            space.check("here", values)
