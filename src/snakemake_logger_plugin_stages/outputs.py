"""Where stages are shown: rows that are redrawn in a terminal, or lines one after the other."""

from __future__ import annotations

import os
import time
from typing import Protocol, TextIO

from snakemake_logger_plugin_stages.progress import Progress, Stage
from snakemake_logger_plugin_stages.rows import line, rows

LINE_SECONDS = 30
"""From a line of a stage to the next one, but for its start and its end."""


class Output(Protocol):
    def say(self, text: str) -> None:
        """A message that stays."""

    def update(self, stage: Stage | None = None) -> None:
        """Show how far the stages are, of which ``stage`` has changed."""

    def close(self) -> None:
        """What is shown stays, and nothing is shown any more."""


class Terminal:
    """A row a stage at the foot of what was printed, in place."""

    def __init__(self, stream: TextIO, progress: Progress) -> None:
        self._stream, self._progress = stream, progress
        self._drawn, self._closed = 0, False

    def say(self, text: str) -> None:
        self._draw(text)

    def update(self, stage: Stage | None = None) -> None:
        self._draw()

    def close(self) -> None:
        self._draw()
        self._drawn, self._closed = 0, True

    def _draw(self, above: str | None = None) -> None:
        # Lines that a job wrote itself have moved the rows: they are below then, and are drawn over.
        parts = [f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""]
        parts += [f"{above}\n"] if above is not None else []
        found: list[str] = []
        if self._progress.whole.started is not None and not self._closed:
            columns, lines = _size(self._stream)
            encoding = self._stream.encoding or ""
            found = rows(self._progress, time.monotonic(), columns, lines, encoding)
        parts += [f"{row}\n" for row in found]
        self._drawn = len(found)
        self._stream.write("".join(parts))
        self._stream.flush()


class Lines:
    """A line where a stage starts and ends, and each half minute that it goes on."""

    def __init__(self, stream: TextIO, progress: Progress) -> None:
        self._stream, self._progress = stream, progress
        self._said: dict[str, tuple[int, float]] = {}

    def say(self, text: str) -> None:
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def update(self, stage: Stage | None = None) -> None:
        if stage is None:
            return
        now = time.monotonic()
        done, before = self._said.get(stage.name, (-1, -float("inf")))
        if done != stage.done and (done < 0 or stage.finished or now - before >= LINE_SECONDS):
            self._said[stage.name] = stage.done, now
            self.say(f"{time.strftime('%H:%M:%S')}  {line(stage, self._progress, now)}")

    def close(self) -> None:
        pass


def _size(stream: TextIO) -> tuple[int, int]:
    """Columns and lines; a terminal that has none is taken for the usual one."""
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, lines = 0, 0
    return columns or 80, lines or 24
