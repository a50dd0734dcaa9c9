"""The plan of an architecture as a warp sees it: planes of offsets, the columns of a lane, the offsets that are needed.

The plan is the native engine's. Sequences lie along the rows: a lane has a plane to itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from neural_kernels.engines.native.plan import AVERAGE, SUM_ALL_PAIRS, Plan, StepStructure

Recipe = Literal["float64", "float32", "mixed"]
"""The arithmetic: one precision throughout, or float32 up to the second pooling and float64 after it."""

LANES = 32
# Registers (of 32 bits) of a thread for the rows that wait, with which sixteen warps of 128 registers each have room.
WAITING_REGISTERS = 64


@dataclass(frozen=True)
class Layer:
    """A step of the plan, with ``table``, the number of its first table in its stage."""

    step: StepStructure
    half_y: int
    half_x: int
    table: int


@dataclass(frozen=True)
class Stage:
    """What happens at one resolution: ``layers``, then a pooling with windows (y, x), or a sum.

    Offsets are computed in groups, those of one pooled offset each: ``starts`` and ``counts`` (y, x) of the groups
    that are needed, modulo their number.
    """

    height: int
    width: int
    layers: tuple[Layer, ...]
    end: int
    windows: tuple[int, int]
    starts: tuple[int, int]
    counts: tuple[int, int]
    columns: int
    dtype: np.dtype
    inputs: int

    @property
    def lanes(self) -> int:
        """Of one plane."""
        return -(-self.width // self.columns)

    @property
    def positions(self) -> int:
        """Numbers that a plane takes in memory."""
        return self.height * self.lanes * self.columns

    @property
    def bytes(self) -> int:
        """Of an example's inputs and tables."""
        tables = sum(layer.step.tables for layer in self.layers)
        return aligned((self.inputs + tables) * self.positions * self.dtype.itemsize)

    @property
    def staging(self) -> int:
        """Bytes of a warp's rows on their way to pooling."""
        stride = self.lanes * self.columns
        return aligned(2 * (LANES // self.lanes) * stride * self.dtype.itemsize) if self.end == AVERAGE else 0


def stages_of(
    plan: Plan, transposed: bool, channels: int, recipe: Recipe
) -> tuple[tuple[Stage, ...], tuple[Layer, ...]]:
    structures = plan.structure.stages[: plan.structure.n_stages]
    stages: list[Stage] = []
    needed = ((0, 1), (0, 1))
    for number in reversed(range(len(structures) - 1)):
        structure = structures[number]
        steps = plan.structure.steps[structure.first_step : structure.first_step + structure.steps]
        sides = [(structure.height, structure.width), (structure.window_y, structure.window_x)]
        (height, width), windows = [pair[::-1] if transposed else pair for pair in sides]
        if structure.end != AVERAGE:
            windows = (1, 1)
        groups = _groups(structure.end, (height, width), windows, needed)
        single = recipe == "float32" or (recipe == "mixed" and number < 2)
        inputs = channels if number == 0 else 0
        dtype = np.dtype(np.float32 if single else np.float64)
        layers = layers_of(steps, inputs, transposed)
        columns = _columns(width, layers, dtype)
        starts, counts = zip(*groups, strict=True)
        stages.insert(
            0,
            Stage(
                height, width, layers, structure.end, windows, (starts[0], starts[1]), (counts[0], counts[1]),
                columns, dtype, inputs,
            ),
        )  # fmt: skip
        needed = (
            (starts[0] * windows[0], counts[0] * windows[0]),
            (starts[1] * windows[1], counts[1] * windows[1]),
        )
    last = structures[-1]
    steps = plan.structure.steps[last.first_step : last.first_step + last.steps]
    return tuple(stages), layers_of(steps, 0, False)


def _groups(
    end: int,
    sizes: tuple[int, int],
    windows: tuple[int, int],
    needed: tuple[tuple[int, int], tuple[int, int]],
) -> list[tuple[int, int]]:
    """First and number of the groups of offsets that are needed, in each direction."""
    if end != AVERAGE:
        return [(0, size if end == SUM_ALL_PAIRS else 1) for size in sizes]
    groups = []
    for size, window, (start, count) in zip(sizes, windows, needed, strict=True):
        coarse = size // window
        # Pooled offset e takes of the groups e and e - 1.
        groups.append((0, coarse) if count + 1 >= coarse else ((start - 1) % coarse, count + 1))
    return groups


def layers_of(steps: Sequence[StepStructure], inputs: int, transposed: bool) -> tuple[Layer, ...]:
    """``steps`` with the places of their tables, behind ``inputs`` channels."""
    layers, table = [], inputs
    for step in steps:
        halves = (step.half_height, step.half_width)
        layers.append(Layer(step, *(halves[::-1] if transposed else halves), table))
        table += step.tables
    return tuple(layers)


def _columns(width: int, layers: tuple[Layer, ...], dtype: np.dtype) -> int:
    """Columns of a lane: with two, neighbours are half as often in another lane; of deep stages no more than fit."""
    fewest = -(-width // LANES)
    waiting = _waiting_rows(layers) * dtype.itemsize // 4

    def worth(columns: int) -> float:
        lanes = -(-width // columns)
        busy = LANES // lanes * width / (LANES * columns)
        return (
            busy * (1.2 if columns > 1 else 1.0) if waiting * columns <= WAITING_REGISTERS else busy / columns
        )

    return max(range(fewest, max(fewest, min(2, width)) + 1), key=worth)


def waiting_registers(stage: Stage) -> int:
    """Registers of a lane for the rows that wait, both kernels'."""
    return _waiting_rows(stage.layers) * stage.columns * stage.dtype.itemsize // 4


def _waiting_rows(layers: tuple[Layer, ...]) -> int:
    return sum(4 * layer.half_y for layer in layers)


def aligned(size: int) -> int:
    """``size`` bytes and as many more as the next number of any type begins at."""
    return -(-size // 16) * 16
