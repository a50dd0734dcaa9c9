"""What makes an iteration shorter: random columns, a low-rank preconditioner, or both; chosen where nothing says it.

Measured (docs/performance.md): random columns beside the right-hand sides save the more passes the more there are,
whatever the kernel, but each costs arithmetic, which is free only while a pass waits for the disk; a preconditioner of
some hundred pivots saves as many passes as thirty to fifty of them where the kernel's spectrum is flat, also beside
them, and far more where it falls fast. Of what a model expects to be about as fast as the fastest, the one with the
fewest passes is taken. Columns need one matrix for all right-hand sides; where labels are missing in different places,
or each column keeps its own directions, the preconditioner is what there is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from neural_kernels.solvers.settings import AUTO, NO_PRECONDITIONER, PreconditionerSettings
from neural_kernels.storage.files import read_json_if_sound, write_json

COUNTS = (16, 32, 64, 96, 128, 192, 256, 384, 512)
"""Numbers of random columns that are chosen from."""

ROWS_A_COLUMN = 8
"""Fewer examples than this for each random column are solved in a few passes anyhow."""

SAMPLE, HEAD, FALLING = 512, 64, 0.2
"""A spectrum falls fast where, among so many examples, all but so many leading eigenvalues have less than this share of
the trace."""

PASSES, POWER, WORTH = 1.15, 0.48, 2.0
"""Of a model of passes over a kernel of n examples with a flat spectrum, PASSES sqrt(n) (10 / w)^POWER to a residual of
1e-6, w the right-hand sides and random columns, and WORTH sqrt(r) for a factor of rank r; within 13 % of what FC3
takes at n = 4,096 and 8,192 (docs/performance.md)."""

PIVOT = 4e-4
"""Seconds of a pivot of a factor beside its arithmetic."""

ABOUT, PATIENCE = 1.1, 0.5
"""As fast as the fastest is what is expected to take at most so many times its seconds, or so many seconds more: the
model is no better than that, and passes are what is dear once the disk is slower than it was when it was timed."""

FILE = "acceleration.json"


@dataclass(frozen=True)
class PassCost:
    """Seconds of a pass over the matrix.

    Attributes:
        reading: what is not in memory; what a pass takes at least.
        vector: arithmetic of each vector.
        busy: what a pass takes beside, of the same processors: to read and check, without waiting for the disk.
    """

    reading: float
    vector: float
    busy: float = 0.0

    def of(self, vectors: int) -> float:
        """With so many vectors: the disk waits while others compute, or they for it."""
        return max(self.reading, self.busy + self.vector * vectors)


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
    """What there is room for: the most random columns, the highest rank, and whether there is for both together.

    Attributes:
        fits: from a rank and a number of random columns.
    """

    random_columns: int
    rank: int
    fits: Callable[[int, int], bool] = lambda rank, count: True


def choose(
    settings: PreconditionerSettings,
    random_columns: int | None,
    columns: int,
    together: bool,
    room: Room,
    leading: Callable[[int], np.ndarray],
    cost: Callable[[], PassCost],
    n: int,
) -> Acceleration:
    """What the settings ask for, and where they leave it open ("auto", None) what this kernel and machine suggest.

    Args:
        columns: right-hand sides.
        together: whether all of them may share their directions.
        leading: from a number to the leading principal submatrix of so many examples, in an order of no meaning.
        cost: measures a pass.
        n: examples.
    """
    if not together:
        asked = _with_rank(settings, room.rank) if settings.method == AUTO else settings
        return Acceleration(asked, 0, "every right-hand side has its own directions")
    given = random_columns is not None
    if settings.method != AUTO:
        count, because = random_columns, "random columns as the config has them"
        if count is None:
            count, because = columns_for(columns, room.random_columns, cost)
        return Acceleration(settings, count, f"{because}; preconditioner as the config has it")
    share = share_beyond_head(leading(SAMPLE))
    spectrum = f"all but {HEAD} eigenvalues of {SAMPLE} examples have {share:.0%} of the trace"
    counts = [random_columns] if random_columns is not None else _allowed(room.random_columns)
    measured = cost()
    helped = _with_rank(settings, room.rank)
    most = helped.used_rank
    ranks = [most] if share < FALLING else sorted({0, most // 2, most})
    options = [(rank, count) for rank in ranks for count in counts if room.fits(rank, count)]
    seconds = {option: modelled_seconds(measured, n, columns, *option) for option in options}
    fastest = min(seconds.values())
    allowed = [option for option in options if seconds[option] <= max(ABOUT * fastest, fastest + PATIENCE)]
    rank, count = min(allowed, key=lambda option: (modelled_passes(n, columns, *option), seconds[option]))
    found = replace(helped, rank=rank) if rank else replace(settings, method=NO_PRECONDITIONER)
    expected = f"{seconds[rank, count]:.2g} s are expected of these"
    if seconds[rank, count] > fastest:
        expected += f", {fastest:.2g} s of more passes"
    because = (
        f"{count or 'no'} random columns{' as the config has them' if given else ''} and "
        f"{f'a preconditioner of rank {rank}' if rank else 'no preconditioner'}: {_pace(measured)}, and {spectrum}, so "
        f"that {expected}"
    )
    return Acceleration(found, count, because)


def modelled_passes(n: int, columns: int, rank: int, count: int) -> float:
    """Of a solve with so many right-hand sides, a factor of that rank and so many random columns; see ``PASSES``."""
    width = columns + count + WORTH * np.sqrt(rank)
    return float(PASSES * np.sqrt(n) * (10 / width) ** POWER)


def modelled_seconds(cost: PassCost, n: int, columns: int, rank: int, count: int) -> float:
    """Of such a solve.

    Operations by the rate at which a pass takes 2 n^2 of them for each vector: a factor is made in two passes and
    12 n r^2 (found, 7 to 13), and applied in 8 n r for each of w vectors, which take 6 n w^2 among themselves.
    """
    width = columns + count
    each = cost.of(width) + (4 * rank + 3 * width) / n * cost.vector * width
    made = (2 * cost.reading + 6 * rank**2 / n * cost.vector + PIVOT * rank) if rank else 0.0
    return modelled_passes(n, columns, rank, count) * each + made


def share_beyond_head(sample: np.ndarray) -> float:
    """Share of the trace that all but the ``HEAD`` largest eigenvalues of a symmetric matrix have."""
    values = np.linalg.eigvalsh(sample)
    return float(max(values[:-HEAD].sum(), 0.0) / values.sum()) if values.sum() > 0 else 0.0


def columns_for(columns: int, most: int, cost: Callable[[], PassCost]) -> tuple[int, str]:
    """How many random columns beside so many right-hand sides are multiplied while the matrix is read, and why."""
    allowed = _allowed(most)
    if len(allowed) == 1:
        return 0, f"no random columns: memory and n leave room for {most}"
    measured = cost()
    if measured.reading == 0:
        return 0, "no random columns: the matrix is in memory, where each would cost arithmetic alone"
    free = [count for count in allowed if not count or measured.of(columns + count) <= measured.reading]
    return free[-1], f"{free[-1] or 'no'} random columns: {_pace(measured)}"


def _allowed(most: int) -> list[int]:
    """Numbers of random columns, none among them, of which there is room for the most."""
    return [0, *(count for count in COUNTS if count <= most)]


def _pace(cost: PassCost) -> str:
    if cost.reading == 0:
        return f"the matrix is in memory, where a pass takes {cost.vector:.2g} s a vector"
    return f"a pass reads for {cost.reading:.2g} s and takes {cost.vector:.2g} s a vector"


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
    found = read_json_if_sound(path)
    if found is not None and found["problem"] == problem:
        chosen = found["chosen"]
        kept = Acceleration(PreconditionerSettings(**chosen.pop("preconditioner")), **chosen)
        if kept.random_columns <= room.random_columns:
            return kept
    chosen_now = decide()
    write_json(path, {"problem": problem, "chosen": asdict(chosen_now)})
    return chosen_now
