"""What no section of a study can say alone: sizes, ladders and grids that have to fit together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from neural_kernels.datasets.options import LABELS
from neural_kernels.errors import UserError
from neural_kernels.preprocessing.options import AsItIs
from neural_kernels.study.candidate_grids import Grid

if TYPE_CHECKING:
    from neural_kernels.study.study import Study

MOST_SIZES = 1000
"""Of one ladder of training sizes."""

COMMITTEE = "bayesian_committee_machine"
"""How the names of approximations begin that compute the kernel among test examples."""

MOST_BLOCKS = 1_000_000
"""Of one kernel: Snakemake takes ten minutes to plan half as many."""


def check_study(path: Path, study: Study) -> None:
    """Refuse the study in ``path`` where its sections do not fit together.

    Raises:
        UserError: the first thing that does not, with its key.
    """
    _check_grids(path, study)
    _check_sizes(path, study)
    _check_ridge(path, study)
    _check_blocks(path, study)
    _check_imported(path, study)


def ladder_steps(smallest: int, largest: int, factor: float) -> float:
    """How often ``smallest`` is multiplied by ``factor`` to come to ``largest``."""
    return math.log(largest / smallest) / math.log(factor)


def _check_grids(path: Path, study: Study) -> None:
    """Grids and ranges of the config whose ends are the wrong way round."""
    approximations = study.sections.approximations
    grids: dict[str, Grid] = {"ridge": study.ridge}
    if approximations is not None:
        grids["approximations.jitter"] = approximations.jitter
    for where, grid in grids.items():
        if grid.candidates is not None:
            continue
        smallest, largest = grid.log10_smallest, grid.log10_largest
        if smallest > largest or (smallest == largest and grid.count > 1):
            raise UserError(
                f"{path}: {where} goes from log10_smallest {smallest:g} to log10_largest {largest:g} in {grid.count} "
                "candidates, expected the smaller one first"
            )
    low, high = study.fit.n_min, study.fit.n_max
    if low is not None and high is not None and low > high:
        raise UserError(f"{path}: fit.n_min is {low}, expected at most fit.n_max, {high}")


def _check_blocks(path: Path, study: Study) -> None:
    """Refuse what would be planned for days."""
    for kernel in study.kernels:
        edge, n = study.block_edge(kernel), study.training_sizes(kernel)[-1]
        columns = -(-n // edge)
        rows = sum(-(-size // edge) for size in study.evaluation_sizes(kernel).values())
        blocks = columns * (columns + 1) // 2 + rows * columns
        if blocks > MOST_BLOCKS:
            raise UserError(
                f"{path}: kernel {kernel} has {blocks:,} blocks of edge {edge} at n = {n}, expected at most "
                f"{MOST_BLOCKS:,}: raise blocks.edge"
            )


def _check_imported(path: Path, study: Study) -> None:
    """Refuse kernels of other programs on examples of which there is more than labels, and what needs an engine."""
    by_labels = study.data.name == LABELS
    for name, kernel in study.kernels.items():
        where = f"{path}: kernels.{name}"
        if kernel.imported is None:
            if by_labels:
                raise UserError(f"{where} has an architecture, but data.name is {LABELS}: expected imported")
            continue
        if not by_labels:
            raise UserError(
                f"{where} is imported, but data.name is {study.data.name}: expected {LABELS}, the labels of the "
                "rows of the kernel"
            )
        if not isinstance(study.preprocessing[kernel.preprocessing], AsItIs):
            raise UserError(
                f"{where} is imported, but preprocessing.{kernel.preprocessing} is not none: expected none"
            )
        for method, _ in study.approximations():
            if method.startswith(COMMITTEE):
                raise UserError(
                    f"{path}: approximations.methods has {method}, which needs the kernel among test examples, and "
                    f"kernel {name} is imported: expected other methods"
                )


def _chooses(study: Study) -> bool:
    """Whether anything of the study is chosen on its validation set."""
    by_validation = study.ridge.choose_by == "validation" and len(study.ridge_candidates()) > 1
    return by_validation or bool(study.approximations())


def _check_ridge(path: Path, study: Study) -> None:
    """Refuse a choice without a validation set where that would not be a choice, or not a fair one."""
    by = study.ridge.choose_by
    if by == "validation" or len(study.ridge_candidates()) == 1:
        return
    if by in ("loo", "gcv") and study.augmentation_factor > 1:
        raise UserError(
            f"{path}: ridge.choose_by is {by!r}, but the training set holds {study.augmentation_factor} copies of each "
            "image (data.augmentation), which predict each other: expected 'validation' or 'likelihood'"
        )
    solver = study.solver
    own_spaces = {
        "solver.block is false": not solver.block,
        f"solver.preconditioner.method is {solver.preconditioner.method}": solver.preconditioner.method
        not in ("auto", "none"),
        "the section tasks lets labels be missing": study.has_tasks,
    }
    why = next((reason for reason, holds in own_spaces.items() if holds), None)
    for name in study.kernels:
        largest = study.training_sizes(name)[-1]
        if why is not None and study.method(largest) == "iterative":
            raise UserError(
                f"{path}: ridge.choose_by is {by!r}, but training size {largest} of kernel {name} is above "
                f"solver.direct_up_to, {solver.direct_up_to}, and {why}: expected sizes that are solved directly, or "
                "'validation'"
            )


def _check_sizes(path: Path, study: Study) -> None:
    if study.data.validation_examples == 0 and _chooses(study):
        raise UserError(
            f"{path}: data.validation_examples is 0, expected a validation set to choose by, or one number in "
            "ridge.candidates or ridge.choose_by loo, gcv or likelihood, and no approximations"
        )
    available = study.training_examples
    if study.tuning is not None:
        study.tuning.check_sizes(f"{path}: tuning", study.part_sizes)
    ladder = study.sections.training_sizes
    largest = study.end_of_ladder if ladder.sizes is None else max(ladder.sizes)
    if largest > available:
        raise UserError(
            f"{path}: training_sizes asks for n = {largest}, but data.train_examples gives {available}"
            + (" with its augmented copies" if study.augmentation_factor > 1 else "")
        )
    if ladder.sizes is None:
        if ladder.smallest > largest:
            raise UserError(
                f"{path}: training_sizes.smallest is {ladder.smallest}, expected at most the largest, {largest}"
            )
        steps = ladder_steps(ladder.smallest, largest, ladder.factor)
        if steps > MOST_SIZES:
            raise UserError(
                f"{path}: training_sizes.factor is {ladder.factor}, which gives {steps:.0e} sizes from "
                f"{ladder.smallest} to {largest}, expected at most {MOST_SIZES:,}"
            )
    for name, kernel in study.kernels.items():
        if not study.training_sizes(name):
            raise UserError(
                f"{path}: kernels.{name}.largest_training_size is {kernel.largest_training_size}, below every "
                "training size"
            )
        n = study.training_sizes(name)[-1]
        asked = study.approximations()
        if asked:
            from neural_kernels.study.approximation_settings import TRUNCATED  # no block job waits for it
        for method, size in asked:
            if method != TRUNCATED and size > n:
                raise UserError(
                    f"{path}: approximations.sizes has {size}, expected at most {n}, the largest training size of "
                    f"kernel {name}"
                )
