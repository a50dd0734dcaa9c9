"""Regularised ZCA whitening (paper, Appendix B.1; Lee et al. 2020)."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.machine.threads import blas_threads, each_alone
from neural_kernels.preprocessing import channels
from neural_kernels.preprocessing.channels import ChannelStatistics
from neural_kernels.storage.files import write_atomically


@dataclass(frozen=True)
class Zca:
    """A fitted transform. ``whitening`` is (d, d) float64, symmetric; an example has d values."""

    statistics: ChannelStatistics
    per_image_normalization: bool
    whitening: np.ndarray


def fit(
    batches: Callable[[], Iterable[np.ndarray]], regularization: float, per_image_normalization: bool = True
) -> Zca:
    """Whitening of the training images that ``batches()`` yields, each time from the beginning.

    With X the (n, d) images after the standardisation of each channel and, where asked for, of each
    image: C = X^T X / n, r = regularization * tr(C) / d, and the whitening is U S^(-1/2) U^T, where
    C + r I = U S U^T.

    Args:
        batches: (n, *input_shape) arrays, channels last; read twice. d^2 float64 numbers have to fit in
            memory a few times.
        regularization: relative to the mean eigenvalue of C.
        per_image_normalization: subtract each image's mean and scale it to unit norm.

    Raises:
        UserError: images without any variance, or a singular covariance with ``regularization`` 0.
    """
    statistics, covariance = _moments(batches, per_image_normalization)
    shift = regularization * _mean_eigenvalue(covariance)
    # On one thread, as in _moments: with another number of them, the last bits would be others.
    with blas_threads(1):
        eigenvalues, vectors = np.linalg.eigh(covariance + shift * np.eye(len(covariance)))
        whitening = _inverse_square_root(eigenvalues, vectors, regularization)
    return Zca(statistics, per_image_normalization, whitening)


def apply(zca: Zca, x: np.ndarray) -> np.ndarray:
    """``x`` (n, *input_shape) whitened, float64. To rounding, an example does not depend on the others."""
    return (_normalize(zca.statistics, zca.per_image_normalization, x) @ zca.whitening).reshape(x.shape)


def _normalize(statistics: ChannelStatistics, per_image: bool, x: np.ndarray) -> np.ndarray:
    flat = channels.apply(statistics, x).reshape(len(x), -1)
    if not per_image:
        return flat
    size = np.maximum(flat.max(axis=1), -flat.min(axis=1))
    flat -= flat.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(flat, axis=1)
    # An image of one value has no direction: what its subtraction leaves is rounding, set to zero.
    constant = norm <= flat.shape[1] * np.finfo(np.float64).eps * size
    flat /= np.where(constant, 1.0, norm)[:, np.newaxis]
    flat[constant] = 0.0
    return flat


def _moments(
    batches: Callable[[], Iterable[np.ndarray]], per_image: bool
) -> tuple[ChannelStatistics, np.ndarray]:
    statistics = channels.fit(batches())
    count, second_moment = 0, np.zeros((1, 1))

    def moment(batch: np.ndarray) -> tuple[int, np.ndarray]:
        x = _normalize(statistics, per_image, batch)
        return len(x), x.T @ x

    for examples, of_batch in each_alone(moment, batches()):
        second_moment = second_moment + of_batch
        count += examples
    return statistics, second_moment / count


def _mean_eigenvalue(covariance: np.ndarray) -> float:
    mean = float(np.trace(covariance)) / len(covariance)
    if mean == 0:
        raise UserError("zca: the training images are all the same constant, expected images that differ")
    return mean


def _inverse_square_root(eigenvalues: np.ndarray, vectors: np.ndarray, regularization: float) -> np.ndarray:
    """Of the regularised covariance, from its ascending ``eigenvalues`` and its eigenvectors."""
    if eigenvalues[0] <= len(eigenvalues) * np.finfo(np.float64).eps * eigenvalues[-1]:
        raise UserError(
            f"zca: regularization is {regularization} and the covariance of the training images is singular, "
            "expected a larger regularization"
        )
    return (vectors / np.sqrt(eigenvalues)) @ vectors.T


# ----------------------------------------------------------------------------- many regularisations


@dataclass(frozen=True)
class Spectrum:
    """What every regularisation of the same images shares: C = U S U^T.

    ``eigenvalues`` (d,) ascending and ``vectors`` (d, d) are float64.
    """

    statistics: ChannelStatistics
    per_image_normalization: bool
    eigenvalues: np.ndarray
    vectors: np.ndarray


def decompose(batches: Callable[[], Iterable[np.ndarray]], per_image_normalization: bool = True) -> Spectrum:
    """The costly part of ``fit``, once for any number of regularisations; arguments as there.

    Raises:
        UserError: images without any variance.
    """
    statistics, covariance = _moments(batches, per_image_normalization)
    _mean_eigenvalue(covariance)
    with blas_threads(1):
        return Spectrum(statistics, per_image_normalization, *np.linalg.eigh(covariance))


def whiten(spectrum: Spectrum, regularization: float) -> Zca:
    """The transform that ``fit`` gives, to rounding.

    Raises:
        UserError: a singular covariance with ``regularization`` 0.
    """
    shifted = spectrum.eigenvalues + regularization * spectrum.eigenvalues.mean()
    with blas_threads(1):
        whitening = _inverse_square_root(shifted, spectrum.vectors, regularization)
    return Zca(spectrum.statistics, spectrum.per_image_normalization, whitening)


def save_spectrum(path: Path, spectrum: Spectrum) -> None:
    """``spectrum`` as an .npz file of plain arrays, whole or not at all."""
    write_atomically(
        path,
        lambda file: np.savez(
            file,
            mean=spectrum.statistics.mean,
            scale=spectrum.statistics.scale,
            per_image_normalization=np.array(spectrum.per_image_normalization),
            eigenvalues=spectrum.eigenvalues,
            vectors=spectrum.vectors,
        ),
    )


def load_spectrum(path: Path) -> Spectrum:
    """What ``save_spectrum`` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            statistics = ChannelStatistics(arrays["mean"], arrays["scale"])
            per_image = bool(arrays["per_image_normalization"])
            return Spectrum(statistics, per_image, arrays["eigenvalues"], arrays["vectors"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read ({error}), expected the spectrum of a covariance") from None
