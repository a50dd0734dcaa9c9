"""An architecture as the C++ header that the kernel source is compiled with, and the layout that follows from it.

The plan is the native engine's. What it is made of, sizes, filters, activations, poolings, becomes constants of the
compiled code; its numbers (scales, biases, parameters of activations) are arguments of a launch, so that architectures
that differ in those alone share one compilation. Sequences lie along the rows: a lane has a plane to itself.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neural_kernels.architectures import Architecture
from neural_kernels.engines import Kind
from neural_kernels.engines.cuda.stages import (
    WAITING_REGISTERS,
    Layer,
    Recipe,
    Stage,
    aligned,
    layers_of,
    stages_of,
    waiting_registers,
)
from neural_kernels.engines.native.plan import AVERAGE, SUM_DIAGONAL, Plan, compile_plan
from neural_kernels.graphs import is_graphs

WIDEST_IMAGE = 64
STAGED = 16 * (65 + 8)  # numbers of a warp, see products.h
MOST_LAYERS = 80  # whose numbers fit into the arguments of a launch


@dataclass(frozen=True)
class Specialisation:
    """What one compilation is of.

    Attributes:
        header: C++ text that the kernel source includes.
        numbers: (6 * layers + 1,) float64 whose bytes are the numbers of the layers and the scale of the result.
        stages: none where the network works on a single position.
        inputs, result: the type of the inputs on a card, and that of the entries.
        example_bytes: of an example with its tables, the inputs first, channel by channel.
        shared_bytes, scratch_bytes: of a block.
    """

    header: str
    numbers: np.ndarray
    stages: tuple[Stage, ...]
    inputs: np.dtype
    result: np.dtype
    warps: int
    example_bytes: int
    shared_bytes: int
    scratch_bytes: int

    def laid_out(self, x: np.ndarray) -> np.ndarray:
        """Examples (n, *space, channels) as (n, example_bytes) bytes, their tables still empty."""
        examples = np.zeros((len(x), self.example_bytes), np.uint8)
        numbers = x.astype(self.inputs) if not self.stages else self._by_channels(x)
        flat = numbers.reshape(len(x), -1).view(np.uint8)
        examples[:, : flat.shape[1]] = flat
        return examples

    def _by_channels(self, x: np.ndarray) -> np.ndarray:
        """(n, channels, height, columns, lanes), see ``Grid::place`` of march.h."""
        stage = self.stages[0]
        x = x.reshape(len(x), stage.height, stage.width, -1)
        rows = np.zeros((len(x), x.shape[3], stage.height, stage.columns, stage.lanes), stage.dtype)
        for column in range(stage.columns):
            part = np.moveaxis(x[:, :, column :: stage.columns], 3, 1)
            rows[:, :, :, column, : part.shape[3]] = part
        return rows


@functools.lru_cache(maxsize=64)
def specialise(
    architecture: Architecture,
    input_shape: tuple[int, ...],
    kind: Kind | None,
    recipe: Recipe,
    shared_bytes: int,
) -> Specialisation | str:
    """The specialisation of ``architecture`` on examples of ``input_shape``, or what of it is not covered.

    Args:
        kind: of the pairs; None for the function that makes examples' tables, which serve both kinds. What an
            example's bytes are is the same whatever the kind and ``shared_bytes``.
        shared_bytes: shared memory that the device gives a block.

    Raises:
        UserError: the architecture does not fit ``input_shape``.
    """
    plan = compile_plan(architecture, tuple(input_shape))
    if isinstance(plan, str):
        return plan
    reason = _uncovered(plan, input_shape)
    if reason is not None:
        return reason
    if plan.dense:
        return _of_features(plan, kind, recipe, shared_bytes)
    transposed = len(input_shape) == 2
    stages, tail = stages_of(plan, transposed, input_shape[-1], recipe)
    result = np.dtype("float32" if recipe == "float32" else "float64")
    warps = 16 if max(waiting_registers(stage) for stage in stages) <= WAITING_REGISTERS else 8
    return _written(plan, stages, tail, kind, result, warps, shared_bytes)


def _uncovered(plan: Plan, input_shape: tuple[int, ...]) -> str | None:
    stages = plan.structure.stages[: plan.structure.n_stages]
    if is_graphs(input_shape):
        return "graphs"
    if not plan.dense and len(input_shape) == 3 and input_shape[1] > WIDEST_IMAGE:
        return f"images of more than {WIDEST_IMAGE} columns"
    if sum(stage.steps for stage in stages) > MOST_LAYERS:
        return f"more than {MOST_LAYERS} layers"
    if not plan.dense and (len(stages) < 2 or stages[-2].end == AVERAGE):
        return "networks whose result has positions"
    return None


def _written(
    plan: Plan,
    stages: tuple[Stage, ...],
    tail: tuple[Layer, ...],
    kind: Kind | None,
    result: np.dtype,
    warps: int,
    shared_bytes: int,
) -> Specialisation:
    diagonal = len(stages) == 1 and stages[0].end == SUM_DIAGONAL
    staging = max(stage.staging for stage in stages)
    sums = 2 * np.dtype(np.float64).itemsize
    own = warps * (staging + sums)
    in_shared = [not diagonal and 2 * stage.bytes + own <= shared_bytes for stage in stages]
    tables = max(
        (2 * stage.bytes for stage, is_in in zip(stages, in_shared, strict=True) if is_in), default=0
    )
    before = [sum(stage.bytes for stage in stages[:number]) for number in range(len(stages) + 1)]
    example = before[-1] + aligned(sum(layer.step.tables for layer in tail) * result.itemsize)
    lines, scratch = _stage_lines(stages, before, in_shared, kind == "ntk")
    layers = [(layer, stage.dtype) for stage in stages for layer in stage.layers]
    first_of_tail = len(layers)
    layers += [(layer, result) for layer in tail]
    constants: dict[str, int | str] = {
        "bool DIAGONAL": str(diagonal).lower(),
        "int WARPS": warps,
        "int STAGES": len(stages),
        "int STAGES_WITH_TABLES": _stages_with_tables(stages, tail),
        "int TAIL": first_of_tail,
        "int CHANNELS": stages[0].inputs,
        "int STAGING": staging,
        "int SHARED_STAGING": tables,
        "int SHARED_SUMS": tables + warps * staging,
        "int64_t EXAMPLE_BYTES": example,
        "int64_t TAIL_BYTES_BEFORE": before[-1],
        "int64_t SCRATCH_BYTES": scratch,
    }
    return Specialisation(
        _header(kind, result, constants, lines, layers),
        _numbers(layers, plan.structure.output_scale),
        stages,
        stages[0].dtype,
        result,
        warps,
        example,
        tables + own,
        scratch,
    )


def _of_features(plan: Plan, kind: Kind | None, recipe: Recipe, shared_bytes: int) -> Specialisation:
    """Of a network on a single position, where both recipes with float64 are float64 throughout."""
    result = np.dtype("float32" if recipe == "float32" else "float64")
    stage = plan.structure.stages[0]
    layers = [(layer, result) for layer in layers_of(plan.structure.steps[: stage.steps], 0, False)]
    before = aligned(plan.inputs * result.itemsize)
    example = before + aligned(sum(layer.step.tables for layer, _ in layers) * result.itemsize)
    staged = STAGED * result.itemsize
    warps = max((warps for warps in (8, 16) if warps * staged <= shared_bytes), default=4)
    constants: dict[str, int | str] = {
        "int WARPS": warps,
        "int CHANNELS": plan.inputs,
        "int64_t EXAMPLE_BYTES": example,
        "int64_t TAIL_BYTES_BEFORE": before,
        "int64_t SCRATCH_BYTES": 0,
    }
    header = _header(kind, result, constants, [], layers, ["#define NK_FEATURES"])
    numbers = _numbers(layers, plan.structure.output_scale)
    return Specialisation(header, numbers, (), result, result, warps, example, warps * staged, 0)


def _header(
    kind: Kind | None,
    result: np.dtype,
    constants: dict[str, int | str],
    stages: list[str],
    layers: list[tuple[Layer, np.dtype]],
    defines: Sequence[str] = (),
) -> str:
    lines = [
        "#pragma once",
        f"#define NK_{'TABLES' if kind is None else 'PAIRS'}",
        *defines,
        "namespace {",
        "template <int s> struct Stage; template <int s> struct Before; template <int l> struct Layer;",
        f"using Result = {_c_name(result)};",
        f"static constexpr bool TANGENT = {str(kind == 'ntk').lower()};",
        f"static constexpr int LAYERS = {len(layers)};",
        *(f"static constexpr {name} = {value};" for name, value in constants.items()),
        *stages,
        *(_layer(number, layer, dtype) for number, (layer, dtype) in enumerate(layers)),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _stages_with_tables(stages: tuple[Stage, ...], tail: tuple[Layer, ...]) -> int:
    """Up to which stage an example has tables; the layers after the last pooling are one more."""
    layers = [*(stage.layers for stage in stages), tail]
    return max((n for n, few in enumerate(layers, 1) if any(layer.step.tables for layer in few)), default=0)


def _stage_lines(
    stages: tuple[Stage, ...], before: list[int], in_shared: list[bool], tangent: bool
) -> tuple[list[str], int]:
    """Of all stages with what lies before each, and the bytes of scratch memory that their slots take."""
    lines, scratch, first = [], 0, 0
    for number, stage in enumerate(stages):
        source = stages[number - 1] if number else stage
        half = 4 * stage.height * stage.width * stage.positions * source.dtype.itemsize if number else 0
        lines.append(_before(number, source.dtype, scratch, half))
        scratch += half * (1 + tangent)
        following = stages[number + 1].columns if stage.end == AVERAGE else 1
        lines.append(_stage(number, stage, first, before[number], in_shared[number], following))
        first += len(stage.layers)
    return lines, scratch


def _before(number: int, dtype: np.dtype, scratch: int, half: int) -> str:
    fields = (
        f"using T = {_c_name(dtype)}; static constexpr int64_t scratch = {scratch}, scratch_half = {half};"
    )
    return f"template <> struct Before<{number}> {{ {fields} }};"


def _stage(number: int, stage: Stage, first: int, before: int, in_shared: bool, next_columns: int) -> str:
    values = {
        "height": stage.height,
        "width": stage.width,
        "columns": stage.columns,
        "first": first,
        "layers": len(stage.layers),
        "delay": sum(layer.half_y for layer in stage.layers),
        "end": stage.end,
        "window_y": stage.windows[0],
        "window_x": stage.windows[1],
        "group_start_y": stage.starts[0],
        "group_start_x": stage.starts[1],
        "groups_y": stage.counts[0],
        "groups_x": stage.counts[1],
        "next_columns": next_columns,
    }
    text = ", ".join(f"{name} = {value}" for name, value in values.items())
    return (
        f"template <> struct Stage<{number}> {{ using T = {_c_name(stage.dtype)}; static constexpr int {text}; "
        f"static constexpr int64_t bytes = {stage.bytes}, bytes_before = {before}; "
        f"static constexpr bool in_shared = {str(in_shared).lower()}; }};"
    )


def _layer(number: int, layer: Layer, dtype: np.dtype) -> str:
    step = layer.step
    return (
        f"template <> struct Layer<{number}> {{ using T = {_c_name(dtype)}; "
        f"using Act = ActivationOf<{step.activation}>::Formula; static constexpr int half_y = {layer.half_y}, "
        f"half_x = {layer.half_x}, affine = {step.affine}, normalised = {step.normalised}, "
        f"tables = {step.tables}, table = {layer.table}; }};"
    )


def _numbers(layers: list[tuple[Layer, np.dtype]], output_scale: float) -> np.ndarray:
    numbers = np.zeros(6 * len(layers) + 1)
    for place, (layer, dtype) in enumerate(layers):
        step = layer.step
        values = np.array([step.scale, step.bias, step.epsilon, *step.parameter], dtype)
        numbers[6 * place : 6 * place + 6].view(np.uint8)[: values.nbytes] = values.view(np.uint8)
    numbers[-1] = output_scale
    return numbers


def _c_name(dtype: np.dtype) -> str:
    return "float" if dtype == np.float32 else "double"
