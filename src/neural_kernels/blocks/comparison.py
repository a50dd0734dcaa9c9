"""Two kernel matrices, entry by entry."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from neural_kernels.blocks.kernel_files import KernelFiles
from neural_kernels.errors import UserError
from neural_kernels.progress import progress

TILE = 2048
"""Rows and columns of both that are in memory together."""


@dataclass(frozen=True)
class Difference:
    """The largest difference of two kernels, and the place and the two entries that it is at."""

    value: float = 0.0
    place: tuple[int, int] = (0, 0)
    entries: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Comparison:
    """What two kernels have in common.

    Attributes:
        entries: how many were compared: those of both.
        absolute, relative: the latter to the larger of the two entries.
        correlation: of the entries of both; NaN where those of one are all the same.
    """

    shape: tuple[int, int]
    entries: int
    absolute: Difference
    relative: Difference
    correlation: float


def compare(one: KernelFiles, other: KernelFiles) -> Comparison:
    """Compare two kernels of one shape, a tile at a time; blocks that one of them lacks are left out.

    Raises:
        UserError: shapes that differ, no block that both have, or entries that are not finite.
    """
    shape = one.rows, one.columns
    if shape != (other.rows, other.columns):
        raise UserError(
            f"{other.path}: found a kernel of {other.rows} x {other.columns}, expected {shape[0]} x {shape[1]} as "
            f"{one.path}"
        )
    rows, columns = (sorted({*one.cuts(end, TILE), *other.cuts(end, TILE)}) for end in shape)
    tiles = [(r, c) for r in itertools.pairwise(rows) for c in itertools.pairwise(columns)]
    tiles = [tile for tile in tiles if one.lacking(*tile) is None and other.lacking(*tile) is None]
    if not tiles:
        raise UserError(f"{other.path}: found no block that {one.path} has as well, expected some")
    absolute = relative = Difference()
    moments, shift, count = np.zeros(5), None, 0
    for r, c in progress(tiles, total=len(tiles), description="comparing kernels"):
        a, b = (kernel.entries(r, c).astype(np.float64) for kernel in (one, other))
        for kernel, entries in ((one, a), (other, b)):
            if not np.isfinite(entries).all():
                raise UserError(f"{kernel.path}: rows {r[0]} to {r[1] - 1} have entries that are not finite")
        gaps = np.abs(a - b)
        absolute = _larger(absolute, gaps, (r[0], c[0]), a, b)
        size = np.maximum(np.abs(a), np.abs(b))
        relative = _larger(relative, gaps / np.where(size > 0, size, 1.0), (r[0], c[0]), a, b)
        # Moments about a number near the means: those about zero would cancel.
        shift = (a.mean(), b.mean()) if shift is None else shift
        a, b = a - shift[0], b - shift[1]
        moments += [a.sum(), b.sum(), (a * a).sum(), (b * b).sum(), (a * b).sum()]
        count += a.size
    return Comparison(shape, count, absolute, relative, _correlation(moments / count))


def _larger(
    known: Difference, gaps: np.ndarray, first: tuple[int, int], a: np.ndarray, b: np.ndarray
) -> Difference:
    r, c = np.unravel_index(int(np.argmax(gaps)), gaps.shape)
    if gaps[r, c] <= known.value:
        return known
    place = first[0] + int(r), first[1] + int(c)
    return Difference(float(gaps[r, c]), place, (float(a[r, c]), float(b[r, c])))


def _correlation(means: np.ndarray) -> float:
    a, b, aa, bb, ab = map(float, means)
    spread = (aa - a * a) * (bb - b * b)
    return (ab - a * b) / math.sqrt(spread) if spread > 0 else math.nan
