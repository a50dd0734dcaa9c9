"""CIFAR-10 (Krizhevsky 2009): 50,000 training and 10,000 test images of 32x32 pixels in six batches.

Read as Python pickles (``cifar-10-batches-py``) or as binary files (``cifar-10-batches-bin``), each as a
folder or inside a .tar, .tar.gz or .tar.xz archive. An archive is read as a stream: nothing is extracted,
and only members with the expected names are looked at.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from neural_kernels.datasets import compressed
from neural_kernels.datasets.cifar10_pickle import read_batch
from neural_kernels.datasets.options import DataOptions, TestSet
from neural_kernels.datasets.pools import Chunk, Dataset, Pool, is_file, is_folder
from neural_kernels.errors import UserError
from neural_kernels.sections import Path as PathText

ORIGIN = "https://www.cs.toronto.edu/~kriz/cifar.html"
IMAGE_SHAPE = (32, 32, 3)
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCHES = ("test_batch",)
BATCH_ROWS = 10_000
ROW_BYTES = 1 + 3 * 32 * 32
# Both forms have some 180 MB.
LARGEST_ARCHIVE = 2**30
# Folder and ending of a batch's file in the two official forms.
FORMS = (("cifar-10-batches-py", ""), ("cifar-10-batches-bin", ".bin"))


class Options(DataOptions):
    """CIFAR-10."""

    name: Literal["cifar10"] = Field("cifar10", description="The data set cifar10.")
    path: PathText = Field(
        description="The archive, cifar-10-batches-py or cifar-10-batches-bin, or the folder that holds one of them, "
        "relative to the working directory."
    )


def open_dataset(options: Options) -> Dataset:
    """Images (n, 32, 32, 3) uint8 of ``path``: an archive, a folder of either form, or its parent."""
    path = Path(options.path)
    return Dataset(
        train=_pool(path, TRAIN_BATCHES),
        tests={"cifar10": partial(_pool, path, TEST_BATCHES)},
        task="classification",
        outputs=10,
        class_names=CLASS_NAMES,
    )


def open_test(options: TestSet) -> Pool:
    """The 10,000 test images, for studies of other data sets; ``path`` as for ``open_dataset``."""
    return _pool(Path(options.path or ""), TEST_BATCHES)


def _pool(path: Path, batches: tuple[str, ...]) -> Pool:
    read: Callable[[], Iterator[tuple[int, str, bytes]]]
    if is_folder(path):
        read = partial(_read_folder, _folder_files(path, batches))
    elif is_file(path):
        _check_archive(path)
        read = partial(_read_archive, path, batches)
    else:
        raise UserError(f"{path}: no such file or folder, expected CIFAR-10 from {ORIGIN}")

    def chunks() -> Iterator[Chunk]:
        for number, name, content in read():
            x, y = _decode(name, content)
            yield Chunk(number * BATCH_ROWS, x, y, name, 0)

    return Pool(str(path), len(batches) * BATCH_ROWS, IMAGE_SHAPE, np.dtype(np.uint8), chunks)


# ----------------------------------------------------------------------------- finding the batches


def _folder_files(path: Path, batches: tuple[str, ...]) -> list[Path]:
    forms = [(path / folder, ending) for folder, ending in FORMS] + [(path, ending) for _, ending in FORMS]
    for folder, ending in forms:
        files = [folder / f"{batch}{ending}" for batch in batches]
        missing = [file for file in files if not is_file(file)]
        if not missing:
            for file in files:
                _check_size(str(file), file.stat().st_size)
            return files
        if len(missing) < len(files):
            raise UserError(f"{missing[0]}: no such file, expected CIFAR-10 from {ORIGIN}")
    expected = " or ".join(f"{batches[0]}{ending}" for _, ending in FORMS)
    raise UserError(f"{path}: found no CIFAR-10 there, expected {expected}, from {ORIGIN}")


def _read_folder(files: list[Path]) -> Iterator[tuple[int, str, bytes]]:
    for number, file in enumerate(files):
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UserError(f"{file}: cannot be read ({error.strerror}), expected a file") from error
        yield number, str(file), content


def _check_archive(path: Path) -> None:
    with _damage_named(path), compressed.open_inflated(path, LARGEST_ARCHIVE) as stream:
        next(compressed.tar_members(stream), None)


def _read_archive(path: Path, batches: tuple[str, ...]) -> Iterator[tuple[int, str, bytes]]:
    numbers = {f"{folder}/{batch}{ending}": n for folder, ending in FORMS for n, batch in enumerate(batches)}
    missing = set(range(len(batches)))
    with _damage_named(path), compressed.open_inflated(path, LARGEST_ARCHIVE) as stream:
        for member, size, content in compressed.tar_members(stream):
            number = numbers.get(member.removeprefix("./"))
            if number is None or number not in missing:
                continue
            name = f"{path}, member {member}"
            _check_size(name, size)
            yield number, name, content.read()
            missing.remove(number)
            if not missing:
                return
    expected = " or ".join(f"{folder}/{batches[min(missing)]}{ending}" for folder, ending in FORMS)
    raise UserError(f"{path}: incomplete, expected its member {expected}, from {ORIGIN}")


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    with compressed.damage_named(path, "not a tar archive", f"CIFAR-10 from {ORIGIN}"):
        yield


# ----------------------------------------------------------------------------- reading a batch


def _check_size(name: str, size: int) -> None:
    expected = BATCH_ROWS * ROW_BYTES
    if name.endswith(".bin") and size != expected:
        raise UserError(f"{name}: {size} bytes, expected {expected} ({BATCH_ROWS} images)")
    # File names and the like make a pickle a few per cent longer than its pixels.
    if not 0 < size <= 2 * expected:
        raise UserError(
            f"{name}: {size} bytes, expected a pickle of about {expected} bytes ({BATCH_ROWS} images)"
        )


def _decode(name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    if name.endswith(".bin"):
        rows = np.frombuffer(content, np.uint8).reshape(-1, ROW_BYTES)
        planes, labels = rows[:, 1:], rows[:, 0]
    else:
        planes, labels = _unpickle(name, content)
    if planes.shape != (BATCH_ROWS, ROW_BYTES - 1) or len(labels) != BATCH_ROWS:
        raise UserError(
            f"{name}: found pixels {planes.shape} and {len(labels)} labels, "
            f"expected ({BATCH_ROWS}, {ROW_BYTES - 1}) and {BATCH_ROWS}"
        )
    return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _unpickle(name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    try:
        return read_batch(content, BATCH_ROWS)
    except Exception as error:
        raise UserError(
            f"{name}: damaged or not a CIFAR-10 batch ({str(error)[:200]}), expected it from {ORIGIN}"
        ) from error
