"""The solutions of one training size: a folder ``draw<d>`` for each draw, and ``solved.json``, which vouches for all.

Whoever reads a solution goes by ``solved.json``, which is there only while every draw is, and only with the draws
that it was written for. It is what the workflow knows; a draw that is found damaged takes it along, so that the
workflow solves again, which takes over the other draws.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.solvers.solution import RECORD, Solution, load_history, load_solution
from neural_kernels.storage import checksums
from neural_kernels.storage.files import damaged, read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SOLVED = "solved.json"


def draw_folder(folder: Path, draw: int) -> Path:
    return folder / f"draw{draw}"


def record_path(folder: Path, draw: int) -> Path:
    return draw_folder(folder, draw) / RECORD


def write(folder: Path, facts: Mapping[str, Any], windows: Sequence[Sequence[int]]) -> None:
    """Write ``solved.json`` for the saved solutions of these draws; ``facts`` are put before them."""
    draws = []
    for draw, window in enumerate(windows):
        record = load_solution(draw_folder(folder, draw)).record.as_json()
        own = {"draw": draw, "window": list(window), "record_checksum": _record_checksum(folder, draw)}
        draws.append(own | record)
    write_json(folder / SOLVED, {**facts, "draws": draws})


def read(folder: Path, draws: int = 1) -> dict[str, Any]:
    """What ``write`` wrote, with at least so many draws.

    Raises:
        UserError: it is missing.
        DamagedFile: it is not what was written, or is of other solutions; it has been set aside.
    """
    path = folder / SOLVED
    solved = read_json(path)
    try:
        known = [float(entry["ridge"]) for entry in solved["draws"]]
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path, f"does not say how draws were solved ({error!r})") from None
    if len(known) < draws:
        raise damaged(path, f"has {len(known)} draws, expected {draws}")
    return solved


def load(folder: Path, draws: int) -> list[Solution]:
    """The solutions of the first ``draws`` draws, without their histories.

    Raises:
        UserError: ``solved.json`` is missing.
        DamagedFile: a file is missing or not what was written; it and ``solved.json`` have been set aside.
    """
    solved = read(folder, draws)
    return [_vouched(folder, solved, draw, load_solution) for draw in range(draws)]


def histories(folder: Path, draws: int) -> list[pd.DataFrame]:
    """The histories of the first ``draws`` draws, see ``solution.write_history``; errors as of ``load``."""
    solved = read(folder, draws)
    return [_vouched(folder, solved, draw, load_history) for draw in range(draws)]


def finished(folder: Path, draw: int, problem: str) -> Solution | None:
    """A whole solution of this problem that an earlier run left; what is damaged is set aside."""
    own = draw_folder(folder, draw)
    if not (own / RECORD).exists():
        return None
    try:
        solution = load_solution(own, problem=problem)
        load_history(own)
    except DamagedFile as error:
        log.warning("%s", error)
        return None
    except UserError as error:
        log.info("%s: solved again", error)
        return None
    return solution


def _vouched(folder: Path, solved: Mapping[str, Any], draw: int, read_one: Any) -> Any:
    found = read_one(draw_folder(folder, draw), folder / SOLVED)
    if solved["draws"][draw].get("record_checksum") != _record_checksum(folder, draw):
        raise damaged(folder / SOLVED, f"was written for another solution than the one in draw{draw}")
    return found


def _record_checksum(folder: Path, draw: int) -> str:
    return checksums.of_file(draw_folder(folder, draw) / RECORD)
