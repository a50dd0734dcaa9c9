"""``snakemake`` and ``neural-kernels`` as ever, but for their imports: each run is a fork of a process that has them.

A test of the workflow starts dozens of programs, of which Snakemake imports for three seconds and a verb for one. Here
a server imports once, and a run takes what is left. What runs is the same ``main`` with its own arguments, folder,
environment, output and exit status. Signals that a program's parent would send are not passed on: tests of those start
the real programs.

As a program (``forked_programs.py <socket>``) this is the server.
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import gc
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

# Starts in hundredths of a second: no site packages, and next to no modules.
CLIENT = """#!{python} -IS
import _socket, sys, posix
connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
connection.connect({socket!r})
environment = {{key.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
               for key, value in posix.environ.items()}}
message = repr(({program!r}, sys.argv[1:], posix.getcwd(), environment)).encode("utf-8", "surrogateescape")
fds = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
connection.sendmsg([len(message).to_bytes(4, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)])
connection.sendall(message)
status = connection.recv(1)
posix._exit(status[0] if status else 137)
"""


class ForkedPrograms:
    """A server, and a folder with programs that ask it."""

    def __init__(self) -> None:
        # Short: the name of a socket has little room.
        self._folder = tempfile.TemporaryDirectory(prefix="nk")
        folder = Path(self._folder.name)
        self.socket = str(folder / "socket")
        self._server = subprocess.Popen(
            [sys.executable, __file__, self.socket], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._server.stdout is not None
        assert self._server.stdout.readline() == "ready\n"
        self.programs = folder / "bin"
        self.programs.mkdir()
        for program in PROGRAMS:
            path = self.programs / program
            path.write_text(CLIENT.format(python=sys.executable, socket=self.socket, program=program))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        atexit.register(self.close)

    def close(self) -> None:
        self._server.kill()
        self._server.wait()
        self._folder.cleanup()


_started: list[ForkedPrograms] = []


def forked_programs() -> ForkedPrograms:
    """The server of this process, which its first use starts."""
    if not _started:
        _started.append(ForkedPrograms())
    return _started[0]


# ----------------------------------------------------------------------------------------- the server


def _snakemake(arguments: list[str]) -> object:
    from snakemake.cli import main

    sys.argv = ["snakemake", *arguments]
    return main()


def _neural_kernels(arguments: list[str]) -> object:
    from neural_kernels.cli import main

    sys.argv = ["neural-kernels", *arguments]
    return main()


PROGRAMS = {"snakemake": _snakemake, "neural-kernels": _neural_kernels}


def _import_everything() -> None:
    import snakemake.cli

    import neural_kernels.stages.approximations
    import neural_kernels.stages.augmentation
    import neural_kernels.stages.check
    import neural_kernels.stages.compare
    import neural_kernels.stages.evaluate
    import neural_kernels.stages.inputs
    import neural_kernels.stages.kernels
    import neural_kernels.stages.predict
    import neural_kernels.stages.report
    import neural_kernels.stages.solve
    import neural_kernels.stages.splits
    import neural_kernels.stages.targets
    import neural_kernels.stages.tasks
    import neural_kernels.stages.tune  # noqa: F401

    snakemake.cli.get_argument_parser()


def _received(connection: socket.socket) -> tuple[tuple[str, list[str], str, dict[str, str]], list[int]]:
    head, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
    left, parts = int.from_bytes(head, "big"), []
    while left:
        parts.append(connection.recv(left))
        left -= len(parts[-1])
    return ast.literal_eval(b"".join(parts).decode("utf-8", "surrogateescape")), descriptors


def _stream(descriptor: int, mode: str) -> Any:
    return open(descriptor, mode, buffering=1, closefd=False)


def _child(connection: socket.socket) -> None:
    """Run one program; never returns."""
    status: Any = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        (program, arguments, folder, environment), descriptors = _received(connection)
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.stdin, sys.stdout, sys.stderr = _stream(0, "r"), _stream(1, "w"), _stream(2, "w")
        status = PROGRAMS[program](arguments)
    except SystemExit as error:
        status = error.code
    except BaseException:
        traceback.print_exc()
    finally:
        if isinstance(status, str):
            print(status, file=sys.stderr)
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        code = status if isinstance(status, int) else 0 if status is None else 1
        with contextlib.suppress(OSError):
            connection.sendall(bytes([code & 255]))
        os._exit(code & 255)


def serve(path: str) -> None:
    """Serve until standard input ends, with whoever started this."""
    _import_everything()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(64)
    # Nobody waits for the children: what they end with they say themselves.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _child(connection)
        connection.close()


if __name__ == "__main__":
    serve(sys.argv[1])
