"""A preprocessing as it was fitted on a training set: applied, and kept for examples that come later."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.preprocessing import channels, zca
from neural_kernels.preprocessing.channels import ChannelStatistics
from neural_kernels.preprocessing.zca import Zca
from neural_kernels.storage.files import write_atomically

Fitted = ChannelStatistics | Zca | None
"""What standardize, zca and none learn of the training set."""


@dataclass(frozen=True)
class SavedTransform:
    """What turns a further example into features.

    Attributes:
        fitted: see ``Fitted``.
        kind: of the dtype of the training examples, as ``np.dtype.kind``.
        train_hash: of the training features that it gives, as in features.json.
    """

    fitted: Fitted
    kind: str
    train_hash: str


def apply(fitted: Fitted, x: np.ndarray) -> np.ndarray:
    """Features of ``x``, (n, ...) float64, C-contiguous. To rounding, an example does not depend on the others."""
    if fitted is None:
        features = np.asarray(x, np.float64)
    else:
        features = zca.apply(fitted, x) if isinstance(fitted, Zca) else channels.apply(fitted, x)
    return np.ascontiguousarray(features)


def save(path: Path, transform: SavedTransform) -> None:
    """``transform`` as an .npz file of plain arrays, whole or not at all."""
    arrays = {"kind": np.array(transform.kind), "train_hash": np.array(transform.train_hash)}
    fitted = transform.fitted
    if isinstance(fitted, Zca):
        arrays["whitening"] = fitted.whitening
        arrays["per_image_normalization"] = np.array(fitted.per_image_normalization)
    statistics = fitted.statistics if isinstance(fitted, Zca) else fitted
    if statistics is not None:
        arrays |= {"mean": statistics.mean, "scale": statistics.scale}
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def load(path: Path) -> SavedTransform:
    """What ``save`` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            fitted: Fitted = None
            if "mean" in arrays:
                fitted = statistics = ChannelStatistics(arrays["mean"], arrays["scale"])
                if "whitening" in arrays:
                    fitted = Zca(statistics, bool(arrays["per_image_normalization"]), arrays["whitening"])
            return SavedTransform(fitted, str(arrays["kind"]), str(arrays["train_hash"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read ({error}), expected a fitted preprocessing") from None
