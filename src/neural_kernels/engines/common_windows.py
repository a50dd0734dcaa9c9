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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neural_kernels.architectures import (
    Activation,
    Architecture,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    GlobalSumPool,
    Identity,
    Layer,
    LayerNorm,
    Pooling,
)
from neural_kernels.engines import Engine, Kind, Precision
from neural_kernels.graphs import Examples, typical_shape

log = logging.getLogger(__name__)

# Of the work at full length: what has to be saved before a window is worth its one-sided terms.
WORTHWHILE = 0.7
# Examples among which the common sequence is chosen; if these have no window, the others are not read.
SAMPLE = 32
CANDIDATES = 64
CHUNK = 256


# ------------------------------------------------------------------------- what architectures allow it


@dataclass(frozen=True)
class _Form:
    """An architecture whose kernel is a sum over positions, or pairs of them, plus a constant.

    Attributes:
        linear: the architecture without biases after the pooling, so that its kernel is that sum alone.
        reach: positions on each side that one position of the pooling's input depends on.
        pooling: the pooling of all positions.
        constant: what the biases after it add to the kernel.
    """

    linear: Architecture
    reach: int
    pooling: Pooling
    constant: float

    @property
    def over_pairs(self) -> bool:
        return not isinstance(self.pooling, Flatten)

    def cost(self, length: int | np.ndarray) -> Any:
        """Covariances of one pair of sequences of ``length``."""
        return length**2 if self.over_pairs else length

    def weight(self, length: int, whole: int) -> float:
        """Of the kernel of sequences of ``length`` in that of ``whole`` ones: what a mean divides by."""
        if isinstance(self.pooling, GlobalSumPool):
            return 1.0
        return self.cost(length) / self.cost(whole)


def _form(architecture: Architecture, kind: Kind) -> _Form | None:
    """The form of ``architecture`` on sequences, or None where its kernel is no such sum."""
    layers = architecture.layers
    place = next((i for i, layer in enumerate(layers) if isinstance(layer, Pooling)), len(layers))
    body, end, tail = layers[:place], layers[place : place + 1], layers[place + 1 :]
    if (
        not body
        or not end
        or not all(isinstance(layer, Conv | Dense | Activation | LayerNorm) for layer in body)
    ):
        return None
    if not isinstance(end[0], Flatten | GlobalAvgPool | GlobalSumPool):
        return None
    nngp = ntk = 0.0
    linear: list[Layer] = []
    for layer in tail:
        if isinstance(layer, Dense):
            nngp = layer.W_std**2 * nngp + layer.b_std**2
            ntk = layer.W_std**2 * ntk + nngp
            linear.append(replace(layer, b_std=0.0))
        elif isinstance(layer, Pooling | Identity):
            linear.append(layer)
        else:
            return None
    reach = sum(layer.filter_size // 2 for layer in body if isinstance(layer, Conv))
    without_biases = Architecture(architecture.name, (*body, *end, *linear))
    return _Form(without_biases, reach, end[0], nngp if kind == "nngp" else ntk)


# ---------------------------------------------------------------------------------- where examples differ


@dataclass(frozen=True)
class Crop:
    """Positions ``first`` to ``end`` of sequences of length ``whole``."""

    first: int
    end: int
    whole: int

    @property
    def is_whole(self) -> bool:
        return self.end - self.first == self.whole

    def __len__(self) -> int:
        return self.end - self.first

    def of(self, x: np.ndarray) -> np.ndarray:
        """The crop of sequences (n, length, channels)."""
        return x[:, self.first : self.end]


def _differences(x: np.ndarray, common: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First position (n,) where each of ``x`` differs from ``common``, and the one after the last.

    Where nothing differs these are the length and 0.
    """
    length, width = common.shape
    starts, ends = np.empty(len(x), np.int64), np.empty(len(x), np.int64)
    for i in range(0, len(x), CHUNK):
        # Flat, as a reduction over the few channels of a position is slow.
        differs = x[i : i + CHUNK].reshape(-1, length * width) != common.reshape(-1)
        found = differs.any(axis=1)
        first, from_end = differs.argmax(axis=1), differs[:, ::-1].argmax(axis=1)
        starts[i : i + CHUNK] = np.where(found, first // width, length)
        ends[i : i + CHUNK] = np.where(found, length - from_end // width, 0)
    return starts, ends


def _most_central(x: np.ndarray) -> np.ndarray:
    """The one of ``x`` that agrees with the others at the most positions."""
    agreeing = [(x == one).all(axis=-1).sum() for one in x]
    return x[int(np.argmax(agreeing))]


def _sample(sets: Sequence[np.ndarray]) -> np.ndarray:
    total = sum(map(len, sets))
    places = np.unique(np.linspace(0, total - 1, min(SAMPLE, total)).astype(int))
    firsts = np.cumsum([0, *map(len, sets)])
    return np.concatenate(
        [
            x[places[(places >= first) & (places < first + len(x))] - first]
            for x, first in zip(sets, firsts, strict=False)
        ]
    )


@dataclass(frozen=True)
class _Choice:
    """Crops from the narrowest on, and the work, against that at full length, of all pairs and of a mean one."""

    crops: tuple[Crop, ...]
    work: float
    mean_pair: float


def _choose(form: _Form, length: int, starts: np.ndarray, ends: np.ndarray, pairs: int) -> _Choice:
    """The narrow window that makes ``pairs`` among these examples cheapest, beside the one that holds all."""

    def crop(first: Any, end: Any) -> tuple[Any, Any]:
        cut_first = np.maximum(first - 2 * form.reach, 0)
        return cut_first, np.minimum(np.maximum(end, first + 1) + 2 * form.reach, length)

    differing = starts < ends
    if not differing.any():
        first, end = np.zeros(1, np.int64), np.ones(1, np.int64)
    else:
        first, end = _spread(starts[differing]), _spread(ends[differing])
    share = (starts >= first[:, None]).astype(float) @ (ends <= end[:, None]).T.astype(float) / len(starts)
    lows, highs = crop(first[:, None], end[None, :])
    widest = Crop(int(lows.min()), int(highs.max()), length)
    cost = share**2 * form.cost(highs - lows) + (1 - share**2) * form.cost(len(widest))
    i, j = np.unravel_index(np.argmin(cost), cost.shape)
    best = float(cost[i, j])
    crops: tuple[Crop, ...] = (Crop(int(lows[i, 0]), int(highs[i, j]), length), widest)
    if best > WORTHWHILE * form.cost(len(widest)):
        best, crops = float(form.cost(len(widest))), (widest,)
    elif share[i, j] == 1:
        crops = crops[:1]
    mean_pair = best / form.cost(length)
    one_sided = len(starts) if form.over_pairs else 1
    return _Choice(crops, mean_pair + one_sided / pairs, mean_pair)


def _spread(values: np.ndarray) -> np.ndarray:
    """The different ``values``, or so many of them, with the least and the largest."""
    values = np.unique(values)
    places = np.linspace(0, len(values) - 1, min(CANDIDATES, len(values)))
    return values[places.round().astype(int)]


# ---------------------------------------------------------------------------------------- the engine


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
    form: _Form
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
        starts, ends = _differences(x, self.common)
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
    arrays = [x for x in sets if isinstance(x, np.ndarray) and x.ndim == 3 and len(x)]
    form = _form(architecture, kind)
    if form is None or len(arrays) != len(sets) or pairs == 0:
        return engine
    length = arrays[0].shape[1]
    sample = _sample(arrays)
    common = _most_central(sample)
    if _choose(form, length, *_differences(sample, common), 2**62).work > WORTHWHILE:
        return engine
    starts, ends = map(np.concatenate, zip(*(_differences(x, common) for x in arrays), strict=True))
    choice = _choose(form, length, starts, ends, pairs)
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
