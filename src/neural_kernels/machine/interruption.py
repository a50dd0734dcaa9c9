"""SIGTERM and SIGHUP end the program in order, as Ctrl-C does: temporary files are removed, locks given back."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal asked the program to end.

    Attributes:
        status: what the program exits with, 128 and the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.status = 128 + number


@contextlib.contextmanager
def signals_raised() -> Iterator[None]:
    """Raise ``Ended`` in the main thread where one of ``SIGNALS`` arrives while the block runs.

    A signal that is ignored, as under nohup, stays so. A second one, while the first ends the program, is ignored.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in SIGNALS}
    # None is a handler that is not Python's, with which this is not to meddle.
    taken = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]

    def end(number: int, frame: FrameType | None) -> None:
        for other in taken:
            signal.signal(other, signal.SIG_IGN)
        raise Ended(number)

    try:
        for number in taken:
            signal.signal(number, end)
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
