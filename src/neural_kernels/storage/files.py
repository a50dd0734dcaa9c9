"""Files that appear whole or not at all, and that are known again when they are read."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.storage import checksums, disk, locks

log = logging.getLogger(__name__)

SEAL = "checksum"
"""The key of a JSON file that holds the checksum of all others."""


def write_atomically(path: Path, write: Callable[[BinaryIO], object], size: int | None = None) -> None:
    """Call ``write`` on a temporary file beside ``path``, flush it to disk and rename it to ``path``.

    The temporary file has one name, ``.<name>.tmp``, so that what a killed writer leaves is used by the next one.

    Args:
        size: bytes that will be written, where known: they are reserved first.

    Raises:
        UserError: the disk is full, or closed to this user; nothing is left behind.
    """
    with disk.naming(path, size):
        temporary, descriptor = take_temporary(path)
        try:
            os.ftruncate(descriptor, 0)
            if size is not None:
                disk.reserve_open(descriptor, size)
            with os.fdopen(os.dup(descriptor), "wb") as file:
                write(file)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        flush_folder(path.parent)


def take_temporary(path: Path) -> tuple[Path, int]:
    """The temporary file of ``path``, and a descriptor that keeps others off it until it is closed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        return temporary, locks.acquire(temporary)
    except locks.NoLocks:
        temporary = path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.tmp")
        return temporary, os.open(temporary, os.O_RDWR | os.O_CREAT, 0o666)


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: a file that was renamed could else have its old name after a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """``value`` as indented JSON with a checksum of its own; NaN and infinity are refused."""
    plain = json.loads(json.dumps(value, allow_nan=False))
    text = json.dumps(plain | {SEAL: _seal(plain)}, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


MADE_BY = {
    "data.json": "prepare-data",
    "features.json": "preprocess-data",
    "kernel.json": "declare-kernel",
    "solved.json": "solve",
    "started.json": "start-tuning",
    "selected.json": "select-tuned",
}
"""The verb that writes a file of a study, for who runs verbs by hand."""


def _missing(path: Path) -> UserError:
    verb = MADE_BY.get(path.name)
    made = f": neural-kernels {verb} writes it, and snakemake runs that before what needs it" if verb else ""
    return UserError(f"{path} is missing{made}")


def read_json(path: Path, *vouching: Path, unsealed: bool = False) -> dict[str, Any]:
    """What ``write_json`` wrote to ``path``.

    Args:
        vouching: files that say that it is whole, set aside with it where it is not.
        unsealed: take a file without a checksum as well, of a version that wrote none.

    Raises:
        UserError: the file is missing.
        DamagedFile: it is not what was written; it has been set aside.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise _missing(path) from None
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"is not valid JSON ({error})", *vouching) from None
    if not isinstance(value, dict):
        raise damaged(path, f"holds {type(value).__name__}, expected a JSON object", *vouching)
    found = value.pop(SEAL, None)
    if found is None and not unsealed:
        raise damaged(path, "has no checksum: it was edited, or is of a version that wrote none", *vouching)
    if found is not None and found != _seal(value):
        raise damaged(path, "was edited or is damaged: its checksum does not match what it says", *vouching)
    return value


def read_json_if_sound(path: Path) -> dict[str, Any] | None:
    """As ``read_json``, or None where the file is missing, or was damaged and set aside, which the log then says."""
    if not path.exists():
        return None
    try:
        return read_json(path)
    except DamagedFile as error:
        log.warning("%s", error)
        return None


def _seal(value: Mapping[str, Any]) -> str:
    return checksums.of_bytes(json.dumps(value, sort_keys=True).encode())


def damaged(path: Path, fault: str, *vouching: Path, made_by: str = "the same command") -> DamagedFile:
    """Set a damaged file aside, as ``<name>.rejected``, and say so.

    Args:
        made_by: what makes it again.
        vouching: files that say that it is whole, and go aside with it, so that the workflow makes all of them again.

    Returns:
        The error to raise.
    """
    aside = [set_aside(file) for file in (path, *vouching)]
    end = f"run {made_by} again to make it anew" if all(aside) else "it could not be renamed: remove it"
    return DamagedFile(f"{path} {fault}; {end}")


def set_aside(path: Path) -> bool:
    """Rename a file that must not be used to ``<name>.rejected``; whether it is out of the way."""
    try:
        path.replace(path.with_name(path.name + ".rejected"))
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def write_npy(path: Path, array: np.ndarray) -> None:
    """``array`` as a plain .npy file."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))

    def write(file: BinaryIO) -> None:
        np.lib.format.write_array(file, array, allow_pickle=False)

    # NumPy's own error on a full disk does not say that it is one.
    write_atomically(path, write, size=header.tell() + array.nbytes)
