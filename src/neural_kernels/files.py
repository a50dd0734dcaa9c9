"""Files that appear whole or not at all."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from neural_kernels import disk
from neural_kernels.errors import UserError


def write_atomically(path: Path, write: Callable[[BinaryIO], object], size: int | None = None) -> None:
    """Call ``write`` on a temporary file beside ``path``, flush it to disk and rename it to ``path``.

    Args:
        size: bytes that will be written, where known: they are reserved first.

    Raises:
        UserError: the disk is full, or closed to this user; nothing is left behind.
    """
    with disk.naming(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if size is not None:
                    disk.reserve(Path(temporary), size, path)
                write(file)
                if size is not None:
                    file.truncate()
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes files that only their owner can read; other files follow the umask.
            os.chmod(temporary, 0o666 & ~_umask())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_json(path: Path, value: object) -> None:
    """``value`` as indented JSON; NaN and infinity are refused."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises:
        UserError: the file is missing or is not a JSON object.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error})") from None
    if not isinstance(value, Mapping):
        raise UserError(f"{path} holds {type(value).__name__}, expected a JSON object")
    return dict(value)


def write_npy(path: Path, array: np.ndarray) -> None:
    """``array`` as a plain .npy file."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))

    def write(file: BinaryIO) -> None:
        np.lib.format.write_array(file, array, allow_pickle=False)

    # NumPy's own error on a full disk does not say that it is one.
    write_atomically(path, write, size=header.tell() + array.nbytes)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
