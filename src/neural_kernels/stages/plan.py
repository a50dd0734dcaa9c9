"""What a study will cost, as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from neural_kernels import datasets
from neural_kernels.planning import costs as planning
from neural_kernels.planning.text import describe
from neural_kernels.study.folders import features_folder, open_features_folder
from neural_kernels.study.study import Study


def plan_study(
    study: Study,
    results: Path,
    input_shape: tuple[int, ...] | None = None,
    rates: Mapping[str | None, float] = MappingProxyType({}),
    node_memory: float | None = None,
    outputs: int = 10,
) -> str:
    """What the study will take, as text; nothing is written.

    Args:
        input_shape: shape of an example where the data is not at hand.
        rates: pairs per second of one node by kernel, under None for the others; what is left out is
            measured on this machine.
        node_memory: bytes of memory of one node; this machine's where it is None.
        outputs: classes or regression tasks where the data is not at hand.
    """
    at_hand = input_shape is None
    if input_shape is None:
        summary = datasets.check_data(study.data)
        input_shape, outputs = summary.input_shape, summary.outputs
    plans = []
    for kernel in study.kernels.values():
        rate, engine = rates.get(kernel.name, rates.get(None)), None
        if rate is None:
            examples = None
            if at_hand and (features_folder(study, results, kernel) / "features.json").exists():
                folder = open_features_folder(study, results, kernel)
                edge = min(study.block_edge(kernel.name), folder.summary["parts"]["train"])
                examples = folder.examples("train.npy", (0, edge))
            engine, rate = planning.calibrate(study, kernel, input_shape, features=examples)
        sizes = planning.kernel_sizes(study, kernel.name, outputs)
        plans.append(planning.plan_kernel(sizes, engine, rate))
    features = planning.feature_bytes(study, input_shape, outputs)
    return describe(study, plans, features, results, node_memory)
