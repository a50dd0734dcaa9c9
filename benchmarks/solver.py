"""How near the solvers are to the limits of this machine, and to their peers, in one run.

    make bench-solver                              (eight minutes without peers)
    make bench-solver ARGS="--n 32768"             (a larger kernel)

The kernel is the FC3 NTK of CIFAR-10 images, where those are given (--images, or the test data folder), else
of random ones. It is stored under --scratch and removed at the end. Prints a table and writes
results/benchmarks/solver.json, a list of objects with name, value, unit, limit or peer, and ratio; a ratio
of 1 is the limit, or as fast as the peer. A measurement that fails is a row that says so, the others go on,
and the exit status is 1.

Conjugate gradients of GPyTorch and of rlaopt are measured where torch with linear_operator or rlaopt can be imported;
the project does not depend on them.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import solver_passes
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import threadpool_limits

from neural_kernels import architectures, engines
from neural_kernels.blocks import Grid, KernelStore, declare_store, open_store, read_submatrix, write_block
from neural_kernels.errors import UserError
from neural_kernels.machine.threads import available_threads
from neural_kernels.solvers import PreconditionerSettings, Settings, Stopping, mpi, panels, solve_system
from neural_kernels.solvers.panel_product import library
from neural_kernels.solvers.store_operator import StoreOperator

ROOT = Path(__file__).parent.parent
COLUMNS = 10
TOLERANCE = 1e-6
MOST_ITERATIONS = 1000
RANKS = (100, 300, 1000)
CHUNK = 16 * 2**20
RIDGE = 1e-3
RIDGES = (1e-8, 1e-4, 1e-2)
STREAMED = "symmetric product streamed, cold cache"

PEERS = (("GPyTorch's", "gpytorch_peer"), ("rlaopt's", "rlaopt_peer"))

Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=16384, help="examples of the stored kernel (default 16384)")
    parser.add_argument("--solve-n", type=int, default=8192, help="examples of the solves (default 8192)")
    parser.add_argument("--edge", type=int, default=4096, help="block edge (default 4096)")
    parser.add_argument(
        "--ridge", type=float, default=1e-3, help="relative to the mean diagonal (default 1e-3)"
    )
    parser.add_argument("--images", type=Path, help="CIFAR-10, as a study's data.path")
    parser.add_argument("--scratch", type=Path, help="folder on the disk to be measured")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "solver.json")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=("product", "streaming", "ranks", "solves", "passes"),
        help="what to measure (default: all)",
    )
    parser.add_argument(
        "--every-method", action="store_true", help="a preconditioner and random columns together, too"
    )
    parser.add_argument("--rank-worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank_worker:
        rank_worker(Path(options.rank_worker[0]), Path(options.rank_worker[1]))
        return 0
    rows: list[Row] = []
    failed = False
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        store, targets, source = make_store(Path(folder) / "kernel", options.n, options.edge, options.images)
        product = "compiled" if library() is not None else "NumPy"
        print(f"FC3 NTK of {options.n} {source}, float64, {available_threads()} threads, {product} product")
        n = min(options.solve_n, options.n)
        methods = [*solver_passes.METHODS, *(solver_passes.MORE_METHODS if options.every_method else ())]
        measurements: dict[str, Callable[[], Iterable[Row]]] = {
            "product": lambda: product_in_ram(store),
            "streaming": lambda: product_streamed(store),
            "ranks": lambda: strong_scaling(store, Path(folder)),
            "solves": lambda: solves(store, n, targets, options.ridge),
            "passes": lambda: passes(Path(folder), store, n, targets, options.images, methods),
        }
        for measurement in options.only or measurements:
            try:
                for made in measurements[measurement]():
                    rows.append(made)
                    print(as_line(made), flush=True)
            except Exception as error:
                # What was measured so far is not lost to what cannot be.
                failed = True
                rows.append(
                    row(f"failed after: {rows[-1]['name']}" if rows else "failed", None, "", note=str(error))
                )
                print(as_line(rows[-1]), flush=True)
                traceback.print_exc()
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(rows, indent=2) + "\n")
    print(options.out)
    return int(failed)


def as_line(row: Row) -> str:
    against = next((f"{key} {row[key]:.4g}" for key in ("limit", "peer") if row.get(key) is not None), "")
    ratio = "" if row["ratio"] is None else f"ratio {row['ratio']:.2f}"
    value = "-" if row["value"] is None else f"{row['value']:.4g} {row['unit']}"
    return f"{row['name']:48}{value:>18}  {against:34} {ratio:12} {row.get('note', '')}"


def make_store(
    directory: Path, n: int, edge: int, images: Path | None
) -> tuple[KernelStore, np.ndarray, str]:
    """FC3 NTK of n images, and their centred one-hot labels."""
    x, labels, source = load_images(images, n)
    grid = Grid(n, n, edge, symmetric=True)
    store = declare_store(directory, grid, "float64", {"benchmark": "FC3 NTK", "source": source})
    architecture = architectures.build("FC3")
    for i, j in grid.blocks():
        left, right = x[slice(*grid.row_range(i))], x[slice(*grid.column_range(j))]
        write_block(store, i, j, engines.kernel_matrix(architecture, left, None if i == j else right), {})
    return store, np.eye(10)[labels] - 0.1, source


def load_images(path: Path | None, n: int) -> tuple[np.ndarray, np.ndarray, str]:
    from neural_kernels.datasets import cifar10

    default = Path(os.environ.get("NEURAL_KERNELS_TEST_DATA", ROOT.parent / "shared" / "data"))
    path = path or default / "cifar-10-binary.tar.xz"
    if not path.exists():
        rng = np.random.default_rng(0)
        return rng.standard_normal((n, 32, 32, 3)), rng.integers(0, 10, n), "random images"
    x, labels = [], []
    for chunk in cifar10.open_dataset(cifar10.Options(path=str(path))).train.chunks():
        x.append(chunk.x)
        labels.append(chunk.y)
        if sum(map(len, x)) >= n:
            break
    pixels = np.concatenate(x)[:n].astype(np.float64)
    pixels -= pixels.mean(axis=0)
    return pixels / pixels.std(), np.concatenate(labels)[:n].astype(int), "CIFAR-10 images"


def best_in_turns(*works: Callable[[], object], repeats: int = 5) -> list[float]:
    """Seconds of the fastest of several runs of each, in turns: on a shared machine minutes are not alike."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(repeats + 1):
        for work, own in zip(works, seconds, strict=True):
            begun = time.perf_counter()
            work()
            own.append(time.perf_counter() - begun)
    return [min(own[1:]) for own in seconds]


# ---------------------------------------------------------------------------------------- products


def product_in_ram(store: KernelStore) -> Iterable[Row]:
    """The symmetric product against what memory and arithmetic allow."""
    n, threads = store.grid.rows, available_threads()
    operator = StoreOperator(store, threads=threads)
    vectors = np.random.default_rng(0).standard_normal((n, COLUMNS))
    part = min(n, 8192)
    matrix, few = read_submatrix(store, (0, part), (0, part)), vectors[:part]
    square = np.random.default_rng(0).standard_normal((3072, 3072))
    arrays = [np.ones(2**28 // threads) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def read_memory() -> None:
            with threadpool_limits(1):
                list(pool.map(lambda array: array @ array, arrays))

        product, reading, dgemm, numpy = best_in_turns(
            lambda: operator.matmul(vectors), read_memory, lambda: square @ square, lambda: matrix @ few
        )
    bandwidth, peak = sum(array.nbytes for array in arrays) / reading, 2 * len(square) ** 3 / dgemm
    work = 2 * n * n * COLUMNS
    limit = min(peak, bandwidth * work / operator.resident_bytes)
    yield row("memory bandwidth, read", bandwidth / 1e9, "GB/s")
    yield row("matrix product, DGEMM", peak / 1e9, "GFLOP/s")
    name = f"symmetric product in RAM, {COLUMNS} vectors"
    yield row(name, work / product / 1e9, "GFLOP/s", limit=limit / 1e9)
    yield row(f"{name}, bytes", operator.resident_bytes / product / 1e9, "GB/s", limit=bandwidth / 1e9)
    yield row("NumPy's product", 2 * part**2 * COLUMNS / numpy / 1e9, "GFLOP/s", limit=limit / 1e9)


def product_streamed(store: KernelStore) -> Iterable[Row]:
    """The product with everything on disk and nothing cached, against reading the same files in order."""
    n, threads = store.grid.rows, available_threads()
    paths = [store.block_path(i, j) for i, j in store.grid.blocks()]
    vectors = np.random.default_rng(0).standard_normal((n, COLUMNS))
    operator = StoreOperator(store, threads=threads, memory_budget=(threads + 2) * 2 * CHUNK)
    if not operator.streamed_bytes:
        yield row(
            STREAMED, None, "GB/s", note="the kernel fits in the buffers of streaming: give a larger --n"
        )
        return
    reading, multiplying, unchecked = [], [], []
    for _ in range(3):
        reading.append(cold(paths, lambda: read_in_order(paths)))
        multiplying.append(cold(paths, lambda: operator.matmul(vectors)))
        with mock.patch.object(panels, "check_strip", return_value=None):
            unchecked.append(cold(paths, lambda: operator.matmul(vectors)))
    size = sum(path.stat().st_size for path in paths)
    disk = size / min(reading) / 1e9
    streamed = operator.streamed_bytes / min(multiplying) / 1e9
    yield row("disk, sequential read, cold cache", disk, "GB/s")
    yield row(STREAMED, streamed, "GB/s", limit=disk)
    without = operator.streamed_bytes / min(unchecked) / 1e9
    yield row("the same without checksums", without, "GB/s", peer=streamed)


def cold(paths: list[Path], work: Callable[[], object]) -> float:
    """Seconds of one run, the files out of the page cache."""
    os.sync()
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def read_in_order(paths: list[Path]) -> None:
    buffer = bytearray(CHUNK)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while file.readinto(buffer):
                pass


def strong_scaling(store: KernelStore, folder: Path) -> Iterable[Row]:
    """The same product on one and on two processes of one thread each, each with its share in RAM."""
    launcher = Path(sys.executable).parent / "mpiexec"
    name = "strong scaling, 2 ranks against 1"
    try:
        mpi.world()
    except UserError as error:
        yield row(name, None, "times", note=str(error))
        return
    if not launcher.exists():
        yield row(name, None, "times", note=f"no launcher {launcher.name} beside the interpreter")
        return
    seconds = {}
    for ranks in (1, 2):
        out = folder / f"ranks{ranks}.json"
        command = [launcher, "-n", ranks, sys.executable, __file__, "--rank-worker", store.directory, out]
        subprocess.run(
            [str(part) for part in command],
            check=True,
            timeout=300,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        )
        seconds[ranks] = json.loads(out.read_text())["seconds"]
    yield row(name, seconds[1] / seconds[2], "times", limit=2.0)


def rank_worker(directory: Path, out: Path) -> None:
    communicator = mpi.world()
    operator = StoreOperator(open_store(directory), threads=1, communicator=communicator)
    first, last = operator.rows
    vectors = np.random.default_rng(0).standard_normal((operator.n, COLUMNS))[first:last]

    def work() -> None:
        operator.matmul(vectors)
        communicator.gather(None)

    seconds = max(communicator.gather(best_in_turns(work)[0]))
    if communicator.rank == 0:
        out.write_text(json.dumps({"seconds": seconds}))


# ------------------------------------------------------------------------------------------ solves


def solves(store: KernelStore, n: int, targets: np.ndarray, ridge: float) -> Iterable[Row]:
    """Time to a true relative residual of 1e-6, preconditioner included, against peers on the same matrix."""
    targets = np.ascontiguousarray(targets[:n])
    matrix = read_submatrix(store, (0, n), (0, n))
    shift = ridge * float(np.diag(matrix).mean())
    begun = time.perf_counter()
    # LAPACK takes columns: the transpose is the same matrix, and spares SciPy a copy.
    system = matrix.copy().T
    system.flat[:: n + 1] += shift
    solution = cho_solve(cho_factor(system, lower=True, overwrite_a=True, check_finite=False), targets)
    cholesky = time.perf_counter() - begun
    note = f"true residual {true_residual(matrix, shift, solution, targets):.1e}"
    yield row(f"SciPy Cholesky, n = {n}", cholesky, "s", note=note)
    ours = timed(store, n, targets, ridge, "cholesky", "none", 0)
    yield row(
        "Cholesky, with its check and its reading", ours["seconds"], "s", peer=cholesky, note=ours["note"]
    )
    few = [("none", 0), ("random", 300)]
    every = [("none", 0), *(("random", rank) for rank in RANKS), ("greedy", 300)]
    for block, cases in ((False, few), (True, every)):
        for method, rank in cases:
            found = timed(store, n, targets, ridge, "conjugate_gradients", method, rank, block=block)
            name = f"{'block ' if block else ''}conjugate gradients, {method}" + (
                f", rank {rank}" if rank else ""
            )
            yield row(name, found["seconds"], "s", peer=cholesky, note=found["note"]) | {
                "iterations": found["iterations"]
            }
    for peer in PEERS:
        yield from against_peer(peer, store, matrix, shift, n, targets, ridge)


def passes(
    folder: Path,
    store: KernelStore,
    n: int,
    targets: np.ndarray,
    images: Path | None,
    methods: Sequence[solver_passes.Method],
) -> Iterable[Row]:
    """What shortens an iteration, on kernels of every kind; see ``solver_passes``."""
    fc3 = solver_passes.Case("FC3", store, np.ascontiguousarray(targets[:n]))
    yield from solver_passes.measure_rounded(fc3, RIDGE, cold)
    yield from solver_passes.measure(fc3, [RIDGE], cold, methods)
    for kernel, size in (("FC3", 2048), ("CV8", 2048), ("Myrtle5", 320)):
        pixels, labels, _ = load_images(images, min(size, n))
        case = solver_passes.image_case(kernel, folder / f"{kernel}-passes", pixels, labels)
        yield from solver_passes.measure(case, RIDGES, cold, methods)
    if not solver_passes.tox21().exists():
        yield row("SimpleGNN", None, "s", note=f"{solver_passes.tox21()} is not there")
        return
    case = solver_passes.molecule_case(solver_passes.tox21(), folder / "SimpleGNN-passes", min(2048, n))
    yield from solver_passes.measure(case, RIDGES, cold, methods)


def timed(
    store: KernelStore,
    n: int,
    targets: np.ndarray,
    ridge: float,
    solver: Any,
    method: Any,
    rank: int,
    tolerance: float = TOLERANCE,
    block: bool = True,
) -> dict[str, Any]:
    """One solve of ours, reading of the blocks included, without random columns."""
    settings = Settings(
        [ridge],
        method=solver,
        stopping=Stopping(tolerance=tolerance, max_iterations=MOST_ITERATIONS),
        preconditioner=PreconditionerSettings(method, rank),
        block=block,
        random_columns=0,
        memory_budget=2**36,
    )
    begun = time.perf_counter()
    record = solve_system(store, (0, n), targets, settings).record
    seconds = time.perf_counter() - begun
    note = f"true residual {record.residual:.1e}"
    if solver != "cholesky":
        details = record.details
        note = f"{record.iterations} iterations, {note}"
        if "preconditioner_seconds" in details:
            note += f", preconditioner {details['preconditioner_seconds']:.2f} s"
            note += f" in {details['preconditioner_reads']} reads"
    return {
        "seconds": seconds,
        "iterations": record.iterations,
        "note": note,
    }


def against_peer(
    peer: tuple[str, str],
    store: KernelStore,
    matrix: np.ndarray,
    shift: float,
    n: int,
    targets: np.ndarray,
    ridge: float,
) -> Iterable[Row]:
    """Another program's preconditioned conjugate gradients, then ours to the true residual that it reached.

    Args:
        peer: its name, and the module here that calls it.
    """
    whose, module = peer
    try:
        imported = importlib.import_module(module)
    except ImportError as error:
        yield row(f"{whose} conjugate gradients", None, "s", note=f"not installed: {error}")
        return
    solve = functools.partial(
        imported.solve,
        tolerance=TOLERANCE,
        most_iterations=MOST_ITERATIONS,
        threads=available_threads(),
    )
    # Its first call loads what later ones find there.
    solve(np.ascontiguousarray(matrix[:256, :256]), shift, targets[:256], rank=10)
    for rank in RANKS:
        begun = time.perf_counter()
        solution = solve(matrix, shift, targets, rank=rank)
        seconds = time.perf_counter() - begun
        reached = true_residual(matrix, shift, solution, targets)
        name = f"{whose} conjugate gradients, rank {rank}"
        yield row(name, seconds, "s", note=f"true residual {reached:.1e}")
        if not 0 < reached < 1:
            yield row(f"ours to that residual, rank {rank}", None, "s", note="there is no residual to reach")
            continue
        found = timed(store, n, targets, ridge, "conjugate_gradients", "random", rank, reached)
        yield row(
            f"ours to that residual, rank {rank}", found["seconds"], "s", peer=seconds, note=found["note"]
        )


def true_residual(matrix: np.ndarray, shift: float, solution: np.ndarray, targets: np.ndarray) -> float:
    residual = targets - matrix @ solution - shift * solution
    return float((np.linalg.norm(residual, axis=0) / np.linalg.norm(targets, axis=0)).max())


def row(
    name: str,
    value: float | None,
    unit: str,
    *,
    limit: float | None = None,
    peer: float | None = None,
    note: str | None = None,
) -> Row:
    """One object of the result. The ratio is value / limit, or for times peer / value."""
    ratio = None
    if value is not None and limit is not None:
        ratio = value / limit
    elif value is not None and peer is not None:
        ratio = peer / value
    made: Row = {"name": name, "value": value, "unit": unit, "ratio": ratio}
    if peer is None:
        made["limit"] = limit
    else:
        made["peer"] = peer
    return made if note is None else made | {"note": note}


if __name__ == "__main__":
    sys.exit(main())
