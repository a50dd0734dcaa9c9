"""Errors that are not mistakes in the program but a machine's limits, as the one sentence that a person can act on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from neural_kernels.storage import disk

# What sets the memory of each verb, as it stands in a study's config.
MEMORY_KEYS = {
    "solve": "solver.memory_gib",
    "approximate": "solver.memory_gib",
    "predict": "solver.memory_gib",
    "compute-block": "blocks.tile, or blocks.edge",
    "evaluate": "blocks.edge",
    "predict-tests": "blocks.edge",
    "verify-blocks": "blocks.edge",
    "run-trial": "tuning.training_examples",
    "transfer-trial": "tuning.transfer.training_examples",
}


def sentence(error: BaseException, verb: str, results: Path | None = None) -> str | None:
    """What to say of an error by which the disk or the memory ended ``verb``; None of any other, which is a bug.

    Args:
        results: the folder that is written to, to name where the error names no file.
    """
    for cause in _chain(error):
        if isinstance(cause, OSError) and disk.is_of_the_disk(cause):
            return disk.sentence(cause, results)
        if _is_of_memory(cause):
            asked = " ".join(str(cause).split())
            found = f" ({asked[:300]})" if asked else ""
            key = MEMORY_KEYS.get(verb)
            lower = f"lower {key} in the config" if key else "take fewer examples"
            return (
                f"memory ran out in {verb}{found}: give it more, or {lower}; what is finished stays, and the same "
                "command goes on from it"
            )
    return None


def _is_of_memory(error: BaseException) -> bool:
    # The latter are those of JAX, whose class has another name in each version, and of Python's threads.
    text = str(error)
    full = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return (
        full
        or isinstance(error, MemoryError)
        or (
            isinstance(error, RuntimeError)
            and (text.startswith("RESOURCE_EXHAUSTED") or text == "can't start new thread")
        )
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that led to it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
