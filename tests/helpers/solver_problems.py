"""Real kernels for the tests of solvers: the closed form of the fully connected ReLU network, and stores of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from neural_kernels.blocks import Grid, KernelStore, declare_store, write_block


def ntk(x: np.ndarray, depth: int = 3, W_std: float = np.sqrt(2.0), b_std: float = 0.1) -> np.ndarray:
    """NTK of a fully connected ReLU network, (n, n) float64, exactly symmetric (Jacot et al. 2018)."""
    covariance = W_std**2 * (x @ x.T) / x.shape[1] + b_std**2
    tangent = covariance.copy()
    for _ in range(depth):
        scale = np.sqrt(np.diag(covariance))
        product = np.outer(scale, scale)
        angle = np.arccos(np.clip(covariance / product, -1.0, 1.0))
        tangent = tangent * (np.pi - angle) / (2 * np.pi)
        root = np.sqrt(np.maximum(product**2 - covariance**2, 0.0))
        covariance = W_std**2 * (root + (np.pi - angle) * covariance) / (2 * np.pi) + b_std**2
        tangent = W_std**2 * tangent + covariance
    return (tangent + tangent.T) / 2


def digits(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Standardised images, (n, 64), and centred one-hot targets, (n, 10), of scikit-learn's digits."""
    x, labels = load_digits(return_X_y=True)
    chosen = np.random.default_rng(seed).permutation(len(x))[:n]
    x = x - x.mean(axis=0)
    return x[chosen] / x.std(), np.eye(10)[labels[chosen]] - 0.1


def digits_problem(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (n, n) and targets (n, 10) of digits."""
    x, targets = digits(n, seed)
    return ntk(x), targets


def with_spectrum(eigenvalues: np.ndarray, seed: int = 0) -> np.ndarray:
    """A symmetric matrix with these eigenvalues and random eigenvectors."""
    n = len(eigenvalues)
    basis, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    matrix = (basis * eigenvalues) @ basis.T
    return (matrix + matrix.T) / 2


def true_residuals(matrix: np.ndarray, x: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """|b - A x| / |b| of each column, (C,)."""
    return np.linalg.norm(targets - matrix @ x, axis=0) / np.linalg.norm(targets, axis=0)


def stored(directory: Path, matrix: np.ndarray, edge: int, precision: str = "float64") -> KernelStore:
    """A symmetric store of ``matrix``."""
    grid = Grid(len(matrix), len(matrix), edge, symmetric=True)
    store = declare_store(directory, grid, precision, {"name": "test"})
    for i, j in grid.blocks():
        rows, columns = slice(*grid.row_range(i)), slice(*grid.column_range(j))
        write_block(store, i, j, np.ascontiguousarray(matrix[rows, columns], precision), {"engine": "test"})
    return store
