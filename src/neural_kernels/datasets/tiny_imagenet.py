"""Tiny ImageNet (Le and Yang 2015): 200 classes of ImageNet, 500 training images of 64x64 pixels each.

The usual tree ``tiny-imagenet-200`` or its .zip:

    wnids.txt                       a class a line; its place is the label
    words.txt                       class, tab, name; may be absent, and the classes are their own names
    train/<class>/images/*.JPEG
    val/images/*.JPEG               the test set: the images of ``test`` have no labels
    val/val_annotations.txt         image, tab, class, and more that is not needed

There may be any number of classes, of images of a class and of test images. Training images come in the order
of their classes and, within one, of their names; test images in the order of their annotations.
"""

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from neural_kernels.datasets.file_tree import FileTree, open_tree
from neural_kernels.datasets.options import DataOptions
from neural_kernels.datasets.pools import Chunk, Dataset, Pool, known_by
from neural_kernels.errors import UserError
from neural_kernels.machine.threads import thread_count
from neural_kernels.sections import WHOLE
from neural_kernels.sections import Path as PathText

ORIGIN = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
FOLDER = "tiny-imagenet-200"
SIZE = 64
CHUNK_IMAGES = 4096
ANNOTATIONS = "val/val_annotations.txt"


class Options(DataOptions):
    """Tiny ImageNet."""

    name: Literal["tiny_imagenet"] = Field("tiny_imagenet", description="The data set tiny_imagenet.")
    path: PathText = Field(
        description="The .zip, tiny-imagenet-200, or the folder that holds it, relative to the working directory."
    )
    image_size: Annotated[Literal[8, 16, 32, 64], WHOLE] | None = Field(
        None,
        description="Pixels on a side of the images: smaller ones are made by averaging squares of pixels. null is 64, "
        "as they come.",
    )


def open_dataset(options: Options) -> Dataset:
    """Images (n, size, size, 3) uint8 of ``path``: the tree, its parent or the .zip.

    ``image_size`` is 64, the default, or a divisor of it: each pixel is then the mean of a square of pixels,
    rounded to the nearest integer, halves up. Images of one channel become RGB.

    All file names and annotations are read and checked; of the images, nothing.
    """
    size = options.image_size or SIZE
    tree = open_tree(Path(options.path), FOLDER, "wnids.txt", ORIGIN)
    classes = _classes(tree)
    files, labels = _training_images(tree, classes)
    return Dataset(
        train=_pool(tree, files, labels, size),
        tests={"tiny_imagenet": partial(_test_pool, tree, classes, size)},
        task="classification",
        outputs=len(classes),
        class_names=_class_names(tree, classes),
    )


def _test_pool(tree: FileTree, classes: Sequence[str], size: int) -> Pool:
    return _pool(tree, *_test_images(tree, classes), size)


def _pool(tree: FileTree, files: Sequence[str], labels: np.ndarray, size: int) -> Pool:
    def chunks() -> Iterator[Chunk]:
        # Decoding and reading release the interpreter's lock.
        with tree.reader() as read, ThreadPoolExecutor(thread_count()) as threads:
            for start in range(0, len(files), CHUNK_IMAGES):
                chosen = files[start : start + CHUNK_IMAGES]
                images = threads.map(lambda file: _decode(tree.where(file), read(file)), chosen)
                x = downsized(np.stack(list(images)), size)
                yield Chunk(start, x, labels[start : start + len(x)], tree.source, start)

    known = partial(known_by, file=np.array(files, dtype=object))
    return Pool(tree.source, len(files), (size, size, 3), np.dtype(np.uint8), chunks, known)


# ----------------------------------------------------------------------------- names and labels


def _classes(tree: FileTree) -> list[str]:
    classes = [line.strip() for line in _lines(tree, "wnids.txt") if line.strip()]
    where = tree.where("wnids.txt")
    # A class becomes part of a path.
    wrong = [name for name in classes if not re.fullmatch(r"\w[\w-]*", name)]
    if wrong:
        raise UserError(f"{where}: found the class {wrong[0][:80]!r}, expected a name such as n01443537")
    for name, times in Counter(classes).items():
        if times > 1:
            raise UserError(f"{where}: the class {name} is there {times} times, expected once")
    if len(classes) < 2:
        raise UserError(f"{where}: found {len(classes)} classes, expected at least two")
    return classes


def _class_names(tree: FileTree, classes: Sequence[str]) -> tuple[str, ...]:
    if "words.txt" not in tree.names(""):
        return tuple(classes)
    lines = (line.partition("\t") for line in _lines(tree, "words.txt"))
    words = {name: word.strip() for name, _, word in lines}
    return tuple(words.get(name) or name for name in classes)


def _training_images(tree: FileTree, classes: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Paths, and labels (n,) int64."""
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        folder = f"train/{name}/images"
        images = _images(tree, folder)
        if not images:
            raise UserError(
                f"{tree.where(folder)}: no such folder or no .JPEG in it, expected the training images of class "
                f"{name}, which is in wnids.txt"
            )
        files += images
        labels += [label] * len(images)
    return files, np.array(labels)


def _test_images(tree: FileTree, classes: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Paths, and labels (n,) int64."""
    where, folder = tree.where(ANNOTATIONS), "val/images"
    label_of = {name: label for label, name in enumerate(classes)}
    left = set(_images(tree, folder))
    if not left:
        raise UserError(f"{tree.where(folder)}: no such folder or no .JPEG in it, expected the test images")
    files, labels = [], []
    for number, line in enumerate(_lines(tree, ANNOTATIONS), start=1):
        image, tab, rest = line.partition("\t")
        name = rest.partition("\t")[0].strip()
        if not tab or name not in label_of:
            raise UserError(
                f"{where}: line {number} gives {image or 'an empty name'} the class {name!r}, expected one of the "
                f"{len(classes)} in wnids.txt, after a tab"
            )
        file = f"{folder}/{image}"
        if file not in left:
            raise UserError(
                f"{where}: line {number} is of {image}, expected an image in val/images, once each"
            )
        left.remove(file)
        files.append(file)
        labels.append(label_of[name])
    if left:
        raise UserError(
            f"{where}: no line for {min(left).rpartition('/')[2]}, expected one for each image in val/images"
        )
    return files, np.array(labels)


def _images(tree: FileTree, folder: str) -> list[str]:
    # Archives made on a Mac have a file ._<image> beside each image.
    return [
        f"{folder}/{name}"
        for name in tree.names(folder)
        if name.lower().endswith((".jpeg", ".jpg")) and not name.startswith(".")
    ]


def _lines(tree: FileTree, name: str) -> list[str]:
    with tree.reader() as read:
        content = read(name)
    try:
        return content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{tree.where(name)}: {error}, expected text in UTF-8") from error


# ----------------------------------------------------------------------------- pixels


def _decode(source: str, content: bytes) -> np.ndarray:
    """Pixels (64, 64, 3) uint8.

    A JPEG has no checksum: one that lacks its end is found, a flipped bit only by the checksum of a .zip.
    """
    # Every job of a study imports this module; few decode images.
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if image.size != (SIZE, SIZE):
                raise UserError(
                    f"{source}: found an image of {image.width}x{image.height} pixels, expected {SIZE}x{SIZE}"
                )
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError):
        raise UserError(f"{source}: found no image in it, expected a JPEG") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{source}: damaged JPEG ({error}), expected a complete one") from error


def downsized(x: np.ndarray, size: int) -> np.ndarray:
    """Images (n, h, h, c) uint8 as (n, size, size, c): the mean of each square, halves rounded up.

    ``size`` divides h.
    """
    factor = x.shape[1] // size
    if factor == 1:
        return x
    n, _, _, channels = x.shape
    squares = x.reshape(n, size, factor, size, factor, channels)
    total = squares.sum(axis=(2, 4), dtype=np.uint32)
    return ((total + factor**2 // 2) // factor**2).astype(np.uint8)
