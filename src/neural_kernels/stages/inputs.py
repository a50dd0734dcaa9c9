"""What the rules of the workflow need: the files of each job, and the settings that its output depends on.

All follows from configs and from which files there are, since these functions run while the workflow is planned, for
every job. A parameter is called as the wildcard that it comes from; ``study``, ``comparison`` and ``table`` are what
the config of that name says.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from neural_kernels.blocks import Grid
from neural_kernels.blocks.flip_symmetry import same_block
from neural_kernels.errors import UserError
from neural_kernels.planning.costs import planned_blocks
from neural_kernels.planning.small_sizes import small_sizes, some_small_sizes
from neural_kernels.stages.report_kinds import REPORT_KINDS, short_report
from neural_kernels.study import folders
from neural_kernels.study.published_table import ComparisonTable
from neural_kernels.study.split_comparison import Comparison
from neural_kernels.study.study import Study, kernel_named
from neural_kernels.tuning.settings import Tuning

RESULTS = Path("results")

# ---------------------------------------------------------------------------------------- settings


def settings(*sections: str) -> Callable[[Study], dict[str, Any]]:
    """A function of a study: these sections of its config."""
    return lambda study: study.plain(*sections)


def kernel_settings(study: Study, kernel: str) -> dict[str, Any]:
    """What a kernel is; how far it is used does not change that."""
    options = study.plain("kernels")["kernels"][kernel_named(study, kernel).name]
    limits = ("largest_training_size", "validation_examples", "test_examples")
    return {key: value for key, value in options.items() if key not in limits}


def preprocessing_settings(study: Study, preprocessing: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = study.plain("preprocessing")["preprocessing"].get(preprocessing)
    return found


def approximation_settings(study: Study) -> dict[str, Any]:
    """How an approximation is chosen; which others there are does not change it."""
    REPORT_KINDS["approximations"].check(study)
    section = study.plain("approximations")["approximations"]
    return {key: section[key] for key in ("jitter", "draws")}


def tested_sets(study: Study) -> Any:
    return study.plain("data")["data"]["test_sets"]


def tuning_identity(study: Study) -> dict[str, Any]:
    """What makes the values of trials comparable."""
    return _tuning(study).identity


def transfer_examples(study: Study) -> int:
    """Training examples that the best trials are judged with once more."""
    transfer = _tuning(study).transfer
    if transfer is None:
        raise UserError(f"config/{study.name}.yaml has no section tuning.transfer")
    return transfer.training_examples


def published(comparison: Comparison) -> list[Any]:
    """What a comparison's report shows that no study has computed."""
    columns = [[column.name, column.source, dict(column.values)] for column in comparison.published]
    return [comparison.title, comparison.note, list(comparison.studies), columns]


# --------------------------------------------------------------------------------- data and blocks


def data(study: Study) -> str:
    return _at(folders.DATA, study=study.owner)


def features(study: Study, kernel: str) -> str:
    """Features that the kernel is computed on."""
    preprocessing = kernel_named(study, kernel).preprocessing
    return _at(folders.FEATURES, study=study.owner, preprocessing=preprocessing)


def new_block(study: Study, kernel: str, part: str, i: int, j: int) -> list[str]:
    """kernel.json, features, and a block with the same entries where there is one; a block that is there, if only
    by its other name, needs nothing.

    Features are named where they alone are missing: what makes kernel.json needs them too, and a file more of each of
    some 50,000 blocks is a fifth of what planning takes.

    So no date of a file can throw finished blocks away: whether they belong to the data and the architecture
    is decided by their fingerprint, when kernel.json is written and when they are used. (ancient() would say
    it more plainly, but hides from Snakemake 9.27 that what lies behind an ancient file has to be made.)
    """
    names = {"study": study.name, "kernel": kernel, "part": part, "i": i, "j": j}
    if any(os.path.exists(_at(pattern, **names)) for pattern in (folders.BLOCK, folders.KEPT_BLOCK)):
        return []
    described, made_from = _at(folders.KERNEL, **names), features(study, kernel)
    needed = [described]
    if os.path.exists(described) and not os.path.exists(made_from):
        needed.append(made_from)
    return needed + _same_block(study, kernel, part, (i, j))


def study_blocks(study: Study, kernel: str | None = None) -> list[str]:
    """Every block that a study reads, or that it reads of one kernel."""
    stores = itertools.groupby(planned_blocks(study), key=lambda block: block[:2])
    return [
        file
        for (name, part), blocks in stores
        if kernel in (None, name)
        for file in _blocks(study, name, part, ((i, j) for _, _, i, j, _ in blocks))
    ]


def deleted_blocks(study: Study) -> list[str]:
    """Blocks that are not there, or not any more.

    Snakemake looks for a missing file only where something that needs it has to be made: a block that was deleted,
    or set aside because it is faulty, would not be missed behind a finished report.
    """
    return _missing(study_blocks(study))


# --------------------------------------------------------------------------- solutions and metrics


def training_blocks(study: Study, kernel: str, n: int) -> list[str]:
    """Diagonal windows of the training kernel, one a draw, the validation rows where these choose, what both are, and
    the targets.

    The targets' features.json, as that of other rules, is made again with them once a faulty file has been set aside.
    """
    grid = _training_grid(study, kernel)
    windows = study.windows(n, kernel)
    touched = sorted({block for window in windows for block in grid.window_blocks(*window)})
    needed = _blocks(study, kernel, "train", touched)
    described = [_declaration(study, kernel, "train"), features(study, kernel)]
    rows = study.evaluation_sizes(kernel).get("validation")
    if rows is not None and study.ridge.choose_by == "validation":
        needed += _rows_of_blocks(study, kernel, "validation", rows, n)
        described.append(_declaration(study, kernel, "validation"))
    return needed + described


def solution(study: Study, kernel: str, n: int) -> str:
    """Of a size by itself."""
    names = {"study": study.name, "kernel": kernel, "method": study.method(n), "n": n}
    return _at(folders.SOLVED, **names)


def evaluation_blocks(study: Study, kernel: str, n: int) -> list[str]:
    """Kernel rows of the validation and test sets against the training examples of size ``n``, and what they are."""
    sizes = study.evaluation_sizes(kernel)
    needed = [
        block for part, size in sizes.items() for block in _rows_of_blocks(study, kernel, part, size, n)
    ]
    described = [_declaration(study, kernel, part) for part in sizes]
    return [*needed, *described, features(study, kernel)]


def solved_with(study: Study, kernel: str, n: int) -> str:
    """The file whose job solves size ``n`` for a report: its own, or that of all small sizes."""
    if n in small_sizes(study, kernel):
        return small_solved(study, kernel)
    return solution(study, kernel, n)


def evaluated_with(study: Study, kernel: str, n: int) -> str:
    """The file whose job evaluates size ``n`` for a report: its own, or that of all small sizes."""
    if n in small_sizes(study, kernel):
        return _at(folders.SMALL_EVALUATED, study=study.name, kernel=kernel)
    return _metrics_file(study, kernel, n)


def small_training_blocks(study: Study, kernel: str) -> list[str]:
    """``training_blocks`` of all small sizes."""
    return _once(file for n in some_small_sizes(study, kernel) for file in training_blocks(study, kernel, n))


def small_evaluation_blocks(study: Study, kernel: str) -> list[str]:
    """``evaluation_blocks`` of all small sizes."""
    return _once(
        file for n in some_small_sizes(study, kernel) for file in evaluation_blocks(study, kernel, n)
    )


def small_draws(study: Study, kernel: str) -> dict[int, int]:
    """Each small size, and its draws, which a longer ladder has more of."""
    return {n: study.draws(n, kernel) for n in some_small_sizes(study, kernel)}


def small_solved(study: Study, kernel: str) -> str:
    """What vouches for the solutions of all small sizes."""
    return _at(folders.SMALL_SOLVED, study=study.name, kernel=kernel)


def unsolved_small_sizes(study: Study, kernel: str) -> list[str]:
    """The file of all small sizes, where one of them is not solved any more, or was solved anew."""
    files = [solution(study, kernel, n) for n in some_small_sizes(study, kernel)]
    return _unvouched(small_solved(study, kernel), files)


def unevaluated_small_sizes(study: Study, kernel: str) -> list[str]:
    """The file of all small sizes, where one of them lacks its metrics, or was evaluated anew."""
    files = [_metrics_file(study, kernel, n) for n in some_small_sizes(study, kernel)]
    return _unvouched(_at(folders.SMALL_EVALUATED, study=study.name, kernel=kernel), files)


def learning_curve_blocks(study: Study, kernel: str) -> list[str]:
    """The kernel matrix that the learning curve is predicted from, and the solutions whose ridges it takes."""
    n = study.predicted_from(kernel)
    if n == 0:
        return []
    needed = _blocks(study, kernel, "train", _training_grid(study, kernel).window_blocks(0, n))
    needed += [_declaration(study, kernel, "train"), features(study, kernel)]
    solved = (solved_with(study, kernel, size) for size in study.training_sizes(kernel) if size <= n)
    return needed + _once(solved)


def learning_curves(study: Study) -> list[str]:
    """The predicted learning curve of every kernel."""
    return [_at(folders.LEARNING_CURVE, study=study.name, kernel=kernel) for kernel in study.kernels]


def baselines(study: Study) -> list[str]:
    """Scores of the simple methods, where the study fits some."""
    return [_at(folders.BASELINES, study=study.name)] if study.sections.baselines.examples else []


def baseline_files(study: Study) -> list[str]:
    """What they are fitted to, and what scaled its targets, which every kernel shares."""
    return [data(study), features(study, next(iter(study.kernels)))]


def metrics_files(study: Study) -> list[str]:
    """What vouches for the metrics of every kernel and size."""
    return _once(
        evaluated_with(study, kernel, n) for kernel in study.kernels for n in study.training_sizes(kernel)
    )


# ------------------------------------------------------------------------------------------ reports


def augmentation_files(study: Study) -> list[str]:
    """Metrics of every factor and the study's images, after a look at the sizes that were asked for."""
    REPORT_KINDS["augmentation"].check(study)
    return [*_tables(study), data(study)]


def tasks_files(study: Study) -> list[str]:
    """The tables of a study whose tasks are reported one by one."""
    REPORT_KINDS["tasks"].check(study)
    return [*_tables(study), *baselines(study)]


def unscored_metrics(study: Study) -> list[str]:
    """Metrics that lack the scores of each task beside them, which are no rule's output: both are made again."""
    return _once(
        evaluated_with(study, kernel, n)
        for kernel in study.kernels
        for n in study.training_sizes(kernel)
        if not folders.task_scores_file(study, RESULTS, kernel, n).exists()
    )


def split_files(comparison: Comparison) -> list[str]:
    """Of every study that is compared, its metrics, its sweeps over the ridge, and predictions at the largest n."""
    files = []
    for study in comparison.run.values():
        files += [_at(pattern, study=study.name) for pattern in (folders.METRICS, folders.RIDGES)]
        files += baselines(study)
        files += [
            str(folders.predictions_file(study, RESULTS, kernel, study.training_sizes(kernel)[-1]))
            for kernel in study.kernels
        ]
    return files


def compared_metrics(table: ComparisonTable) -> list[str]:
    """Metrics tables of a table's studies, those that are there.

    By their whole paths, which are no rule's output: a table shows what was run, and asking for it must not bring
    studies up to date, which may take days.
    """
    return list(map(str, table.metrics_files(RESULTS.absolute()).values()))


def compared_studies(table: ComparisonTable) -> list[str]:
    """The studies that have been run: one whose results were deleted leaves the table too."""
    return list(table.metrics_files(RESULTS.absolute()))


def long_report(reported: Study | Comparison) -> str:
    """The report that results/<reported>.pdf is short for."""
    if isinstance(reported, Comparison):
        return _at(folders.SPLITS_REPORT, comparison=reported.name)
    return _at(folders.report(short_report(reported).name), study=reported.name)


# ----------------------------------------------------------------------------------- approximations


def approximation_blocks(study: Study, kernel: str, method: str, size: int) -> list[str]:
    """Blocks of the largest training size and of every part that is predicted, after a look at what was asked."""
    REPORT_KINDS["approximations"].check(study)
    if (method, size) not in study.approximations():
        raise UserError(f"config/{study.name}.yaml has no approximation {method} of size {size}")
    kernel_named(study, kernel)
    parts = ("train", *study.evaluation_sizes(kernel))
    described = [_declaration(study, kernel, part) for part in parts]
    return [*study_blocks(study, kernel), *described, features(study, kernel)]


def approximation_files(study: Study) -> list[str]:
    """Metrics of every approximation and of the full solutions."""
    REPORT_KINDS["approximations"].check(study)
    full = [evaluated_with(study, kernel, study.training_sizes(kernel)[-1]) for kernel in study.kernels]
    return full + [
        str(folders.approximation_file(study, RESULTS, kernel, method, size))
        for kernel in study.kernels
        for method, size in study.approximations()
    ]


# ------------------------------------------------------------------------------------------- tuning


def new_trial(study: Study, trial: int) -> list[str]:
    """A trial that is there needs nothing, as a block: its record says what it was made with."""
    if os.path.exists(_at(folders.TRIAL, study=study.name, trial=trial)):
        return []
    return [_at(folders.TUNING_STARTED, study=study.name), data(study)]


def trial_files(study: Study) -> list[str]:
    """The record of every trial."""
    trials = range(_tuning(study).trials)
    return [_at(folders.TRIAL, study=study.name, trial=trial) for trial in trials]


def deleted_trials(study: Study) -> list[str]:
    """Records that are not there, or not any more; see ``deleted_blocks``."""
    return _missing(trial_files(study))


def tuning_results(study: Study) -> list[str]:
    """The records of all trials, and what was computed once they had ended."""
    transfer = _tuning(study).transfer
    places = [] if transfer is None else ["baseline", *range(transfer.trials)]
    return [
        *trial_files(study),
        *(
            _at(folders.TUNED_TEST, study=study.name, candidate=candidate)
            for candidate in ("tuned", "baseline")
        ),
        *(_at(folders.TRANSFER, study=study.name, place=place) for place in places),
    ]


def _tuning(study: Study) -> Tuning:
    REPORT_KINDS["tuning"].check(study)
    assert study.tuning is not None
    return study.tuning


# ------------------------------------------------------------------------------------------- shared


def _at(pattern: str, **names: object) -> str:
    return f"{RESULTS}/{folders.filled(pattern, **names)}"


def _metrics_file(study: Study, kernel: str, n: int) -> str:
    return str(folders.metrics_file(study, RESULTS, kernel, n))


def _missing(files: list[str]) -> list[str]:
    return [file for file in files if not os.path.exists(file)]


def _once(files: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(files))


def _unvouched(vouching: str, files: list[str]) -> list[str]:
    """``vouching``, if it is there and one of ``files`` is not, or is newer.

    Snakemake does not know of them, so that it would miss none: see ``deleted_blocks``.
    """
    try:
        written = os.stat(vouching).st_mtime_ns
        stale = any(os.stat(file).st_mtime_ns > written for file in files)
    except FileNotFoundError:
        stale = os.path.exists(vouching)
    return [vouching] if stale else []


def _tables(study: Study) -> list[str]:
    tables = (folders.METRICS, folders.CONVERGENCE, folders.RIDGES)
    return [_at(pattern, study=study.name) for pattern in tables]


def _blocks(study: Study, kernel: str, part: str, blocks: Iterable[tuple[int, int]]) -> list[str]:
    # Of one store there may be ten thousands: what they share is filled in once.
    pattern = _at(folders.BLOCK, study=study.owner, kernel=kernel, part=part)
    return [pattern.format(i=i, j=j) for i, j in blocks]


def _declaration(study: Study, kernel: str, part: str) -> str:
    return _at(folders.KERNEL, study=study.owner, kernel=kernel, part=part)


def _training_grid(study: Study, kernel: str) -> Grid:
    return Grid(study.training_examples, study.training_examples, study.block_edge(kernel), symmetric=True)


def _rows_of_blocks(study: Study, kernel: str, part: str, rows: int, n: int) -> list[str]:
    """Blocks of the leading rows of a part against the training examples that the draws of size ``n`` take."""
    reach = study.windows(n, kernel)[-1][1]
    grid = Grid(rows, reach, study.block_edge(kernel), symmetric=False)
    return _blocks(study, kernel, part, grid.blocks())


def _same_block(study: Study, kernel: str, part: str, block: tuple[int, int]) -> list[str]:
    """The block of images and flips that has the same entries, if there is one."""
    if part != "train" or not study.flipped_images:
        return []
    i, j, _ = same_block(_training_grid(study, kernel), *block, study.flipped_images)
    return [] if (i, j) == block else _blocks(study, kernel, "train", [(i, j)])
