"""Limits of the machine end a command with one sentence; bugs end it with a traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy._core._exceptions import _ArrayMemoryError as ArrayMemoryError

from neural_kernels import cli
from neural_kernels.cli import main


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[BaseException], int]:
    """Runs ``compute-block``, in which an error occurs; gives the exit status."""

    def run(error: BaseException) -> int:
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr("neural_kernels.study.study.load_study", lambda _: None)
        monkeypatch.setattr("neural_kernels.stages.kernels.compute_block", fail)
        block = ["--kernel", "k", "--part", "train", "--block", "0-0"]
        return main(["compute-block", str(tmp_path / "s.yaml"), "--results", str(tmp_path), *block])

    return run


def said(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("name", ["a/b.npy", None])
def test_what_the_disk_refuses_names_the_file_or_the_results(
    failing: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    number: int,
    name: str | None,
) -> None:
    path = None if name is None else str(tmp_path / name)
    assert failing(OSError(number, os.strerror(number), path)) == 2
    line = said(capsys)
    assert line.startswith(f"error: {path or tmp_path}: {os.strerror(number)}")


def test_an_error_on_the_way_out_of_one_is_the_first(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    error = RuntimeError("did not possess lock")
    error.__context__ = OSError(errno.EROFS, "Read-only file system", "/x/journal.log.lock")
    assert failing(error) == 2
    assert "/x/journal.log.lock: Read-only file system" in said(capsys)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        ArrayMemoryError((10**6, 10**6), np.dtype(np.float64)),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes"),
        RuntimeError("can't start new thread"),
    ],
)
def test_memory_that_runs_out_names_the_number_to_change(
    failing: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    assert failing(error) == 2
    line = said(capsys)
    assert line.startswith("error: memory ran out in compute-block")
    assert "blocks.tile" in line
    assert "Unable to allocate 7.28 TiB" in line or not isinstance(error, ArrayMemoryError)


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "x"), FileNotFoundError("x"), RuntimeError("x"), ValueError("x")]
)
def test_bugs_keep_their_traceback(failing: Callable[[BaseException], int], error: Exception) -> None:
    with pytest.raises(type(error)):
        failing(error)


def test_a_log_on_a_full_disk_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no device that is always full")
    monkeypatch.setattr("neural_kernels.study.study.load_study", lambda _: None)
    monkeypatch.setattr("neural_kernels.stages.check.check_config", lambda *_: cli.log.info("in order"))
    assert main(["--log", "/dev/full", "check", "s.yaml"]) == 0
    assert capsys.readouterr().err == "in order\n"


def test_a_log_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path, mode: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(cli, "_LogFile", closed)
    assert main(["--log", str(tmp_path / "log"), "check", "s.yaml"]) == 2


def test_an_array_beyond_the_limit_of_the_process_is_said(tmp_path: Path) -> None:
    program = (
        "import resource, sys\n"
        "import numpy as np\n"
        "from neural_kernels import cli\n"
        "from neural_kernels.stages import check\n"
        "check.check_config = lambda *_: np.ones(2**28)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\n"
        "sys.exit(cli.main(['check', 's.yaml']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: memory ran out in check (Unable to allocate 2.00 GiB for an array")
    assert done.stderr.count("\n") == 1
