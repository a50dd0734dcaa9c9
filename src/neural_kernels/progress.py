"""Progress of long work, with an estimate of the time left."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")


def progress(
    items: Iterable[T] | None = None, *, total: int, description: str, initial: int = 0
) -> tqdm[Any]:
    """A progress bar over ``items``, or one to ``update`` by hand.

    In a terminal it is redrawn in place; in a log file it is a line every half minute.

    Args:
        total: number of steps of the whole work.
        initial: steps that an earlier run has done.
    """
    # A job that finds its work done must not wait for it.
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
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
    )
