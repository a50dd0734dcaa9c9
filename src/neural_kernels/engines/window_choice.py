"""Which window of sequences is worth its while: what of an architecture and of examples ``common_windows`` needs.

Nothing here computes a kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neural_kernels.architectures import (
    Architecture,
    AvgPool,
    Dense,
    Flatten,
    GlobalAvgPool,
    GlobalSumPool,
    Identity,
    Layer,
    Pooling,
)
from neural_kernels.architectures.facts import facts
from neural_kernels.engines import Kind

# Of the work at full length: a window that leaves more than this is not worth its one-sided terms.
WORTHWHILE = 0.7
# Examples among which the common sequence is chosen; if these have no window, the others are not read.
SAMPLE = 32
CANDIDATES = 64
CHUNK = 256


# ------------------------------------------------------------------------- what architectures allow it

# The poolings whose kernel is a sum over positions or pairs of them; a single position they leave as it is.
SUMS = (Flatten, GlobalAvgPool, GlobalSumPool)


@dataclass(frozen=True)
class Form:
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


def form_of(architecture: Architecture, kind: Kind) -> Form | None:
    """The form of ``architecture`` on sequences, or None where its kernel is no such sum."""
    layers = architecture.layers
    place = next((i for i, layer in enumerate(layers) if isinstance(layer, Pooling)), len(layers))
    body, end, tail = layers[:place], layers[place : place + 1], layers[place + 1 :]
    reaches = [reach for layer in body if (reach := facts(layer).reach) is not None]
    if not body or len(reaches) < len(body) or not end or not isinstance(end[0], SUMS):
        return None
    nngp = ntk = 0.0
    linear: list[Layer] = []
    for layer in tail:
        if isinstance(layer, Dense):
            nngp = layer.W_std**2 * nngp + layer.b_std**2
            ntk = layer.W_std**2 * ntk + nngp
            linear.append(replace(layer, b_std=0.0))
        elif isinstance(layer, (*SUMS, AvgPool, Identity)):
            linear.append(layer)
        else:
            return None
    without_biases = Architecture(architecture.name, (*body, *end, *linear))
    return Form(
        without_biases,
        sum(reaches),
        end[0],
        nngp if kind == "nngp" else ntk,
    )


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


def differences(x: np.ndarray, common: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def most_central(x: np.ndarray) -> np.ndarray:
    """The one of ``x`` that agrees with the others at the most positions."""
    agreeing = [(x == one).all(axis=-1).sum() for one in x]
    return x[int(np.argmax(agreeing))]


def sample_of(sets: Sequence[np.ndarray]) -> np.ndarray:
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
class Choice:
    """Crops from the narrowest on, and the work, against that at full length, of all pairs and of a mean one."""

    crops: tuple[Crop, ...]
    work: float
    mean_pair: float


def choose(form: Form, length: int, starts: np.ndarray, ends: np.ndarray, pairs: int) -> Choice:
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
    return Choice(crops, mean_pair + one_sided / pairs, mean_pair)


def _spread(values: np.ndarray) -> np.ndarray:
    """The different ``values``, or so many of them, with the least and the largest."""
    values = np.unique(values)
    places = np.linspace(0, len(values) - 1, min(CANDIDATES, len(values)))
    return values[places.round().astype(int)]
