"""One job at a time at the same work: a second one waits for the first and goes on from what that one finished."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 0.5
"""Seconds between two looks at a lock that somebody holds."""


@contextlib.contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Hold the lock ``path`` while the block runs; wait for whoever has it, saying who that is.

    A process that dies loses its lock, whatever is left of the file. Where the file system has no locks, the log says
    that nothing guards the work.

    Args:
        what: the work, for messages.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = acquire(path, _Teller(path, what))
    except NoLocks:
        log.warning("this file system has no locks: nothing guards %s against a second job", what)
        yield
        return
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {os.uname().nodename}".encode(), 0)
        yield
    finally:
        release(path, file)


def release(path: Path, file: int) -> None:
    """Remove the file at ``path`` and give the lock on it back, which is closed whatever happens."""
    try:
        # Whoever waits for this file finds that it is gone, and takes a new one.
        path.unlink(missing_ok=True)
    finally:
        os.close(file)


class _Teller:
    """Says once who holds a lock."""

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what, self._told = path, what, False

    def __call__(self, file: int) -> None:
        if not self._told:
            holder = os.pread(file, 200, 0).decode(errors="replace") or "another process"
            log.info("%s is being made by %s: waiting for it (lock %s)", self._what, holder, self._path)
            self._told = True


class NoLocks(Exception):
    """The file system has no locks."""


def acquire(path: Path, while_waiting: Callable[[int], object] | None = None) -> int:
    """A descriptor of the file at ``path``, made if it is not there, on which this process alone has the lock.

    Closing it gives the lock back.

    Args:
        while_waiting: called with a descriptor of the file that somebody else holds.

    Raises:
        NoLocks: there is no such thing as a lock there; the file is removed.
    """
    pause = SHORTEST_PAUSE
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, file):
                return file
        except BlockingIOError:
            if while_waiting is not None:
                while_waiting(file)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        except OSError as error:
            os.close(file)
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            path.unlink(missing_ok=True)
            raise NoLocks from None
        os.close(file)


def _is_at(path: Path, file: int) -> bool:
    """Whether the open file still has its name: the holder before removed it."""
    try:
        return path.stat().st_ino == os.fstat(file).st_ino
    except FileNotFoundError:
        return False
