"""What shortens an iteration: passes, seconds and bytes of a solve on kernels of images and molecules.

Each system is solved to a true residual of 1e-6 without help, with a low-rank preconditioner (as it was, with the ridge
alone on its diagonal, and as it is), with random columns, and as the solver chooses; with the matrix in memory, and
read anew from a cold cache in every pass. ``solver.py`` calls this.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from neural_kernels import architectures, engines
from neural_kernels.blocks import Grid, KernelStore, declare_store, write_block
from neural_kernels.datasets import smiles
from neural_kernels.graphs import Examples
from neural_kernels.machine.threads import thread_count
from neural_kernels.solvers import PreconditionerSettings, Settings, Stopping, solve_system
from neural_kernels.solvers.iterative import working_bytes
from neural_kernels.solvers.preconditioners import low_rank_family
from neural_kernels.solvers.store_operator import StoreOperator

TOLERANCE = 1e-6
MOST_ITERATIONS = 400
RANK = 500
MOST_COLUMNS = 64
EDGE = 1024

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A stored kernel and its right-hand sides.

    Attributes:
        targets: (n, C) float64, NaN where a label is missing.
    """

    kernel: str
    store: KernelStore
    targets: np.ndarray

    @property
    def n(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class Method:
    """One way to shorten the iteration; ``columns`` is None where the solver chooses.

    Attributes:
        forgets: whether the preconditioner takes what it has not for zero, as it did.
    """

    name: str
    preconditioner: Any
    rank: int
    columns: int | None
    forgets: bool = False


METHODS = (
    Method("none", "none", 0, 0),
    Method(f"rank {RANK}, ridge alone", "random", RANK, 0, forgets=True),
    Method(f"rank {RANK}", "random", RANK, 0),
    Method("30 random columns", "none", 0, 30),
    Method("100 random columns", "none", 0, 100),
    Method("300 random columns", "none", 0, 300),
    Method("auto", "auto", RANK, None),
)
MORE_METHODS = (
    Method("60 random columns", "none", 0, 60),
    *(
        Method(f"rank {rank}, {columns} random columns", "random", rank, columns)
        for rank in (300, RANK, 1000)
        for columns in (20, 30, 40, 60)
    ),
)
SHARE = 0.6
"""Of the float64 matrix's bytes, in which all of it fits as float32."""


def image_case(kernel: str, folder: Path, pixels: np.ndarray, labels: np.ndarray) -> Case:
    """The NTK of a named architecture of images, and their centred one-hot labels."""
    return Case(kernel, store_kernel(kernel, folder, pixels), np.eye(10)[labels] - 0.1)


def molecule_case(path: Path, folder: Path, n: int) -> Case:
    """The NTK of SimpleGNN of the leading molecules of Tox21, and its twelve tasks, standardised, with their gaps."""
    data = smiles.open_dataset(smiles.Options(path=str(path), id_column="mol_id", invalid="drop"))
    chunk = next(iter(data.train.chunks()))
    targets = np.asarray(chunk.y[:n], np.float64)
    targets = (targets - np.nanmean(targets, axis=0)) / np.nanstd(targets, axis=0)
    return Case("SimpleGNN", store_kernel("SimpleGNN", folder, chunk.x[:n]), targets)


def store_kernel(name: str, folder: Path, x: Examples) -> KernelStore:
    grid = Grid(len(x), len(x), EDGE, symmetric=True)
    store = declare_store(folder, grid, "float64", {"benchmark": f"{name} NTK"})
    architecture = architectures.build(name)
    for i, j in grid.blocks():
        left, right = x[slice(*grid.row_range(i))], x[slice(*grid.column_range(j))]
        write_block(store, i, j, engines.kernel_matrix(architecture, left, None if i == j else right), {})
    return store


def measure(
    case: Case, ridges: Iterable[float], cold: Callable[..., float], methods: Iterable[Method]
) -> Iterable[Row]:
    """A row for each ridge, placement and method.

    Args:
        cold: seconds of some work with the files that it is given out of the page cache.
    """
    paths = [case.store.block_path(i, j) for i, j in case.store.grid.window_blocks(0, case.n)]
    for ridge in ridges:
        for placement in ("memory", "streamed"):
            for method in methods:
                if method.columns and np.isnan(case.targets).any():
                    continue  # they need one matrix for all right-hand sides
                yield solved(case, ridge, placement, method, functools.partial(cold, paths))


def solved(
    case: Case, ridge: float, placement: str, method: Method, cold: Callable[[Callable[[], object]], float]
) -> Row:
    """One solve, reading of the blocks included."""
    masks = len({column.tobytes() for column in np.isnan(case.targets).T})
    rank, beside = min(method.rank, case.n), MOST_COLUMNS if method.columns is None else method.columns
    outputs = case.targets.shape[1]
    # What a product has in flight beside the vectors, so that of the matrix next to nothing stays.
    in_flight = StoreOperator(case.store, (0, case.n), threads=thread_count()).streaming_bytes(
        2 * outputs + beside
    )
    taken = working_bytes(case.n, outputs, rank, masks, beside) + in_flight
    settings = Settings(
        [ridge],
        method="conjugate_gradients",
        stopping=Stopping(TOLERANCE, MOST_ITERATIONS),
        preconditioner=PreconditionerSettings(method.preconditioner, method.rank),
        random_columns=method.columns,
        memory_budget=2**36 if placement == "memory" else taken,
    )
    found: list[Any] = []

    def work() -> None:
        found.append(solve_system(case.store, (0, case.n), case.targets, settings).record)

    def forgetful(*arguments: Any, rest: float) -> Any:
        return low_rank_family(*arguments)

    family = forgetful if method.forgets else low_rank_family
    with mock.patch("neural_kernels.solvers.iterative.low_rank_family", family):
        seconds = cold(work)
    record = found[0]
    passes = record.iterations + record.details.get("preconditioner_reads", 0)
    name = f"{case.kernel}, n = {case.n}, ridge {ridge:g}, {placement}, {method.name}"
    reached = f"true residual {record.residual:.1e}"
    return {
        "name": name,
        "value": round(seconds, 4),
        "unit": "s",
        "ratio": None,
        "note": f"{passes} passes, {reached}; {record.details['acceleration']}",
        "kernel": case.kernel,
        "n": case.n,
        "ridge": ridge,
        "method": method.name,
        # A preconditioner or columns that are not taken leave room for the matrix.
        "placement": "streamed" if record.details["streamed_bytes"] else "memory",
        "passes": passes,
        "seconds": seconds,
        "bytes_read": record.details["streamed_bytes"] * passes,
        "converged": record.converged,
    }


def measure_rounded(case: Case, ridge: float, cold: Callable[..., float]) -> Iterable[Row]:
    """A row for each precision of panels, where the float64 matrix does not fit; arguments as of ``measure``."""
    paths = [case.store.block_path(i, j) for i, j in case.store.grid.window_blocks(0, case.n)]
    operator, outputs = StoreOperator(case.store, (0, case.n), threads=thread_count()), case.targets.shape[1]
    room = operator.streaming_bytes(2 * outputs) + int(SHARE * operator.resident_bytes)
    for rank in (0, RANK):
        for panels in ("float64", "float32"):
            settings = Settings(
                [ridge],
                method="conjugate_gradients",
                stopping=Stopping(TOLERANCE, MOST_ITERATIONS, 20),
                preconditioner=PreconditionerSettings("random" if rank else "none", rank),
                random_columns=0,
                memory_budget=working_bytes(case.n, outputs, rank) + room,
                panels=panels,
            )
            found: list[Any] = []

            def work(settings: Settings = settings, found: list[Any] = found) -> None:
                found.append(solve_system(case.store, (0, case.n), case.targets, settings).record)

            seconds, record = cold(paths, work), found[0]
            streamed = record.details["streamed_bytes"] / 2**20
            yield {
                "name": f"{case.kernel}, n = {case.n}, ridge {ridge:g}, rank {rank}, panels in {panels}",
                "value": round(seconds, 4),
                "unit": "s",
                "ratio": None,
                "note": f"{record.iterations} steps, {streamed:.0f} MiB streamed in each; "
                f"true residual {record.residual:.1e}; {record.details['panels']['reason']}",
            }


def tox21() -> Path:
    """Where the table is looked for; it need not be there."""
    default = Path(__file__).parents[2] / "shared" / "data"
    return Path(os.environ.get("NEURAL_KERNELS_TEST_DATA", default)) / "moleculenet" / "tox21.csv.gz"
