"""Regressions of the logarithms of targets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sections import check_data, examine_data, prepare_data

from neural_kernels.errors import UserError


def section(path: Path, targets: np.ndarray, **changes: Any) -> dict[str, Any]:
    draws = np.random.default_rng(0)
    x = draws.standard_normal((len(targets), 3))
    np.savez(path / "own.npz", x_train=x, y_train=targets, x_test=x[:4], y_test=targets[:4])
    return {"name": "arrays", "path": str(path / "own.npz"), "validation_examples": 5} | changes


def test_every_part_has_the_logarithms_and_gaps_stay(tmp_path: Path) -> None:
    targets = np.random.default_rng(1).gamma(1.0, size=(30, 2))
    targets[7, 0] = np.nan
    own = section(tmp_path, targets)
    prepare_data(own, tmp_path / "plain", 0)
    prepare_data(own | {"log_offset": 0.25}, tmp_path / "logged", 0)
    for part in ("train", "validation", "test"):
        plain, logged = (np.load(tmp_path / name / f"{part}_y.npy") for name in ("plain", "logged"))
        np.testing.assert_allclose(logged, np.log(plain + 0.25), rtol=1e-15)
    summary = json.loads((tmp_path / "logged" / "data.json").read_text())
    assert summary["class_names"] == ["log(target_0 + 0.25)", "log(target_1 + 0.25)"]
    assert np.isnan(np.load(tmp_path / "logged/train_y.npy")).sum() <= 1


def test_an_offset_of_nothing_is_the_logarithm_itself(tmp_path: Path) -> None:
    own = section(tmp_path, np.linspace(0.5, 3, 30), log_offset=0)
    assert check_data(own).class_names == ("log(target)",)
    found = examine_data(own, 0)
    assert found.min() >= np.log(0.5) - 1e-12
    assert found.max() <= np.log(3) + 1e-12


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (np.linspace(-0.1, 1, 30), r"example 0 is -0\.1, expected more than -0\.1, as data\.log_offset is 0\.1"),
        (np.arange(30) % 3, r"data\.log_offset is given, but .*own\.npz is a classification, expected a regression"),
    ],
)  # fmt: skip
def test_mistakes_are_one_sentence(tmp_path: Path, targets: np.ndarray, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        examine_data(section(tmp_path, targets, log_offset=0.1), 0)
