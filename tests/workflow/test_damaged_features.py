"""A damaged file of data/ or features/ ends the job that reads it; the same command makes it again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from workflow_projects import Project

TARGET = "results/tiny_scaling.pdf"
RESULTS = "results/tiny"
METRICS = f"{RESULTS}/metrics/FC/n16.parquet"
BLOCK = f"{RESULTS}/kernels/FC/train/blocks/0-1.npy"


@pytest.mark.parametrize(
    ("damaged", "deleted"),
    [
        ("features/plain/train.npy", [BLOCK, BLOCK.replace("blocks", "kept")]),
        ("data/train_x.npy", [f"{RESULTS}/features/plain/features.json", METRICS]),
    ],
)
def test_a_flipped_bit_is_named_and_the_same_command_gives_the_same_numbers(
    finished: Project, damaged: str, deleted: list[str]
) -> None:
    path = finished.folder / RESULTS / damaged
    whole = path.read_bytes()
    table = pd.read_parquet(finished.folder / RESULTS / "metrics.parquet")
    blocks = {file: file.read_bytes() for file in (finished.folder / RESULTS).rglob("blocks/*.npy")}
    dates = {file: file.stat().st_mtime_ns for file in blocks}
    content = bytearray(whole)
    content[-3] ^= 16
    path.write_bytes(content)
    # Snakemake misses a deleted file only behind what is to be made.
    for name in (*deleted, TARGET, f"{RESULTS}/metrics.parquet"):
        (finished.folder / name).unlink()
    first = finished.snakemake(TARGET)
    assert first.returncode != 0
    assert f"{damaged} is damaged" in first.stdout
    assert path.with_name(path.name + ".rejected").exists()
    second = finished.snakemake(TARGET)
    assert second.returncode == 0, second.stdout
    assert path.read_bytes() == whole
    assert {file: file.read_bytes() for file in blocks} == blocks
    again = {file for file in blocks if file.stat().st_mtime_ns != dates[file]}
    assert again == {finished.folder / name for name in deleted if "/blocks/" in name}
    found = pd.read_parquet(finished.folder / RESULTS / "metrics.parquet")
    counted = found["metric"] != "seconds"
    pd.testing.assert_frame_equal(found[counted], table[counted])
    assert np.isfinite(found["value"]).all()
    for file in (finished.folder / RESULTS).rglob("*.rejected"):
        file.unlink()
