"""Where the workflow shows its stages on standard error, a job has its log alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from neural_kernels.progress import DISPLAYED

PROGRAM = """
import os, sys
from neural_kernels import cli
from neural_kernels.progress import DISPLAYED, is_displayed, progress
status = os.fstat(2)
os.environ[DISPLAYED] = f"{status.st_dev}:{status.st_ino}" if sys.argv[1] == "shown" else "1:1"
if sys.argv[2] == "broken":
    import neural_kernels.study.study as study
    study.load_study = lambda path: 1 / 0
code = cli.main(["--log", "own.log", "check", "config/mine.yaml"])
bar = progress(total=2, description="work")
bar.delay = 0
bar.update(1)
bar.refresh()
sys.exit(code)
"""


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """The exit status, standard error and the log."""
    environment = {name: value for name, value in os.environ.items() if name != DISPLAYED}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    return found.returncode, found.stderr, (folder / "own.log").read_text()


def test_messages_and_progress_are_in_the_log_alone(tmp_path: Path) -> None:
    status, said, log = run(tmp_path, "shown", "sound")
    assert (status, said) == (2, "")
    assert "error: there is no study mine" in log
    assert "work:  50%" in log


def test_elsewhere_they_are_on_standard_error_too(tmp_path: Path) -> None:
    status, said, log = run(tmp_path, "elsewhere", "sound")
    assert status == 2
    assert "error: there is no study mine" in said
    assert "error: there is no study mine" in log
    assert "work:" in said


@pytest.mark.parametrize("where", ["shown", "elsewhere"])
def test_an_error_that_nobody_foresaw_has_its_traceback_once(tmp_path: Path, where: str) -> None:
    status, said, log = run(tmp_path, where, "broken")
    assert status == 1
    assert (said + log).count("Traceback") == 1
    assert "ZeroDivisionError" in (log if where == "shown" else said)
