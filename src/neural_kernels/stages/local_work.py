"""Which studies need no jobs of a cluster but for their blocks: the rest of their work is seconds.

A job of a cluster costs seconds of the scheduler's and of two Snakemakes' before it begins; of a study of a thousand
examples, sixty such jobs would have less than a second of work each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from neural_kernels import datasets
from neural_kernels.errors import UserError
from neural_kernels.planning.small_work import seconds_beside_blocks
from neural_kernels.stages.job_memory import shape_and_outputs
from neural_kernels.study.study import Study

SECONDS = 120
"""All that is not a block, on one core: what nobody minds on a login node."""

MOST_STORED = 2**30
"""Bytes of raw data that are read there."""


def local_seconds(value: Any) -> float:
    """The config value local_seconds.

    Raises:
        UserError: it is no number from 0.
    """
    if value is None:
        return SECONDS
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e9:
        raise UserError(
            f"config: local_seconds is {value!r}, expected seconds from 0, which submits every job"
        )
    return float(value)


def all_small(studies: Iterable[Study], limit: float) -> bool:
    """Whether there are studies, and each takes at most ``limit`` seconds beside its blocks.

    One whose data is not at hand is not small: nothing is known of it.
    """
    found = list(studies)
    return limit > 0 and bool(found) and all(_is_small(study, limit) for study in found)


def _is_small(study: Study, limit: float) -> bool:
    known = shape_and_outputs(study)
    if known is None or study.tuning is not None:
        return False
    try:
        stored = datasets.stored_bytes(study.data)
    except UserError:
        return False  # said by the job that reads it
    return stored <= MOST_STORED and seconds_beside_blocks(study, *known) <= limit
