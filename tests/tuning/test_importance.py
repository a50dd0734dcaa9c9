"""Importances of hyperparameters whose effect is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tuning_studies import CONFIG

from neural_kernels.metrics.objectives import OBJECTIVES
from neural_kernels.tuning.assessment import Assessment
from neural_kernels.tuning.importance import FEWEST, importances
from neural_kernels.tuning.records import TrialRecord
from neural_kernels.tuning.space import parse_space

SPACE = parse_space("space", {**CONFIG["tuning"]["space"]})


def records(count: int, effect: Callable[[dict[str, Any]], Any]) -> list[TrialRecord]:
    """Random hyperparameters and what ``effect`` makes of them, with some noise."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        values = {
            "depth": int(rng.integers(1, 4)),
            "activation": str(rng.choice(["relu", "erf", "exp_normalized"])),
            "W_std": float(rng.uniform(0.5, 3.0)),
            "regularization": float(10 ** rng.uniform(-2, 1)),
            "kind": str(rng.choice(["nngp", "ntk"])),
        }
        if values["activation"] == "exp_normalized":
            values["gamma"] = float(rng.uniform(0.5, 2.0))
        value = effect(values) + 0.01 * rng.normal()
        assessment = Assessment(value, 1.0, False, {"validation": {}}, "native", 0.1)
        found.append(
            TrialRecord(
                str(number), "complete", None, values, None, assessment, "loss", 20, 30, "float64", {}
            )
        )
    return found


@pytest.mark.parametrize(
    ("name", "effect"),
    [
        ("W_std", lambda v: abs(v["W_std"] - 1.0)),
        ("kind", lambda v: float(v["kind"] == "ntk")),
        ("depth", lambda v: v["depth"]),
    ],
)
def test_what_decides_alone_comes_first(name: str, effect: Callable[[dict[str, Any]], Any]) -> None:
    found = importances(SPACE, records(60, effect), OBJECTIVES["loss"])
    assert found is not None
    assert next(iter(found)) == name
    assert set(found) == {h.name for h in SPACE.hyperparameters if not h.when}
    assert found[name] > 0.8
    assert sum(found.values()) == pytest.approx(1.0)
    assert found == importances(SPACE, records(60, effect), OBJECTIVES["loss"])


def test_a_maximised_objective_has_importances_as_well() -> None:
    found = importances(SPACE, records(60, lambda values: values["W_std"]), OBJECTIVES["accuracy"])
    assert found is not None
    assert next(iter(found)) == "W_std"


def test_few_trials_say_nothing() -> None:
    assert importances(SPACE, records(FEWEST - 1, lambda v: v["W_std"]), OBJECTIVES["loss"]) is None
