"""How much memory the jobs of the workflow's rules ask for, in MiB: what follows from the study, and where the data is
not at hand the most that any takes.

A function is called as its rule, and its parameters as those of ``inputs``. A job that was killed for its memory is
tried again with as much again (``of_attempt``), but never with more than a node has.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels import datasets
from neural_kernels.baselines.circular import BITS
from neural_kernels.errors import UserError
from neural_kernels.graphs import TYPICAL_NODES
from neural_kernels.planning import costs as planning
from neural_kernels.planning.small_sizes import small_sizes
from neural_kernels.preprocessing.options import Zca
from neural_kernels.stages.baseline_sizes import predicted_parts, trained_on
from neural_kernels.stages.inputs import RESULTS
from neural_kernels.storage.files import read_json
from neural_kernels.study.folders import data_folder
from neural_kernels.study.study import Study

log = logging.getLogger(__name__)

MIB = 2**20

PROGRAM = 2000
"""Of a job beside what it works on: Python with its libraries, and the Snakemake that runs it on a node."""

SPREAD_UP_TO = 4096
"""Training examples whose kernel is factorised again for the spread of test examples; of more, ``predict --variance``
has it."""

ENGINE = 2000
"""Of a block: examples of a panel and planes in work, whatever its edge. The native engine takes a twentieth."""

MOST_DATA, MOST_FEATURES = 14_000, 30_000
"""Examples are read and written a chunk at a time, through memory maps: more than this is never needed at once."""

USUAL_OUTPUTS = 10


def of_attempt(needed: int, attempt: int, node: int | None) -> int:
    """MiB that an attempt, the first being 1, asks for.

    Args:
        node: MiB that the largest node has for a job, None where no profile says.
    """
    asked = attempt * needed
    return asked if node is None else min(asked, node)


def node_memory(value: Any) -> int | None:
    """The config value node_memory_mb of a profile.

    Raises:
        UserError: it is no positive whole number.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise UserError(
            f"config: node_memory_mb is {value!r}, expected MiB of the largest node, a positive whole number"
        )
    return value


def check_fits(study: Study, node: int | None) -> None:
    """Refuse a study with a job that no node has the memory for: one that is sure to need it, whatever the data.

    Raises:
        UserError: the rule, and the key of the study to lower.
    """
    if node is None or study.tuning is not None:
        return
    needed = {
        "compute_block": (max(compute_block(study, kernel) for kernel in study.kernels), "blocks.edge"),
        "solve_iteratively": (solve(study), "solver.memory_gib"),
    }
    for rule, (size, key) in needed.items():
        if size > node:
            raise UserError(
                f"config/{study.name}.yaml: jobs of {rule} need {size} MiB, but the profile's node_memory_mb is "
                f"{node}: lower {key} or ask for larger nodes"
            )


def prepare_data(study: Study) -> int:
    try:
        stored = math.ceil(2 * datasets.stored_bytes(study.data) / MIB)
    except UserError as error:
        log.debug("%s", error)  # said by the job itself
        stored = MOST_DATA
    return PROGRAM + min(stored, MOST_DATA)


def preprocess_data(study: Study, preprocessing: str) -> int:
    known = shape_and_outputs(study)
    if known is None or preprocessing not in study.preprocessing:
        return PROGRAM + MOST_FEATURES
    shape, outputs = known
    features = planning.feature_bytes(study, shape, outputs, preprocessing=preprocessing)
    needed = min(math.ceil(2 * features / MIB), MOST_FEATURES)
    if isinstance(study.preprocessing[preprocessing], Zca):
        # Covariance, eigenvectors, whitening, and what LAPACK works in.
        size = math.prod(TYPICAL_NODES if length is None else length for length in shape)
        needed += math.ceil(8 * 8 * size**2 / MIB)
    return PROGRAM + needed


def compute_block(study: Study, kernel: str) -> int:
    return PROGRAM + ENGINE + 3 * _block(study, kernel)


def solve(study: Study) -> int:
    """Of all that stays within solver.memory_gib: solves, the learning curve, approximations; of one process."""
    return PROGRAM // 2 + math.ceil(1024 * study.solver.memory_gib)


def evaluate_predictions(study: Study, kernel: str, n: int) -> int:
    known = shape_and_outputs(study)
    outputs = USUAL_OUTPUTS if known is None else known[1]
    coefficients = 8 * n * study.draws(n, kernel) * outputs
    # A spread, and what is left out, factorises the kernel once more, beside copies.
    matrix = 3 * 8 * n**2 if n <= SPREAD_UP_TO else 0
    return PROGRAM + 3 * _block(study, kernel) + math.ceil((3 * coefficients + matrix) / MIB)


def evaluate_small_sizes(study: Study, kernel: str) -> int:
    """One after the other: that of the largest."""
    needed = (evaluate_predictions(study, kernel, n) for n in small_sizes(study, kernel))
    return max(needed, default=PROGRAM)


def fit_baselines(study: Study) -> int:
    """Examples as rows of numbers, three times; more than ``MOST_FEATURES`` is never asked for at first."""
    known = shape_and_outputs(study)
    if known is None:
        return PROGRAM + MOST_FEATURES
    shape, _ = known
    # A graph is a fingerprint.
    numbers = BITS if None in shape else math.prod(shape)
    rows = trained_on(study) + max(predicted_parts(study).values(), default=0)
    return PROGRAM + min(math.ceil(3 * 8 * rows * numbers / MIB), MOST_FEATURES)


def _block(study: Study, kernel: str) -> int:
    """MiB of the entries of the largest block."""
    if kernel not in study.kernels:
        return 0  # refused by the rule's input
    edge = min(study.block_edge(kernel), max(study.part_sizes.values()))
    return math.ceil(edge**2 * np.dtype(study.precision).itemsize / MIB)


def shape_and_outputs(study: Study) -> tuple[tuple[int, ...], int] | None:
    """The shape of an example and the number of targets, None where the data is not at hand."""
    described: Path = data_folder(study, RESULTS) / "data.json"
    try:
        if described.exists():
            found = read_json(described)
            return tuple(found["input_shape"]), int(found["outputs"])
        summary = datasets.check_data(study.data)
    except (UserError, KeyError) as error:
        log.debug("%s", error)  # said by the job itself
        return None
    return summary.input_shape, summary.outputs
