"""What is chosen to make an iteration shorter, and that it does."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_examples import of_sizes
from sklearn.datasets import load_digits
from solver_problems import digits_problem, stored

from neural_kernels import architectures, engines
from neural_kernels.errors import UserError
from neural_kernels.solvers import PreconditionerSettings, Settings, Stopping, solve_system
from neural_kernels.solvers.acceleration import (
    ABOUT,
    COUNTS,
    PATIENCE,
    WORTH,
    Acceleration,
    PassCost,
    Room,
    choose,
    columns_for,
    modelled_passes,
    modelled_seconds,
    remembered,
    share_beyond_head,
)
from neural_kernels.solvers.store_operator import StoreOperator

FLAT, FALLING = np.eye(200), np.diag(0.8 ** np.arange(200))
PLENTY = Room(random_columns=COUNTS[-1], rank=500)
AUTO = PreconditionerSettings("auto", 300, 7)
IN_MEMORY, FROM_DISK = PassCost(0.0, 1e-3), PassCost(0.05, 1e-3)


def chosen(
    sample: np.ndarray = FLAT,
    cost: PassCost = FROM_DISK,
    asked: PreconditionerSettings = AUTO,
    count: int | None = None,
    together: bool = True,
    room: Room = PLENTY,
    n: int = 8192,
) -> Acceleration:
    return choose(asked, count, 10, together, room, lambda size: sample[:size, :size], lambda: cost, n)


def test_of_what_is_about_as_fast_as_the_fastest_the_fewest_passes_are_taken() -> None:
    for cost, n in ((FROM_DISK, 8192), (PassCost(2.0, 0.05), 65536), (IN_MEMORY, 8192), (IN_MEMORY, 1024)):
        found = chosen(FLAT, cost, n=n)
        options = [(rank, count) for rank in (0, 150, 300) for count in (0, *COUNTS)]
        seconds = {option: modelled_seconds(cost, n, 10, *option) for option in options}
        fastest = min(seconds.values())
        near = [o for o in options if seconds[o] <= max(ABOUT * fastest, fastest + PATIENCE)]
        taken = found.preconditioner.used_rank, found.random_columns
        assert taken in near
        assert modelled_passes(n, 10, *taken) == min(modelled_passes(n, 10, *option) for option in near)
    found = chosen(FLAT)
    assert found.random_columns > 0
    assert "a pass reads for 0.05 s" in found.reason
    assert "68% of the trace" in found.reason


def test_a_falling_spectrum_has_a_preconditioner_as_well() -> None:
    found = chosen(FALLING)
    assert found.preconditioner == PreconditionerSettings("random", 300, 7)
    assert found.random_columns in COUNTS


def test_a_factor_is_left_out_where_it_costs_more_than_it_saves() -> None:
    # Of few examples the passes are few, and of slow arithmetic the factor is dear.
    assert chosen(n=512, cost=PassCost(0.05, 0.01)).preconditioner.used_rank == 0
    assert chosen(n=65536, cost=PassCost(5.0, 0.05)).preconditioner.used_rank == 300


def test_processors_that_reading_keeps_busy_leave_room_for_fewer_columns() -> None:
    assert columns_for(10, 512, lambda: PassCost(0.1, 1e-3, 0.05))[0] == 32
    assert columns_for(10, 512, lambda: PassCost(0.1, 1e-3))[0] == 64


def test_a_factor_is_worth_columns() -> None:
    assert modelled_passes(8192, 10, 0, int(WORTH * 10)) == modelled_passes(8192, 10, 100, 0)


def test_a_matrix_in_memory_has_columns_where_they_take_no_time_to_speak_of() -> None:
    found = chosen(FLAT, PassCost(0.0, 3e-4), n=2048)
    assert found.random_columns >= 64
    assert "the matrix is in memory" in found.reason
    large = chosen(FLAT, PassCost(0.0, 0.05), n=32768)
    assert large.random_columns <= 16
    assert large.preconditioner.used_rank == 300


def test_a_factor_and_columns_have_to_fit_together() -> None:
    room = Room(512, 300, lambda rank, count: rank + 10 * count <= 1000)
    found = chosen(FLAT, PassCost(10.0, 1e-3), room=room)
    assert 0 < found.preconditioner.used_rank + 10 * found.random_columns <= 1000
    half = chosen(
        FLAT, PassCost(10.0, 1e-3), room=Room(512, 300, lambda rank, count: rank == 150 and count == 16)
    )
    assert (half.preconditioner.used_rank, half.random_columns) == (150, 16)
    assert "a preconditioner of rank 150" in half.reason
    alone = chosen(FLAT, PassCost(10.0, 1e-3), room=Room(512, 300))
    assert alone.random_columns > found.random_columns


def test_directions_that_are_not_shared_leave_the_preconditioner() -> None:
    found = chosen(FLAT, together=False, count=50)
    assert (found.preconditioner.method, found.random_columns) == ("random", 0)
    assert chosen(together=False, asked=replace(AUTO, method="none")).preconditioner.used_rank == 0


def test_a_pass_that_waits_for_the_disk_has_time_for_more() -> None:
    costs = [PassCost(reading, 1e-3) for reading in (1e-3, 0.05, 0.1, 0.2, 0.4, 10)]
    counts = [columns_for(10, COUNTS[-1], functools.partial(replace, cost))[0] for cost in costs]
    # As many as the arithmetic hides behind the reading.
    assert counts == [0, 32, 64, 128, 384, COUNTS[-1]]
    counts = [chosen(cost=PassCost(reading, 1e-3)).random_columns for reading in (1e-3, 0.05, 0.2, 10)]
    assert counts == sorted(counts)
    assert counts[-1] == COUNTS[-1]


def test_little_room_leaves_fewer_and_in_the_end_a_preconditioner() -> None:
    assert chosen(cost=PassCost(10, 1e-3), room=Room(100, 500)).random_columns == 96
    found = chosen(room=Room(20, 50))
    assert (found.preconditioner.method, found.preconditioner.rank, found.random_columns) == (
        "random",
        50,
        16,
    )
    found = chosen(room=Room(10, 50))
    assert (found.preconditioner.method, found.preconditioner.rank, found.random_columns) == ("random", 50, 0)
    assert chosen(room=Room(0, 0)).preconditioner.used_rank == 0


def test_what_the_config_asks_for_is_taken() -> None:
    greedy = PreconditionerSettings("greedy", 20)
    found = chosen(asked=greedy, count=17)
    assert (found.preconditioner, found.random_columns) == (greedy, 17)
    assert chosen(asked=replace(greedy, method="none"), count=0).random_columns == 0


def test_a_choice_is_made_once_for_a_problem(tmp_path: Path) -> None:
    first, second = chosen(FLAT), chosen(FALLING, PassCost(10, 1e-3))
    assert remembered(tmp_path, "this", PLENTY, lambda: first) == first
    assert remembered(tmp_path, "this", PLENTY, lambda: second) == first
    assert remembered(tmp_path, "another", PLENTY, lambda: second) == second
    assert remembered(tmp_path, "another", Room(8, 0), lambda: first) == first, "no room for it any more"
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text().replace('"this"', '"that"').replace("32", "33"))
    assert remembered(tmp_path, "another", PLENTY, lambda: second) == second, "damaged"
    assert remembered(None, "this", PLENTY, lambda: second) == second


def test_the_share_of_a_matrix_of_zeros_is_none() -> None:
    assert share_beyond_head(np.zeros((100, 100))) == 0
    assert share_beyond_head(np.eye(3)) == 0


@pytest.mark.parametrize("window", [(0, 300), (50, 300)])
def test_the_sample_is_the_leading_part_of_the_first_block(tmp_path: Path, window: tuple[int, int]) -> None:
    kernel, _ = digits_problem(300)
    operator = StoreOperator(stored(tmp_path, kernel, 128), window)
    first = window[0]
    for count, expected in ((20, 20), (500, 128 - first)):
        sample = operator.leading(count)
        np.testing.assert_array_equal(sample, kernel[first : first + expected, first : first + expected])


def test_a_pass_is_measured_where_it_is_streamed_and_where_not(tmp_path: Path) -> None:
    kernel, targets = digits_problem(600)
    operator = StoreOperator(stored(tmp_path, kernel, 64))
    cost = operator.measured_cost()
    assert cost.reading == 0
    assert cost.vector > 0
    exact = operator.matmul(targets)
    operator.place(2**20, 20)
    cost = operator.measured_cost()
    assert operator.streamed_bytes > 0
    assert cost.reading > 0
    assert cost.vector > 0
    np.testing.assert_array_equal(operator.matmul(targets), exact)
    with pytest.raises(UserError, match="the memory budget leaves"):
        operator.place(2**10, 20)


@functools.cache
def kernel_of(name: str) -> np.ndarray:
    architecture = architectures.build(name)
    if name == "SimpleGNN":
        sizes = np.random.default_rng(0).integers(3, 12, 640).tolist()
        return engines.kernel_matrix(architecture, of_sizes(sizes))
    pixels, _ = load_digits(return_X_y=True)
    x = pixels[:640].reshape(640, 8, 8, 1) / 8.0 - 1.0
    return engines.kernel_matrix(architecture, x)


FIXED = (("none", 0, 0), ("random", 100, 0), ("random", 300, 0), ("none", 0, 32), ("none", 0, 64))


@pytest.mark.parametrize("name", ["FC3", "CV8", "Myrtle5", "SimpleGNN"])
@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
def test_what_is_chosen_takes_hardly_more_passes_than_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, gaps: bool
) -> None:
    """Whatever is the best, of no columns, of few and of as many as are ever chosen."""
    kernel = kernel_of(name)
    n = len(kernel)
    store, (_, targets) = stored(tmp_path, kernel, n), digits_problem(n)
    if gaps:
        targets[np.random.default_rng(0).random(targets.shape) < 0.3] = np.nan

    def passes(ridge: float, method: Any, rank: int, count: int | None) -> int:
        settings = Settings(
            [ridge],
            method="conjugate_gradients",
            preconditioner=PreconditionerSettings(method, rank),
            random_columns=count,
            stopping=Stopping(1e-6, max_iterations=300),
            threads=1,
        )
        return solve_system(store, (0, n), targets, settings).record.iterations

    for ridge in (1e-8, 1e-4, 1e-2, 1e-1):
        best = min(passes(ridge, *fixed) for fixed in FIXED)
        for cost in (PassCost(0, 3e-5), PassCost(10, 1e-3)):
            with monkeypatch.context() as patched:
                patched.setattr(StoreOperator, "measured_cost", lambda operator, cost=cost: cost)
                assert passes(ridge, "auto", 300, None) <= 1.1 * best + 1, (cost, ridge)
