"""What a study will cost, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from neural_kernels import datasets
from neural_kernels.planning import costs as planning
from neural_kernels.planning import solve_seconds
from neural_kernels.planning.costs import KernelPlan
from neural_kernels.planning.text import describe
from neural_kernels.study.folders import features_folder, open_features_folder
from neural_kernels.study.study import Study, kernel_named


def plan_study(
    study: Study,
    results: Path,
    input_shape: tuple[int, ...] | None = None,
    outputs: int = 10,
    rates: Sequence[tuple[str | None, float]] = (),
    node_memory: float | None = None,
) -> str:
    """What the study will take, as text; nothing is written.

    Args:
        input_shape: shape of an example where the data is not at hand.
        outputs: classes or regression tasks where the data is not at hand.
        rates: pairs per second of one node, each with its kernel, or None for all that have none of their own; what
            is left out is measured on this machine.
        node_memory: GiB of memory of one node; this machine's where it is None.

    Raises:
        UserError: a rate is of a kernel that the study does not have.
    """
    given = dict(rates)
    for name in given.keys() - {None}:
        kernel_named(study, str(name))
    at_hand = input_shape is None
    if input_shape is None:
        summary = datasets.check_data(study.data)
        input_shape, outputs = summary.input_shape, summary.outputs
    plans = kernel_plans(study, results, input_shape, outputs, given, at_hand)
    pace = solve_seconds.measure_pace()
    solving = sum(solve_seconds.of_kernel(study, kernel, outputs, pace) for kernel in study.kernels)
    features = planning.feature_bytes(study, input_shape, outputs)
    memory = None if node_memory is None else node_memory * 2**30
    return describe(study, plans, features, results, memory, solving, pace)


def kernel_plans(
    study: Study,
    results: Path,
    input_shape: tuple[int, ...],
    outputs: int,
    given: Mapping[str | None, float],
    at_hand: bool,
) -> list[KernelPlan]:
    """The plan of each kernel, in the order of the study; arguments as of ``plan_study``.

    Args:
        given: rates by kernel, or by None.
        at_hand: whether the data is there, from which examples are measured where these matter.
    """
    plans = []
    for kernel in study.kernels.values():
        rate, engine = given.get(kernel.name, given.get(None)), None
        if kernel.imported is not None:
            engine = "imported"
        elif rate is None:
            examples = None
            if at_hand and (features_folder(study, results, kernel) / "features.json").exists():
                folder = open_features_folder(study, results, kernel)
                edge = min(study.block_edge(kernel.name), folder.summary["parts"]["train"])
                examples = folder.examples("train.npy", (0, edge))
            elif at_hand and planning.depends_on_examples(kernel, input_shape):
                examples = datasets.leading_examples(study.data, study.seed, study.block_edge(kernel.name))
            engine, rate = planning.calibrate(study, kernel, input_shape, features=examples)
        sizes = planning.kernel_sizes(study, kernel.name, outputs)
        plans.append(planning.plan_kernel(sizes, engine, rate))
    return plans
