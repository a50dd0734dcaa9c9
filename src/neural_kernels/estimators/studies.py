"""An estimator from what the workflow has made: data, features, kernel and solution of a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neural_kernels.architectures.composites import Term
from neural_kernels.datasets.flip import Options as Flip
from neural_kernels.errors import UserError
from neural_kernels.estimators.examples import Encoding, Kind, numbers_in
from neural_kernels.estimators.features import NeuralFeatures
from neural_kernels.estimators.training import Training, memory_budget
from neural_kernels.prediction import posterior
from neural_kernels.prediction.model import Model, load_model
from neural_kernels.study.folders import open_features_folder
from neural_kernels.study.study import load_study

if TYPE_CHECKING:
    from neural_kernels.estimators.model import NeuralKernelModel

_MOLECULES = ("smiles", "ogb")


def opened(
    estimator: NeuralKernelModel,
    config: Path,
    kernel: str | None,
    results: Path,
    size: int | None,
    classes: bool,
) -> dict[str, Any] | None:
    """Make ``estimator`` the solved model of a study's kernel; returns the scaling of its targets, None of none.

    Args:
        config: the study's file.
        kernel: its name; None where there is one.
        classes: whether it has to be a classification.

    Raises:
        UserError: something is missing, damaged, or of another task.
    """
    study = load_study(config)
    if kernel is None:
        if len(study.kernels) != 1:
            raise UserError(f"{config} has the kernels {', '.join(study.kernels)}: name one of them")
        (kernel,) = study.kernels
    model = load_model(study, results, kernel, size)
    described = model.described
    if (described["task"] == "classification") != classes:
        other = "NeuralKernelClassifier" if described["task"] == "classification" else "NeuralKernelRegressor"
        raise UserError(f"{config} is a study of {described['task']}: open it with {other}")
    features = open_features_folder(study, results, model.kernel)
    estimator.set_params(
        architecture=model.kernel.architecture,
        kind=model.kernel.kind,
        ridge=model.solution.record.ridge,
        preprocessing=study.preprocessing[model.kernel.preprocessing],
        precision=study.precision,
        engine=study.engine,
        memory=study.solver.memory_gib,
    )
    encoding = _encoding(model)
    estimator.inputs, estimator.weights_ = encoding.kind, (1.0,)
    estimator._terms = (Term(1.0, model.kernel.architecture, inputs=encoding.kind),)
    estimator.architecture_ = model.kernel.architecture
    estimator.preprocessing_ = (study.preprocessing[model.kernel.preprocessing],)
    estimator.features_ = NeuralFeatures(
        model.kernel.architecture,
        model.kernel.kind,
        study.engine,
        study.precision,
        encoding,
        model.transform.fitted,
    )
    estimator._x = features.examples("train.npy", (0, model.n))[: model.n]
    estimator.n_features_in_ = numbers_in(encoding)
    estimator._order, estimator._targets = np.arange(model.n), model.targets
    budget = memory_budget(study.solver.memory_gib)
    estimator._training = Training(
        None, model.store, model.targets, model.solution, None, budget, study.seed, study.precision
    )
    estimator.solve_, estimator.ridge_ = model.solution.record, model.solution.record.ridge
    estimator.dual_coef_ = model.solution.coefficients
    estimator.amplitude_ = posterior.amplitudes(model.targets, model.solution.coefficients)
    if classes:
        names = described["class_names"]
        estimator.classes_ = np.array(names) if names else np.arange(described["outputs"])
    scaling: dict[str, Any] | None = described["target_scaling"]
    return scaling


def _encoding(model: Model) -> Encoding:
    data, shape = model.study.data, tuple(model.described["input_shape"])
    if isinstance(data, Flip):
        return Encoding("strings", shape, data.letters)
    if shape[0] is None:
        return Encoding("molecules" if data.name in _MOLECULES else "graphs", shape)
    kinds: dict[int, Kind] = {1: "table", 2: "sequences", 3: "images"}
    return Encoding(kinds[len(shape)], shape)
