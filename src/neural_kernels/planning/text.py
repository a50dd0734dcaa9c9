"""The plan of a study as text."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from neural_kernels.machine.memory import gibibytes
from neural_kernels.planning import costs as planning
from neural_kernels.planning.costs import KernelPlan
from neural_kernels.planning.small_sizes import small_sizes
from neural_kernels.planning.solve_seconds import Pace
from neural_kernels.study.study import Study

HEADER = (
    "kernel", "engine", "largest n", "pairs", "pairs/s", "time of a node", "blocks", "disk", "a pass", "solve",
    "edge", "advised",
)  # fmt: skip


def describe(
    study: Study,
    plans: Sequence[KernelPlan],
    features: int,
    results: Path,
    node_memory: float | None = None,
    solving: float | None = None,
    pace: Pace | None = None,
) -> str:
    """The plan as text, warnings last.

    Args:
        features: bytes of the features.
        node_memory: bytes of memory of one node; this machine's where it is None.
        solving: seconds of all solves at ``pace``.
    """
    node_memory = node_memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    edges = planning.recommended_edges(plans)
    rows = [HEADER, *(_row(plan, edges[plan.sizes.kernel]) for plan in plans)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    budget = study.solver.memory_gib * 2**30
    total, blocks = sum(plan.bytes for plan in plans), sum(plan.blocks for plan in plans)
    lines = [
        f"study {study.name}: {study.title}",
        "",
        *table,
        "",
        f"disk: {gibibytes(total)} for {blocks:,} blocks and {gibibytes(features)} for features; "
        f"{gibibytes(planning.free_bytes(results))} free where results go",
        "a pass: bytes of the training kernel that one iteration of conjugate gradients goes through; what exceeds "
        f"solver.memory_gib, {gibibytes(budget)} in each process, it reads from disk",
        "solve: memory of the largest solve besides kernel blocks",
        f"advised: block edge for blocks of about an hour of a node and at most {planning.MOST_BLOCKS:,} jobs",
    ]
    memory_nodes = max(math.ceil((p.kept_bytes + p.solve_bytes) / (0.8 * node_memory)) for p in plans)
    lines.append(
        f"nodes: {memory_nodes:,} of {gibibytes(node_memory)} keep the largest kernel in memory during a solve"
    )
    hours = [plan.hours for plan in plans if plan.hours is not None]
    if len(hours) == len(plans):
        nodes = math.ceil(sum(hours) / (24 * planning.WORKING_DAYS))
        lines.append(
            f"nodes: {nodes:,} like the one that the rate is of compute the kernels in {planning.WORKING_DAYS:.0f} days"
        )
    if solving is not None and pace is not None:
        lines.append(
            f"solving: {duration_text(solving)} of this machine for all sizes, draws and kernels, at "
            f"{pace.flops / 1e9:,.0f} GFLOP/s as measured and {pace.bytes / 1e9:.1f} GB/s of reading as assumed, "
            f"{planning.USUAL_PASSES} passes where it iterates"
        )
        jobs = blocks + _jobs_beside_blocks(study)
        lines.append(
            f"starting: {duration_text(jobs * pace.starting)} of one core for some {jobs:,} jobs, "
            f"{pace.starting:.1f} seconds each as measured, Snakemake's own time not counted"
        )
    lines += [
        f"one job solves n = {small[0]:,} to {small[-1]:,} of {kernel}, and one evaluates them: they take seconds"
        for kernel in study.kernels
        if (small := small_sizes(study, kernel))
    ]
    return "\n".join(lines + _warnings(plans, features, budget, edges, results))


def _jobs_beside_blocks(study: Study) -> int:
    """About how many: examples and features, and of each kernel its parts, solves and evaluations."""
    sizes = {kernel: len(study.training_sizes(kernel)) for kernel in study.kernels}
    bundled = sum(max(0, len(small_sizes(study, kernel)) - 1) for kernel in study.kernels)
    parts = len(study.kernels) * len(study.part_sizes)
    return 3 + len(study.preprocessing) + parts + 2 * (sum(sizes.values()) - bundled)


def _row(plan: KernelPlan, advised: int) -> tuple[str, ...]:
    rate = "unknown" if plan.pairs_per_second is None else f"{plan.pairs_per_second:,.0f}"
    time = "unknown" if plan.seconds is None else duration_text(plan.seconds)
    return (
        plan.sizes.kernel, plan.engine or "given", f"{plan.sizes.n:,}", f"{plan.pairs:.2e}", rate,
        time, f"{plan.blocks:,}", gibibytes(plan.bytes), gibibytes(plan.training_bytes),
        gibibytes(plan.solve_bytes), f"{plan.sizes.edge:,}", f"{advised:,}",
    )  # fmt: skip


def hours_text(hours: float | None) -> str:
    """Hours for people."""
    return "unknown" if hours is None else f"{hours:,.2f}" if hours < 10 else f"{hours:,.0f}"


def duration_text(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 120:
        return f"{math.ceil(seconds)} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{hours_text(seconds / 3600)} hours"


def _warnings(
    plans: Sequence[KernelPlan], features: int, budget: float, edges: Mapping[str, int], results: Path
) -> list[str]:
    warnings = []
    needed, free = sum(plan.bytes for plan in plans) + features, planning.free_bytes(results)
    if needed > free:
        warnings.append(
            f"blocks and features take {gibibytes(needed)}, the disk of {results} has {gibibytes(free)} free"
        )
    blocks = sum(plan.blocks for plan in plans)
    if blocks > planning.MOST_BLOCKS:
        warnings.append(
            f"{blocks:,} jobs are more than the {planning.MOST_BLOCKS:,} that are practical: raise blocks.edge"
        )
    for plan in plans:
        name, hours = plan.sizes.kernel, plan.block_hours
        if hours is not None and hours > planning.LONGEST_BLOCK_HOURS:
            advice = (
                f"lower its block_edge to {edges[name]:,}"
                if edges[name] < plan.sizes.edge
                else "smaller ones would be more jobs than is practical, so use faster nodes"
            )
            warnings.append(f"a block of {name} takes {hours:,.0f} hours of one node: {advice}")
        if plan.solve_bytes > budget:
            warnings.append(
                f"the largest solve of {name} takes {gibibytes(plan.solve_bytes)} besides kernel blocks, "
                f"solver.memory_gib allows {gibibytes(budget)}: raise it, or lower the preconditioner's rank or "
                "direct_up_to"
            )
    return [f"WARNING: {warning}" for warning in warnings]
