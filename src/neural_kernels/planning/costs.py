"""What a study will take, before anything runs: pairs, hours, blocks, bytes, memory."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neural_kernels import engines
from neural_kernels.blocks import Grid
from neural_kernels.blocks.flip_symmetry import is_symmetric_block, same_block
from neural_kernels.engines import common_windows
from neural_kernels.engines.rate import measure_rate
from neural_kernels.engines.window_choice import form_of
from neural_kernels.errors import UserError
from neural_kernels.graphs import TYPICAL_NODES, Examples, is_graphs
from neural_kernels.machine.memory import gibibytes
from neural_kernels.preprocessing.options import Zca
from neural_kernels.study import folders
from neural_kernels.study.folders import at, solution_folder
from neural_kernels.study.study import Kernel, Study

MOST_BLOCKS = 50_000
"""Jobs that Snakemake plans in about a minute; ten times as many take ten minutes and 7 GB."""


LARGEST_EDGE = 20_000
"""Of a recommended block, unless more are too many: 3.2 GB in float64."""


USUAL_EDGE = 5_000
"""The paper's, recommended where the kernel's rate is not known."""


RECOMMENDED_BLOCK_HOURS = 1.0


LONGEST_BLOCK_HOURS = 12.0


WORKING_DAYS = 7.0
"""Days in which the kernel is to be done, for the recommended number of nodes."""


BLOCK_SECONDS = 0.08
"""Of reading the features of a small block and writing it, besides its pairs."""


USUAL_PASSES, USUAL_COLUMNS = 60, 40
"""Of a Krylov space: passes that most kernels take, and random columns at its start."""


@dataclass(frozen=True)
class KernelSizes:
    """The sizes that decide what one kernel takes.

    Attributes:
        parts: rows that are stored of each part's kernel matrix; all have as many columns as "train" has rows.
        used: rows that are used of each part; of "train", also its columns: the largest training size n.
        edge: of a block.
        itemsize: bytes of an entry.
        flipped_images: so many leading training examples are followed by their flips; 0 for none.
        outputs: right-hand sides of the solve.
        rank: of the preconditioner, 0 where there is none.
        direct_up_to: the largest n that is solved by Cholesky.
        ridges: candidates that are chosen from.
        one_space: whether one Krylov space serves all of them, above that n.
        masks: how many of the outputs may lack labels, each in its own way; 0 where none does.
        rounded: whether block conjugate gradients are asked to keep float64 entries as float32.
    """

    kernel: str
    parts: Mapping[str, int]
    used: Mapping[str, int]
    edge: int
    itemsize: int
    flipped_images: int
    outputs: int
    rank: int
    direct_up_to: int
    ridges: int = 1
    one_space: bool = False
    masks: int = 0
    rounded: bool = False

    @property
    def n(self) -> int:
        """The largest training size."""
        return self.used["train"]

    def grid(self, part: str, edge: int | None = None) -> Grid:
        """How the kernel matrix of one part is cut into blocks, of another edge where one is given."""
        return Grid(self.parts[part], self.parts["train"], edge or self.edge, symmetric=part == "train")

    def blocks(self) -> Iterator[tuple[str, int, int, int]]:
        """Every block that is read: (part, i, j, bytes)."""
        for part, rows in self.used.items():
            grid = self.grid(part)
            for i, j in grid.blocks(rows, self.n):
                yield part, i, j, math.prod(grid.shape(i, j)) * self.itemsize

    def count_blocks(self, edge: int) -> int:
        """How many blocks there would be with another edge."""
        return sum(self.grid(part, edge).count(rows, self.n) for part, rows in self.used.items())

    def pairs(self) -> int:
        """Entries that are computed: of blocks that are symmetric the upper triangle, of equal ones the first."""
        train = self.grid("train")
        total = 0
        for part, i, j, size in self.blocks():
            entries = size // self.itemsize
            if part != "train":
                total += entries
            elif same_block(train, i, j, self.flipped_images)[:2] == (i, j):
                symmetric = is_symmetric_block(train, i, j, self.flipped_images)
                total += (entries + math.isqrt(entries)) // 2 if symmetric else entries
        return total

    def solve_bytes(self) -> int:
        """Memory of the largest solve, all its processes together, without any kernel block in memory; of a
        direct one, the matrix."""
        from neural_kernels.solvers.registry import solver_of_size

        solver = solver_of_size(self.n, self.direct_up_to, self.one_space)
        return solver.working_bytes(self.n, self.outputs, self.rank, self.masks, self.ridges)


@dataclass(frozen=True)
class KernelPlan:
    """What one kernel of a study takes.

    Attributes:
        pairs: kernel entries to compute, the symmetric half of the training kernel only.
        blocks: files and jobs, bytes: what they take on disk.
        training_bytes: of the training kernel's half, read once an iteration unless it is in memory.
        solve_bytes: memory of vectors and preconditioner of the largest iterative solve, or of the
            matrix of a direct one.
        engine: that the rate was measured with, None where it was given.
        pairs_per_second: of one node, None where it is not known.
    """

    sizes: KernelSizes
    pairs: int
    blocks: int
    bytes: int
    training_bytes: int
    solve_bytes: int
    engine: str | None
    pairs_per_second: float | None

    @property
    def kept_bytes(self) -> int:
        """Memory of the training kernel's half, all processes together, where nothing of it is streamed."""
        return self.training_bytes // 2 if self.sizes.rounded else self.training_bytes

    @property
    def hours(self) -> float | None:
        """Hours of one node for the whole kernel."""
        return None if self.pairs_per_second is None else self.pairs / self.pairs_per_second / 3600

    @property
    def seconds(self) -> float | None:
        """Seconds of one node for the whole kernel, its blocks' reading and writing included."""
        return None if self.hours is None else 3600 * self.hours + BLOCK_SECONDS * self.blocks

    @property
    def block_hours(self) -> float | None:
        """Hours of one node for the largest block."""
        if self.pairs_per_second is None:
            return None
        edge = min(self.sizes.edge, self.sizes.parts["train"])
        return edge**2 / self.pairs_per_second / 3600


def plan_kernel(sizes: KernelSizes, engine: str | None, rate: float | None) -> KernelPlan:
    """The plan of one kernel.

    Args:
        engine: that the rate was measured with, None where the rate was given.
        rate: pairs per second of one node, None where it is not known.
    """
    blocks = list(sizes.blocks())
    return KernelPlan(
        sizes=sizes,
        pairs=sizes.pairs(),
        blocks=len(blocks),
        bytes=sum(size for *_, size in blocks),
        training_bytes=sum(size for part, *_, size in blocks if part == "train"),
        solve_bytes=sizes.solve_bytes(),
        engine=engine,
        pairs_per_second=rate,
    )


def kernel_sizes(study: Study, kernel: str, outputs: int) -> KernelSizes:
    """The sizes of one kernel of a study, with as many right-hand sides as the data has ``outputs``."""
    n = study.training_sizes(kernel)[-1]
    return KernelSizes(
        kernel=kernel,
        parts=study.part_sizes,
        used={"train": n, **study.evaluation_sizes(kernel)},
        edge=study.block_edge(kernel),
        itemsize=np.dtype(study.precision).itemsize,
        flipped_images=study.flipped_images,
        outputs=outputs,
        # Labels are only read with the data: where tasks are reported one by one, all may have gaps.
        masks=outputs if study.has_tasks else 0,
        rank=min(study.solver.preconditioner.used_rank, n),
        direct_up_to=study.solver.direct_up_to,
        ridges=len(study.ridge_candidates()),
        one_space=sweeps(study),
        rounded=rounds(study, n),
    )


def sweeps(study: Study) -> bool:
    """Whether a study judges all candidates of the ridge in one Krylov space, as far as is known without its labels."""
    from neural_kernels.solvers import registry

    section, ridges = study.solver, len(study.ridge_candidates())
    masks = 2 if study.has_tasks else 0
    return registry.sweeps(ridges, section.block, section.preconditioner.method, masks)


def rounds(study: Study, n: int) -> bool:
    """Whether the solve of size ``n`` surely keeps float64 entries as float32: what auto does follows from them."""
    iterates = study.method(n) == "iterative" and not sweeps(study)
    return iterates and study.solver.panels == "float32" and np.dtype(study.precision) == np.float64


def planned_blocks(study: Study) -> Iterator[tuple[str, str, int, int, int]]:
    """Every block that the study reads: (kernel, part, i, j, bytes)."""
    for kernel in study.kernels:
        for block in kernel_sizes(study, kernel, outputs=1).blocks():
            yield kernel, *block


def depends_on_examples(kernel: Kernel, input_shape: Sequence[int | None]) -> bool:
    """Whether what a pair costs follows from the examples, not from their shape alone."""
    graphs = is_graphs(tuple(input_shape))
    return graphs or (len(input_shape) == 2 and form_of(kernel.architecture, kernel.kind) is not None)


def calibrate(
    study: Study,
    kernel: Kernel,
    input_shape: tuple[int, ...],
    seconds: float = 3.0,
    features: Examples | None = None,
) -> tuple[str, float]:
    """Engine and pairs per second of this machine, measured for some ``seconds``.

    Args:
        features: of the training set, or its examples before preprocessing, where they are at hand. On sequences that
            differ only in a window, and on graphs, they tell what the kernel will take; random examples differ
            everywhere.
    """
    precision, architecture = study.precision, kernel.architecture
    name, engine = engines.select(study.engine, architecture, input_shape)
    if features is not None and features.shape[1:] != tuple(input_shape):
        features = None  # of other data, before the study changed
    if features is not None:
        block = features[: study.block_edge(kernel.name)]
        engine = common_windows.cheapest(
            engine, architecture, kernel.kind, precision, [block], len(block) ** 2
        )
    rate = measure_rate(engine, architecture, kernel.kind, precision, input_shape, seconds, features)
    return name, rate


def recommended_edges(plans: Sequence[KernelPlan]) -> dict[str, int]:
    """An edge for each kernel: blocks of about an hour, not too large, and together not more than is practical."""
    edges = {plan.sizes.kernel: _edge_of_an_hour(plan) for plan in plans}
    while True:
        counts = {plan.sizes.kernel: plan.sizes.count_blocks(edges[plan.sizes.kernel]) for plan in plans}
        if sum(counts.values()) <= MOST_BLOCKS:
            return edges
        most = max(counts, key=lambda kernel: counts[kernel])
        edges[most] = next(edge for edge in round_edges() if edge > edges[most])


def _edge_of_an_hour(plan: KernelPlan) -> int:
    if plan.pairs_per_second is None:
        longest: float = USUAL_EDGE
    else:
        longest = math.sqrt(plan.pairs_per_second * 3600 * RECOMMENDED_BLOCK_HOURS)
    largest = min(LARGEST_EDGE, longest, plan.sizes.n)
    return max((edge for edge in itertools.takewhile(lambda e: e <= largest, round_edges())), default=1)


def round_edges() -> Iterator[int]:
    """The edges that are recommended: 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, ..."""
    yield 1
    for power in itertools.count():
        for digits in (2, 3, 4, 5, 6, 8, 10, 15):
            yield digits * 10**power


def feature_bytes(
    study: Study,
    input_shape: Sequence[int],
    outputs: int,
    results: Path | None = None,
    preprocessing: str | None = None,
) -> int:
    """Bytes of the float64 features and targets that the study's kernels are computed on, and of whitenings.

    Args:
        results: those that are already there are left out; None counts all.
        preprocessing: of this one alone, where it is not None.
    """
    examples = sum(study.part_sizes.values())
    size = math.prod(TYPICAL_NODES if length is None else length for length in input_shape)
    one = 8 * examples * (size + outputs)
    names = (
        {kernel.preprocessing for kernel in study.kernels.values()}
        if preprocessing is None
        else {preprocessing}
    )
    if results is not None:
        names = {
            name
            for name in names
            if not at(results, folders.FEATURES, study=study.owner, preprocessing=name).exists()
        }
    whitened = [name for name in names if isinstance(study.preprocessing[name], Zca)]
    return one * len(names) + 8 * size**2 * len(whitened)


def solution_bytes(study: Study, outputs: int, results: Path | None = None) -> int:
    """Bytes of the dual coefficients, and of what an iterative solve keeps for a resume.

    Args:
        results: sizes that are solved there are left out; None counts all.
    """
    coefficients, checkpoints = 0, 0
    for kernel in study.kernels:
        for n in study.training_sizes(kernel):
            if results is not None and (solution_folder(study, results, kernel, n) / "solved.json").exists():
                continue
            coefficients += 8 * study.draws(n, kernel) * n * outputs
            if study.method(n) == "iterative":
                checkpoints = max(checkpoints, checkpoint_bytes(study, n, outputs))
    return coefficients + checkpoints


def checkpoint_bytes(study: Study, n: int, outputs: int) -> int:
    """Bytes of what an iterative solve keeps for a resume: two checkpoints while it writes one, each with solution,
    residual and direction of every right-hand side; or the basis of a Krylov space of ``USUAL_PASSES``."""
    if not sweeps(study):
        return 2 * 3 * 8 * n * outputs
    beside = study.solver.random_columns
    return 8 * n * USUAL_PASSES * (outputs + (USUAL_COLUMNS if beside is None else beside))


def check_disk(study: Study, input_shape: Sequence[int], outputs: int, results: Path, data: int = 0) -> None:
    """Raise UserError where what is still to be written does not fit on the disk of ``results`` when it is fullest.

    That is features, kernel blocks and solutions, beside which everything else is small. A block takes its size
    once: it is computed in the file that becomes it.

    Args:
        data: bytes of raw examples that are still to be written.
    """
    blocks = 0
    for kernel, part, i, j, size in planned_blocks(study):
        names = {"study": study.owner, "kernel": kernel, "part": part, "i": i, "j": j}
        if not at(results, folders.BLOCK, **names).exists():
            blocks += max(size - _taken(at(results, folders.PARTIAL_BLOCK, **names)), 0)
    features = feature_bytes(study, input_shape, outputs, results)
    solutions = solution_bytes(study, outputs, results)
    free = free_bytes(results)
    if blocks + features + solutions + data > free:
        others = {"its features": features, "its solutions": solutions, "its examples": data}
        needed = ", ".join(f"{gibibytes(size)} for {what}" for what, size in others.items() if size)
        raise UserError(
            f"study {study.name} needs {gibibytes(blocks)} for its kernel blocks and {needed or 'nothing else'}, but "
            f"the disk of {results} has {gibibytes(free)} free: reduce training_sizes, use float32 or put results on "
            "a larger disk"
        )


def check_room(folder: Path, needed: int, what: str) -> None:
    """Raise UserError where the disk of ``folder`` lacks ``needed`` bytes for ``what``."""
    free = free_bytes(folder)
    if needed > free:
        raise UserError(
            f"{folder}: {what} take {gibibytes(needed)}, the disk has {gibibytes(free)} free: make room and run the "
            "same command again"
        )


def _taken(path: Path) -> int:
    """Bytes of the disk that a file has, 0 where there is none."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk where ``folder`` is or would be."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
