"""A plan goes by the examples where what a pair costs follows from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from neural_kernels.engines.common_windows import WindowedEngine
from neural_kernels.planning import costs, solve_seconds
from neural_kernels.planning.solve_seconds import Pace
from neural_kernels.stages.plan import plan_study
from neural_kernels.study.study import Study, load_study

WILD = "ACDEFGHIKLMNPQRSTVWY" * 20


def variants(folder: Path, **changes: Any) -> Study:
    """Of a long protein, each with one letter changed within ten positions."""
    random = np.random.default_rng(0)
    places, letters = random.integers(200, 210, 300), random.choice(list(WILD[:20]), 300)
    rows = [WILD[:place] + letter + WILD[place + 1 :] for place, letter in zip(places, letters, strict=True)]
    part = ["test" if k % 10 == 0 else "train" for k in range(300)]
    table = pd.DataFrame({"sequence": rows, "target": random.normal(size=300), "set": part, "validation": ""})
    table.to_csv(folder / "variants.csv", index=False)
    config = {
        "title": "t",
        "data": {"name": "flip", "path": str(folder / "variants.csv"), "validation_examples": 20},
        "preprocessing": {"plain": {"method": "none"}},
        "kernels": {
            "C": {"architecture": {"name": "Conv1D", "pooling": "average"}, "preprocessing": "plain"}
        },
        "training_sizes": {"smallest": 32},
    } | changes
    (folder / "s.yaml").write_text(yaml.safe_dump(config))
    return load_study(folder / "s.yaml")


def test_sequences_that_differ_in_a_window_are_measured_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def measured(engine: Any, *arguments: Any) -> float:
        seen.append(engine)
        return 1e3

    monkeypatch.setattr(costs, "measure_rate", measured)
    text = plan_study(variants(tmp_path), tmp_path / "results")
    assert isinstance(seen[0], WindowedEngine)
    assert seen[0].mean_pair < 0.1
    assert "solving: 1 seconds of this machine" in text


def test_solves_are_counted_by_their_arithmetic_and_their_reading(tmp_path: Path) -> None:
    pace = Pace(flops=1e9, bytes=1e9)
    ridge = {"candidates": [1e-3, 1e-2], "choose_by": "loo"}
    sizes = {"sizes": [100, 200]}
    direct = variants(tmp_path, ridge=ridge, training_sizes=sizes, draws=1)
    flops = sum(2 * (n**3 + 4 * n * n) / solve_seconds.FACTORISED for n in (100, 200))
    read = sum(n * n / 2 * 8 for n in (100, 200))
    assert solve_seconds.of_kernel(direct, "C", 1, pace) == pytest.approx((flops + read) / 1e9)
    iterative = variants(tmp_path, ridge=ridge, training_sizes=sizes, draws=1, solver={"direct_up_to": 0})
    passes = sum(costs.USUAL_PASSES * 2 * n * n * (1 + costs.USUAL_COLUMNS) for n in (100, 200))
    assert solve_seconds.of_kernel(iterative, "C", 1, pace) == pytest.approx((passes + read) / 1e9)
