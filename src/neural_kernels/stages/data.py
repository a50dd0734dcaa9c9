"""From raw files to features: the stages of the rules prepare_data and preprocess_data."""

from __future__ import annotations

from pathlib import Path

from neural_kernels import datasets
from neural_kernels.errors import UserError
from neural_kernels.planning import costs as planning
from neural_kernels.preprocessing import features as preprocessing
from neural_kernels.stages.check import check_study
from neural_kernels.storage.files import read_json
from neural_kernels.study.folders import FEATURES, at, data_folder
from neural_kernels.study.study import Study, check_owner


def prepare_data(study: Study, results: Path) -> None:
    """Raw files to examples in their fixed order, once all that is known beforehand has been checked."""
    check_owner(study)
    check_study(study, results)
    datasets.prepare_data(study.data, data_folder(study, results), study.seed)


def preprocess_data(study: Study, results: Path, name: str) -> None:
    """Examples to features and targets."""
    check_owner(study)
    if name not in study.preprocessing:
        known = ", ".join(study.preprocessing)
        raise UserError(f"study {study.name} has no preprocessing {name!r}, expected one of {known}")
    folder = at(results, FEATURES, study=study.owner, preprocessing=name).parent
    data = data_folder(study, results)
    described = read_json(data / "data.json")
    needed = planning.feature_bytes(study, described["input_shape"], described["outputs"], results, name)
    planning.check_room(folder, needed, "its features")
    preprocessing.preprocess(study.preprocessing[name], data, folder)
