"""What the engines ``cuda`` and ``cuda_mixed`` share: examples with their tables, and kernels between them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neural_kernels.architectures import Architecture
from neural_kernels.engines import Kind, Precision, elementwise
from neural_kernels.engines.cuda import driver, nvrtc
from neural_kernels.engines.cuda.devices import Task, Worker, spread, workers
from neural_kernels.engines.cuda.specialisation import Specialisation, specialise
from neural_kernels.engines.cuda.stages import Recipe
from neural_kernels.engines.representable import rounded
from neural_kernels.errors import UserError
from neural_kernels.graphs import Examples, Graphs
from neural_kernels.triangles import mirror_upper

# Bytes of examples that go to a card at a time.
CHUNK_BYTES = 2**28
# Launches of a kernel call for each card: the last ones of all cards end at about the same time.
CHUNKS_OF_A_CARD = 4


@dataclass(frozen=True)
class Prepared:
    """Examples (n, example_bytes) with their tables, as the cards read them."""

    input_shape: tuple[int, ...]
    recipe: Recipe
    data: np.ndarray


def unavailable() -> str | None:
    """Why no kernel can be computed on a card here, or None."""
    return driver.unavailable() or nvrtc.unavailable()


def uncovered(architecture: Architecture, input_shape: tuple[int, ...]) -> str | None:
    """The first thing of ``architecture`` on examples of ``input_shape`` that is not covered, or None."""
    found = specialise(architecture, tuple(input_shape), None, "float64", 0)
    return found if isinstance(found, str) else elementwise.misplaced(architecture)


def provenance() -> dict[str, str]:
    """What computes here, for the records of blocks: the cards, the driver's CUDA version, the compiler's."""
    names = [worker.card.name for worker in workers()]
    counted = [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]
    return {"cards": ", ".join(counted), "driver": driver.version(), "compiler": f"NVRTC {nvrtc.version()}"}


def prepare(architecture: Architecture, x: Examples, recipe: Recipe) -> Prepared:
    """The examples ``x`` (n, *input_shape) with their own variances layer by layer.

    Raises:
        UserError: the architecture is not covered, or a card fails.
    """
    if isinstance(x, Graphs):
        raise UserError("the CUDA engine does not cover graphs")
    shape = x.shape[1:]
    first = _specialised(architecture, shape, None, recipe, 0)
    inputs = rounded(x, _precision(first.inputs))
    data = np.empty((len(x), first.example_bytes), np.uint8)
    step = max(1, min(CHUNK_BYTES // first.example_bytes, -(-len(x) // len(workers()))))

    def work(worker: Worker, following: Callable[[], Task | None]) -> None:
        made = _specialised(architecture, shape, None, recipe, worker.card.shared_bytes)
        function = worker.function("nk_tables", made)
        while (task := following()) is not None:
            begin, end = task
            examples = made.laid_out(inputs[begin:end])
            with worker.device.memory(examples.nbytes) as there:
                blocks = min(worker.blocks(function, made), end - begin)
                with worker.device.memory(blocks * made.scratch_bytes) as scratch:
                    there.write(examples)
                    arguments = (there.address, ctypes.c_int(end - begin), scratch.address, made.numbers)
                    function.launch(blocks, 32 * made.warps, arguments)
                    worker.device.wait()
                    there.read(data[begin:end])

    spread(work, _pieces(len(x), step))
    return Prepared(tuple(shape), recipe, data)


def kernel(architecture: Architecture, kind: Kind, left: Prepared, right: Prepared | None) -> np.ndarray:
    """Kernel entries (n_left, n_right); see ``engines.Engine.kernel``.

    Raises:
        UserError: a card fails, or has not the memory.
    """
    other = left if right is None else right
    shape, recipe = left.input_shape, left.recipe
    n, m = len(left.data), len(other.data)
    out = np.empty((n, m), _specialised(architecture, shape, kind, recipe, 0).result)
    by_size = max(1, CHUNK_BYTES // left.data.shape[1])
    by_number = -(-n // (CHUNKS_OF_A_CARD * len(workers())))

    def work(worker: Worker, following: Callable[[], Task | None]) -> None:
        made = _specialised(architecture, shape, kind, recipe, worker.card.shared_bytes)
        function = worker.function("nk_pairs", made)
        device = worker.device
        rows = min(by_size, max(by_number, 1))
        with (
            device.memory(other.data.nbytes) as columns,
            device.memory(rows * left.data.shape[1]) as few,
            device.memory(rows * m * out.itemsize) as entries,
        ):
            columns.write(other.data)
            blocks = worker.blocks(function, made)
            with device.memory(blocks * made.scratch_bytes) as scratch:
                while (task := following()) is not None:
                    begin, end = task
                    few.write(left.data[begin:end])
                    arguments = (
                        few.address,
                        columns.address,
                        ctypes.c_int(end - begin),
                        ctypes.c_int(m),
                        ctypes.c_int(begin if right is None else -1),
                        entries.address,
                        scratch.address,
                        made.numbers,
                    )
                    function.launch(blocks, 32 * made.warps, arguments)
                    device.wait()
                    entries.read(out[begin:end])

    if n and m:
        spread(work, _pieces(n, min(by_size, max(by_number, 1))))
    if right is None:
        mirror_upper(out)
    return out


def _pieces(count: int, step: int) -> list[Task]:
    return [(begin, min(begin + step, count)) for begin in range(0, count, step)]


def _specialised(
    architecture: Architecture, shape: tuple[int, ...], kind: Kind | None, recipe: Recipe, shared_bytes: int
) -> Specialisation:
    made = specialise(architecture, tuple(shape), kind, recipe, shared_bytes)
    if isinstance(made, str):
        raise UserError(f"the CUDA engine does not cover architecture {architecture.name}: {made}")
    return made


def _precision(dtype: np.dtype) -> Precision:
    return "float32" if dtype == np.float32 else "float64"
