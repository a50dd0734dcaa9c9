"""A kernel as another program leaves it: the closed form of FC1 in NumPy, in .npy blocks with labels beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neural_kernels.study.folders import open_features_folder
from neural_kernels.study.study import Study

PARTS = ("train", "validation", "digits")


def fc1(x: np.ndarray, W_std: float = 2**0.5, b_std: float = 0.1) -> np.ndarray:
    """The NTK (n, n) of a fully connected network of one hidden layer of ReLU, (n, ...) examples."""
    flat = x.reshape(len(x), -1)
    first = W_std**2 * flat @ flat.T / flat.shape[1] + b_std**2
    root = np.sqrt(np.outer(np.diag(first), np.diag(first)))
    angle = np.arccos(np.clip(first / root, -1, 1))
    np.fill_diagonal(angle, 0)
    hidden = root / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
    tangent = first * (np.pi - angle) / (2 * np.pi)
    return W_std**2 * (tangent + hidden) + b_std**2


def kernel_and_labels(study: Study, results: Path) -> tuple[np.ndarray, np.ndarray]:
    """Of all examples of a study of digits, training, validation and test examples in their order."""
    folder = open_features_folder(study, results, study.kernels["FC"])
    x = np.concatenate([np.asarray(folder.examples(f"{part}.npy")) for part in PARTS])
    return fc1(x), np.concatenate([folder.load(f"{part}_labels.npy") for part in PARTS])


def write_blocks(folder: Path, kernel: np.ndarray, labels: np.ndarray, edge: int, train: int) -> None:
    """Blocks i <= j, as ntk-i-j without a suffix in odd rows; none among test examples. labels.npy beside them."""
    folder.mkdir()
    count = -(-len(kernel) // edge)
    for i in range(-(-train // edge)):
        for j in range(i, count):
            block = kernel[i * edge : (i + 1) * edge, j * edge : (j + 1) * edge]
            with (folder / f"ntk-{i}-{j}{'' if i % 2 else '.npy'}").open("wb") as file:
                np.save(file, np.ascontiguousarray(block))
    np.save(folder / "labels.npy", labels)
