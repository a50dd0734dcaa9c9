"""CIFAR-5m (Nakkiran et al. 2021): six million samples of a generative model trained on CIFAR-10.

Six parts of 1,000,448 images, ``cifar5m_part{0..5}.npz`` or ``part{0..5}.npz``, keys ``X`` uint8
(n, 32, 32, 3) RGB and ``Y`` labels 0 to 9. Parts 0 to 4 are for training, part 5 is the test set.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from neural_kernels.datasets import npz, pools
from neural_kernels.datasets.cifar10 import CLASS_NAMES, IMAGE_SHAPE
from neural_kernels.datasets.options import DataOptions
from neural_kernels.datasets.pools import (
    Chunk,
    Dataset,
    Pool,
    check_images,
    check_lengths,
    is_file,
    require_file,
)
from neural_kernels.sections import WHOLE, NotEmpty
from neural_kernels.sections import Path as PathText

ORIGIN = "https://github.com/preetum/cifar5m"
TRAIN_PARTS = (0, 1, 2, 3, 4)
TEST_PART = 5


class Options(DataOptions):
    """CIFAR-5m."""

    name: Literal["cifar5m"] = Field("cifar5m", description="The data set cifar5m.")
    path: PathText = Field(description="The folder of the .npz parts, relative to the working directory.")
    train_parts: NotEmpty[Annotated[int, Field(ge=0, le=4), WHOLE]] | None = Field(
        None,
        description="The parts that the training pool is made of. null is all five, 0 to 4.",
    )


def open_dataset(options: Options) -> Dataset:
    """The parts in the folder ``path``; ``train_parts`` are those of the training pool, None for all five.

    The pool changes with ``train_parts``, and the permutation with the pool.
    """
    folder = Path(options.path)
    parts = options.train_parts or TRAIN_PARTS
    return Dataset(
        train=_pool(folder, parts),
        tests={"cifar5m": partial(_pool, folder, [TEST_PART])},
        task="classification",
        outputs=10,
        class_names=CLASS_NAMES,
    )


def _pool(folder: Path, parts: Sequence[int]) -> Pool:
    members = [_open_part(_find(folder, part)) for part in parts]
    starts = [0, *accumulate(x.shape[0] for x, _ in members)]

    def chunks() -> Iterator[Chunk]:
        for start, (x, y) in zip(starts, members, strict=False):
            labels = npz.load(y)
            for row, images in npz.rows(x, pools.CHUNK_ROWS):
                yield Chunk(start + row, images, labels[row : row + len(images)], str(x.path), row)

    def known(places: np.ndarray) -> dict[str, np.ndarray]:
        part = np.searchsorted(starts, places, side="right") - 1
        names = np.array([x.path.name for x, _ in members], dtype=object)
        return {"file": names[part], "row": places - np.array(starts)[part]}

    return Pool(str(folder), starts[-1], IMAGE_SHAPE, np.dtype(np.uint8), chunks, known)


def _find(folder: Path, part: int) -> Path:
    short = folder / f"part{part}.npz"
    return short if is_file(short) else require_file(folder / f"cifar5m_part{part}.npz", ORIGIN)


def _open_part(path: Path) -> tuple[npz.Member, npz.Member]:
    x, y = npz.open_member(path, "X"), npz.open_member(path, "Y")
    check_images(x.source, x.shape, x.dtype, IMAGE_SHAPE)
    check_lengths(y.source, x.shape, y.shape)
    return x, y
