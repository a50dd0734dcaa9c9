"""How fast an engine is on this machine: pairs of examples a second, measured on random ones."""

from __future__ import annotations

import time

import numpy as np

from neural_kernels import engines
from neural_kernels.architectures import Architecture, covariance_entries
from neural_kernels.engines import common_windows
from neural_kernels.graphs import Examples, is_graphs, made_up


def measure_rate(
    engine: engines.Engine,
    architecture: Architecture,
    kind: engines.Kind,
    precision: engines.Precision,
    input_shape: tuple[int, ...],
    seconds: float,
    examples: Examples | None = None,
) -> float:
    """Pairs per second of this machine, measured for some ``seconds`` on the first of ``examples``, or on
    random ones; without what an example costs once.
    """
    edge = 4
    entries = engines.entries_of(engine)
    if examples is None or len(examples) < 2 * edge:
        examples, largest = None, default_tile(architecture, input_shape, entries)
    else:
        shape = common_windows.equivalent_shape(engine, examples)
        largest = min(default_tile(architecture, shape, entries), len(examples) // 2)
    while True:
        x = _random_examples(2 * edge, input_shape) if examples is None else examples[: 2 * edge]
        left = engine.prepare(architecture, x[:edge], precision)
        right = engine.prepare(architecture, x[edge:], precision)
        engine.kernel(architecture, kind, left, right, precision)
        started = time.perf_counter()
        engine.kernel(architecture, kind, left, right, precision)
        elapsed = time.perf_counter() - started
        if elapsed > seconds / 4 or edge >= largest:
            return edge**2 / elapsed
        edge = min(2 * edge, largest)


def _random_examples(count: int, input_shape: tuple[int, ...]) -> Examples:
    random = np.random.default_rng(0)
    if is_graphs(input_shape):
        return made_up(count, input_shape[-1], random)
    return random.normal(size=(count, *input_shape))


def default_tile(
    architecture: Architecture, input_shape: tuple[int, ...], entries: int = engines.TILE_ENTRIES
) -> int:
    """Edge of a tile that takes seconds to a minute, whatever the architecture costs: a power of two.

    Args:
        entries: covariances of positions that the engine computes meanwhile; see ``engines.tile_entries``.
    """
    pairs = entries // covariance_entries(architecture, input_shape)
    return int(min(max(2 ** (pairs.bit_length() // 2), 16), 2048))
