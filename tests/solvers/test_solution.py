from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bit_flips import BIT, POSITION, flip_one
from hypothesis import given

from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.solvers.solution import Record, Solution, load_history, load_solution
from neural_kernels.storage.files import write_json

RECORD = Record(
    solver="conjugate_gradients",
    n=5,
    ridge=1e-3,
    shift=0.02,
    column_iterations=[4, 9],
    column_residuals=[1e-7, 3e-4],
    column_stops=["tolerance", "max_iterations"],
    seconds=1.5,
    tolerance=1e-6,
    details={"rank": 3},
)
SOLUTION = Solution(np.arange(10.0).reshape(5, 2), RECORD, ((0, 0, 1.0, True, 0.0), (1, 1, 0.5, False, 0.1)))


def test_summaries_are_the_worst_column() -> None:
    assert RECORD.iterations == 9
    assert RECORD.residual == 3e-4
    assert RECORD.stopped_by == "max_iterations"
    assert not RECORD.converged
    assert replace(RECORD, column_stops=["tolerance", "tolerance"], column_residuals=[1e-7, 1e-6]).converged
    assert replace(RECORD, column_stops=["max_iterations", "stagnation"]).stopped_by == "stagnation"


def test_round_trip(tmp_path: Path) -> None:
    SOLUTION.save(tmp_path)
    loaded = load_solution(tmp_path)
    np.testing.assert_array_equal(loaded.coefficients, SOLUTION.coefficients)
    assert loaded.record == RECORD
    history = pd.read_parquet(tmp_path / "history.parquet")
    assert history.columns.tolist() == ["iteration", "column", "residual", "recomputed", "seconds"]
    assert history["residual"].tolist() == [1.0, 0.5]
    assert history["recomputed"].tolist() == [True, False]


def test_direct_solution_has_an_empty_history(tmp_path: Path) -> None:
    replace(SOLUTION, history=()).save(tmp_path)
    assert len(pd.read_parquet(tmp_path / "history.parquet")) == 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "record.json").unlink(), "record.json is missing"),
        (lambda d: (d / "coefficients.npy").unlink(), "coefficients.npy is missing"),
        (lambda d: (d / "coefficients.npy").write_bytes(b""), "coefficients.npy is damaged"),
        (lambda d: np.save(d / "coefficients.npy", np.ones((5, 2))), "coefficients.npy is damaged"),
        (lambda d: write_json(d / "record.json", {}), "is not the record of a solve"),
        (lambda d: unsealed(d / "record.json"), "record.json has no checksum"),
    ],
)
def test_damage_is_named_and_set_aside_with_what_vouches_for_the_solution(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    folder, solved = tmp_path / "draw0", tmp_path / "solved.json"
    SOLUTION.save(folder)
    solved.write_text("{}")
    spoil(folder)
    with pytest.raises(DamagedFile, match=message):
        load_solution(folder, solved)
    assert not solved.exists()
    assert not (folder / "record.json").exists()


def unsealed(path: Path) -> None:
    """A record as an earlier version wrote it."""
    record = json.loads(path.read_text())
    path.write_text(json.dumps({key: v for key, v in record.items() if key not in ("checksum", "files")}))


@given(which=POSITION, position=POSITION, bit=BIT)
def test_no_flipped_bit_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, which: float, position: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("draw")
    SOLUTION.save(folder)
    path = flip_one(list(folder.iterdir()), which, position, bit)
    with pytest.raises(DamagedFile, match=path.name):
        _ = load_solution(folder), load_history(folder)
    assert not path.exists()
    assert not (folder / "record.json").exists()


def test_the_solution_of_another_problem_is_refused_and_left_alone(tmp_path: Path) -> None:
    SOLUTION.save(tmp_path, "one")
    assert load_solution(tmp_path, problem="one").record == RECORD
    with pytest.raises(UserError, match="solution of another problem"):
        load_solution(tmp_path, problem="two")
    assert (tmp_path / "record.json").exists()
