"""Progress of long work, with an estimate of the time left."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")
log = logging.getLogger(__name__)

DISPLAYED = "SNAKEMAKE_STAGES_STDERR"
"""Set by the logger of the workflow (``snakemake_logger_plugin_stages``) to the standard error that it draws on."""


def is_displayed() -> bool:
    """Whether the workflow shows its stages on this standard error, which a job leaves alone then."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get(DISPLAYED) == f"{status.st_dev}:{status.st_ino}"


class _Log:
    """A file whose lines are messages of the log."""

    def write(self, text: str) -> None:
        if line := text.strip():
            log.info("%s", line)

    def flush(self) -> None:
        pass


def progress(
    items: Iterable[T] | None = None, *, total: int, description: str, initial: int = 0
) -> tqdm[Any]:
    """A progress bar over ``items``, or one to ``update`` by hand.

    In a terminal it is redrawn in place; in a log file, and where the workflow shows its stages in the terminal, it is
    a line every half minute.

    Args:
        total: number of steps of the whole work.
        initial: steps that an earlier run has done.
    """
    # A job that finds its work done must not wait for it.
    from tqdm import tqdm

    displayed = is_displayed()
    terminal = sys.stderr.isatty() and not displayed
    return tqdm(
        items,
        total=total,
        desc=description,
        initial=initial,
        mininterval=0.2 if terminal else 30,
        maxinterval=10 if terminal else 60,
        ascii=not terminal,
        leave=terminal,
        dynamic_ncols=terminal,
        smoothing=0.1,
        delay=1,
        file=_Log() if displayed else None,
    )
