"""Handwritten digits that ship with scikit-learn: 1,797 images of 8x8 pixels with values 0 to 16.

Alpaydin and Kaynak, UCI "Optical Recognition of Handwritten Digits", its test file. They have no test
split of their own: a fixed random set of them is held out, the same for every seed of a study.
"""

from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from neural_kernels.datasets.options import DataOptions, TestSet
from neural_kernels.datasets.pools import Dataset, in_memory
from neural_kernels.errors import UserError

HELD_OUT = 397
_HELD_OUT_SEED = 0
SOURCE = "scikit-learn's digits"


class Options(DataOptions):
    """Handwritten digits, which ship with scikit-learn."""

    name: Literal["digits"] = Field("digits", description="The data set digits.")


def open_dataset(options: Options) -> Dataset:
    """Images (n, 8, 8, 1) uint8. ``test_sets.digits.examples`` are held out, 397 where it is not given."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    images = x.astype(np.uint8).reshape(-1, 8, 8, 1)
    held_out = options.test_sets.get("digits", TestSet()).examples or HELD_OUT
    if held_out >= len(images):
        raise UserError(
            f"data.test_sets.digits.examples is {held_out}, expected fewer than the {len(images)} digits"
        )
    order = np.random.default_rng(_HELD_OUT_SEED).permutation(len(images))
    test, train = order[:held_out], order[held_out:]
    return Dataset(
        train=in_memory(SOURCE, images[train], y[train], train),
        tests={"digits": partial(in_memory, SOURCE, images[test], y[test], test)},
        task="classification",
        outputs=10,
        class_names=tuple("0123456789"),
    )
