"""The blocks of a Krylov basis: in memory as far as that goes, on disk beyond, and all of them there for a resume."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neural_kernels.errors import UserError
from neural_kernels.solvers.communicator import Communicator
from neural_kernels.storage import checksums
from neural_kernels.storage.files import damaged, write_npy


class KrylovBasis:
    """Own rows of V_1, V_2, ..., (own rows, k_j) float64 each, appended and read again in their order.

    Attributes:
        widths: k_j of each block.
    """

    def __init__(self, memory: int, directory: Path | None, communicator: Communicator) -> None:
        """
        Args:
            memory: bytes of blocks that stay in the memory of this process.
            directory: where the others go, and all of them before a checkpoint; nowhere where None.
        """
        self.widths: list[int] = []
        self._memory, self._directory = memory, directory
        self._owner = f"{communicator.rank}-{communicator.size}"
        self._kept: dict[int, np.ndarray] = {}
        self._sums: list[str | None] = []
        # An iteration needs the last two, wherever they are.
        self._recent: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self.widths)

    @property
    def columns(self) -> int:
        """Of all blocks."""
        return sum(self.widths)

    @property
    def bytes_on_disk(self) -> int:
        """Of the blocks of this process that memory had no room for."""
        rows = len(self._recent[-1]) if self._recent else 0
        return 8 * rows * sum(width for j, width in enumerate(self.widths) if j not in self._kept)

    def append(self, block: np.ndarray) -> None:
        """Take another block, which must not change any more.

        Raises:
            UserError: memory is used up, and there is no folder, or no room on its disk.
        """
        fits = self._fits(block)
        if not fits and self._directory is None:
            raise UserError(
                f"{self.columns + block.shape[1]} columns of a Krylov basis, {len(block)} rows each, do not fit into "
                f"{self._memory / 2**20:.0f} MiB: raise solver.memory_gib"
            )
        self._add(block, None)
        if not fits:
            self._write(len(self) - 1, block)

    def block(self, j: int) -> np.ndarray:
        """V_j; one on disk is checked.

        Raises:
            DamagedFile: it is not what was written; it has been set aside.
        """
        behind = len(self) - 1 - j
        if behind < len(self._recent):
            return self._recent[-1 - behind]
        if j in self._kept:
            return self._kept[j]
        path = self._path(j)
        content = np.fromfile(path, np.uint8)
        if checksums.of_bytes(content) != self._sums[j]:
            raise damaged(path, "is damaged: its checksum is not that of what was written")
        return _array_of(content)

    def saved(self) -> list[str]:
        """Checksum of the file of each block, once all have one."""
        for j, sum_ in enumerate(self._sums):
            if sum_ is None:
                self._write(j, self._kept[j])
        return [str(sum_) for sum_ in self._sums]

    def take_over(self, block: np.ndarray, sum_: str) -> None:
        """Append a block whose file in the folder is this process's own and whole."""
        self._add(block, sum_)

    def _fits(self, block: np.ndarray) -> bool:
        return sum(kept.nbytes for kept in self._kept.values()) + block.nbytes <= self._memory

    def _add(self, block: np.ndarray, sum_: str | None) -> None:
        if self._fits(block):
            self._kept[len(self)] = block
        self.widths.append(block.shape[1])
        self._sums.append(sum_)
        self._recent = [*self._recent[-1:], block]

    def _path(self, j: int) -> Path:
        assert self._directory is not None
        return block_path(self._directory, j, self._owner)

    def _write(self, j: int, block: np.ndarray) -> None:
        path = self._path(j)
        write_npy(path, block)
        self._sums[j] = checksums.of_file(path)


def block_path(directory: Path, j: int, owner: str) -> Path:
    """The file of block ``j``, rows of ``owner``, "<rank>-<processes>"."""
    return directory / f"block{j}.{owner}.npy"


def _array_of(content: np.ndarray) -> np.ndarray:
    """The array of a .npy file that ``write_npy`` wrote, without another copy of its bytes."""
    file = io.BytesIO(content[:256].tobytes())
    np.lib.format.read_magic(file)
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    return content[file.tell() :].view(dtype).reshape(shape, order="F" if fortran else "C")


def owners(processes: int) -> Sequence[str]:
    """Of so many processes, in the order of their rows."""
    return [f"{rank}-{processes}" for rank in range(processes)]
