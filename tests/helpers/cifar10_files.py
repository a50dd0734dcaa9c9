"""Made-up CIFAR-10 files with the layout of the real ones, in batches of a few rows."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path

import numpy as np

ROWS = 4
BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


def images(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (24, 32, 32, 3) and labels of five training batches and the test batch."""
    rng = np.random.default_rng(seed)
    count = len(BATCHES) * ROWS
    return rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, count)


def rows(x: np.ndarray) -> np.ndarray:
    """(n, 3072): the planes R, G, B of each image."""
    return x.transpose(0, 3, 1, 2).reshape(len(x), -1)


def binary(x: np.ndarray, y: np.ndarray) -> bytes:
    return np.hstack([y[:, None].astype(np.uint8), rows(x)]).tobytes()


def python2_pickle(x: np.ndarray, y: np.ndarray) -> bytes:
    """The bytes that Python 2's cPickle wrote, opcode by opcode, as in the official batches."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def integer(value: int) -> bytes:
        return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)

    content = rows(x).tobytes()
    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + integer(0) + integer(1) + b"tR"
    minus_one = b"J" + struct.pack("<i", -1)
    dtype += b"(" + integer(3) + text(b"|") + b"NNN" + minus_one + minus_one + integer(0) + b"tb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
        + integer(0)
        + b"\x85"
        + text(b"b")
        + b"tR"
    )
    array += b"(" + integer(1) + b"(" + integer(len(x)) + integer(3072) + b"t" + dtype
    array += b"\x89" + b"T" + struct.pack("<i", len(content)) + content + b"tb"
    labels = b"](" + b"".join(integer(int(label)) for label in y) + b"e"
    names = b"](" + b"".join(text(b"image_%d.png" % number) for number in range(len(x))) + b"e"
    items = text(b"data") + array + text(b"labels") + labels
    items += text(b"batch_label") + text(b"training batch 1 of 5") + text(b"filenames") + names
    return b"\x80\x02}(" + items + b"u."


ENCODE = {"py": ("cifar-10-batches-py", "", python2_pickle), "bin": ("cifar-10-batches-bin", ".bin", binary)}


def contents(form: str, seed: int = 0) -> dict[str, bytes]:
    """Member name to content of all six batches, in the order of the official archive: not sorted."""
    folder, ending, encode = ENCODE[form]
    x, y = images(seed)
    batches = {
        f"{folder}/{batch}{ending}": encode(x[k * ROWS : (k + 1) * ROWS], y[k * ROWS : (k + 1) * ROWS])
        for k, batch in enumerate(BATCHES)
    }
    return {name: batches[name] for name in sorted(batches, key=lambda name: name[::-1], reverse=True)}


def write_folder(root: Path, form: str) -> Path:
    for name, content in contents(form).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root / ENCODE[form][0]


def write_archive(path: Path, members: dict[str, bytes], prefix: str = "") -> Path:
    mode = {".gz": "w:gz", ".tgz": "w:gz", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
