"""The offset layout: which planes of a joint covariance a network needs.

A joint covariance K[p, q] of positions is stored by offset d = q - p. A convolution moves p and q
together and the other layers act on one pair of positions, so that between two poolings each
offset has a plane over p of its own, on which a convolution is an ordinary box filter; only pooling
mixes offsets. Offsets are taken modulo the image: the plane of d holds every p, where p + d runs
out of the image it goes on with offset d - size, and the box filter does not reach across that
seam. So all planes have one shape and none of it is waste.

Nothing computes here; ``jax_planes`` does.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache

from neural_kernels import architectures as arch

Space = tuple[int, ...]
Offset = tuple[int, ...]


def is_pointwise(layer: arch.Layer) -> bool:
    """Whether ``layer`` needs variances: an activation other than Identity, or LayerNorm."""
    return isinstance(layer, arch.LayerNorm | arch.Activation) and not isinstance(layer, arch.Identity)


@dataclass(frozen=True)
class Segment:
    """Layers that keep offsets apart, and the pooling after them, None at the end of the network."""

    layers: tuple[arch.Layer, ...]
    space: Space
    pooling: arch.Pooling | None

    def pooled_space(self) -> Space:
        if isinstance(self.pooling, arch.AvgPool):
            window = self.pooling.window
            return tuple(size // window for size in self.space)
        return ()

    def pointwise(self) -> list[arch.Layer]:
        return [layer for layer in self.layers if is_pointwise(layer)]


@lru_cache(maxsize=64)
def segments(architecture: arch.Architecture, space: Space) -> tuple[Segment, ...]:
    """``architecture`` cut at its poolings, on inputs with positions ``space``."""
    result: list[Segment] = []
    layers: list[arch.Layer] = []
    for layer in architecture.layers:
        if isinstance(layer, arch.Identity):
            continue
        if not isinstance(layer, arch.Pooling):
            layers.append(layer)
        elif space:
            result.append(Segment(tuple(layers), space, layer))
            layers, space = [], result[-1].pooled_space()
    return (*result, Segment(tuple(layers), space, None))


def pair_offsets(cut: tuple[Segment, ...]) -> list[list[Offset]]:
    """The offsets that each segment must compute for the network's output, in ascending order."""
    needed: set[Offset] = {()}
    result: list[list[Offset]] = [[()]]
    for segment in cut[-2::-1]:
        needed = _sources(segment, needed)
        result.insert(0, sorted(needed))
    return result


def own_offsets(cut: tuple[Segment, ...]) -> list[list[Offset]]:
    """The offsets between an example's own positions that its later variances depend on."""
    needed: set[Offset] = set()
    result: list[list[Offset]] = []
    for segment in cut[::-1]:
        if segment.pooling is not None:
            needed = _sources(segment, needed)
        if segment.pointwise():
            needed.add((0,) * len(segment.space))
        result.insert(0, sorted(needed))
    return result


def values_per_lane(architecture: arch.Architecture, space: Space, channels: int) -> int:
    """About how many numbers one pair needs at a time, in all planes and pooled arrays."""
    cut = segments(architecture, space)
    offsets = pair_offsets(cut)
    # (K, T) of what is pooled and of what it is pooled from, and again for the loops' double buffers.
    pooled = sum(
        4 * len(there) * math.prod(segment.space) for segment, there in zip(cut[1:], offsets[1:], strict=True)
    )
    own = sum(12 * math.prod(segment.space) * len(segment.pointwise()) for segment in cut)
    return pooled + own + math.prod(space) * (5 * channels + 20)


def evaluations(architecture: arch.Architecture, space: Space) -> int:
    """Covariances of positions that the layers of one pair of examples compute, at least one."""
    cut = segments(architecture, space)
    return max(
        1,
        sum(
            len(there) * math.prod(segment.space) * len(segment.layers)
            for segment, there in zip(cut, pair_offsets(cut), strict=True)
        ),
    )


def _sources(segment: Segment, pooled: set[Offset]) -> set[Offset]:
    if not pooled:
        return set()
    if isinstance(segment.pooling, arch.Flatten):
        return {(0,) * len(segment.space)}
    if not isinstance(segment.pooling, arch.AvgPool):
        return set(itertools.product(*map(range, segment.space)))
    window = segment.pooling.window
    reach = list(itertools.product(range(1 - window, window), repeat=len(segment.space)))
    return {
        tuple((window * D + r) % size for D, r, size in zip(offset, step, segment.space, strict=True))
        for offset in pooled
        for step in reach
    }
