"""The Krylov space: orthonormal whatever the block, T what K is in it, every ridge's solution and residual true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bit_flips import flip
from hypothesis import example, given, settings
from hypothesis import strategies as st
from solver_problems import digits_problem

from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.solvers import block_lanczos
from neural_kernels.solvers.block_conjugate_gradients import block_conjugate_gradients
from neural_kernels.solvers.block_lanczos import KrylovSpace
from neural_kernels.solvers.communicator import SerialCommunicator
from neural_kernels.solvers.iteration import Stopping
from neural_kernels.solvers.krylov_basis import KrylovBasis
from neural_kernels.solvers.operator import DenseOperator, RidgeSystem
from neural_kernels.solvers.preconditioners import Identity

N = 300
KERNEL, TARGETS = digits_problem(N)
HERE = SerialCommunicator()


def space_of(
    kernel: np.ndarray,
    block: np.ndarray,
    passes: int,
    memory: int = 2**30,
    directory: Path | None = None,
) -> KrylovSpace:
    space = block_lanczos.begin(block, KrylovBasis(memory, directory, HERE), HERE)
    matrix = RidgeSystem(DenseOperator(kernel), 0.0)
    while space.passes < passes and not space.exhausted and space.basis.columns:
        block_lanczos.extend(space, matrix, HERE)
    return space


def whole(space: KrylovSpace) -> np.ndarray:
    return np.hstack([space.basis.block(j) for j in range(len(space.basis))])


def check(space: KrylovSpace, kernel: np.ndarray, block: np.ndarray) -> None:
    """Everything that the rest of the solver relies on."""
    basis, scale = whole(space), float(np.linalg.norm(kernel, 2))
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), rtol=0, atol=1e-11)
    first = space.basis.widths[0]
    np.testing.assert_allclose(
        basis[:, :first] @ space.start, block, rtol=0, atol=1e-12 * float(np.abs(block).max())
    )
    multiplied = basis[:, : sum(map(len, space.diagonal))]
    t = block_lanczos.tridiagonal(space)
    np.testing.assert_allclose(multiplied.T @ kernel @ multiplied, t, rtol=0, atol=1e-11 * scale)
    for ridge in (1e-6, 1e-2, 1.0):
        shift = ridge * scale
        solved = block_lanczos.combine(
            space, len(kernel), found(block_lanczos.weights(space, shift, space.start))
        )
        residual = np.linalg.norm(block - kernel @ solved - shift * solved, axis=0)
        said = found(block_lanczos.residual_norms(space, shift, space.start))
        assert said.shape == (space.passes, block.shape[1])
        np.testing.assert_allclose(
            said[-1], residual, rtol=1e-3, atol=1e-8 * np.linalg.norm(block, axis=0).max()
        )


def found(value: np.ndarray | None) -> np.ndarray:
    assert value is not None
    return value


BLOCKS = {
    "targets": TARGETS,
    "one": TARGETS[:, :1],
    "dependent": np.hstack([TARGETS, TARGETS[:, ::-1]]),
    "nearly dependent": np.hstack([TARGETS[:, :3], TARGETS[:, :3] + 1e-9 * TARGETS[:, 3:6]]),
    "of all sizes": TARGETS * 10.0 ** np.arange(-5, 5),
    "a zero column": np.hstack([TARGETS[:, :2], np.zeros((N, 1))]),
    "random": np.random.default_rng(0).standard_normal((N, 40)),
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("passes", [1, 2, 7])
def test_the_basis_is_orthonormal_and_tells_every_residual(name: str, passes: int) -> None:
    block = BLOCKS[name]
    check(space_of(KERNEL, block, passes), KERNEL, block)


@pytest.mark.parametrize("count", [40, 299, 300, 400])
def test_a_space_ends_where_nothing_is_left_and_its_solutions_are_exact(count: int) -> None:
    block = np.random.default_rng(1).standard_normal((N, count))
    space = space_of(KERNEL, block, 100)
    assert space.exhausted
    assert space.basis.columns == N
    check(space, KERNEL, block)
    assert found(block_lanczos.residual_norms(space, 1e-3, space.start))[-1].max() < 1e-9 * np.linalg.norm(
        block
    )


@settings(max_examples=30, deadline=None)
@given(
    rank=st.integers(1, 12),
    columns=st.integers(1, 6),
    passes=st.integers(1, 12),
    decay=st.floats(0.0, 3.0),
    seed=st.integers(0, 99),
)
# Directions of sizes that no Gram matrix tells from its rounding.
@example(rank=4, columns=5, passes=2, decay=3.0, seed=0)
def test_matrices_of_any_rank_and_spectrum(
    rank: int, columns: int, passes: int, decay: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors, _ = np.linalg.qr(rng.standard_normal((30, rank)))
    kernel = (vectors * 10.0 ** (-decay * np.arange(rank))) @ vectors.T
    block = rng.standard_normal((30, columns))
    check(space_of(kernel, block, passes), kernel, block)


def test_the_solutions_are_those_of_block_conjugate_gradients() -> None:
    # Without orthogonality to all before, the other one leaves it as rounding grows.
    space = space_of(KERNEL, TARGETS, 3)
    for ridge in (1e-4, 1e-1):
        solved = block_lanczos.combine(space, N, found(block_lanczos.weights(space, ridge, space.start)))
        state = block_conjugate_gradients(
            RidgeSystem(DenseOperator(KERNEL), ridge), TARGETS, Identity(), Stopping(1e-15, max_iterations=3)
        )
        np.testing.assert_allclose(solved, state.x, rtol=0, atol=1e-8 * np.abs(state.x).max())


def test_a_shift_that_makes_it_indefinite_is_told() -> None:
    space = space_of(KERNEL - 3.0 * np.eye(N), TARGETS, 12)
    assert block_lanczos.residual_norms(space, 1e-6, space.start) is None
    assert block_lanczos.weights(space, 1e-6, space.start) is None
    assert block_lanczos.weights(space, 3.0, space.start) is not None


def test_a_basis_on_disk_has_the_same_bits(tmp_path: Path) -> None:
    in_memory = space_of(KERNEL, TARGETS, 8)
    for memory in (0, 3 * N * 9 * 8):
        on_disk = space_of(KERNEL, TARGETS, 8, memory, tmp_path / str(memory))
        np.testing.assert_array_equal(whole(on_disk), whole(in_memory))
        assert on_disk.basis.bytes_on_disk + memory >= whole(in_memory).nbytes
    with pytest.raises(UserError, match=r"raise solver\.memory_gib"):
        space_of(KERNEL, TARGETS, 8, memory=3 * N * 9 * 8)


@pytest.mark.parametrize("position", [0.0, 0.5, 0.99])
def test_a_flipped_bit_on_disk_is_noticed(tmp_path: Path, position: float) -> None:
    space = space_of(KERNEL, TARGETS, 5, 0, tmp_path)
    flip(tmp_path / "block1.0-1.npy", position, 3)
    with pytest.raises(DamagedFile, match="block1"):
        space.basis.block(1)
