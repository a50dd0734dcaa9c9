"""What rounding does to a kernel is passed over and said; what it cannot do ends the solve."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solver_problems import digits, digits_problem, stored, with_spectrum

from neural_kernels import architectures, engines
from neural_kernels.blocks import KernelStore, read_block, write_block
from neural_kernels.engines import Precision
from neural_kernels.solvers import PreconditionerSettings, Settings, Stopping, Validation, solve_system
from neural_kernels.solvers.approximations import (
    bayesian_committee_machine_independent,
    block_diagonal,
    low_rank_features,
)
from neural_kernels.solvers.cholesky import solve_cholesky
from neural_kernels.solvers.definiteness import NotAKernel, NotPositiveDefinite, explained_by_rounding
from neural_kernels.solvers.iterative import solver
from neural_kernels.solvers.operator import DenseOperator

N, EDGE = 240, 60
KERNEL, TARGETS = digits_problem(N + 60)
RIDGES = [10.0**-exponent for exponent in range(9)]

DAMAGES: dict[str, dict[tuple[int, int], Callable[[dict[tuple[int, int], np.ndarray]], np.ndarray]]] = {
    "two blocks are swapped": {(0, 1): lambda b: b[0, 2], (0, 2): lambda b: b[0, 1]},
    "a block is zero": {(1, 2): lambda b: np.zeros_like(b[1, 2])},
    "a block is transposed": {(0, 3): lambda b: b[0, 3].T.copy()},
    "a block is of another kernel": {(2, 3): lambda b: 2 * b[2, 3]},
    "a diagonal block is too small": {(1, 1): lambda b: b[1, 1] / 2},
    "one entry lost an exponent's bit": {(0, 1): lambda b: _with_entry(b[0, 1], 64.0)},
}


def _with_entry(block: np.ndarray, factor: float) -> np.ndarray:
    changed = block.copy()
    changed[3, 5] *= factor
    return changed


def damaged(folder: Path, damage: str, precision: Precision) -> KernelStore:
    store = stored(folder, KERNEL[:N, :N], EDGE, precision)
    blocks = {block: read_block(store, *block) for block in store.grid.blocks()}
    for block, change in DAMAGES[damage].items():
        write_block(store, *block, np.ascontiguousarray(change(blocks), precision), {"engine": "test"})
    return store


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("method", ["cholesky", "conjugate_gradients"])
def test_a_damaged_kernel_ends_the_solve_instead_of_taking_a_larger_ridge(
    tmp_path: Path, method: str, damage: str, precision: Precision
) -> None:
    store = damaged(tmp_path / "store", damage, precision)
    options = Settings(
        RIDGES,
        method=method,
        preconditioner=PreconditionerSettings("none"),
        stopping=Stopping(max_iterations=2000),
        threads=1,
    )
    cross = KERNEL[N:, :N]
    with pytest.raises(
        NotAKernel, match=r"the matrix of 240 examples is no kernel: with ridge .*verify-blocks"
    ):
        solve_system(store, (0, N), TARGETS[:N], options, Validation(lambda x: cross @ x, TARGETS[N:]))


@pytest.mark.parametrize("block", [True, False])
def test_conjugate_gradients_name_the_eigenvalue_that_they_met(block: bool) -> None:
    kernel = with_spectrum(np.concatenate([[-0.3], np.linspace(0.5, 2, 79)]))
    solve = solver(
        DenseOperator(kernel), "k", TARGETS[:80], PreconditionerSettings("none"), Stopping(1e-9), block=block
    )
    with pytest.raises(
        NotAKernel, match=r"negative curvature after \d+ iterations, so that it has an eigenvalue"
    ) as found:
        solve(1e-3, None)
    least = float(str(found.value).split("eigenvalue below ")[1].split()[0]) * np.diag(kernel).mean()
    assert -0.301 < least < -1e-3


def test_approximations_end_as_well() -> None:
    kernel = KERNEL[:N, :N].copy()
    kernel[:60, 60:120] *= -3
    kernel[60:120, :60] = kernel[:60, 60:120].T
    everything = np.arange(N)
    with pytest.raises(NotAKernel):
        block_diagonal(lambda part: kernel[np.ix_(part, part)], TARGETS[:N], [everything], 1e-3)
    with pytest.raises(NotAKernel):
        low_rank_features(DenseOperator(kernel), everything, 1e-3, 10)
    cross = KERNEL[N:, :N]
    with pytest.raises(NotAKernel):
        bayesian_committee_machine_independent(
            lambda part: kernel, lambda part: cross, np.diag(KERNEL)[N:], TARGETS[:N], [everything], 1e-3
        )


def test_what_rounding_explains_is_passed_over_recorded_and_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Of rank 64: every ridge below rounding fails.
    x, targets = digits(N)
    store = stored(tmp_path / "store", x @ x.T, EDGE)
    validation = Validation(lambda coefficients: x @ x.T @ coefficients, targets)
    record = solve_system(store, (0, N), targets, Settings([1e-2, 1e-6, 1e-17, 0.0]), validation).record
    assert record.ridges_passed_over == [1e-17, 0.0]
    assert record.as_json()["details"]["ridge_choice"]["passed_over"] == [1e-17, 0.0]
    assert "ridge 1e-17 is passed over" in caplog.text


@pytest.mark.parametrize("name", ["FC3", "CV8"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_real_kernels_with_duplicates_are_rounding_at_most(
    shared_data: Callable[[str], Path], name: str, precision: Precision
) -> None:
    images = _cifar(shared_data("cifar-10-binary.tar.xz"), 60 if name == "CV8" else 200)
    # Duplicates, and near ones: the hardest for rounding.
    shifts = 1e-4 * np.random.default_rng(0).standard_normal(images.shape)
    x = np.concatenate([images, images, images + shifts])
    kernel = engines.kernel_matrix(architectures.build(name), x, precision=precision).astype(np.float64)
    assert np.linalg.eigvalsh(kernel)[0] > -explained_by_rounding(np.diag(kernel), precision)
    targets = np.resize(TARGETS, (len(x), 10))
    assert solve_cholesky(kernel, targets, 1e-2, precision=precision).record.residual < 1e-6
    with pytest.raises(NotPositiveDefinite):
        solve_cholesky(kernel, targets, 0.0, precision=precision)


def _cifar(path: Path, count: int) -> np.ndarray:
    import tarfile

    with tarfile.open(path) as archive:
        member = next(m for m in archive if m.name.endswith("data_batch_1.bin"))
        file = archive.extractfile(member)
        assert file is not None
        content = file.read(3073 * count)
    x = np.frombuffer(content, np.uint8).reshape(count, 3073)[:, 1:].reshape(count, 3, 32, 32)
    x = x.transpose(0, 2, 3, 1).astype(np.float64)
    return (x - x.mean(axis=(0, 1, 2))) / x.std(axis=(0, 1, 2))


spectra = st.lists(st.floats(-18, 3), min_size=2, max_size=30).map(lambda powers: 10.0 ** np.array(powers))


@settings(max_examples=60)
@given(spectra, st.integers(0, 2**31), st.floats(-12, 0), st.sampled_from(["float64", "float32"]))
def test_a_rounded_kernel_is_never_called_none(
    spectrum: np.ndarray, seed: int, power: float, precision: Precision
) -> None:
    kernel = with_spectrum(spectrum, seed).astype(precision).astype(np.float64)
    with contextlib.suppress(NotPositiveDefinite):
        solve_cholesky(kernel, np.ones((len(kernel), 1)), 10.0**power, precision=precision)


@settings(max_examples=60)
@given(spectra, st.integers(0, 2**31), st.floats(2, 1e6), st.sampled_from(["float64", "float32"]))
def test_a_negative_eigenvalue_beyond_rounding_is_always_found(
    spectrum: np.ndarray, seed: int, beyond: float, precision: Precision
) -> None:
    kernel = with_spectrum(spectrum, seed)
    lowest = -beyond * explained_by_rounding(np.full(len(kernel), np.abs(kernel).max()), precision)
    basis = np.linalg.eigh(kernel)[1][:, 0]
    kernel += (lowest - basis @ kernel @ basis) * np.outer(basis, basis)
    if np.linalg.eigvalsh(kernel)[0] > -1.5 * explained_by_rounding(np.diag(kernel), precision):
        return  # what was made negative is within the rounding of what was added
    for ridge in (0.0, 1e-12):
        before = kernel.copy()
        with pytest.raises(NotAKernel):
            solve_cholesky(kernel, np.ones((len(kernel), 1)), ridge, precision=precision)
        np.testing.assert_array_equal(kernel, before)


def test_the_bound_grows_with_the_precision_and_the_trace() -> None:
    small, large = np.ones(10), np.ones(1000)
    assert explained_by_rounding(small, "float64") < explained_by_rounding(small, "float32")
    assert explained_by_rounding(small, "float32") < explained_by_rounding(large, "float32") < 1e-2
    assert explained_by_rounding(np.zeros(3), "float64") == 0.0
