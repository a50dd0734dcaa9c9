"""Where the results of a study lie: the one place for paths, which stages and rules share."""

from __future__ import annotations

from pathlib import Path

from neural_kernels import sealed_arrays
from neural_kernels.sealed_arrays import SealedFolder
from neural_kernels.study.study import Kernel, Study


def data_folder(study: Study, results: Path) -> Path:
    return results / study.owner / "data"


def features_folder(study: Study, results: Path, kernel: Kernel) -> Path:
    return results / study.owner / "features" / kernel.preprocessing


def store_folder(study: Study, results: Path, kernel: str, part: str) -> Path:
    return results / study.owner / "kernels" / kernel / part


def solution_folder(study: Study, results: Path, kernel: str, n: int) -> Path:
    return results / study.name / "solutions" / kernel / study.method(n) / f"n{n}"


def metrics_file(study: Study, results: Path, kernel: str, n: int) -> Path:
    return results / study.name / "metrics" / kernel / f"n{n}.parquet"


def open_features_folder(study: Study, results: Path, kernel: Kernel) -> SealedFolder:
    """The folder of the features, targets and labels that a kernel is made of and solved for."""
    return sealed_arrays.open_folder(features_folder(study, results, kernel) / "features.json")
