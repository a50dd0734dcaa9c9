"""Whether a study's config fits its data: what would stop a later stage, said before the first one starts."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

from neural_kernels import engines
from neural_kernels.architectures import output_shape
from neural_kernels.blocks.kernel_files import open_kernel
from neural_kernels.datasets import DataSummary, labels
from neural_kernels.errors import UserError
from neural_kernels.graphs import is_graphs
from neural_kernels.planning import costs as planning
from neural_kernels.preprocessing.options import AsItIs, Preprocessing, Standardize, Zca
from neural_kernels.study.study import Kernel, Study

log = logging.getLogger(__name__)


def check_fit(study: Study, summary: DataSummary) -> None:
    """Refuse preprocessings, kernels, objectives, reports and memory that do not fit the data.

    Raises:
        UserError: the first thing that does not, with its key.
    """
    where = f"config/{study.name}.yaml"
    for name, options in study.preprocessing.items():
        _check_preprocessing(f"{where}: preprocessing.{name}", options, summary)
    for kernel in study.kernels.values():
        if kernel.imported is not None:
            _check_imported(f"{where}: kernels.{kernel.name}", kernel, study)
            continue
        output_shape(kernel.architecture, summary.input_shape)
        engines.select(study.engine, kernel.architecture, summary.input_shape)
    _check_objectives(study, summary)
    _check_tasks(where, study, summary)
    _check_memory(where, study, summary)
    if study.augmentation_factor > 1:
        _warn_of_factors(study)


def _check_imported(where: str, kernel: Kernel, study: Study) -> None:
    assert kernel.imported is not None
    source, rows = open_kernel(kernel.imported, kernel.kind), len(labels.read(Path(study.data.source)))
    if source.examples != rows:
        raise UserError(
            f"{where}.imported has the kernel of {source.examples} examples, but {study.data.source} has {rows} labels"
        )


def _check_preprocessing(where: str, options: Preprocessing, summary: DataSummary) -> None:
    asked = None if isinstance(options, AsItIs) else options.fit_examples
    there = summary.parts["train"]
    if asked is not None and asked > there:
        raise UserError(f"{where}.fit_examples is {asked}, expected at most the {there} training examples")
    if not is_graphs(summary.input_shape):
        return
    if isinstance(options, Zca):
        raise UserError(f"{where}.method is zca, but the examples are graphs: expected standardize or none")
    if isinstance(options, Standardize) and options.each_position:
        raise UserError(f"{where}.each_position is true, but the nodes of graphs have no positions")


def _check_objectives(study: Study, summary: DataSummary) -> None:
    # Metrics take long to load, and of the first stages only this one looks at them.
    from neural_kernels.metrics.objectives import objective_named, ridge_objective

    ridge_objective(study.ridge.objective, summary.task)
    if study.tuning is None:
        return
    objective_named(study.tuning.objective, summary.task)
    baseline = study.tuning.baseline.build()
    engines.select(study.engine, baseline, summary.input_shape)
    if importlib.util.find_spec("optuna") is None:
        raise UserError("tuning needs the package optuna: install neural-kernels with the extra tuning")


def _check_tasks(where: str, study: Study, summary: DataSummary) -> None:
    tasks = study.sections.tasks
    if tasks is None:
        return
    if summary.task == "classification":
        raise UserError(f"{where} has the section tasks, but the data is a classification: expected none")
    for number, figure in enumerate(tasks.published):
        if figure.test_set not in summary.test_sets:
            raise UserError(
                f"{where}: tasks.published.{number}.test_set is {figure.test_set!r}, expected one of "
                f"{', '.join(summary.test_sets)}"
            )


def _check_memory(where: str, study: Study, summary: DataSummary) -> None:
    """Each solve in solver.memory_gib; what missing labels add is only known with the labels."""
    from neural_kernels.solvers.registry import solver_of_size

    solver = study.solver
    rank = solver.preconditioner.least_rank
    budget = solver.memory_gib * 2**30
    for kernel in study.kernels:
        for n in study.training_sizes(kernel):
            chosen = solver_of_size(n, solver.direct_up_to, planning.sweeps(study))
            needed = chosen.working_bytes(
                n, summary.outputs, rank, masks=0, ridges=len(study.ridge_candidates())
            )
            if needed > budget:
                raise UserError(
                    f"{where}: solver.memory_gib is {solver.memory_gib:g}, but the {study.method(n)} solve of "
                    f"n = {n} takes {needed / 2**30:.3g} GiB: raise it, or {chosen.thrift}"
                )


def _warn_of_factors(study: Study) -> None:
    """Other sizes have a scaling report all the same."""
    try:
        for kernel in study.kernels:
            study.augmentation_factors(kernel)
    except UserError as error:
        log.warning("results/%s_augmentation.pdf cannot be made: %s", study.name, error)
