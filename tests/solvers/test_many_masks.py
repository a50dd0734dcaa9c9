"""Tasks with gaps of their own: conjugate gradients where these are cheaper, factorisations where not, one answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from solver_problems import digits_problem, stored

from neural_kernels.blocks import KernelStore
from neural_kernels.solvers import Settings, Validation, many_masks, solve_system
from neural_kernels.solvers.communicator import SerialCommunicator
from neural_kernels.solvers.system import System

N = 600
EVERYTHING, ALL_TARGETS = digits_problem(N + 100)
KERNEL = EVERYTHING[:N, :N]
GAPS = np.random.default_rng(0).random((N, 10)) < 0.2
TARGETS = np.where(GAPS, np.nan, ALL_TARGETS[:N])
SETTINGS = Settings([1.0], threads=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> KernelStore:
    return stored(tmp_path_factory.mktemp("store"), KERNEL, 128)


def system(store: KernelStore, targets: np.ndarray = TARGETS, settings: Settings = SETTINGS) -> System:
    return System(store, (0, N), targets, settings, None, SerialCommunicator())


@pytest.mark.parametrize(
    ("ridges", "solvers"),
    [
        ([1e-1], {"conjugate_gradients": 1}),
        ([1.0, 1e-1], {"conjugate_gradients": 2}),
        ([1e-13, 1e-14], {"cholesky": 2}),
        ([1.0, 1e-13], {"conjugate_gradients": 1, "cholesky": 1}),
    ],
)
def test_each_ridge_is_solved_the_cheaper_way_to_the_same_answer(
    store: KernelStore,
    ridges: list[float],
    solvers: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As many products as the well conditioned systems take.
    monkeypatch.setattr(many_masks, "affordable_products", lambda system: 25)
    validation = Validation(lambda x: EVERYTHING[N:, :N] @ x, ALL_TARGETS[N:])
    settings = replace(SETTINGS, ridges=ridges)
    found = solve_system(store, (0, N), TARGETS, settings, validation)
    direct = solve_system(store, (0, N), TARGETS, replace(settings, method="cholesky"), validation)
    assert found.record.details["ridges_solved_by"] == solvers
    assert found.record.converged
    assert found.record.ridge == direct.record.ridge
    scale = np.abs(direct.coefficients).max()
    np.testing.assert_allclose(found.coefficients, direct.coefficients, rtol=0, atol=1e-4 * scale)
    assert not found.coefficients[GAPS].any()


def test_what_is_affordable_follows_from_the_gaps(store: KernelStore) -> None:
    whole = N**3 / 3 * 10 / (4 * N**2 * 10)
    few = np.where(np.random.default_rng(1).random((N, 10)) < 0.8, np.nan, ALL_TARGETS[:N])
    assert 0.4 * whole < many_masks.affordable_products(system(store)) < 0.6 * whole
    assert many_masks.affordable_products(system(store, few)) == 0


def test_one_mask_and_judgement_by_the_inverse_take_a_factorisation(store: KernelStore) -> None:
    assert many_masks.serves(system(store))
    assert not many_masks.serves(system(store, ALL_TARGETS[:N]))
    assert not many_masks.serves(system(store, TARGETS[:, :1]))
    judged = replace(SETTINGS, ridges=[1e-2, 1.0], choose_by="loo")
    assert not many_masks.serves(system(store, settings=judged))


def test_the_rank_is_what_memory_leaves_room_for(store: KernelStore) -> None:
    assert many_masks.preconditioner_within(system(store)).rank == N // 8
    tight = replace(SETTINGS, memory_budget=8 * N * N + 2**20)
    assert many_masks.preconditioner_within(system(store, settings=tight)).rank < N // 8
