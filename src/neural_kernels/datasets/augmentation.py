"""Data augmentation: a training set of images, then their flips, then changed copies (paper, section 4).

Factor 1 is the n images, factor 2 adds the horizontal flip of each, and each further factor adds one copy of
each image: one of Pillow's operations drawn at random, then a random crop and a random flip. Copies are stored
factor by factor, so that factor f is the leading f * n examples and one kernel serves every factor.

Operations are the paper's. Magnitudes are levels from 0 to 10 as in AutoAugment's public code (Cubuk et al. 2019),
whose names the code uses that the paper points to; the paper's text does not give its magnitude.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import numpy as np
from pydantic import Field

from neural_kernels.datasets.horizontal_flips import flip
from neural_kernels.datasets.pools import CHUNK_ROWS, Pool
from neural_kernels.errors import UserError
from neural_kernels.progress import progress
from neural_kernels.sections import WHOLE, Listed, Number, Section, Thousand

if TYPE_CHECKING:
    # Every job that computes a block loads the data sets, and none of them should wait for Pillow.
    from PIL import Image

LARGEST_MAGNITUDE = 10

Operation = Callable[["Image.Image", float], "Image.Image"]
OperationName = Literal[
    "FlipLR", "Solarize", "Color", "Brightness", "Contrast", "Sharpness", "Posterize", "Equalize", "Identity"
]


def _enhance(name: str) -> Operation:
    """The enhancer of Pillow's that is called ``name``."""

    def enhance(image: Image.Image, magnitude: float) -> Image.Image:
        from PIL import ImageEnhance

        # Of the original image 0.1 to 1.9 times as much as there is: level 5 changes nothing.
        enhanced: Image.Image = getattr(ImageEnhance, name)(image).enhance(
            1.8 * magnitude / LARGEST_MAGNITUDE + 0.1
        )
        return enhanced

    return enhance


def _mirror(image: Image.Image, _: float) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.mirror(image)


def _equalize(image: Image.Image, _: float) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.equalize(image)


def _solarize(image: Image.Image, magnitude: float) -> Image.Image:
    from PIL import ImageOps

    return ImageOps.solarize(image, 256 - int(magnitude * 256 / LARGEST_MAGNITUDE))


def _posterize(image: Image.Image, magnitude: float) -> Image.Image:
    from PIL import ImageOps

    # Level 10 would leave no bit, a black image, which Pillow refuses.
    return ImageOps.posterize(image, max(1, 4 - int(magnitude * 4 / LARGEST_MAGNITUDE)))


OPERATIONS: dict[OperationName, Operation] = {
    "FlipLR": _mirror,
    "Solarize": _solarize,
    "Color": _enhance("Color"),
    "Brightness": _enhance("Brightness"),
    "Contrast": _enhance("Contrast"),
    "Sharpness": _enhance("Sharpness"),
    "Posterize": _posterize,
    "Equalize": _equalize,
    "Identity": lambda image, _: image,
}


class Augmentation(Section):
    """How a training set is augmented."""

    factor: Thousand = Field(
        description="Augmented training set over train_examples. 2 is images and flips, of any kind; more needs colour "
        "images of uint8."
    )
    operations: Listed[OperationName] = Field(
        get_args(OperationName),
        min_length=1,
        description="What a copy's one operation is drawn from; one that comes twice is drawn twice as often. Then "
        "follow a random crop and a random flip.",
    )
    magnitude: Number = Field(
        4,
        ge=0,
        le=LARGEST_MAGNITUDE,
        description="Strength of every operation, a level of AutoAugment's public code; 5 leaves Color, Brightness, "
        "Contrast and Sharpness without effect. The paper's text does not give it: the default is ours.",
    )
    padding: Annotated[int, Field(ge=0, le=1000), WHOLE] = Field(
        4, description="Pixels of black around an image before the random crop."
    )

    @property
    def copies(self) -> tuple[str, ...]:
        """What the numbers that ``expand`` returns stand for."""
        return ("Original", "Flip", *(self.operations if self.factor > 2 else ()))


NONE = Augmentation(factor=1)


@dataclass(frozen=True)
class Draw:
    """What was drawn for one copy: an operation, the upper left corner of the crop, whether it is flipped."""

    operation: OperationName
    top: int
    left: int
    flipped: bool


def check_images(augmentation: Augmentation, pool: Pool) -> None:
    """Refuse examples that cannot be augmented so far: a flip needs images, an operation 8-bit colours."""
    found = f"{pool.source}: data.augmentation.factor is {augmentation.factor} for examples of shape "
    if augmentation.factor > 1 and len(pool.input_shape) != 3:
        raise UserError(f"{found}{pool.input_shape}, expected images of (height, width, channels)")
    if augmentation.factor > 2 and (pool.input_shape[2] != 3 or pool.dtype != np.uint8):
        raise UserError(
            f"{found}{pool.input_shape} of {pool.dtype}, expected at most 2, or colour images of uint8"
        )


def draw(augmentation: Augmentation, seed: int, row: int, copy: int) -> Draw:
    """What becomes of copy ``copy``, 3 or more, of the image at ``row`` of the training pool.

    It depends on these and on nothing else: not on how many images there are, nor on their order.
    """
    key = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    counter = np.array([0, copy, row, 0], np.uint64)
    # The raw stream of a counter-based generator is the same in every version of NumPy; what a Generator
    # makes of it may change. 64 bits modulo a few choices are uniform to 1e-16.
    operation, top, left, flipped = map(int, np.random.Philox(key=key, counter=counter).random_raw(4))
    shifts = 2 * augmentation.padding + 1
    names = augmentation.operations
    return Draw(names[operation % len(names)], top % shifts, left % shifts, bool(flipped % 2))


def augmented(image: np.ndarray, drawn: Draw, magnitude: float, padding: int) -> np.ndarray:
    """``image`` (height, width, 3) uint8 after the operation, the crop and the flip of ``drawn``."""
    from PIL import Image

    height, width, _ = image.shape
    changed = np.asarray(OPERATIONS[drawn.operation](Image.fromarray(image), magnitude))
    padded = np.pad(changed, ((padding, padding), (padding, padding), (0, 0)))
    cropped = padded[drawn.top : drawn.top + height, drawn.left : drawn.left + width]
    return cropped[:, ::-1] if drawn.flipped else cropped


def expand(augmentation: Augmentation, seed: int, rows: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Fill ``x``, whose first n examples are the images, with the n examples of every further factor.

    Args:
        rows: (n,) places of the images in their pool, by which their copies are drawn.
        x: (factor * n, height, width, channels).

    Returns:
        (factor * n,) uint8, what each example is: a place in ``augmentation.copies``.
    """
    n = len(rows)
    made = np.zeros(augmentation.factor * n, np.uint8)
    with progress(total=(augmentation.factor - 1) * n, description="augmenting train") as bar:
        for start in range(0, n, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, n)
            images = np.array(x[start:stop])
            for copy in range(2, augmentation.factor + 1):
                first = (copy - 1) * n
                if copy == 2:
                    x[first + start : first + stop] = flip(images)
                    made[first + start : first + stop] = 1
                else:
                    for place, image in enumerate(images, start):
                        drawn = draw(augmentation, seed, int(rows[place]), copy)
                        x[first + place] = augmented(
                            image, drawn, augmentation.magnitude, augmentation.padding
                        )
                        made[first + place] = augmentation.copies.index(drawn.operation)
                bar.update(stop - start)
    return made
