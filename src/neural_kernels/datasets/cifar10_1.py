"""CIFAR-10.1 (Recht et al. 2018): a further test set for CIFAR-10, .npy files of images and labels."""

from __future__ import annotations

from pathlib import Path

from neural_kernels.datasets.cifar10 import IMAGE_SHAPE
from neural_kernels.datasets.npy import open_array
from neural_kernels.datasets.options import TestSet
from neural_kernels.datasets.pools import (
    Pool,
    check_images,
    check_labels,
    check_lengths,
    in_memory,
    require_file,
)

ORIGIN = "https://github.com/modestyachts/CIFAR-10.1, folder datasets"


def open_test(options: TestSet) -> Pool:
    """Images (n, 32, 32, 3) uint8 of the folder ``path``.

    Its files are ``cifar10.1_{version}_data.npy`` and ``cifar10.1_{version}_labels.npy``;
    ``version`` is v6 (2,000 images, the default) or v4 (2,021).
    """
    folder = Path(options.path or "")
    version = options.version or "v6"
    x_path = require_file(folder / f"cifar10.1_{version}_data.npy", ORIGIN)
    y_path = require_file(folder / f"cifar10.1_{version}_labels.npy", ORIGIN)
    x, y = open_array(x_path), open_array(y_path)
    check_images(str(x_path), x.shape, x.dtype, IMAGE_SHAPE)
    check_lengths(str(y_path), x.shape, y.shape)
    check_labels(str(y_path), y, classes=10)
    return in_memory(str(x_path), x, y)
