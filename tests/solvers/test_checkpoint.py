import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import solve_program
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from solver_problems import digits_problem, stored

from neural_kernels import files
from neural_kernels.errors import UserError
from neural_kernels.solvers import CheckpointSettings, checkpoint
from neural_kernels.solvers.communicator import SerialCommunicator

PROGRAM = Path(solve_program.__file__)
SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
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


def resume(folder, checkpoints, method="none", block=True):
    return solve_program.solve(
        folder / "store",
        folder / "targets.npy",
        SerialCommunicator(),
        CheckpointSettings(checkpoints, 0.0),
        method,
        block,
    )


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch):
    """A kill, unlike a power cut, loses nothing that was written; flushing every iteration takes long."""
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: None)


class Killed(BaseException):
    """What the process would not live to see."""


@settings(max_examples=16, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(survived=st.integers(0, 250), method=st.sampled_from(["none", "random"]), block=st.booleans())
def test_a_kill_at_any_file_operation_resumes_to_the_same_bits(
    problem, tmp_path_factory, survived, method, block
):
    folder, answers = problem
    answer = answers[method, block]
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    with pytest.MonkeyPatch.context() as patch:
        left = iter(range(survived))

        def fail_in_time(operation):
            def wrapped(*arguments, **options):
                if next(left, None) is None:
                    raise Killed
                return operation(*arguments, **options)

            return wrapped

        patch.setattr(files.os, "replace", fail_in_time(os.replace))
        patch.setattr(Path, "unlink", fail_in_time(Path.unlink))
        try:
            first = resume(folder, checkpoints, method, block)
        except Killed:
            first = None
    second = resume(folder, checkpoints, method, block)
    for found in (first, second):
        if found is not None:
            np.testing.assert_array_equal(found.coefficients, answer.coefficients)
            assert found.record.column_iterations == answer.record.column_iterations
    if first is None and survived > 10:
        assert second.record.details["resumed_at_iteration"] > 0
    assert [row[:4] for row in second.history] == [row[:4] for row in answer.history]


def test_sigkill_at_random_moments(problem, tmp_path):
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


def test_a_finished_checkpoint_is_the_answer_and_can_be_discarded(problem, tmp_path):
    folder, answers = problem
    resume(folder, tmp_path / "c")
    again = resume(folder, tmp_path / "c")
    assert again.record.details["resumed_at_iteration"] == answers["none", True].record.iterations
    np.testing.assert_array_equal(again.coefficients, answers["none", True].coefficients)
    assert len(list((tmp_path / "c").rglob("*.npz"))) == 1
    checkpoint.discard(tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_checkpoints_wait_for_their_time(problem, tmp_path):
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


def test_a_checkpoint_of_another_problem_is_not_used(problem, tmp_path, caplog):
    folder, answers = problem
    resume(folder, tmp_path / "c", "random")
    solution = resume(folder, tmp_path / "c", "none")
    assert "belongs to another problem" in caplog.text
    assert solution.record.details["resumed_at_iteration"] is None
    np.testing.assert_array_equal(solution.coefficients, answers["none", True].coefficients)


def test_a_damaged_checkpoint_is_named(problem, tmp_path):
    folder, _ = problem
    resume(folder, tmp_path / "c")
    for path in (tmp_path / "c").rglob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="damaged checkpoint"):
        resume(folder, tmp_path / "c")
