"""What makes an iteration shorter: random columns, a low-rank preconditioner, or both; chosen where nothing says it.

Measured (docs/performance.md): random columns beside the right-hand sides save the more passes the more there are,
whatever the kernel, but each costs arithmetic, which is free only while a pass waits for the disk; a preconditioner of
some hundred pivots saves as many passes as thirty of them where the kernel's spectrum is flat, and far more where it
falls fast. Columns need one matrix for all right-hand sides; where labels are missing in different places, or each
column keeps its own directions, the preconditioner is what there is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from neural_kernels.errors import DamagedFile
from neural_kernels.solvers.settings import AUTO, NO_PRECONDITIONER, PreconditionerSettings
from neural_kernels.storage.files import read_json, write_json

log = logging.getLogger(__name__)

COUNTS = (32, 64, 96, 128, 192, 256, 384, 512)
"""Numbers of random columns that are chosen from."""

ROWS_A_COLUMN = 16
"""Fewer examples than this for each random column are solved in a few passes anyhow."""

SAMPLE, HEAD, FALLING = 512, 64, 0.2
"""A spectrum falls fast where, among so many examples, all but so many leading eigenvalues have less than this share of
the trace."""

FILE = "acceleration.json"


@dataclass(frozen=True)
class PassCost:
    """Seconds of a pass over the matrix: for reading what is not in memory, and for each vector. Both go on at once."""

    reading: float
    vector: float


@dataclass(frozen=True)
class Acceleration:
    """What helps an iteration.

    Attributes:
        preconditioner: with a method that is not "auto".
        random_columns: beside the right-hand sides.
        reason: why these, a sentence without its capital and full stop.
    """

    preconditioner: PreconditionerSettings
    random_columns: int
    reason: str


@dataclass(frozen=True)
class Room:
    """What there is room for: the most random columns, and the highest rank."""

    random_columns: int
    rank: int


def choose(
    settings: PreconditionerSettings,
    random_columns: int | None,
    columns: int,
    together: bool,
    room: Room,
    leading: Callable[[int], np.ndarray],
    cost: Callable[[], PassCost],
) -> Acceleration:
    """What the settings ask for, and where they leave it open ("auto", None) what this kernel and machine suggest.

    Args:
        columns: right-hand sides.
        together: whether all of them may share their directions.
        leading: from a number to the leading principal submatrix of so many examples, in an order of no meaning.
        cost: measures a pass.
    """
    if not together:
        asked = _with_rank(settings, room.rank) if settings.method == AUTO else settings
        return Acceleration(asked, 0, "every right-hand side has its own directions")
    count, because = random_columns, "random columns as the config has them"
    if count is None:
        count, because = columns_for(columns, room.random_columns, cost)
    if settings.method != AUTO:
        return Acceleration(settings, count, f"{because}; preconditioner as the config has it")
    share = share_beyond_head(leading(SAMPLE))
    spectrum = f"all but {HEAD} eigenvalues of {SAMPLE} examples have {share:.0%} of the trace"
    if share < FALLING or count == 0:
        return Acceleration(_with_rank(settings, room.rank), count, f"{because}; {spectrum}")
    none = replace(settings, method=NO_PRECONDITIONER)
    return Acceleration(none, count, f"{because}; no preconditioner: {spectrum}")


def share_beyond_head(sample: np.ndarray) -> float:
    """Share of the trace that all but the ``HEAD`` largest eigenvalues of a symmetric matrix have."""
    values = np.linalg.eigvalsh(sample)
    return float(max(values[:-HEAD].sum(), 0.0) / values.sum()) if values.sum() > 0 else 0.0


def columns_for(columns: int, most: int, cost: Callable[[], PassCost]) -> tuple[int, str]:
    """How many random columns beside so many right-hand sides are multiplied while the matrix is read, and why."""
    allowed = [count for count in COUNTS if count <= most]
    if not allowed:
        return 0, f"no random columns: memory and n leave room for {most}"
    measured = cost()
    if measured.reading == 0:
        return 0, "no random columns: the matrix is in memory, where each would cost arithmetic alone"
    pace = f"a pass reads for {measured.reading:.2g} s and takes {measured.vector:.2g} s a vector"
    free = [count for count in allowed if measured.vector * (columns + count) <= measured.reading]
    return (free[-1], f"{free[-1]} random columns: {pace}") if free else (0, f"no random columns: {pace}")


def _with_rank(settings: PreconditionerSettings, most: int) -> PreconditionerSettings:
    rank = min(settings.rank, most)
    return replace(settings, method="random" if rank else NO_PRECONDITIONER, rank=rank)


def remembered(
    directory: Path | None, problem: str, room: Room, decide: Callable[[], Acceleration]
) -> Acceleration:
    """The choice that an interrupted solve of this problem made, or else one that is written down for the next.

    A pass is never timed twice alike, and another number of columns is another last bit.

    Args:
        directory: of the checkpoints; nothing is remembered where None.
        problem: fingerprint of what the choice is for.
    """
    if directory is None:
        return decide()
    path = directory / FILE
    if path.exists():
        try:
            found = read_json(path)
        except DamagedFile as error:
            log.warning("%s", error)
        else:
            chosen = found["chosen"]
            preconditioner = PreconditionerSettings(**chosen.pop("preconditioner"))
            kept = Acceleration(preconditioner, **chosen)
            if found["problem"] == problem and kept.random_columns <= room.random_columns:
                return kept
    chosen_now = decide()
    write_json(path, {"problem": problem, "chosen": asdict(chosen_now)})
    return chosen_now
