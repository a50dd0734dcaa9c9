"""How far a study is, as text: from the files that are there, and from the queue of a cluster. Nothing is written.

Files are counted, not opened: of tens of thousands of blocks it is a matter of seconds. ``verify-blocks`` reads them.
"""

from __future__ import annotations

import collections
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from neural_kernels.machine.slurm_queue import QueuedJob, explained, queued_jobs
from neural_kernels.planning.costs import planned_blocks
from neural_kernels.planning.text import duration_text
from neural_kernels.study import folders
from neural_kernels.study.folders import at, metrics_file, solution_folder, store_folder
from neural_kernels.study.study import Study

RECENT = 100
"""The last blocks, whose dates give the rate."""

MOST_SHOWN = 5
"""Failures, and jobs that wait for one reason."""

SLURM_LOGS = Path(".snakemake/slurm_logs")
"""Where the executor's plugin keeps the output of jobs that failed."""

# What Slurm writes into the output of a job that it ends.
ENDED_BY_SLURM = {
    "oom": "killed for its memory",
    "memory limit": "killed for its memory",
    "DUE TO TIME LIMIT": "killed for its time",
    "DUE TO PREEMPTION": "preempted",
    "DUE TO NODE FAILURE": "lost with its node",
}


@dataclass(frozen=True)
class Store:
    """The blocks of a part of a kernel: as many as are planned, those that are there, the dates of those, how many were
    begun and how many were set aside as faulty."""

    kernel: str
    part: str
    planned: frozenset[str]
    done: frozenset[str]
    dates: tuple[float, ...]
    begun: int
    rejected: int


def study_status(study: Study, results: Path) -> str:
    """How far the study is: blocks, their rate, what is left, what failed, and why jobs wait."""
    lines = [f"study {study.name}: {study.title}", ""]
    if study.tuning is not None:
        folder = at(results, folders.TRIAL, study=study.name, trial=0).parent
        lines.append(f"trials: {len(_stems(folder, '.json')):,} of {study.tuning.trials:,} done")
        missing: frozenset[str] = frozenset()
    else:
        stores = list(_stores(study, results))
        lines += [*_table(stores), "", _blocks(stores, time.time()), _solved(study, results)]
        missing = frozenset(
            f"{store.kernel}/{store.part}/{block}" for store in stores for block in store.planned - store.done
        )
    lines += _failures(study, results, missing)
    return "\n".join(lines + _queue(queued_jobs(Path.cwd()), study))


def _stores(study: Study, results: Path) -> Iterator[Store]:
    planned: dict[tuple[str, str], set[str]] = collections.defaultdict(set)
    for kernel, part, i, j, _ in planned_blocks(study):
        planned[kernel, part].add(f"{i}-{j}")
    for (kernel, part), blocks in planned.items():
        folder = store_folder(study, results, kernel, part)
        there = _stems(folder / "blocks", ".npy")
        yield Store(
            kernel,
            part,
            frozenset(blocks),
            frozenset(blocks & there.keys()),
            tuple(sorted(there[block] for block in blocks & there.keys())),
            len(_stems(folder / "partial", ".npy")),
            len(_stems(folder / "blocks", ".npy.rejected")),
        )


def _stems(folder: Path, ending: str) -> dict[str, float]:
    """Names of files with an ending, without it, and when they were written."""
    try:
        with os.scandir(folder) as entries:
            return {
                entry.name.removesuffix(ending): entry.stat().st_mtime
                for entry in entries
                if entry.name.endswith(ending)
            }
    except FileNotFoundError:
        return {}


def _table(stores: list[Store]) -> list[str]:
    rows = [("kernel", "part", "blocks", "done", "begun", "set aside")]
    rows += [
        (
            store.kernel, store.part, f"{len(store.planned):,}", f"{len(store.done):,}", f"{store.begun:,}",
            f"{store.rejected:,}",
        )
        for store in stores
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _blocks(stores: list[Store], now: float) -> str:
    planned, done = (sum(len(getattr(store, name)) for store in stores) for name in ("planned", "done"))
    said = f"blocks: {done:,} of {planned:,} done"
    dates = sorted(date for store in stores for date in store.dates)[-RECENT:]
    if done == planned or len(dates) < 2 or dates[-1] <= dates[0]:
        return said
    # Time since the last one counts: where nothing is finished any more, the rate falls.
    rate = (len(dates) - 1) / max(dates[-1] - dates[0], now - dates[1])
    since = duration_text(max(now - dates[-1], 0))
    return (
        f"{said}, {3600 * rate:,.4g} an hour by the last {len(dates)}, {duration_text((planned - done) / rate)} "
        f"left at that rate; the last one was finished {since} ago"
    )


def _solved(study: Study, results: Path) -> str:
    sizes = [(kernel, n) for kernel in study.kernels for n in study.training_sizes(kernel)]
    solved = sum((solution_folder(study, results, *size) / "solved.json").exists() for size in sizes)
    evaluated = sum(metrics_file(study, results, *size).exists() for size in sizes)
    reports = sorted(path.name for path in results.glob(f"{study.name}_*.pdf"))
    return (
        f"sizes: {solved:,} of {len(sizes):,} solved, {evaluated:,} evaluated; "
        f"reports: {', '.join(reports) or 'none yet'}"
    )


def _failures(study: Study, results: Path, missing: frozenset[str]) -> list[str]:
    """The last sentence of every log that ends with an error, newest first, and the blocks whose jobs Slurm ended."""
    found = [*_errors_in_logs(results / study.owner / "logs", missing), *_ended_by_slurm(study, missing)]
    if study.owner != study.name:
        found += _errors_in_logs(results / study.name / "logs", missing)
    found.sort(reverse=True)
    if not found:
        return ["failed: nothing"]
    more = [f"  and {len(found) - MOST_SHOWN:,} more"] if len(found) > MOST_SHOWN else []
    return ["failed:", *(f"  {text}" for _, text in found[:MOST_SHOWN]), *more]


def _errors_in_logs(logs: Path, missing: frozenset[str]) -> Iterator[tuple[float, str]]:
    for folder, _, files in os.walk(logs):
        for file in files:
            path = Path(folder, file)
            rule, _, job = str(path.relative_to(logs).with_suffix("")).partition("/")
            # Of tens of thousands of blocks, those that are there are not asked.
            if path.suffix != ".log" or (rule == "compute_block" and job not in missing):
                continue
            last = _last_line(path)
            if last.startswith("error:"):
                yield path.stat().st_mtime, f"{rule} {job}: {last.removeprefix('error:').strip()}".strip()


def _last_line(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _ended_by_slurm(study: Study, missing: frozenset[str]) -> Iterator[tuple[float, str]]:
    """Blocks whose job Slurm ended, which their own log does not know."""
    for block in sorted(missing):
        folder = (
            SLURM_LOGS / "rule_compute_block" / f"{study.owner}_{block.replace('/', '_').replace('-', '_')}"
        )
        logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
        if logs:
            text = logs[-1].read_text(errors="replace")
            for word, meaning in ENDED_BY_SLURM.items():
                if word in text:
                    yield logs[-1].stat().st_mtime, f"compute_block {block}: {meaning} (job {logs[-1].stem})"
                    break


def _queue(jobs: list[QueuedJob] | None, study: Study) -> list[str]:
    """Why jobs wait; nothing where there is no Slurm."""
    if jobs is None:
        return []
    own = [job for job in jobs if _is_of(study, job.wildcards)]
    waiting = [job for job in own if job.state == "PENDING"]
    lines = [f"queue: {len(own) - len(waiting):,} jobs of this study run, {len(waiting):,} wait"]
    by_reason = collections.Counter(job.reason for job in waiting)
    for reason, count in by_reason.most_common():
        meaning = explained(reason)
        those = [job for job in waiting if job.reason == reason]
        named = ", ".join(f"{job.number} {job.rule} {job.wildcards}" for job in those[:MOST_SHOWN])
        lines.append(
            f"  {count:,} for {reason}{': ' if meaning else ''}{meaning} ({named}{', ...' * (count > MOST_SHOWN)})"
        )
    return lines


def _is_of(study: Study, wildcards: str) -> bool:
    """Whether values of wildcards, joined by underscores, are of this study, and not of one whose name goes on."""
    parts = (*study.kernels, *study.preprocessing)
    for name in {study.name, study.owner}:
        rest = wildcards.removeprefix(name)
        if rest != wildcards and (
            not rest or rest[1:].isdigit() or rest.startswith(tuple(f"_{p}" for p in parts))
        ):
            return True
    return False
