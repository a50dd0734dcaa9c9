"""Sequences that agree outside a window: their kernel from the window's surroundings, exactly.

Many sequences, such as variants of one protein, differ from a common one c only at positions a to b. With
convolutions of total reach R (the sum of their (filter size - 1) / 2) before one pooling of all positions, what
is left of the difference there lies within a - R to b + R: a covariance of positions outside depends on c
alone. Let F be the pooled covariance and G the same of sequences cut to a - 2R to b + 2R, where the padding of
the cut reaches no position whose covariance depends on the difference. Then, of two such sequences,

    F(x, y) = G(x, y) + [F(x, c) - G(x, c)] + [F(c, y) - G(c, y)] - [F(c, c) - G(c, c)],

since all that F has and G lacks, or has otherwise, depends on x or on y only. Without pooling over pairs of
positions (Flatten) it depends on neither, and each bracket is the last. F(x, c) is one evaluation at full
length for each sequence, not for each pair. This holds of the NTK as well, layer by layer.

Sequences that differ elsewhere, by insertions say, go with a second, wider window, or at full length; only
pairs with one of them do. ``cheapest`` decides from the examples, and every engine computes the cut sequences.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neural_kernels.architectures import Architecture
from neural_kernels.engines import Engine, Kind, Precision
from neural_kernels.engines.sums import SummedEngine
from neural_kernels.engines.window_choice import (
    WORTHWHILE,
    Crop,
    Form,
    choose,
    differences,
    form_of,
    most_central,
    sample_of,
)
from neural_kernels.graphs import Examples, typical_shape

log = logging.getLogger(__name__)

CHUNK = 256
"""Sequences that are prepared at full length at a time: it bounds the memory."""


@dataclass(frozen=True)
class _Part:
    """Examples of one set whose narrowest crop is the same.

    Attributes:
        places: (m,) of these in their set.
        level: index of the crop.
        x: (m, length, channels).
        prepared: their crops, in the engine's layout.
        against_common: (m,) float64, their F with the common sequence; None where nothing needs it.
        outside: (m,) float64, what is added to an entry of the crop for each of them.
    """

    places: np.ndarray
    level: int
    x: np.ndarray
    prepared: Any
    against_common: np.ndarray | None
    outside: np.ndarray


@dataclass(frozen=True)
class Prepared:
    """Examples of one set; each is in one of ``parts``."""

    n: int
    parts: tuple[_Part, ...]


@dataclass(frozen=True, eq=False)
class WindowedEngine:
    """``engine`` on sequences near a common one, for one architecture, kind and precision.

    It computes what ``engine`` does, to rounding, on any examples of that shape. An entry's rounding depends on
    ``common`` and ``crops`` too, so that all tiles of a block are computed with one of these.

    Attributes:
        common: (length, channels) float64.
        crops: from the narrowest to the widest; examples that differ outside of one go with the next, and
            outside of all at full length.
        mean_pair: work of a pair, against that at full length.
    """

    engine: Engine
    architecture: Architecture
    kind: Kind
    precision: Precision
    form: Form
    common: np.ndarray
    crops: tuple[Crop, ...]
    mean_pair: float

    def unavailable(self) -> str | None:
        return self.engine.unavailable()

    def uncovered(self, architecture: Architecture, input_shape: tuple[int, ...]) -> str | None:
        return self.engine.uncovered(architecture, input_shape)

    def prepare(self, architecture: Architecture, x: Examples, precision: Precision) -> Prepared:
        """Crops of the examples ``x``, (n, length, channels), and their covariance with the common sequence."""
        self._check(architecture, self.kind, precision)
        assert isinstance(x, np.ndarray)
        starts, ends = differences(x, self.common)
        levels = np.full(len(x), len(self.crops))
        for level in reversed(range(len(self.crops))):
            crop, margin = self.crops[level], 2 * self.form.reach
            first = crop.first + (margin if crop.first > 0 else 0)
            end = crop.end - (margin if crop.end < crop.whole else 0)
            levels[(starts >= first) & (ends <= end)] = level
        parts = []
        for level in np.unique(levels).tolist():
            places = np.flatnonzero(levels == level)
            part = x if len(places) == len(x) else x[places]
            crop = self._crop(level)
            against = None
            if self.form.over_pairs and not crop.is_whole:
                against = self._against_common(part, self._crop(len(self.crops)))
            outside = self._outside(part, against, crop)
            parts.append(_Part(places, level, part, self._cut(part, crop), against, outside))
        return Prepared(len(x), tuple(parts))

    def kernel(
        self, architecture: Architecture, kind: Kind, left: Any, right: Any | None, precision: Precision
    ) -> np.ndarray:
        """Kernel entries (n_left, n_right) of dtype ``precision``; see ``engines.Engine.kernel``."""
        self._check(architecture, kind, precision)
        columns = left if right is None else right
        out = np.empty((left.n, columns.n), precision)
        for one, other in itertools.product(left.parts, columns.parts):
            if right is None and one.level > other.level:
                continue
            entries = self._entries(one, None if right is None and one is other else other)
            out[np.ix_(one.places, other.places)] = entries
            if right is None and one is not other:
                out[np.ix_(other.places, one.places)] = entries.T
        return out

    def _entries(self, one: _Part, other: _Part | None) -> np.ndarray:
        columns = one if other is None else other
        level = max(one.level, columns.level)
        crop = self._crop(level)
        right = None if other is None else self._at(other, level)
        entries = self._engine_kernel(self._at(one, level), right)
        own, others = self._outside_at(one, level), self._outside_at(columns, level)
        # The two sides are added first, so that a symmetric kernel stays so to the bit.
        return self._weight(crop) * entries + (own[:, None] + others) + self.form.constant

    def _at(self, part: _Part, level: int) -> Any:
        return part.prepared if part.level == level else self._cut(part.x, self._crop(level))

    def _outside_at(self, part: _Part, level: int) -> np.ndarray:
        if part.level == level:
            return part.outside
        return self._outside(part.x, part.against_common, self._crop(level))

    def _outside(self, x: np.ndarray, against_common: np.ndarray | None, crop: Crop) -> np.ndarray:
        """What is added to an entry of ``crop`` for each of ``x``: its bracket, less half of the last one."""
        if crop.is_whole:
            return np.zeros(len(x))
        half = self._rests[self.crops.index(crop)] / 2
        if against_common is None:
            return np.full(len(x), half)
        return against_common - self._weight(crop) * self._against_common(x, crop) - half

    @functools.cached_property
    def _rests(self) -> tuple[float, ...]:
        """The last bracket, F(c, c) - G(c, c), of each crop."""
        common = self.common[None]
        crops = (self._crop(len(self.crops)), *self.crops)
        whole, *cropped = (float(self._against_common(common, crop)[0]) for crop in crops)
        return tuple(
            whole - self._weight(crop) * value for crop, value in zip(self.crops, cropped, strict=True)
        )

    def _against_common(self, x: np.ndarray, crop: Crop) -> np.ndarray:
        """The linear kernel (n,) of crops of ``x`` with that of the common sequence."""
        # A register, or a row of a tile, holds several right examples, so the many are there.
        common = self._cut(self.common[None], crop)
        chunks = (self._cut(x[i : i + CHUNK], crop) for i in range(0, len(x), CHUNK))
        return np.concatenate([self._engine_kernel(common, chunk)[0] for chunk in chunks])

    def _engine_kernel(self, left: Any, right: Any | None) -> np.ndarray:
        entries = self.engine.kernel(self.form.linear, self.kind, left, right, self.precision)
        return entries.astype(np.float64, copy=False)

    def _cut(self, x: np.ndarray, crop: Crop) -> Any:
        return self.engine.prepare(self.form.linear, np.ascontiguousarray(crop.of(x)), self.precision)

    def _crop(self, level: int) -> Crop:
        length = len(self.common)
        return self.crops[level] if level < len(self.crops) else Crop(0, length, length)

    def _weight(self, crop: Crop) -> float:
        return self.form.weight(len(crop), crop.whole)

    def _check(self, architecture: Architecture, kind: Kind, precision: Precision) -> None:
        if (architecture, kind, precision) != (self.architecture, self.kind, self.precision):
            raise ValueError(f"these windows are for {self.architecture.name}, {self.kind}, {self.precision}")


def cheapest(
    engine: Engine,
    architecture: Architecture,
    kind: Kind,
    precision: Precision,
    sets: Sequence[Examples],
    pairs: int,
) -> Engine:
    """``engine``, or the one that uses the window in which the examples of ``sets`` differ, if that pays.

    Args:
        sets: examples between which kernels will be computed, graphs or (n, *input_shape) each.
        pairs: how many entries that will be: each example costs an evaluation at full length.

    Returns:
        An engine that agrees with ``engine`` to rounding.
    """
    if isinstance(engine, SummedEngine):
        return engine.each(lambda part, term: cheapest(part, term, kind, precision, sets, pairs))
    arrays = [x for x in sets if isinstance(x, np.ndarray) and x.ndim == 3 and len(x)]
    form = form_of(architecture, kind)
    if form is None or len(arrays) != len(sets) or pairs == 0:
        return engine
    length = arrays[0].shape[1]
    sample = sample_of(arrays)
    common = most_central(sample)
    if choose(form, length, *differences(sample, common), 2**62).work > WORTHWHILE:
        return engine
    starts, ends = map(np.concatenate, zip(*(differences(x, common) for x in arrays), strict=True))
    choice = choose(form, length, starts, ends, pairs)
    if choice.work > WORTHWHILE:
        return engine
    common = np.array(common, np.float64)
    windowed = WindowedEngine(
        engine, architecture, kind, precision, form, common, choice.crops, choice.mean_pair
    )
    log.info("sequences of length %d differ within a window:%s", length, description(windowed))
    return windowed


def description(engine: Engine) -> str:
    """What decides the rounding of an entry beside the engine's name: the crops, or nothing."""
    if isinstance(engine, SummedEngine):
        return "".join(description(part) for _, _, part in engine.parts)
    if not isinstance(engine, WindowedEngine):
        return ""
    return " positions " + ", ".join(f"{crop.first} to {crop.end}" for crop in engine.crops)


def equivalent_shape(engine: Engine, x: Examples) -> tuple[int, ...]:
    """Shape of an example whose pairs cost ``engine`` at full length what those of ``x`` cost it."""
    if not isinstance(engine, WindowedEngine):
        return typical_shape(x)
    length, channels = engine.common.shape
    share = engine.mean_pair ** (0.5 if engine.form.over_pairs else 1.0)
    return max(1, round(length * share)), channels
