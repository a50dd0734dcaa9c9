"""What a study will take, before anything runs: pairs, hours, blocks, bytes, memory."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neural_kernels import engines
from neural_kernels.block_computation import default_tile
from neural_kernels.blocks import Grid
from neural_kernels.errors import UserError
from neural_kernels.flip_symmetry import is_symmetric_block, same_block
from neural_kernels.graphs import Examples, is_graphs, made_up
from neural_kernels.study import Kernel, Study

MOST_BLOCKS = 50_000
"""Jobs that Snakemake plans in about a minute; ten times as many take ten minutes and 7 GB."""

LONGEST_BLOCK_HOURS = 12.0
WORKING_DAYS = 7.0
"""Days in which the kernel is to be done, for the recommended number of nodes."""


@dataclass(frozen=True)
class KernelPlan:
    """What one kernel of a study takes.

    Attributes:
        pairs: kernel entries to compute, the symmetric half of the training kernel only.
        blocks: files and jobs, bytes: what they take on disk.
        training_bytes: of the training kernel's half, read once an iteration unless it is in memory.
        largest_n: the largest training size; outputs: right-hand sides, where they are known.
        solve_bytes: memory of vectors and preconditioner of the largest iterative solve, or of the
            matrix of a direct one, without any kernel block in memory.
        pairs_per_second: of one node, None where it is not known.
    """

    kernel: str
    engine: str | None
    pairs: int
    blocks: int
    bytes: int
    training_bytes: int
    largest_n: int
    solve_bytes: int
    pairs_per_second: float | None

    @property
    def hours(self) -> float | None:
        """Hours of one node for the whole kernel."""
        return None if self.pairs_per_second is None else self.pairs / self.pairs_per_second / 3600


def planned_blocks(study: Study) -> Iterator[tuple[str, str, int, int, int]]:
    """Every block that the study reads: (kernel, part, i, j, bytes)."""
    for kernel in study.kernels:
        yield from _kernel_blocks(study, kernel, study.block_edge(kernel))


def _kernel_blocks(study: Study, kernel: str, edge: int) -> Iterator[tuple[str, str, int, int, int]]:
    itemsize = np.dtype(study.config["precision"]).itemsize
    sizes = study.part_sizes
    columns = study.training_sizes(kernel)[-1]
    for part, count in {"train": columns, **study.evaluation_sizes(kernel)}.items():
        grid = Grid(sizes[part], sizes["train"], edge, symmetric=part == "train")
        for i, j in grid.blocks(count, columns):
            yield kernel, part, i, j, int(np.prod(grid.shape(i, j))) * itemsize


def plan_kernel(
    study: Study, kernel: Kernel, engine: str | None, rate: float | None, outputs: int
) -> KernelPlan:
    """The plan of one kernel.

    Args:
        engine: that the rate was measured with, None where the rate was given.
        rate: pairs per second of one node, None where it is not known.
        outputs: right-hand sides of the solve.
    """
    blocks = list(_kernel_blocks(study, kernel.name, study.block_edge(kernel.name)))
    itemsize = np.dtype(study.config["precision"]).itemsize
    n = study.training_sizes(kernel.name)[-1]
    # A diagonal block is stored whole, but only its upper triangle is computed.
    grid = Grid(study.part_sizes["train"], study.part_sizes["train"], study.block_edge(kernel.name), True)
    flips = study.config["data"]["flips"]
    pairs = sum(
        _pairs(size // itemsize, part == "train" and is_symmetric_block(grid, i, j, flips))
        for _, part, i, j, size in blocks
        if not (part == "train" and flips and same_block(grid, i, j)[:2] != (i, j))
    )
    return KernelPlan(
        kernel=kernel.name,
        engine=engine,
        pairs=pairs,
        blocks=len(blocks),
        bytes=sum(size for *_, size in blocks),
        training_bytes=sum(size for _, part, *_, size in blocks if part == "train"),
        largest_n=n,
        solve_bytes=_solve_bytes(study, n, outputs),
        pairs_per_second=rate,
    )


def _pairs(entries: int, diagonal: bool) -> int:
    return (entries + math.isqrt(entries)) // 2 if diagonal else entries


def _solve_bytes(study: Study, n: int, outputs: int) -> int:
    from neural_kernels.solvers import iterative

    solver = study.config["solver"]
    if n <= solver["direct_up_to"]:
        return 8 * n * n
    preconditioner = solver["preconditioner"]
    rank = 0 if preconditioner["method"] == "none" else min(preconditioner["rank"], n)
    return iterative.working_bytes(n, outputs, rank)


def calibrate(
    study: Study, kernel: Kernel, input_shape: tuple[int, ...], seconds: float = 3.0
) -> tuple[str, float]:
    """Engine and pairs per second of this machine, measured on random examples for some ``seconds``."""
    name, engine = engines.select(study.config["engine"], kernel.architecture, input_shape)
    precision = study.config["precision"]
    edge = 4
    largest = default_tile(kernel.architecture, input_shape)
    while True:
        x = _random_examples(2 * edge, input_shape)
        left = engine.prepare(kernel.architecture, x[:edge], precision)
        right = engine.prepare(kernel.architecture, x[edge:], precision)
        engine.kernel(kernel.architecture, kernel.kind, left, right, precision)
        started = time.perf_counter()
        engine.kernel(kernel.architecture, kernel.kind, left, right, precision)
        elapsed = time.perf_counter() - started
        if elapsed > seconds / 4 or edge >= largest:
            return name, edge**2 / elapsed
        edge = min(2 * edge, largest)


def _random_examples(count: int, input_shape: tuple[int, ...]) -> Examples:
    random = np.random.default_rng(0)
    if is_graphs(input_shape):
        return made_up(count, input_shape[-1], random)
    return random.normal(size=(count, *input_shape))


def recommended_edge(study: Study, plans: list[KernelPlan]) -> int:
    """The smallest edge, in thousands, that keeps the study within ``MOST_BLOCKS`` jobs."""
    edge = 1000
    while sum(_count_blocks(study, plan.kernel, edge) for plan in plans) > MOST_BLOCKS:
        edge += 1000 if edge < 10_000 else 5000
    return edge


def _count_blocks(study: Study, kernel: str, edge: int) -> int:
    columns = study.training_sizes(kernel)[-1]
    parts = {"train": columns, **study.evaluation_sizes(kernel)}
    sizes = study.part_sizes
    return sum(
        Grid(sizes[part], sizes["train"], edge, symmetric=part == "train").count(rows, columns)
        for part, rows in parts.items()
    )


def check_disk(study: Study, results: Path) -> None:
    """Raise UserError where the blocks that are still to be computed don't fit on the disk of ``results``."""
    missing = sum(
        size
        for kernel, part, i, j, size in planned_blocks(study)
        if not (results / study.owner / "kernels" / kernel / part / "blocks" / f"{i}-{j}.npy").exists()
    )
    free = free_bytes(results)
    if missing > free:
        raise UserError(
            f"study {study.name} needs {gibibytes(missing)} for its kernel blocks, but the disk of {results} has "
            f"{gibibytes(free)} free: reduce training_sizes, use float32 or put results on a larger disk"
        )


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk where ``folder`` is or would be."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def gibibytes(count: float) -> str:
    """``count`` bytes for people."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30)):
        if count >= size / 2:
            return f"{count / size:,.1f} {unit}"
    return f"{count / 2**20:,.1f} MiB"


def describe(study: Study, plans: list[KernelPlan], results: Path, node_memory: float | None = None) -> str:
    """The plan as text, warnings last.

    Args:
        node_memory: bytes of memory of one node; this machine's where it is None.
    """
    node_memory = node_memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    lines = [f"study {study.name}: {study.config['title']}", ""]
    header = (
        "kernel",
        "engine",
        "largest n",
        "pairs",
        "pairs/s",
        "node hours",
        "blocks",
        "disk",
        "a pass",
        "solve",
    )
    rows = [_row(plan) for plan in plans]
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        lines.append("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    total = sum(plan.bytes for plan in plans)
    blocks = sum(plan.blocks for plan in plans)
    edge = recommended_edge(study, plans)
    lines += [
        "",
        f"disk: {gibibytes(total)} for {blocks:,} blocks; {gibibytes(free_bytes(results))} free where results go",
        "a pass: bytes of the training kernel that one iteration of conjugate gradients goes through",
        "solve: memory of the largest solve besides kernel blocks",
        f"block edge: {study.config['blocks']['edge']:,}, recommended {max(edge, 1000):,} or more",
    ]
    memory_nodes = max(math.ceil((p.training_bytes + p.solve_bytes) / (0.8 * node_memory)) for p in plans)
    lines.append(
        f"nodes: {memory_nodes:,} of {gibibytes(node_memory)} keep the largest kernel in memory during a solve"
    )
    hours = [plan.hours for plan in plans if plan.hours is not None]
    if len(hours) == len(plans):
        nodes = math.ceil(sum(hours) / (24 * WORKING_DAYS))
        lines.append(
            f"nodes: {nodes:,} like the one that the rate is of compute the kernels in {WORKING_DAYS:.0f} days"
        )
    return "\n".join(lines + _warnings(study, plans, results))


def _row(plan: KernelPlan) -> tuple[str, ...]:
    rate = "unknown" if plan.pairs_per_second is None else f"{plan.pairs_per_second:,.0f}"
    hours = (
        "unknown" if plan.hours is None else f"{plan.hours:,.2f}" if plan.hours < 10 else f"{plan.hours:,.0f}"
    )
    return (
        plan.kernel, plan.engine or "given", f"{plan.largest_n:,}", f"{plan.pairs:.2e}", rate, hours,
        f"{plan.blocks:,}", gibibytes(plan.bytes), gibibytes(plan.training_bytes), gibibytes(plan.solve_bytes),
    )  # fmt: skip


def _warnings(study: Study, plans: list[KernelPlan], results: Path) -> list[str]:
    warnings = []
    needed, free = sum(plan.bytes for plan in plans), free_bytes(results)
    if needed > free:
        warnings.append(
            f"the blocks take {gibibytes(needed)}, the disk of {results} has {gibibytes(free)} free"
        )
    blocks = sum(plan.blocks for plan in plans)
    if blocks > MOST_BLOCKS:
        warnings.append(
            f"{blocks:,} jobs are more than the {MOST_BLOCKS:,} that are practical: raise blocks.edge"
        )
    for plan in plans:
        largest = max(1, plan.bytes // plan.blocks // np.dtype(study.config["precision"]).itemsize)
        if plan.pairs_per_second and largest / plan.pairs_per_second / 3600 > LONGEST_BLOCK_HOURS:
            hours = largest / plan.pairs_per_second / 3600
            warnings.append(
                f"a block of {plan.kernel} takes {hours:,.0f} hours of one node: lower blocks.edge"
            )
    return [f"WARNING: {warning}" for warning in warnings]
