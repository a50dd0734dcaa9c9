"""A tree of small files that is a folder or lies inside a .zip, read by the same paths either way.

Nothing is unpacked: a member of an archive is read into memory when it is asked for.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from neural_kernels.datasets import compressed
from neural_kernels.datasets.pools import is_file, is_folder, no_file
from neural_kernels.errors import UserError

Read = Callable[[str], bytes]

# No file of a data set of small images comes near it; a member made to fill the memory does.
LARGEST_FILE = 64 * 2**20


@dataclass(frozen=True)
class FileTree:
    """Files by their path below the tree's root, with / between folders.

    Attributes:
        source: the folder or archive, and ``prefix``: what stands before a path, both for messages.
        names: the files directly within a folder, sorted; none where there is no such folder.
        reader: opens the tree for reading: ``with tree.reader() as read: content = read(path)``. Threads
            may read at the same time. Reading raises ``UserError`` for a missing or damaged file.
    """

    source: str
    prefix: str
    names: Callable[[str], list[str]]
    reader: Callable[[], AbstractContextManager[Read]]

    def where(self, path: str) -> str:
        """The file ``path`` as people find it."""
        return f"{self.prefix}{path}"


def open_tree(path: Path, folder: str, marker: str, origin: str) -> FileTree:
    """The tree at ``path``, a folder or a .zip, whose root holds the file ``marker``.

    Args:
        folder: part of ``path`` that is the root where ``path`` itself is not.
        origin: where people get the data from, for messages.

    Raises:
        UserError: there is nothing at ``path`` or no ``marker`` in it, or it is a file and no archive, or an
            archive with a member whose path leads outside it.
    """
    if is_folder(path):
        for root in (path, path / folder):
            if is_file(root / marker):
                return FileTree(
                    str(root), f"{root}/", partial(_folder_names, root), partial(_folder_reader, root)
                )
    elif is_file(path):
        members = _members(path, origin)
        for prefix in ("", f"{folder}/"):
            if marker in members.get(prefix.rstrip("/"), ()):
                return FileTree(
                    str(path),
                    f"{path}, member {prefix}",
                    partial(_archive_names, members, prefix),
                    partial(_archive_reader, path, prefix, origin),
                )
    else:
        raise UserError(f"{path}: no such file or folder, expected data from {origin}")
    raise UserError(f"{path}: found no {marker} and no {folder}/{marker} in it, expected data from {origin}")


def _folder_names(root: Path, name: str) -> list[str]:
    folder = root / name
    if not is_folder(folder):
        return []
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}), expected a folder") from error


@contextmanager
def _folder_reader(root: Path) -> Iterator[Read]:
    def read(name: str) -> bytes:
        path = root / name
        if not is_file(path):
            raise no_file(path, "a file of the data")
        try:
            _check_size(str(path), path.stat().st_size)
            return path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}), expected a file") from error

    yield read


def _members(path: Path, origin: str) -> dict[str, set[str]]:
    """Names of the archive's files by their folder, which is "" for the root."""
    members = defaultdict(set)
    with _damage_named(path, origin):
        for name in (member.filename for member in compressed.zip_members(path)):
            parts = name.replace("\\", "/").split("/")
            if ".." in parts or parts[0] == "" or re.fullmatch("[A-Za-z]:.*", parts[0]):
                raise UserError(
                    f"{path}: its member {name!r} leads outside the archive, expected data from {origin}"
                )
            folder, _, file = name.rpartition("/")
            if file:
                members[folder].add(file)
    return dict(members)


def _archive_names(members: dict[str, set[str]], prefix: str, name: str) -> list[str]:
    return sorted(members.get(f"{prefix}{name}".rstrip("/"), ()))


@contextmanager
def _archive_reader(path: Path, prefix: str, origin: str) -> Iterator[Read]:
    with _damage_named(path, origin):
        archive = zipfile.ZipFile(path)
        members = compressed.members_by_name(archive)

    def read(name: str) -> bytes:
        source = f"{path}, member {prefix}{name}"
        try:
            member = members[f"{prefix}{name}"]
        except KeyError:
            raise UserError(f"{source}: no such member, expected data from {origin}") from None
        _check_size(source, member.file_size)
        with _damage_named(source, origin):
            return archive.read(member)

    with archive:
        yield read


def _check_size(source: str, size: int) -> None:
    if size > LARGEST_FILE:
        raise UserError(f"{source}: {size} bytes, expected at most {LARGEST_FILE}")


@contextmanager
def _damage_named(source: Path | str, origin: str) -> Iterator[None]:
    with compressed.damage_named(source, "not a .zip", f"data from {origin}"):
        yield
