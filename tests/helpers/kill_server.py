"""Runs verbs of the command line in children that it forks, and kills them where it is told to.

A line of JSON on standard input asks for one run; a line on standard output tells how it ended. The modules are
imported once, so that a run takes milliseconds. A child is killed by SIGKILL, as by a scheduler or for its memory:
nothing is cleaned up.
"""

from __future__ import annotations

import contextlib
import gc
import json
import mmap
import os
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from kill_stages import STUDY

CHANGES = {"os.rename", "os.remove", "os.link", "os.truncate", "os.mkdir", "os.rmdir", "os.symlink"}
"""Events of ``sys.addaudithook`` that change files; os.replace is among them as os.rename."""
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

counter = mmap.mmap(-1, 8)


def changes_files(event: str, arguments: tuple[Any, ...], folder: str) -> bool:
    """Whether an audit event is about to change something under ``folder``."""
    if event not in CHANGES and event != "open":
        return False
    path = arguments[0]
    if isinstance(path, int):
        return event == "os.truncate"
    if not isinstance(path, str | os.PathLike):
        return False
    if event == "open" and not arguments[2] & WRITES:
        return False
    return os.path.abspath(os.fspath(path)).startswith(folder)


def watch(folder: str, kill_at: int | None) -> None:
    """Count the file operations under ``folder``, and be killed just before number ``kill_at``, from 0."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if changes_files(event, arguments, folder):
            (done,) = struct.unpack("q", counter[:])
            if done == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            counter[:] = struct.pack("q", done + 1)

    sys.addaudithook(hook)


def child(asked: dict[str, Any]) -> None:
    """Run the verb; never returns."""
    status = 1
    try:
        os.setpgid(0, 0)
        os.chdir(asked["folder"])
        errors = os.open("../stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(errors, 2)
        os.dup2(errors, 1)
        # A kill, unlike a power cut, loses nothing that was written; flushing takes most of a run's time.
        os.fsync = lambda fd: None
        watch(os.path.join(asked["folder"], "results"), asked["kill_at"])
        from neural_kernels.cli import main

        status = main(asked["arguments"])
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def run(asked: dict[str, Any]) -> dict[str, Any]:
    counter[:] = struct.pack("q", 0)
    begun = time.monotonic()
    process = os.fork()
    if process == 0:
        child(asked)
    if asked["kill_after"] is not None:
        time.sleep(asked["kill_after"])
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, asked["signal"])
    _, status = os.waitpid(process, 0)
    (operations,) = struct.unpack("q", counter[:])
    ended = os.waitstatus_to_exitcode(status)
    return {"status": ended, "operations": operations, "seconds": time.monotonic() - begun}


def main() -> None:
    import neural_kernels.stages.approximations
    import neural_kernels.stages.augmentation
    import neural_kernels.stages.evaluate
    import neural_kernels.stages.predict
    import neural_kernels.stages.report
    import neural_kernels.stages.solve
    import neural_kernels.stages.splits
    import neural_kernels.stages.tasks
    import neural_kernels.stages.tune  # noqa: F401
    from neural_kernels.study.study import load_study

    # What parses a study is made once for all children; what lives is not looked at by each of their collectors.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.yaml"
        path.write_text(yaml.safe_dump(STUDY))
        load_study(path)
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
