"""Rows of a user's table that no prediction was made of, said and listed beside the predictions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from neural_kernels.datasets.pools import is_file
from neural_kernels.errors import UserError
from neural_kernels.storage.files import write_atomically

log = logging.getLogger(__name__)

LeftOut = tuple[int, str]
"""The line of a row, and why it is left out."""


def say(source: object, rows: Sequence[LeftOut]) -> None:
    """Warn of each row of the file ``source``."""
    for line, reason in rows:
        log.warning("%s, line %d is left out: %s", source, line, reason)


def content(rows: Sequence[LeftOut]) -> bytes:
    """The rows as CSV."""
    import pandas as pd

    return pd.DataFrame(rows, columns=["line", "reason"]).to_csv(index=False).encode()


def listed_in(output: Path, inputs: Path) -> Path:
    """Where the rows of ``inputs`` are listed whose predictions are in ``output``.

    Raises:
        UserError: the inputs are there.
    """
    path = output.with_name(f"{output.stem}_left_out.csv")
    if path.resolve() == inputs.resolve():
        raise UserError(
            f"{inputs} is where rows would be listed that {output} leaves out, expected another place for the "
            "predictions"
        )
    return path


def write(path: Path, rows: Sequence[LeftOut]) -> str:
    """List the rows in ``path``, where an older list is removed; returns how many there are, in words."""
    if not rows:
        if is_file(path) and _is_list(path):
            path.unlink()
        return "0 rows left out"
    write_atomically(path, lambda file: file.write(content(rows)))
    return f"{len(rows)} rows left out, listed in {path}"


def _is_list(path: Path) -> bool:
    header = content([])
    with path.open("rb") as file:
        return file.read(len(header)) == header
