"""The native engine: compiled code for chains of convolutions, pointwise layers and pooling, on CPUs.

The architecture becomes a plan (``native/plan.py``), the examples are laid out so that a vector register
holds several of them, and ``native/*.h`` does the rest; see ``native/chain.h`` for the method. This module
holds the threads: each works on tiles of pairs, and the library, called without the interpreter's lock,
is sequential.

An entry is bit for bit the same whatever the other examples of the call, the tiles and the threads. It
differs in rounding between instruction sets. ``machine.threads`` has the number of threads,
``NEURAL_KERNELS_INSTRUCTIONS`` forces one of ``INSTRUCTIONS``.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.architectures import Architecture
from neural_kernels.engines import Kind, Precision
from neural_kernels.engines.native.aligned import aligned
from neural_kernels.engines.native.graph_layout import Pack, PackStructure, make_packs
from neural_kernels.engines.native.letters import find_letters
from neural_kernels.engines.native.plan import SUM_DIAGONAL, Plan, PlanStructure, compile_plan
from neural_kernels.engines.representable import rounded
from neural_kernels.errors import UserError
from neural_kernels.graphs import Examples, Graphs
from neural_kernels.machine import native_library
from neural_kernels.machine.threads import thread_count
from neural_kernels.triangles import mirror_upper

INTERFACE = 4
INSTRUCTIONS = ("baseline", "avx2", "avx512")

# Pairs of examples to a task: enough to pay for a call, few enough to share out evenly.
CHAIN_TILE = (16, 16)
# Without pooling over pairs of positions, a pair costs little more than laying out its left example.
EQUAL_POSITIONS_TILE = (16, 128)
DENSE_TILE = (192, 192)
# Packs of right graphs to a task: the memory that they share is not asked for anew.
PACKS_PER_TASK = 4


@dataclass(frozen=True)
class Prepared:
    """Examples in the engine's layout.

    ``data`` is (groups, scalars, lanes) of the working precision: the inputs of ``lanes`` examples side by
    side, then the tables of their own variances for every activation. The last group is filled up with
    copies of the last example.

    With ``letters``, (k, channels), the inputs are the numbers of the letters at each position.
    """

    n: int
    input_shape: tuple[int, ...]
    data: np.ndarray
    instructions: str
    letters: np.ndarray | None = None


@dataclass(frozen=True)
class PreparedGraphs:
    """Graphs in the engine's layout, see ``native/graph_layout.py``."""

    n: int
    input_shape: tuple[int, ...]
    packs: list[Pack]
    instructions: str


def unavailable() -> str | None:
    """Why this engine cannot run here, or None."""
    return _library_or_reason()[1]


def uncovered(architecture: Architecture, input_shape: tuple[int, ...]) -> str | None:
    """The first thing of ``architecture`` on examples of ``input_shape`` that this engine lacks, or None."""
    plan = compile_plan(architecture, tuple(input_shape))
    return plan if isinstance(plan, str) else None


def prepare(architecture: Architecture, x: Examples, precision: Precision) -> Prepared | PreparedGraphs:
    """The examples ``x``, graphs or (n, *input_shape), with their own variances layer by layer.

    Takes as much memory as the inputs, plus two numbers for each position and activation.

    Raises:
        UserError: the library is not built, the architecture is not covered, or
            ``NEURAL_KERNELS_INSTRUCTIONS`` names what cannot run here.
    """
    if isinstance(x, Graphs):
        return _prepare_graphs(architecture, x, precision)
    x = rounded(x, precision)
    found = None if _plan(architecture, x.shape[1:]).dense else find_letters(x)
    if found is None:
        return _prepare_arrays(architecture, x.shape[1:], x, None)
    letters, numbers = found
    return _prepare_arrays(architecture, x.shape[1:], numbers, letters)


def _prepare_arrays(
    architecture: Architecture, input_shape: tuple[int, ...], x: np.ndarray, letters: np.ndarray | None
) -> Prepared:
    """Of examples ``x``, or of the numbers ``x`` of ``letters``."""
    plan = _plan(architecture, input_shape, letters is not None)
    precision = _precision(x if letters is None else letters)
    instructions = instruction_set()
    lanes = _function("lanes", precision, instructions)()
    n, inputs = len(x), plan.inputs
    groups = -(-n // lanes)
    data = aligned((groups, plan.scalars, lanes), np.dtype(precision))
    flat = x.reshape(n, inputs)
    gram = None if letters is None else _own_letter_products(letters, instructions)
    structure = plan.structure if gram is None else plan.with_gram(gram)

    def fill(begin: int, end: int) -> None:
        for group in range(begin, end):
            chosen = np.minimum(np.arange(group * lanes, (group + 1) * lanes), n - 1)
            data[group, :inputs] = flat[chosen].T
        _call("prepare", precision, instructions, ctypes.byref(structure), data.ctypes.data, begin, end)

    _run_all(fill, [(group, min(group + 4, groups)) for group in range(0, groups, 4)])
    return Prepared(n, input_shape, data, instructions, letters)


def _letter_products(left: np.ndarray, right: np.ndarray, instructions: str) -> np.ndarray:
    """Products (k, m) of letters (k, channels) and (m, channels), rounded as those of positions are."""
    gram = np.empty((len(left), len(right)), left.dtype)
    _call(
        "letter_products",
        _precision(left),
        instructions,
        left.ctypes.data,
        len(left),
        right.ctypes.data,
        len(right),
        left.shape[1],
        gram.ctypes.data,
    )
    return gram


def _own_letter_products(letters: np.ndarray, instructions: str) -> np.ndarray:
    """Those of letters with each other, for variances: positive where a letter is not zero but its square is."""
    gram = _letter_products(letters, letters, instructions)
    smallest = np.finfo(letters.dtype).tiny
    lost = (np.diag(gram) < smallest) & (letters != 0).any(axis=1)
    gram[lost, lost] = smallest / 2  # as ``keep_positive`` of native/variances.h
    return gram


def _precision(x: np.ndarray) -> Precision:
    return "float32" if x.dtype == np.float32 else "float64"


def _without_letters(architecture: Architecture, prepared: Prepared) -> Prepared:
    letters = prepared.letters
    if letters is None:
        return prepared
    positions = math.prod(prepared.input_shape[:-1])
    numbers = np.moveaxis(prepared.data[:, :positions], 1, 2).reshape(-1, positions)[: prepared.n]
    x = letters[numbers.astype(np.intp)].reshape(prepared.n, *prepared.input_shape)
    return _prepare_arrays(architecture, prepared.input_shape, x, None)


def kernel(
    architecture: Architecture, kind: Kind, left: Any, right: Any | None, precision: Precision
) -> np.ndarray:
    """Kernel entries (n_left, n_right) of dtype ``precision``; see ``engines.Engine``."""
    compute = _graph_kernel if isinstance(left, PreparedGraphs) else _array_kernel
    return compute(architecture, kind, left, right, precision)


def _array_kernel(
    architecture: Architecture, kind: Kind, left: Prepared, right: Prepared | None, precision: Precision
) -> np.ndarray:
    other = left if right is None else right
    if (left.letters is None) != (other.letters is None):
        left, other = _without_letters(architecture, left), _without_letters(architecture, other)
    plan = _plan(architecture, left.input_shape, left.letters is not None)
    structure = plan.structure
    if left.letters is not None and other.letters is not None:
        gram = _letter_products(left.letters, other.letters, left.instructions)
        structure = plan.with_gram(gram)
    triangle = right is None
    lanes = left.data.shape[2]
    out = np.empty((left.n, other.n), precision)
    height, width = _tile(plan)

    def fill(i: int, j: int) -> None:
        i_end, j_end = min(i + height, left.n), min(j + width, other.n)
        lines = (i, -(-i_end // lanes) * lanes) if plan.dense else (i, i_end)
        groups = j // lanes, -(-j_end // lanes)
        _call(
            "dense" if plan.dense else "chain",
            precision,
            left.instructions,
            ctypes.byref(structure),
            int(kind == "ntk"),
            left.data.ctypes.data,
            *lines,
            other.data.ctypes.data,
            *groups,
            left.n,
            other.n,
            int(triangle and i == j),
            out.ctypes.data,
            other.n,
        )
        if triangle:
            _mirror(out, i, i_end, j, j_end)

    rows = range(0, left.n, height)
    _run_all(fill, [(i, j) for i in rows for j in range(i if triangle else 0, other.n, width)])
    return out


def _tile(plan: Plan) -> tuple[int, int]:
    if plan.dense:
        return DENSE_TILE
    return EQUAL_POSITIONS_TILE if plan.structure.stages[0].end == SUM_DIAGONAL else CHAIN_TILE


def _mirror(out: np.ndarray, i: int, i_end: int, j: int, j_end: int) -> None:
    """Copies the entries (i, j) to (i_end, j_end) of a symmetric kernel to the other triangle."""
    if i == j:
        mirror_upper(out[i:i_end, i:i_end])
        j = i_end
    out[j:j_end, i:i_end] = out[i:i_end, j:j_end].T


def _prepare_graphs(architecture: Architecture, graphs: Graphs, precision: Precision) -> PreparedGraphs:
    plan = _plan(architecture, graphs.shape[1:])
    instructions = instruction_set()
    lanes = _function("lanes", precision, instructions)()
    packs = make_packs(graphs, plan, lanes, np.dtype(precision))

    def fill(first: int, last: int) -> None:
        for pack in packs[first:last]:
            pointers = ctypes.byref(plan.structure), ctypes.byref(pack.structure)
            _call("graph_tables", precision, instructions, *pointers)

    _run_all(fill, [(i, i + 1) for i in range(len(packs))])
    return PreparedGraphs(len(graphs), graphs.shape[1:], packs, instructions)


def _graph_kernel(
    architecture: Architecture,
    kind: Kind,
    left: PreparedGraphs,
    right: PreparedGraphs | None,
    precision: Precision,
) -> np.ndarray:
    other = left if right is None else right
    plan = _plan(architecture, left.input_shape)
    out = np.empty((left.n, other.n), precision)
    structures = (PackStructure * len(other.packs))(*(pack.structure for pack in other.packs))

    def fill(i: int, j: int) -> None:
        columns = other.packs[j : j + PACKS_PER_TASK]
        _call(
            "graphs",
            precision,
            left.instructions,
            ctypes.byref(plan.structure),
            int(kind == "ntk"),
            ctypes.byref(left.packs[i].structure),
            ctypes.byref(structures[j]),
            len(columns),
            out.ctypes.data,
            other.n,
        )
        for pack in columns if right is None else ():
            _mirror(out, left.packs[i].first, left.packs[i].last, pack.first, pack.last)

    tasks = [
        (i, j)
        for i in range(len(left.packs))
        for j in range(i if right is None else 0, len(other.packs), PACKS_PER_TASK)
    ]
    _run_all(fill, tasks)
    return out


def instruction_set() -> str:
    """The instruction set in use: the best of this processor, or that of ``NEURAL_KERNELS_INSTRUCTIONS``."""
    library, reason = _library_or_reason()
    if library is None:
        raise UserError(f"the native engine cannot run: {reason}")
    able = INSTRUCTIONS[: library.nk_level() + 1]
    forced = os.environ.get("NEURAL_KERNELS_INSTRUCTIONS")
    if forced is not None and forced not in able:
        raise UserError(
            f"NEURAL_KERNELS_INSTRUCTIONS is {forced!r}, expected one of {', '.join(able)} on this processor"
        )
    return forced or able[-1]


def _run_all(work: Callable[[int, int], None], tasks: Iterable[tuple[int, int]]) -> None:
    with ThreadPoolExecutor(thread_count()) as pool:
        for _ in pool.map(work, *zip(*tasks, strict=True)):
            pass


@functools.cache
def _library_or_reason() -> tuple[ctypes.CDLL | None, str | None]:
    library = native_library.load(Path(__file__).parent, "nk_interface", INTERFACE)
    if isinstance(library, str):
        return None, library
    address, count, plan = ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(PlanStructure)
    examples = [address, count, count]
    for instructions in INSTRUCTIONS[: library.nk_level() + 1]:
        for precision in ("float64", "float32"):
            suffix = f"{precision}_{instructions}"
            getattr(library, f"nk_prepare_{suffix}").argtypes = [plan, *examples]
            letters = [address, count, address, count, count, address]
            getattr(library, f"nk_letter_products_{suffix}").argtypes = letters
            for name in ("chain", "dense"):
                function = getattr(library, f"nk_{name}_{suffix}")
                function.argtypes = [plan, count, *examples, *examples, count, count, count, address, count]
            pack = ctypes.POINTER(PackStructure)
            getattr(library, f"nk_graph_tables_{suffix}").argtypes = [plan, pack]
            arguments = [plan, count, pack, pack, count, address, count]
            getattr(library, f"nk_graphs_{suffix}").argtypes = arguments
    return library, None


def _plan(architecture: Architecture, input_shape: tuple[int, ...], letters: bool = False) -> Plan:
    plan = compile_plan(architecture, tuple(input_shape), letters)
    if isinstance(plan, str):
        raise UserError(f"the native engine does not cover architecture {architecture.name}: {plan}")
    return plan


def _function(name: str, precision: Precision, instructions: str) -> Any:
    library, _ = _library_or_reason()
    return getattr(library, f"nk_{name}_{precision}_{instructions}")


def _call(name: str, precision: Precision, instructions: str, *arguments: Any) -> None:
    if _function(name, precision, instructions)(*arguments):
        raise MemoryError("the native engine found no memory for its work space")
