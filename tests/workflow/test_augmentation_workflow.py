"""A tiny study of data augmentation, as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from workflow_projects import Project, jobs

STUDY = """
title: "Tiny augmentation"
data:
  name: arrays
  path: images.npz
  train_examples: 12
  validation_examples: 10
  augmentation: {factor: 4, padding: 1}
preprocessing:
  whitened: {method: zca, fit_examples: 24}
kernels:
  FC:
    architecture: {name: FC, depth: 1}
    preprocessing: whitened
blocks: {edge: 12}
training_sizes: {smallest: 12, factor: 2}
ridge: {candidates: [1.0e-2, 1.0]}
solver: {direct_up_to: 48}
"""
TARGET = "results/augmented_augmentation.pdf"


def write_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = rng.integers(0, 100, (40, 8, 8, 3)) + 100 * y[:, None, None, None]
    x = x.astype(np.uint8)
    np.savez(folder / "images.npz", x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:])


@pytest.fixture(scope="module")
def augmented(shared_project: Project) -> Project:
    write_images(shared_project.folder)
    shared_project.write_study("augmented", STUDY)
    run = shared_project.snakemake(TARGET)
    assert run.returncode == 0, run.stdout
    return shared_project


def test_a_study_runs_to_its_report(augmented: Project) -> None:
    results = augmented.folder / "results"
    assert (augmented.folder / TARGET).read_bytes().startswith(b"%PDF")
    assert (results / "augmented/augmentation.png").read_bytes().startswith(b"\x89PNG")
    table = pd.read_parquet(results / "augmented/metrics.parquet")
    assert set(table["n"]) == {12, 24, 48}
    assert set(table["draw"]) == {0}
    # Each factor chooses its own ridge on the same validation images.
    assert table.query("split == 'validation' and metric == 'loss'").groupby("n").size().eq(1).all()


def test_blocks_of_images_and_flips_are_copied_and_no_others(augmented: Project) -> None:
    blocks = augmented.folder / "results/augmented/kernels/FC/train/blocks"
    records = {path.stem: json.loads(path.read_text()) for path in blocks.glob("*.json")}
    assert len(records) == 10
    copies = {block: record["copy_of"] for block, record in records.items() if "copy_of" in record}
    assert copies == {"1-1": "0-0"}


def test_a_second_run_does_nothing(augmented: Project) -> None:
    assert "Nothing to be done" in augmented.snakemake(TARGET).stdout


def test_the_report_of_its_scaling_is_there_too(augmented: Project) -> None:
    run = augmented.snakemake("results/augmented_scaling.pdf", "--dry-run")
    assert jobs(run.stdout) == {"predict_learning_curve": 1, "fit_baselines": 1, "report_scaling": 1}


def test_a_deleted_block_is_asked_for_behind_the_report(augmented: Project) -> None:
    block = "results/augmented/kernels/FC/train/blocks/0-3.npy"
    (augmented.folder / block).unlink()
    run = augmented.snakemake(TARGET, "--dry-run")
    expected = {"compute_block": 1, "solve_small_sizes": 1, "evaluate_small_sizes": 1, "collect_metrics": 1}
    assert jobs(run.stdout) == expected | {"report_augmentation": 1}
    assert augmented.snakemake(block).returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "padding: 1",
            "operations: [Rotate]",
            "augmentation.operations.0 is 'Rotate', expected one of FlipLR",
        ),
        (
            "smallest: 12",
            "smallest: 16",
            "training_sizes has n = 16 for kernel FC, expected multiples of the 12",
        ),
    ],
)
def test_mistakes_stop_before_anything_starts(
    new_project: Callable[[], Project], old: str, new: str, sentence: str
) -> None:
    project = new_project()
    write_images(project.folder)
    project.write_study("augmented", STUDY.replace(old, new))
    run = project.snakemake(TARGET)
    assert run.returncode != 0
    assert sentence in run.stdout, run.stdout
    assert "Traceback" not in run.stdout
    assert not (project.folder / "results").exists()
