from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import solve_program
from bit_flips import BIT, POSITION, flip
from file_faults import Killed, killed_after
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solver_problems import digits_problem, stored

from neural_kernels.solvers import CheckpointSettings, Solution, checkpoint, rounding
from neural_kernels.solvers.communicator import SerialCommunicator

PROGRAM = Path(solve_program.__file__)
SOURCE = Path(__file__).parents[2] / "src"
Solved = tuple[Path, dict[tuple[str, bool], Solution]]


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Solved:
    """A stored kernel, its targets, and the answer of a solve that nothing interrupted."""
    folder = tmp_path_factory.mktemp("problem")
    kernel, targets = digits_problem(500)
    stored(folder / "store", kernel, 128)
    np.save(folder / "targets.npy", targets[20:420])
    answers = {
        (method, block): solve_program.solve(
            folder / "store",
            folder / "targets.npy",
            SerialCommunicator(),
            preconditioner=method,
            block=block,
        )
        for method in ("none", "random")
        for block in (True, False)
    }
    return folder, answers


def resume(folder: Path, checkpoints: Path, method: str = "none", block: bool = True) -> Solution:
    return solve_program.solve(
        folder / "store",
        folder / "targets.npy",
        SerialCommunicator(),
        CheckpointSettings(checkpoints, 0.0),
        method,
        block,
    )


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill, unlike a power cut, loses nothing that was written; flushing every iteration takes long."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


OPERATIONS = [(os, "replace"), (os, "open"), (os, "ftruncate"), (np, "savez"), (Path, "unlink")]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(survived=st.integers(0, 500), method=st.sampled_from(["none", "random"]), block=st.booleans())
def test_a_kill_at_any_file_operation_resumes_to_the_same_bits(
    problem: Solved,
    tmp_path_factory: pytest.TempPathFactory,
    survived: int,
    method: str,
    block: bool,
) -> None:
    folder, answers = problem
    answer = answers[method, block]
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        killed_after(survived, OPERATIONS, patch)
        try:
            first = resume(folder, checkpoints, method, block)
        except Killed:
            first = None
    second = resume(folder, checkpoints, method, block)
    for found in (first, second):
        if found is not None:
            np.testing.assert_array_equal(found.coefficients, answer.coefficients)
            assert found.record.column_iterations == answer.record.column_iterations
    if first is None and survived > 25:
        assert second.record.details["resumed_at_iteration"] > 0
    assert [row[:4] for row in second.history] == [row[:4] for row in answer.history]


def test_sigkill_at_random_moments(problem: Solved, tmp_path: Path) -> None:
    folder, answers = problem
    rng = random.Random(int(np.random.default_rng().integers(2**31)))
    resumed = []
    for attempt in range(3):
        checkpoints = tmp_path / f"checkpoints{attempt}"
        arguments = [folder / "store", folder / "targets.npy", tmp_path / "out", checkpoints, 0]
        process = subprocess.Popen(
            [sys.executable, PROGRAM, *map(str, arguments)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(SOURCE), "OPENBLAS_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        if attempt:
            deadline = time.monotonic() + 60
            while (
                not (checkpoints / "ridge-0.01" / "checkpoint.json").exists() and time.monotonic() < deadline
            ):
                time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        solution = resume(folder, checkpoints)
        np.testing.assert_array_equal(solution.coefficients, answers["none", True].coefficients)
        resumed.append(solution.record.details["resumed_at_iteration"])
    assert all(iteration for iteration in resumed[1:])


def test_a_finished_checkpoint_is_the_answer_and_can_be_discarded(problem: Solved, tmp_path: Path) -> None:
    folder, answers = problem
    resume(folder, tmp_path / "c")
    again = resume(folder, tmp_path / "c")
    assert again.record.details["resumed_at_iteration"] == answers["none", True].record.iterations
    np.testing.assert_array_equal(again.coefficients, answers["none", True].coefficients)
    assert len(list((tmp_path / "c").rglob("*.npz"))) == 1
    checkpoint.discard(tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_checkpoints_wait_for_their_time(problem: Solved, tmp_path: Path) -> None:
    folder, _ = problem
    saved = []
    with pytest.MonkeyPatch.context() as patch:
        original = checkpoint.Checkpoint.save
        patch.setattr(
            checkpoint.Checkpoint, "save", lambda self, s: (saved.append(s.iteration), original(self, s))
        )
        solve_program.solve(
            folder / "store",
            folder / "targets.npy",
            SerialCommunicator(),
            CheckpointSettings(tmp_path / "c", 3600.0),
        )
    assert len(saved) == 1, "only the last one"


def test_a_checkpoint_of_another_problem_is_not_used(
    problem: Solved, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, answers = problem
    resume(folder, tmp_path / "c", "random")
    solution = resume(folder, tmp_path / "c", "none")
    assert "belongs to another problem" in caplog.text
    assert solution.record.details["resumed_at_iteration"] is None
    np.testing.assert_array_equal(solution.coefficients, answers["none", True].coefficients)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=POSITION, position=POSITION, bit=BIT, how=st.sampled_from(["flipped", "emptied", "removed"]))
def test_a_damaged_checkpoint_is_set_aside_and_the_solve_starts_anew(
    problem: Solved,
    tmp_path_factory: pytest.TempPathFactory,
    which: float,
    position: float,
    bit: int,
    how: str,
) -> None:
    folder, answers = problem
    checkpoints = tmp_path_factory.mktemp("c")
    resume(folder, checkpoints)
    # What was decided before the first iteration is decided again, and no part of the iteration.
    files = [path for path in checkpoints.rglob("*") if path.is_file() and path.name != rounding.FILE]
    assert {path.suffix for path in files} == {".json", ".npz"}
    path = sorted(files)[int(which * len(files))]
    if how == "flipped":
        flip(path, position, bit)
    else:
        path.unlink() if how == "removed" else path.write_bytes(b"")
    solution = resume(folder, checkpoints)
    assert solution.record.details["resumed_at_iteration"] is None
    np.testing.assert_array_equal(solution.coefficients, answers["none", True].coefficients)
    assert resume(folder, checkpoints).record.details["resumed_at_iteration"] > 0


def test_a_checkpoint_of_a_version_without_checksums_is_set_aside(
    problem: Solved, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, answers = problem
    resume(folder, tmp_path / "c")
    (path,) = (tmp_path / "c").rglob("checkpoint.json")
    path.write_text(json.dumps({"fingerprint": "0", "iteration": 3, "processes": 1}))
    solution = resume(folder, tmp_path / "c")
    assert "is damaged and has been set aside: the solve starts anew" in caplog.text
    np.testing.assert_array_equal(solution.coefficients, answers["none", True].coefficients)


def test_what_a_kill_leaves_beside_a_checkpoint_is_removed_with_it(problem: Solved, tmp_path: Path) -> None:
    folder, answers = problem
    resume(folder, tmp_path / "c")
    (own,) = (path for path in (tmp_path / "c").iterdir() if path.is_dir())
    for name in (".checkpoint.json.tmp", ".7.0.npz.tmp", ".7.0.npz.abc.tmp", "7.0.npz"):
        (own / name).write_bytes(b"half")
    solution = resume(folder, tmp_path / "c")
    np.testing.assert_array_equal(solution.coefficients, answers["none", True].coefficients)
    checkpoint.discard(tmp_path / "c")
    assert not (tmp_path / "c").exists()
    checkpoint.discard(tmp_path / "c")


def test_what_cannot_be_removed_is_said_and_stops_nothing(
    problem: Solved,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "c").mkdir()

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", refuse)
    checkpoint.discard(tmp_path / "c")
    assert "cannot be removed (Permission denied)" in caplog.text
