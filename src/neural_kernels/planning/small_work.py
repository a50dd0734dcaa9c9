"""How long the jobs of a study take that compute no block: whether each is worth being submitted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from neural_kernels.baselines.methods import MOST_LOOKED_AT, TREES
from neural_kernels.graphs import TYPICAL_NODES
from neural_kernels.planning import costs
from neural_kernels.planning.solve_seconds import Pace, of_kernel
from neural_kernels.preprocessing.options import Zca
from neural_kernels.study.study import Study

LOGIN = Pace(flops=1e10, bytes=1e8)
"""What is taken of the machine that Snakemake runs on: one core, and a disk that others use."""

EIGENVALUES = 20
"""Multiply-adds of all eigenvalues and eigenvectors of a symmetric matrix, times its size cubed, two each."""


OF_A_SPLIT = 20
"""Operations of an example and feature at each depth of a tree."""


def seconds_beside_blocks(
    study: Study, input_shape: Sequence[int], outputs: int, pace: Pace = LOGIN
) -> float:
    """Seconds of everything but blocks and trials: examples, features, solves, approximations, predictions."""
    size = math.prod(TYPICAL_NODES if length is None else length for length in input_shape)
    # Examples are written and read as the features are.
    passes = 3 * costs.feature_bytes(study, input_shape, outputs) / pace.bytes
    whitened = sum(isinstance(options, Zca) for options in study.preprocessing.values())
    whitening = whitened * EIGENVALUES * size**3 / pace.flops
    simple = _of_baselines(study, size, outputs, pace)
    return (
        passes
        + whitening
        + simple
        + sum(_of_kernel(study, kernel, outputs, pace) for kernel in study.kernels)
    )


def _of_baselines(study: Study, size: int, outputs: int, pace: Pace) -> float:
    """Of the forests, which take longest: one for each output where labels are missing."""
    count = min(study.sections.baselines.examples, study.images)
    looked_at = min(max(1, size // 3), MOST_LOOKED_AT)
    return OF_A_SPLIT * TREES * count * math.log2(count + 1) * looked_at * outputs / pace.flops


def _of_kernel(study: Study, kernel: str, outputs: int, pace: Pace) -> float:
    approximated = len(study.approximations())
    solves = of_kernel(study, kernel, outputs, pace) * (1 + approximated)
    predicted = EIGENVALUES * study.predicted_from(kernel) ** 3 / pace.flops
    rows = sum(study.evaluation_sizes(kernel).values())
    read = sum(8 * n * rows for n in study.training_sizes(kernel)) * (1 + approximated) / pace.bytes
    return solves + predicted + read
