"""An architecture as the plan that the C++ code reads: stages of steps, with all factors folded in.

A stage is what happens at one resolution, up to a pooling. A step is one layer with weights, the LayerNorm
and the activation after it. ``plan.h`` has the same structures and says what each field means.

Factors that only scale K and T together (a pooling's 1/w^4, a convolution's 1/q^2, ReLU's 1/2pi) are not
applied where they arise: they go into the scale of the next layer, or into that of the result.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import math
from dataclasses import dataclass

import numpy as np

from neural_kernels.architectures import (
    Abs,
    Activation,
    Aggregate,
    Architecture,
    AvgPool,
    Conv,
    Dense,
    Erf,
    ExpNormalized,
    Flatten,
    Gelu,
    GlobalAvgPool,
    GlobalSumPool,
    Identity,
    LayerNorm,
    LeakyRelu,
    Relu,
    SigmoidLike,
    output_shape,
)
from neural_kernels.architectures.layers import SIGMOID_LIKE_SCALE
from neural_kernels.graphs import is_graphs

MAX_STAGES, MAX_STEPS = 16, 256
AVERAGE, SUM_ALL_PAIRS, SUM_DIAGONAL, OUTPUT, MEAN_ALL_NODES = range(5)
AGGREGATE, SELF_LOOPS, DEGREE_SCALING = 1, 2, 4


class Formula(enum.IntEnum):
    """The activations of activations.h, in the order of NK_ACTIVATIONS there: their codes."""

    IDENTITY = 0
    RELU_POSITIVE = enum.auto()
    RELU = enum.auto()
    ERF = enum.auto()
    GELU = enum.auto()
    EXPONENTIAL = enum.auto()

    @property
    def tables(self) -> int:
        """Values that an example has at each position."""
        return 0 if self is Formula.IDENTITY else 2


class StepStructure(ctypes.Structure):
    _fields_ = [
        ("activation", ctypes.c_int32),
        ("half_height", ctypes.c_int32),
        ("half_width", ctypes.c_int32),
        ("affine", ctypes.c_int32),
        ("normalised", ctypes.c_int32),
        ("aggregate", ctypes.c_int32),
        ("tables", ctypes.c_int32),
        ("scale", ctypes.c_double),
        ("bias", ctypes.c_double),
        ("epsilon", ctypes.c_double),
        ("parameter", ctypes.c_double * 3),
        ("table", ctypes.c_int64),
    ]


class StageStructure(ctypes.Structure):
    _fields_ = [
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("first_step", ctypes.c_int32),
        ("steps", ctypes.c_int32),
        ("end", ctypes.c_int32),
        ("window_y", ctypes.c_int32),
        ("window_x", ctypes.c_int32),
    ]


class PlanStructure(ctypes.Structure):
    _fields_ = [
        ("stages", ctypes.POINTER(StageStructure)),
        ("steps", ctypes.POINTER(StepStructure)),
        ("n_stages", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("scalars", ctypes.c_int64),
        ("output_scale", ctypes.c_double),
        ("gram", ctypes.c_void_p),
        ("right_letters", ctypes.c_int64),
    ]


@dataclass(frozen=True)
class Plan:
    """The structure for C++, and what the Python side reads of it.

    ``scalars`` numbers describe an example: ``inputs`` of them are the example itself, one for each position where
    ``letters``. ``dense`` says that the network works on a single position.

    On graphs the input is a node. The Aggregates before the first layer with weights are not in the structure:
    they are for the features themselves, which is the same and costs once a node, not once a pair of them.
    ``aggregates`` are the flags of the others; ``level_tables`` counts the tables of a node before the first of
    them and after each, ``late_tables`` those of a graph.
    """

    structure: PlanStructure
    inputs: int
    scalars: int
    dense: bool
    leading: tuple[Aggregate, ...] = ()
    aggregates: tuple[int, ...] = ()
    level_tables: tuple[int, ...] = ()
    late_tables: int = 0

    def with_gram(self, gram: np.ndarray) -> PlanStructure:
        """The structure for letters whose products are ``gram``, which must outlive it."""
        structure = PlanStructure.from_buffer_copy(self.structure)
        structure.gram, structure.right_letters = gram.ctypes.data, gram.shape[1]
        return structure


class _Uncovered(Exception):
    pass


@dataclass(frozen=True)
class _Affine:
    half: int
    scale: float
    bias: float
    affine: int
    epsilon: float | None = None


class _Compiler:
    """The walk over the layers: what has been written, and what waits for its activation."""

    def __init__(self, space: tuple[int, ...], channels: int, graphs: bool, letters: bool) -> None:
        self.space = space
        self.on_nodes = graphs
        self.leading: tuple[Aggregate, ...] = ()
        self.aggregate_flags = 0  # of an Aggregate that waits for its step
        self.scale = 1.0 / channels
        self.positive = False  # every K is known to be >= 0
        self.gaussian = False  # an affine layer has come since the last activation
        self.waiting: _Affine | None = None
        self.steps: list[StepStructure] = []
        self.stages: list[StageStructure] = []
        # Of graphs, nodes are kept apart from their tables.
        self.scalars = 0 if graphs else math.prod(space) * (1 if letters else channels)

    def extent(self) -> tuple[int, int]:
        height, width = (1, 1, *self.space)[-2:]
        return height, width

    def aggregate(self, layer: Aggregate) -> None:
        if not self.steps and self.waiting is None:
            self.leading += (layer,)
            return
        self.flush()
        self.aggregate_flags = (
            AGGREGATE + SELF_LOOPS * layer.self_loops + DEGREE_SCALING * layer.degree_scaling
        )

    def affine(self, layer: Dense | Conv) -> None:
        if self.waiting is not None:
            self.flush()
        size = layer.filter_size if isinstance(layer, Conv) else 1
        scale = self.scale * layer.W_std**2 / size ** len(self.space)
        self.waiting = _Affine(size // 2, scale, layer.b_std**2, 1)
        self.scale, self.gaussian = 1.0, True

    def layer_norm(self, layer: LayerNorm) -> None:
        if self.waiting is None or self.waiting.epsilon is not None:
            raise _Uncovered("LayerNorm that does not directly follow a Dense or Conv layer")
        w = self.waiting
        self.waiting = _Affine(w.half, w.scale, w.bias, w.affine, layer.epsilon)

    def activation(self, layer: Activation) -> None:
        """Writes the step, with the constants that activations.h documents beside each formula."""
        if not self.gaussian and not isinstance(layer, Identity):
            raise _Uncovered(
                f"{type(layer).__name__} without a Dense or Conv layer since the last activation"
            )
        self.gaussian = isinstance(layer, Identity)
        rectifier = Formula.RELU_POSITIVE if self.positive else Formula.RELU
        match layer:
            case Identity() | LeakyRelu(alpha=1.0):
                pass
            case Relu():
                self.step(rectifier, (math.pi,), 1 / (2 * math.pi), positive=True)
            case Abs():
                self.step(rectifier, (math.pi / 2,), 2 / math.pi, positive=True)
            case LeakyRelu(alpha=alpha):
                squared = (1 - alpha) ** 2
                self.step(rectifier, (math.pi * (1 + alpha**2) / squared,), squared / (2 * math.pi))
            case Erf():
                self.step(Formula.ERF, (2.0, 2 / math.pi, 0.0))
            case SigmoidLike():
                slope = 1 / SIGMOID_LIKE_SCALE
                self.step(Formula.ERF, (2 * slope**2, 0.5 / math.pi, math.pi / 2), positive=True)
            case Gelu():
                self.step(Formula.GELU, (), 1 / (2 * math.pi))
            case ExpNormalized(gamma=gamma, shift=shift):
                self.step(Formula.EXPONENTIAL, (gamma, gamma * shift), positive=True)
            case _:
                raise _Uncovered(f"layer {type(layer).__name__}")

    def step(
        self,
        activation: Formula,
        parameters: tuple[float, ...] = (),
        factor: float = 1.0,
        positive: bool = False,
    ) -> None:
        """Writes the waiting layer with its activation, which leaves out the constant ``factor``."""
        layer = self.waiting or _Affine(0, self.scale, 0.0, 0)
        height, width = self.extent()
        normalised = layer.epsilon is not None
        tables = activation.tables + normalised
        self.steps.append(
            StepStructure(
                activation=activation,
                half_height=layer.half if len(self.space) == 2 else 0,
                half_width=layer.half,
                affine=layer.affine,
                normalised=normalised,
                aggregate=self.aggregate_flags,
                tables=tables,
                scale=layer.scale,
                bias=layer.bias,
                epsilon=layer.epsilon or 0.0,
                parameter=(ctypes.c_double * 3)(*parameters),
                table=self.scalars,
            )
        )
        self.scalars += tables * height * width
        self.scale, self.waiting, self.aggregate_flags = factor, None, 0
        self.positive = self.positive or positive

    def flush(self) -> None:
        if self.waiting is not None or self.aggregate_flags:
            self.step(Formula.IDENTITY)

    def end_stage(self, end: int, window: int = 1, factor: float = 1.0) -> None:
        self.flush()
        height, width = self.extent()
        first = sum(stage.steps for stage in self.stages)
        rows = window if len(self.space) == 2 else 1
        self.stages.append(StageStructure(height, width, first, len(self.steps) - first, end, rows, window))
        self.scale *= factor
        self.space = tuple(size // window for size in self.space) if end == AVERAGE else ()

    def layer(self, layer: object) -> None:
        match layer:
            case Dense() | Conv():
                self.affine(layer)
            case LayerNorm():
                self.layer_norm(layer)
            case Aggregate():
                self.aggregate(layer)
            case GlobalAvgPool() | GlobalSumPool() if self.on_nodes:
                self.end_stage(SUM_ALL_PAIRS if isinstance(layer, GlobalSumPool) else MEAN_ALL_NODES)
                self.on_nodes = False
            case AvgPool() | GlobalAvgPool() | GlobalSumPool() | Flatten() if not self.space:
                pass
            case AvgPool(window=window):
                self.end_stage(AVERAGE, window, window ** (-2 * len(self.space)))
            case GlobalAvgPool():
                self.end_stage(SUM_ALL_PAIRS, factor=math.prod(self.space) ** -2)
            case GlobalSumPool():
                self.end_stage(SUM_ALL_PAIRS)
            case Flatten():
                self.end_stage(SUM_DIAGONAL, factor=1 / math.prod(self.space))
            case Activation():
                self.activation(layer)
            case _:
                raise _Uncovered(f"layer {type(layer).__name__}")


@functools.lru_cache(maxsize=64)
def compile_plan(
    architecture: Architecture, input_shape: tuple[int, ...], letters: bool = False
) -> Plan | str:
    """The plan of ``architecture`` on examples of ``input_shape``, or what of it is not covered.

    Args:
        letters: whether a position is stored as the number of its letter (``letters``).

    Raises:
        UserError: the architecture does not fit ``input_shape``.
    """
    output_shape(architecture, input_shape)
    if len(input_shape) > 3:
        return f"examples with {len(input_shape) - 1} spatial dimensions"
    layers = architecture.layers
    flat = bool(layers) and isinstance(layers[0], Flatten)
    shape = (math.prod(input_shape),) if flat else input_shape
    graphs = is_graphs(shape)
    # A graph's nodes are all treated alike: the plan is that of a single one.
    compiler = _Compiler(() if graphs else shape[:-1], shape[-1], graphs, letters)
    dense = len(shape) == 1
    try:
        for layer in layers:
            compiler.layer(layer)
    except _Uncovered as reason:
        return str(reason)
    compiler.end_stage(OUTPUT)
    if len(compiler.stages) > MAX_STAGES or len(compiler.steps) > MAX_STEPS:
        return f"more than {MAX_STEPS} layers or {MAX_STAGES} poolings"
    structure = PlanStructure(
        (StageStructure * len(compiler.stages))(*compiler.stages),
        (StepStructure * max(len(compiler.steps), 1))(*compiler.steps),
        len(compiler.stages),
        shape[-1],
        compiler.scalars,
        compiler.scale,
    )
    if not graphs:
        inputs = math.prod(shape[:-1] if letters else shape)
        return Plan(structure, inputs, compiler.scalars, dense)
    first = compiler.stages[0].steps
    aggregates, level_tables = [], [0]
    for step in compiler.steps[:first]:
        if step.aggregate:
            aggregates.append(step.aggregate)
            level_tables.append(0)
        level_tables[-1] += step.tables
    late_tables = sum(step.tables for step in compiler.steps[first:])
    return Plan(
        structure,
        shape[-1],
        compiler.scalars,
        dense,
        compiler.leading,
        tuple(aggregates),
        tuple(level_tables),
        late_tables,
    )
