from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import solve_program
from bit_flips import flip
from solver_problems import digits_problem, stored

from neural_kernels.errors import UserError
from neural_kernels.solvers import load_solution, mpi
from neural_kernels.solvers.communicator import SerialCommunicator, row_range

PROGRAM = Path(solve_program.__file__)
SOURCE = Path(__file__).parents[2] / "src"
MPIEXEC = Path(sys.executable).parent / "mpiexec"


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: the extra neural-kernels[mpi]")
    if not MPIEXEC.exists():
        pytest.skip(f"no launcher beside the interpreter: {MPIEXEC}")
    folder = tmp_path_factory.mktemp("problem")
    kernel, targets = digits_problem(500)
    targets = targets[20:420].copy()
    targets[::7, 2] = np.nan
    stored(folder / "store", kernel, 128)
    np.save(folder / "targets.npy", targets)
    np.save(folder / "all_targets.npy", np.nan_to_num(targets))
    return folder


def launch(
    processes: int, *arguments: Any, launcher: bool = True, **options: Any
) -> subprocess.CompletedProcess[str]:
    command = [MPIEXEC, "-n", str(processes)] if launcher else []
    return subprocess.run(
        [*map(str, command), sys.executable, str(PROGRAM), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(SOURCE), "OPENBLAS_NUM_THREADS": "1"},
        **options,
    )


@pytest.mark.parametrize(
    ("method", "numbers", "labels", "solver"),
    [
        ("random", (1, 2, 3), "targets.npy", "conjugate_gradients"),
        ("greedy", (2,), "targets.npy", "conjugate_gradients"),
        ("random", (1, 2, 3), "all_targets.npy", "block_conjugate_gradients"),
        ("none", (2,), "all_targets.npy", "block_conjugate_gradients"),
        (solve_program.COLUMNS, (2,), "all_targets.npy", "block_conjugate_gradients"),
        ("auto", (2,), "all_targets.npy", "block_conjugate_gradients"),
        (solve_program.ROUNDED, (1, 2, 3), "all_targets.npy", "block_conjugate_gradients"),
        (solve_program.SWEEP, (1, 2, 3), "all_targets.npy", "block_lanczos"),
    ],
)
def test_any_number_of_processes_agrees(
    problem: Path, tmp_path: Path, method: str, numbers: tuple[int, ...], labels: str, solver: str
) -> None:
    store, targets = problem / "store", problem / labels
    serial = solve_program.solve(store, targets, SerialCommunicator(), preconditioner=method)
    scale = np.abs(serial.coefficients).max()
    for processes in numbers:
        done = launch(processes, store, targets, tmp_path / str(processes), "-", processes, method)
        assert done.returncode == 0, done.stderr
        solution = load_solution(tmp_path / str(processes))
        assert solution.record.converged
        assert solution.record.solver == solver
        np.testing.assert_allclose(solution.coefficients, serial.coefficients, rtol=0, atol=1e-9 * scale)


@pytest.mark.parametrize(
    ("labels", "method"),
    [
        ("targets.npy", "random"),
        ("all_targets.npy", "random"),
        ("all_targets.npy", solve_program.COLUMNS),
        ("all_targets.npy", "auto"),
        ("all_targets.npy", solve_program.ROUNDED),
    ],
)
def test_processes_may_change_at_a_resume(problem: Path, tmp_path: Path, labels: str, method: str) -> None:
    store, targets = problem / "store", problem / labels
    done = launch(3, store, targets, tmp_path / "first", tmp_path / "c", 3, method)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "c").rglob("*.npz"))) == 3
    done = launch(2, store, targets, tmp_path / "second", tmp_path / "c", 2, method)
    assert done.returncode == 0, done.stderr
    first, second = load_solution(tmp_path / "first"), load_solution(tmp_path / "second")
    np.testing.assert_array_equal(second.coefficients, first.coefficients)
    assert second.record.details["resumed_at_iteration"] == first.record.iterations


def test_processes_may_change_when_a_sweep_is_taken_up(problem: Path, tmp_path: Path) -> None:
    store, targets, method = problem / "store", problem / "all_targets.npy", solve_program.SWEEP
    done = launch(3, store, targets, tmp_path / "first", tmp_path / "c", 3, method)
    assert done.returncode == 0, done.stderr
    done = launch(2, store, targets, tmp_path / "second", tmp_path / "c", 2, method)
    assert done.returncode == 0, done.stderr
    first, second = load_solution(tmp_path / "first"), load_solution(tmp_path / "second")
    assert second.record.details["resumed_at_iteration"] == first.record.iterations
    assert second.record.ridge == first.record.ridge
    scale = np.abs(first.coefficients).max()
    np.testing.assert_allclose(second.coefficients, first.coefficients, rtol=0, atol=1e-12 * scale)


@pytest.mark.parametrize("which", ["1.npz", "checkpoint.json"])
def test_all_processes_start_anew_where_the_checkpoint_of_one_is_damaged(
    problem: Path, tmp_path: Path, which: str
) -> None:
    store, targets = problem / "store", problem / "all_targets.npy"
    done = launch(2, store, targets, tmp_path / "first", tmp_path / "c", 2, "random")
    assert done.returncode == 0, done.stderr
    (path,) = (path for path in (tmp_path / "c").rglob("*") if path.name.endswith(which))
    flip(path, 0.5, 3)
    done = launch(2, store, targets, tmp_path / "second", tmp_path / "c", 2, "random")
    assert done.returncode == 0, done.stderr
    first, second = load_solution(tmp_path / "first"), load_solution(tmp_path / "second")
    np.testing.assert_array_equal(second.coefficients, first.coefficients)
    assert second.record.details["resumed_at_iteration"] is None


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_mistake_on_one_process_ends_all_with_one_sentence(
    problem: Path, tmp_path: Path, damaged: int
) -> None:
    arguments = [problem / "store", problem / "targets.npy", tmp_path / "out", "-", 2, "none", damaged]
    done = launch(2, *arguments)
    assert done.returncode != 0
    assert done.stderr.count("error: this process met a mistake") == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_mistake_on_all_processes_ends_them_with_its_sentence(problem: Path, tmp_path: Path) -> None:
    done = launch(2, tmp_path / "nothing", problem / "targets.npy", tmp_path / "out", "-", 2)
    assert done.returncode != 0
    assert done.stderr.count("kernel.json is missing") == 1
    assert "Traceback" not in done.stderr


def test_a_launcher_of_another_mpi_is_noticed(problem: Path, tmp_path: Path) -> None:
    arguments = [problem / "store", problem / "targets.npy", tmp_path / "out", "-", 2]
    done = launch(1, *arguments, launcher=False)
    assert done.returncode != 0
    assert "MPI joins 1 processes, expected 2" in done.stderr


def test_missing_mpi4py_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(UserError, match=r"neural-kernels\[mpi\]"):
        mpi.world()


def test_rows_are_shared_out_evenly() -> None:
    for n in (1, 7, 100):
        for size in (1, 2, 3, 8):
            ranges = [row_range(n, rank, size) for rank in range(size)]
            assert ranges[0][0] == 0
            assert ranges[-1][1] == n
            assert all(a[1] == b[0] for a, b in pairwise(ranges))
            assert max(b - a for a, b in ranges) - min(b - a for a, b in ranges) <= 1
