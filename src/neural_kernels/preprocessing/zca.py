"""Regularised ZCA whitening (paper, Appendix B.1; Lee et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.preprocessing import channels
from neural_kernels.preprocessing.channels import ChannelStatistics


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
    statistics = channels.fit(batches())
    count, second_moment = 0, np.zeros((1, 1))
    for batch in batches():
        x = _normalize(statistics, per_image_normalization, batch)
        second_moment = second_moment + x.T @ x
        count += len(x)
    whitening = _inverse_square_root(second_moment / count, regularization)
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


def _inverse_square_root(covariance: np.ndarray, regularization: float) -> np.ndarray:
    dimension = len(covariance)
    mean_eigenvalue = np.trace(covariance) / dimension
    if mean_eigenvalue == 0:
        raise UserError("zca: the training images are all the same constant, expected images that differ")
    shift = regularization * mean_eigenvalue
    eigenvalues, vectors = np.linalg.eigh(covariance + shift * np.eye(dimension))
    if eigenvalues[0] <= dimension * np.finfo(np.float64).eps * eigenvalues[-1]:
        raise UserError(
            f"zca: regularization is {regularization} and the covariance of the training images is singular, "
            "expected a larger regularization"
        )
    return (vectors / np.sqrt(eigenvalues)) @ vectors.T
