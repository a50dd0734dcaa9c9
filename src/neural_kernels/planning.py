"""What a study will take, before anything runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from neural_kernels.blocks import Grid
from neural_kernels.errors import UserError
from neural_kernels.study import Study


def planned_blocks(study: Study) -> Iterator[tuple[str, str, int, int, int]]:
    """Every block that the study reads: (kernel, part, i, j, bytes)."""
    itemsize = np.dtype(study.config["precision"]).itemsize
    edge = study.config["blocks"]["edge"]
    sizes = study.part_sizes
    for kernel in study.kernels:
        columns = study.training_sizes(kernel)[-1]
        rows = {"train": columns, "validation": sizes["validation"], **study.test_sizes(kernel)}
        for part, count in rows.items():
            grid = Grid(sizes[part], sizes["train"], edge, symmetric=part == "train")
            for i, j in grid.blocks(count, columns):
                yield kernel, part, i, j, int(np.prod(grid.shape(i, j))) * itemsize


def check_disk(study: Study, results: Path) -> None:
    """Raise UserError where the blocks that are still to be computed don't fit on the disk of ``results``."""
    missing = sum(
        size
        for kernel, part, i, j, size in planned_blocks(study)
        if not (results / study.owner / "kernels" / kernel / part / "blocks" / f"{i}-{j}.npy").exists()
    )
    folder = results.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise UserError(
            f"study {study.name} needs {gibibytes(missing)} for its kernel blocks, but {folder} has "
            f"{gibibytes(free)} free: reduce training_sizes, use float32 or put results on a larger disk"
        )


def gibibytes(count: float) -> str:
    """``count`` bytes for people."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**28 else f"{count / 2**20:,.1f} MiB"
