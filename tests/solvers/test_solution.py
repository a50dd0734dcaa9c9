from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from neural_kernels.errors import UserError
from neural_kernels.solvers.solution import Record, Solution, load_solution

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


def test_summaries_are_the_worst_column():
    assert RECORD.iterations == 9
    assert RECORD.residual == 3e-4
    assert RECORD.stopped_by == "max_iterations"
    assert not RECORD.converged
    assert replace(RECORD, column_stops=["tolerance", "tolerance"], column_residuals=[1e-7, 1e-6]).converged
    assert replace(RECORD, column_stops=["max_iterations", "stagnation"]).stopped_by == "stagnation"


def test_round_trip(tmp_path):
    SOLUTION.save(tmp_path)
    loaded = load_solution(tmp_path)
    np.testing.assert_array_equal(loaded.coefficients, SOLUTION.coefficients)
    assert loaded.record == RECORD
    history = pd.read_parquet(tmp_path / "history.parquet")
    assert history.columns.tolist() == ["iteration", "column", "residual", "recomputed", "seconds"]
    assert history["residual"].tolist() == [1.0, 0.5]
    assert history["recomputed"].tolist() == [True, False]


def test_direct_solution_has_an_empty_history(tmp_path):
    replace(SOLUTION, history=()).save(tmp_path)
    assert len(pd.read_parquet(tmp_path / "history.parquet")) == 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: (d / "record.json").unlink(), "record.json is missing"),
        (lambda d: (d / "coefficients.npy").unlink(), "coefficients.npy is missing"),
        (lambda d: (d / "coefficients.npy").write_bytes(b"no"), "truncated or is no .npy"),
        (
            lambda d: np.save(d / "coefficients.npy", np.ones((5, 3))),
            r"is \(5, 3\) float64, expected \(5, 2\)",
        ),
        (lambda d: (d / "record.json").write_text("{}"), "is not the record of a solve"),
    ],
)
def test_damage_is_named(tmp_path, spoil, message):
    SOLUTION.save(tmp_path)
    spoil(tmp_path)
    with pytest.raises(UserError, match=message):
        load_solution(tmp_path)
