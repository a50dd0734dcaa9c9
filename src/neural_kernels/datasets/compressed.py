"""Compressed files and archives as streams of bounded size: what a few kilobytes inflate to is never read without end.

One place says how large a content may be, reads archives' directories and names what is damaged.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from neural_kernels.errors import UserError

# A table of half a million molecules and its atoms takes 220 MB, one of AAV's sequences 32 MB.
LARGEST_TABLE = 2 * 2**30
# Tables of numbers and letters are compressed to a fifth or a tenth, hardly any to a hundredth; a bomb to a thousandth.
MOST_INFLATED = 250
ALWAYS_ALLOWED = 16 * 2**20

# xz -9 takes 65 MiB; a file may ask for 4 GiB.
_XZ_MEMORY = 256 * 2**20
_READ = 2**16

DAMAGE: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    tarfile.TarError,
    lzma.LZMAError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    # An encrypted member, or an unknown compression.
    RuntimeError,
)


@contextmanager
def damage_named(source: Path | str, what: str, expected: str, *more: type[Exception]) -> Iterator[None]:
    """Turn what damage leads to into a sentence: ``source`` is damaged or ``what``, expected ``expected``."""
    try:
        yield
    except (*DAMAGE, *more) as error:
        raise UserError(f"{source}: damaged or {what} ({error}), expected {expected}") from error


def largest_content(size: int) -> int:
    """Bytes that a table of ``size`` compressed bytes may inflate to."""
    return min(LARGEST_TABLE, max(ALWAYS_ALLOWED, MOST_INFLATED * size))


def bounded(stream: Any, limit: int, source: str) -> io.BufferedReader:
    """``stream`` as a buffered one that raises ``UserError`` once it has given more than ``limit`` bytes."""
    return io.BufferedReader(cast(Any, _Bounded(stream, limit, source)), _READ)


class _Bounded(io.RawIOBase):
    def __init__(self, stream: Any, limit: int, source: str) -> None:
        self._stream, self._left, self._limit, self._source = stream, limit, limit, source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(min(len(buffer), _READ))
        self._left -= len(content)
        if self._left < 0:
            raise UserError(
                f"{self._source}: has more than {self._limit:,} bytes of content, expected at most so many in a file "
                "of its size"
            )
        buffer[: len(content)] = content
        return len(content)


# ------------------------------------------------------------------------------ single files


@contextmanager
def open_inflated(path: Path, limit: int | None = None) -> Iterator[IO[bytes]]:
    """The content of ``path``, inflated where it begins as a .gz, .xz or .bz2 file does.

    Args:
        limit: most bytes of content; of a table (``largest_content``) where it is None.

    Raises:
        UserError: while it is read, content beyond the limit. Errors of ``DAMAGE`` are the caller's to name.
    """
    with path.open("rb") as file:
        beginning = file.read(6)
        file.seek(0)
        if beginning.startswith(b"\x1f\x8b"):
            stream: Any = gzip.GzipFile(fileobj=file)
        elif beginning == b"\xfd7zXZ\0":
            stream = _Inflated(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY))
        elif beginning.startswith(b"BZh"):
            stream = _Inflated(file, bz2.BZ2Decompressor)
        elif path.suffix == ".gz":
            raise gzip.BadGzipFile("not a gzipped file")
        else:
            stream = file
            limit = LARGEST_TABLE if limit is None else limit
        size = path.stat().st_size
        with bounded(stream, largest_content(size) if limit is None else limit, str(path)) as content:
            yield content


class _Inflated:
    """A file of one or more compressed streams, read a piece at a time."""

    def __init__(self, file: IO[bytes], decompressor: Any) -> None:
        self._file, self._new, self._current = file, decompressor, decompressor()

    def read(self, size: int) -> bytes:
        while True:
            if self._current.eof:
                # Streams may follow each other, with zeros between them.
                left = self._current.unused_data.lstrip(b"\0")
                while not left:
                    left = self._file.read(_READ)
                    if not left:
                        return b""
                    left = left.lstrip(b"\0")
                self._current = self._new()
            else:
                left = self._file.read(_READ) if self._current.needs_input else b""
                if not left and self._current.needs_input:
                    raise EOFError("the compressed file ends too early")
            content = self._current.decompress(left, size)
            if content:
                return content


# ---------------------------------------------------------------------------------- archives


def zip_members(path: Path) -> list[zipfile.ZipInfo]:
    """The directory of a .zip file."""
    with zipfile.ZipFile(path) as archive:
        return archive.infolist()


def members_by_name(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive, each of which is there once and compressed as archives usually are.

    Raises:
        zipfile.BadZipFile: two of one name, or another compression: each has its own way to fill the memory.
    """
    found: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        if member.filename in found:
            raise zipfile.BadZipFile(f"the member {member.filename!r} is there twice")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise zipfile.BadZipFile(f"the member {member.filename!r} is neither stored nor deflated")
        found[member.filename] = member
    return found


def tar_members(stream: IO[bytes]) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Regular files of a tar archive as (name, size, stream): of the latter ``size`` bytes may be read at once.

    Links, folders and devices are passed over, and names of more than a hundred characters are not put together.

    Raises:
        tarfile.TarError, EOFError: damage.
    """
    while header := stream.read(tarfile.BLOCKSIZE):
        if not header.strip(b"\0"):
            return
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        if member.size < 0:
            raise tarfile.ReadError("a member of a negative size")
        # Links, devices and folders have no content, whatever size they state.
        content = 0 if member.type in _WITHOUT_CONTENT else member.size
        window = _Window(stream, content)
        if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.name.endswith("/"):
            yield member.name, member.size, cast(IO[bytes], window)
        window.skip(content + -content % tarfile.BLOCKSIZE)


_WITHOUT_CONTENT = (
    tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE
)  # fmt: skip


class _Window:
    """The content of one member, and the way to the next."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._size, self._read = stream, size, 0

    def read(self) -> bytes:
        content = self._stream.read(self._size - self._read)
        self._read += len(content)
        if self._read < self._size:
            raise EOFError("the archive ends within a member")
        return content

    def skip(self, end: int) -> None:
        while self._read < end:
            passed = len(self._stream.read(min(_READ, end - self._read)))
            self._read += passed
            if not passed:
                raise EOFError("the archive ends within a member")
