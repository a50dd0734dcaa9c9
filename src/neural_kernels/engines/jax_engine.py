"""The JAX engine: every layer on positions, on CPU, GPU or TPU, in the offset layout.

The work is cut into tiles of pairs, of one shape so that each program is compiled once. On a CPU a
tile is small enough to stay in the cache and each thread has its own; on an accelerator it is as
large as the device's memory allows, and the tiles go round the devices.

Importing this module does not import JAX, which takes a second.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels import architectures as arch
from neural_kernels.engines import TILE_ENTRIES, Kind, Precision, elementwise, graph_buckets
from neural_kernels.engines.representable import rounded
from neural_kernels.graphs import Examples, Graphs
from neural_kernels.machine.threads import XLA_THREADS_VARIABLE, environment, thread_count
from neural_kernels.triangles import mirror_upper

# What this engine covers; what is not here is refused.
LAYERS: tuple[type[arch.Layer], ...] = (
    arch.Dense,
    arch.Conv,
    arch.Relu,
    arch.LeakyRelu,
    arch.Abs,
    arch.Erf,
    arch.Gelu,
    arch.SigmoidLike,
    arch.Identity,
    arch.ExpNormalized,
    arch.LayerNorm,
    arch.AvgPool,
    arch.GlobalAvgPool,
    arch.GlobalSumPool,
    arch.Flatten,
    arch.Aggregate,
)

# Entries of one plane on a CPU: a quarter of a megabyte in float64, so that a layer's few planes fit in L2.
CPU_PLANE = 2**15
ACCELERATOR_PLANE = 2**22
ACCELERATOR_TILE_ENTRIES = 2**38
# Covariances of positions, layer by layer, in one call on a CPU: large against the cost of a call.
CPU_CALL = 2**26
DENSE_TILE = 1024
# Covariances of the nodes of a tile of graphs.
CPU_GRAPH_TILE = 2**18
ACCELERATOR_GRAPH_TILE = 2**26
# Of a device's memory; what the compiler allocates for a program is not known beforehand.
MEMORY_SHARE = 0.25
CPU_TILE_BYTES = 2**29


@dataclass(frozen=True)
class Prepared:
    """Examples with their own variances.

    ``x`` is (n, *space, channels); ``variances`` holds for each segment between poolings the arrays
    (n, *positions of the segment) before each of its activations and normalisations.
    """

    x: np.ndarray
    variances: list[list[np.ndarray]]

    def __len__(self) -> int:
        return len(self.x)

    def part(self, start: int, length: int) -> tuple[np.ndarray, list[list[np.ndarray]]]:
        """``length`` examples from ``start``; the last one is repeated past the end."""

        def cut(array: np.ndarray) -> np.ndarray:
            piece = array[start : start + length]
            missing = length - len(piece)
            return np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)]) if missing else piece

        return cut(self.x), [[cut(v) for v in layers] for layers in self.variances]


@dataclass(frozen=True)
class PreparedGraphs:
    """Graphs in batches, with their variances in each batch's ``own``."""

    n: int
    batches: list[graph_buckets.Batch]


@dataclass(frozen=True)
class _Tile:
    rows: int
    columns: int


def unavailable() -> str | None:
    """Why this engine cannot run here, or None."""
    return None if importlib.util.find_spec("jax") else "the package jax is not installed"


def uncovered(architecture: arch.Architecture, input_shape: tuple[int, ...]) -> str | None:
    """The first layer that this engine cannot compute, or None."""
    return elementwise.uncovered(architecture, LAYERS)


def has_accelerator() -> bool:
    """Whether JAX computes on something else than the CPU; imports JAX only where it has a plugin for that."""
    if os.environ.get("JAX_PLATFORMS", "").strip().lower() == "cpu":
        return False
    plugins = bool(entry_points(group="jax_plugins")) or any(
        importlib.util.find_spec(package) for package in ("jax_plugins", "libtpu")
    )
    return plugins and _jax().default_backend() != "cpu"


def tile_entries() -> int:
    """Covariances of a tile of pairs that takes seconds; see ``engines.tile_entries``."""
    return ACCELERATOR_TILE_ENTRIES if has_accelerator() else TILE_ENTRIES


def prepare(architecture: arch.Architecture, x: Examples, precision: Precision) -> Prepared | PreparedGraphs:
    """The examples ``x``, graphs or (n, *space, channels), with their own variances layer by layer."""
    if isinstance(x, Graphs):
        return _prepare_graphs(architecture, x, precision)
    if isinstance(architecture.layers[0], arch.Flatten):
        x = x.reshape(len(x), -1)
    x = rounded(x, precision)
    space = x.shape[1:-1]
    width = _shrunk(_tile(architecture, space, x.shape[-1], precision), len(x), len(x)).columns
    compute = _compiled_variances(architecture, space)
    examples = Prepared(x, [])

    def run(device: Any, start: int) -> list[list[np.ndarray]]:
        part = _jax().device_put(examples.part(start, width)[0], device)
        return [[np.asarray(v) for v in layers] for layers in compute(part)]

    parts = _spread(run, [(start,) for start in range(0, len(x), width)])
    variances = [
        [np.concatenate(pieces)[: len(x)] for pieces in zip(*layers, strict=True)]
        for layers in zip(*parts, strict=True)
    ]
    return Prepared(x, variances)


def kernel(
    architecture: arch.Architecture,
    kind: Kind,
    left: Any,
    right: Any | None,
    precision: Precision,
) -> np.ndarray:
    """Kernel entries (n_left, n_right) of dtype ``precision``; see ``engines.Engine.kernel``."""
    compute = _graph_kernel if isinstance(left, PreparedGraphs) else _array_kernel
    result = compute(architecture, kind, left, right, precision)
    if right is None:
        mirror_upper(result)
    return result


def _array_kernel(
    architecture: arch.Architecture,
    kind: Kind,
    left: Prepared,
    right: Prepared | None,
    precision: Precision,
) -> np.ndarray:
    columns = left if right is None else right
    space = left.x.shape[1:-1]
    tile = _shrunk(_tile(architecture, space, left.x.shape[-1], precision), len(left), len(columns))
    compute = _compiled_kernel(architecture, space, kind)
    result = np.empty((len(left), len(columns)), precision)

    def run(device: Any, i: int, j: int, width: int) -> None:
        parts = _jax().device_put((left.part(i, tile.rows), columns.part(j, width)), device)
        target = result[i : i + tile.rows, j : j + width]
        target[...] = np.asarray(compute(*parts))[: target.shape[0], : target.shape[1]]

    _spread(run, pieces(len(left), len(columns), tile.rows, _widths(tile), right is None))
    return result


def _prepare_graphs(architecture: arch.Architecture, graphs: Graphs, precision: Precision) -> PreparedGraphs:
    on_cpu = _jax().default_backend() == "cpu"
    entries = CPU_GRAPH_TILE if on_cpu else ACCELERATOR_GRAPH_TILE
    batches = graph_buckets.batches(graphs, entries, precision)
    compute = _compiled_graph_variances(architecture)

    def run(device: Any, number: int) -> graph_buckets.Batch:
        batch = batches[number]
        arrays = _jax().device_put((batch.nodes, batch.adjacency, batch.real), device)
        return replace(batch, own=[np.asarray(v) for v in compute(*arrays)])

    return PreparedGraphs(len(graphs), _spread(run, [(i,) for i in range(len(batches))]))


def _graph_kernel(
    architecture: arch.Architecture,
    kind: Kind,
    left: PreparedGraphs,
    right: PreparedGraphs | None,
    precision: Precision,
) -> np.ndarray:
    result = np.empty((left.n, (left if right is None else right).n), precision)
    compute = _compiled_graph_kernel(architecture, kind)
    tiles = list(graph_buckets.pairs(left.batches, None if right is None else right.batches))

    def run(device: Any, number: int) -> None:
        one, other, exchanged = tiles[number]
        arrays = [(batch.nodes, batch.adjacency, batch.real, batch.own) for batch in (one, other)]
        tile = np.asarray(compute(*_jax().device_put(arrays, device)))
        graph_buckets.scatter(tile, one, other, exchanged, result, right is None)

    _spread(run, [(i,) for i in range(len(tiles))])
    return result


# ------------------------------------------------------------------------------ tiles


def _shrunk(tile: _Tile, rows: int, columns: int) -> _Tile:
    """``tile``, no larger than a small call needs, in few shapes so that few programs are compiled."""

    def enough(n: int) -> int:
        return 1 << max(n - 1, 0).bit_length()

    return _Tile(min(tile.rows, enough(rows)), min(tile.columns, max(8, enough(columns))))


def _widths(tile: _Tile) -> tuple[int, ...]:
    """Columns that a piece may have, the most first: each is a program, which is compiled.

    A tile of an accelerator is so wide that a second, narrow one is worth its compilation; those of a CPU are narrow.
    """
    if _jax().default_backend() == "cpu":
        return (tile.columns,)
    return tile.columns, max(8, tile.columns // 4)


def pieces(
    rows: int, columns: int, height: int, widths: tuple[int, ...], upper: bool
) -> list[tuple[int, int, int]]:
    """First row, first column and width of the pieces that together have all entries, or the ``upper`` triangle.

    What a piece has beyond the last column, or below the diagonal, is computed for nothing: narrow ones are taken
    where they have less of it.
    """
    wide, narrow = widths[0], widths[-1]
    found = []
    for i in range(0, rows, height):
        j = i // narrow * narrow if upper else 0
        while j < columns:
            width = wide if columns - j > wide - narrow else narrow
            found.append((i, j, width))
            j += width
    return found


@lru_cache(maxsize=256)
def _tile(
    architecture: arch.Architecture, space: tuple[int, ...], channels: int, precision: Precision
) -> _Tile:
    """Rows and columns of a tile, powers of two; the columns are the lanes of a program."""
    if not space:
        return _Tile(DENSE_TILE, DENSE_TILE)
    device = _jax().local_devices()[0]
    from neural_kernels.engines.jax_offsets import evaluations, values_per_lane

    on_cpu = device.platform == "cpu"
    bytes_per_lane = values_per_lane(architecture, space, channels) * np.dtype(precision).itemsize
    budget = CPU_TILE_BYTES if on_cpu else MEMORY_SHARE * _device_bytes(device)
    positions = int(np.prod(space))
    lanes = min((CPU_PLANE if on_cpu else ACCELERATOR_PLANE) // positions, int(budget // bytes_per_lane))
    lanes = 1 << max(lanes, 8).bit_length() - 1
    rows = CPU_CALL // (lanes * evaluations(architecture, space)) if on_cpu else lanes
    return _Tile(1 << max(1, min(rows, 256)).bit_length() - 1, lanes)


def _device_bytes(device: Any) -> float:
    statistics = device.memory_stats() or {}
    return float(statistics.get("bytes_limit", 8 * 2**30))


# ------------------------------------------------------------------------------ programs


@lru_cache(maxsize=64)
def _compiled_kernel(
    architecture: arch.Architecture, space: tuple[int, ...], kind: Kind
) -> Callable[..., Any]:
    from neural_kernels.engines.jax_layers import stored
    from neural_kernels.engines.jax_planes import Examples, pair_kernel

    jax = _jax()
    tangent = kind == "ntk"

    def all_pairs(left: Any, right: Any) -> Any:
        rows = Examples(*jax.tree.map(lambda a: jax.numpy.moveaxis(a, 0, -1)[..., :, None], left))
        columns = Examples(*jax.tree.map(lambda a: jax.numpy.moveaxis(a, 0, -1)[..., None, :], right))
        return pair_kernel(architecture, space, tangent, rows, columns)

    def row_by_row(left: Any, right: Any) -> Any:
        columns = Examples(*jax.tree.map(lambda a: stored(jax.numpy.moveaxis(a, 0, -1)), right))

        def row(example: Any) -> Any:
            one = Examples(*jax.tree.map(lambda a: a[..., None], example))
            return pair_kernel(architecture, space, tangent, one, columns)

        return jax.lax.map(row, left)

    return jax.jit(row_by_row if space else all_pairs, compiler_options=_compiler_options())


@lru_cache(maxsize=64)
def _compiled_variances(architecture: arch.Architecture, space: tuple[int, ...]) -> Callable[..., Any]:
    from neural_kernels.engines.jax_layers import stored
    from neural_kernels.engines.jax_planes import variances

    jax = _jax()

    def compute(x: Any) -> Any:
        own = variances(architecture, space, stored(jax.numpy.moveaxis(x, 0, -1)))
        return jax.tree.map(lambda v: jax.numpy.moveaxis(v, -1, 0), own)

    return jax.jit(compute, compiler_options=_compiler_options())


@lru_cache(maxsize=64)
def _compiled_graph_kernel(architecture: arch.Architecture, kind: Kind) -> Callable[..., Any]:
    from neural_kernels.engines.jax_graphs import GraphArrays, pair_kernel

    def compute(left: Any, right: Any) -> Any:
        return pair_kernel(architecture, kind == "ntk", GraphArrays(*left), GraphArrays(*right))

    return _jax().jit(compute, compiler_options=_compiler_options())


@lru_cache(maxsize=64)
def _compiled_graph_variances(architecture: arch.Architecture) -> Callable[..., Any]:
    from neural_kernels.engines.jax_graphs import variances

    return _jax().jit(partial(variances, architecture), compiler_options=_compiler_options())


def _compiler_options() -> dict[str, Any]:
    if _jax().default_backend() != "cpu":
        return {}
    return {
        # The threads here have a tile each; a plane is too small to be shared among more.
        "xla_cpu_multi_thread_eigen": False,
        # This pass drops optimization barriers before fusion, and without them each use of a plane
        # (nine in a 3x3 convolution) computes it anew.
        "xla_disable_hlo_passes": "cse_barrier_expander",
    }


def _spread(task: Callable[..., Any], arguments: Sequence[tuple[int, ...]]) -> list[Any]:
    """``task(device, *those)`` for each of ``arguments``, on all devices or all cores; results in order."""
    jax = _jax()
    devices = jax.local_devices()
    # Two tasks an accelerator: the transfers of one hide behind the computation of the other.
    workers = thread_count() if devices[0].platform == "cpu" else 2 * len(devices)

    def run(number: int) -> Any:
        # In float32 too: the inputs' covariances are summed in float64, all else has the inputs' type.
        with jax.enable_x64(True):
            return task(devices[number % len(devices)], *arguments[number])

    with ThreadPoolExecutor(max(1, min(workers, len(arguments)))) as pool:
        return list(pool.map(run, range(len(arguments))))


@cache
def _jax() -> Any:
    """The module jax, with compiled programs kept between runs, and with no more threads of its own than may compute.

    XLA makes them once in a process: a later limit binds the tasks that are given to it, not the threads.
    """
    import jax

    with environment(XLA_THREADS_VARIABLE, str(thread_count())):
        jax.local_devices()

    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(_cache_folder()))
    return jax


def _cache_folder() -> Path:
    # Programs are compiled for the instructions of this very CPU, and home folders are shared by machines.
    processor = platform.machine() + platform.processor()
    features = Path("/proc/cpuinfo")
    if features.exists():
        processor += "".join(line for line in features.read_text().splitlines() if line.startswith("flags"))
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "neural_kernels" / "jax" / hashlib.sha256(processor.encode()).hexdigest()[:16]
