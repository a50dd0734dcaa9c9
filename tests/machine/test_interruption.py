"""SIGTERM, SIGHUP and Ctrl-C against the program, in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from neural_kernels.machine.interruption import Ended, signals_raised

PROGRAM = """
import sys, time
from pathlib import Path
from neural_kernels import cli
from neural_kernels.stages import check
from neural_kernels.storage.files import write_atomically
from neural_kernels.storage.locks import alone

def write(file):
    file.write(b"half")
    file.flush()
    print("ready", flush=True)
    time.sleep(60)

def work(study, results):
    with alone(results / "work.lock", "work"):
        write_atomically(results / "value.json", write)

check.check_config = work
sys.exit(cli.main(["--log", sys.argv[1] + "/log", "check", "x", "--results", sys.argv[1]]))
"""


def program(folder: Path, *before: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, sys.executable, "-c", PROGRAM, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_program_in_order(tmp_path: Path, number: signal.Signals) -> None:
    with program(tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    sentence = f"ended by {number.name}; the same command goes on\n"
    assert errors == sentence
    assert (tmp_path / "log").read_text() == sentence
    assert [path.name for path in tmp_path.iterdir()] == ["log"], "no temporary file, no lock"


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    with program(tmp_path, "nohup") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM


@contextlib.contextmanager
def ignoring_another() -> Iterator[None]:
    try:
        yield
    finally:
        signal.raise_signal(signal.SIGTERM)


def test_handlers_are_given_back_and_a_second_signal_is_ignored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Ended, match="ended by SIGHUP") as end, signals_raised(), ignoring_another():
        signal.raise_signal(signal.SIGHUP)
    assert end.value.status == 129
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_than_the_main_one_does_without() -> None:
    def work() -> None:
        with signals_raised():
            done.append(True)

    done: list[int] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done
