"""Arrays whose checksums stand in the summary of their folder, and which are checked when they are read.

The folders data/ and features/ end with a summary, data.json or features.json, which carries a checksum of its own
(``files.write_json``). Under ``checksums`` it says of every file beside it what it holds:

    <name>.npy    shape, dtype and the checksums of its strips (``checksums.Strips``)
    <name>.npz    the checksum of the whole file

What does not match is set aside together with the summary, so that the stage that wrote both makes them again.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neural_kernels.errors import DamagedFile
from neural_kernels.graphs import Examples, Graphs, is_graphs, structure_files
from neural_kernels.storage import checksums
from neural_kernels.storage.checksums import Strips
from neural_kernels.storage.files import damaged, read_json

KEY = "checksums"
"""Of the summary."""

VERBS = {"data.json": "prepare-data", "features.json": "preprocess-data", "made_from.json": "declare-kernel"}
"""What writes a folder, by the name of its summary."""


def record_of(array: np.ndarray, strips: Strips | None = None) -> dict[str, Any]:
    """What a summary says of an array of at least one axis.

    Args:
        strips: its checksums, where they are known already.
    """
    strips = Strips.of(array) if strips is None else strips
    return {"shape": list(array.shape), "dtype": array.dtype.str, **strips.as_json()}


def record_of_file(path: Path) -> dict[str, Any]:
    """What a summary says of a file that is no array."""
    return {"checksum": checksums.of_file(path)}


class SealedArray:
    """A memory map of which every strip is checked before its first use in this process.

    Attributes:
        array: all rows, for who has them checked.
    """

    def __init__(self, path: Path, record: dict[str, Any], summary_file: Path) -> None:
        """
        Raises:
            DamagedFile: the file is missing, or its header or size is not what ``record`` says.
        """
        self._path, self._summary_file = path, summary_file
        shape, dtype = tuple(record["shape"]), np.dtype(record["dtype"])
        strips = Strips.from_json(record, shape[0])
        if strips is None:
            raise damaged(summary_file, f"has no checksums of {path.name}")
        self._strips, self._checked = strips, np.zeros(len(strips.sums), bool)
        header = _header(shape, dtype)
        size = len(header) + int(np.prod(shape)) * dtype.itemsize
        try:
            with path.open("rb") as file:
                found = file.read(len(header))
            if path.stat().st_size != size:
                raise self._damaged(f"is {path.stat().st_size} bytes, expected {size}")
        except FileNotFoundError:
            raise self._damaged("is missing") from None
        except OSError as error:
            raise self._damaged(f"cannot be read ({error.strerror})") from None
        if found != header:
            raise self._damaged(f"has another header than that of an array {shape} of {dtype}")
        self.array = np.memmap(path, dtype, "r", len(header), shape)

    def __len__(self) -> int:
        return len(self.array)

    def check(self, first: int = 0, end: int | None = None) -> None:
        """Check the strips that rows ``first`` to ``end`` touch, those that were checked before left out.

        Raises:
            DamagedFile: one is not what was written.
        """
        for _ in self.checking(first, end):
            pass

    def checking(self, first: int = 0, end: int | None = None) -> Iterator[int]:
        """As ``check``; yields the first row of a strip once it is checked."""
        end = len(self) if end is None else min(end, len(self))
        for begin, after, _ in self._strips.covering(first, end):
            strip = begin // self._strips.rows
            if not self._checked[strip]:
                row = self._strips.damaged(self.array, begin, min(after, len(self)))
                if row is not None:
                    raise self._damaged(
                        f"is damaged: the rows from {row} on are not those written (checksum)"
                    )
                self._checked[strip] = True
            yield begin

    def rows(self, first: int = 0, end: int | None = None) -> np.ndarray:
        """Rows ``first`` to ``end``, checked and in memory."""
        self.check(first, end)
        return np.array(self.array[first:end])

    def strip_count(self) -> int:
        return len(self._checked)

    def _damaged(self, fault: str) -> DamagedFile:
        return _damaged(self._path, fault, self._summary_file)


def _damaged(path: Path, fault: str, summary_file: Path) -> DamagedFile:
    made_by = f"{VERBS[summary_file.name]}, or the same snakemake command,"
    return damaged(path, fault, summary_file, made_by=made_by)


def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """How NumPy begins the file of a C-contiguous array: compared byte by byte, no damage to it is read as sound."""
    file = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue()


@dataclass(frozen=True)
class SealedFolder:
    """A folder with a summary.

    Attributes:
        summary: what ``summary_file`` says.
    """

    summary_file: Path
    summary: dict[str, Any]

    def array(self, name: str) -> SealedArray:
        """The array in the file ``name``.

        Raises:
            DamagedFile: see ``SealedArray``.
        """
        return SealedArray(self.summary_file.parent / name, self._record(name), self.summary_file)

    def load(self, name: str, count: int | None = None) -> np.ndarray:
        """The first ``count`` rows of the array in the file ``name``, all where it is None, checked and in memory."""
        return self.array(name).rows(0, count)

    def file(self, name: str) -> Path:
        """The path of a file that is no array, checked.

        Raises:
            DamagedFile: it is missing or is not what was written.
        """
        path, record = self.summary_file.parent / name, self._record(name)
        try:
            found = checksums.of_file(path)
        except FileNotFoundError:
            raise _damaged(path, "is missing", self.summary_file) from None
        except OSError as error:
            raise _damaged(path, f"cannot be read ({error.strerror})", self.summary_file) from None
        if found != record.get("checksum"):
            raise _damaged(
                path, "is damaged: its checksum is not that of what was written", self.summary_file
            )
        return path

    def examples(self, name: str, rows: tuple[int, int] | None = None) -> Examples:
        """The array in the file ``name``, or the graphs whose nodes it holds, memory-mapped.

        Args:
            rows: the examples that will be used, first and the one after the last: no others are checked.

        Raises:
            DamagedFile: see ``SealedArray``.
        """
        examples, sealed, edges = self._open_examples(name)
        first, end = (0, len(examples)) if rows is None else rows
        if isinstance(examples, Graphs):
            assert edges is not None
            edges.check(int(examples.edge_offsets[first]), int(examples.edge_offsets[end]))
            first, end = int(examples.node_offsets[first]), int(examples.node_offsets[end])
        sealed.check(first, end)
        return examples

    def unchecked(self, name: str) -> tuple[Examples, SealedArray]:
        """As ``examples``, but of the array itself, or the nodes, nothing is checked yet: what has to be asked to.

        A graph's structure is.
        """
        examples, sealed, edges = self._open_examples(name)
        if edges is not None:
            edges.check()
        return examples, sealed

    def _open_examples(self, name: str) -> tuple[Examples, SealedArray, SealedArray | None]:
        values = self.array(name)
        if not is_graphs(tuple(self.summary["input_shape"])):
            return values.array, values, None
        structure = {key: self.array(path.name) for key, path in structure_files(Path(name)).items()}
        for key, sealed in structure.items():
            if key != "edges":
                sealed.check()
        graphs = Graphs(values.array, **{key: sealed.array for key, sealed in structure.items()})
        return graphs, values, structure["edges"]

    def names(self) -> list[str]:
        """Every file that the summary vouches for."""
        return list(self.summary[KEY])

    def strip_count(self, name: str) -> int:
        """How many steps ``checking`` takes."""
        return max(1, len(self._record(name).get(KEY, [])))

    def checking(self, name: str) -> Iterator[object]:
        """Check the file ``name``, whatever it is; yields after each strip.

        Raises:
            DamagedFile: see ``SealedArray`` and ``file``.
        """
        if "shape" in self._record(name):
            yield from self.array(name).checking()
        else:
            yield self.file(name)

    def _record(self, name: str) -> dict[str, Any]:
        try:
            record: dict[str, Any] = self.summary[KEY][name]
        except KeyError:
            raise damaged(self.summary_file, f"has no checksum of {name}") from None
        return record


def open_folder(summary_file: Path) -> SealedFolder:
    """The folder of a summary.

    Raises:
        UserError: the summary is missing.
        DamagedFile: it is not what was written, or is of a version that wrote no checksums.
    """
    return SealedFolder(summary_file, read_json(summary_file))
