"""A tiny study of molecules with two assays, as a user runs it."""

from __future__ import annotations

import pytest
from workflow_projects import Project, jobs

from neural_kernels.metrics import task_scores

pytest.importorskip("rdkit", reason="reading SMILES needs the package rdkit")

STUDY = """
title: "Tiny assays"
data:
  name: smiles
  path: assays.csv
  split: {method: random, fractions: [0.5, 0.25, 0.25]}
  train_examples: 12
  validation_examples: 6
  test_sets: {test: {examples: 6}}
preprocessing:
  plain: {method: none}
kernels:
  GNN:
    architecture: {name: SimpleGNN, depth: 1}
    preprocessing: plain
blocks: {edge: 12}
training_sizes: {sizes: [6, 12]}
ridge: {candidates: [1.0e-4, 1.0e-2]}
tasks:
  published:
    - {name: A guess, metric: average_precision, value: 0.5, source: nobody}
"""
TARGET = "results/assays_tasks.pdf"


@pytest.fixture(scope="module")
def assayed(shared_project: Project) -> Project:
    rows = ["smiles,oxygen,nitrogen"]
    for place in range(24):
        oxygen, nitrogen = place % 2, place // 2 % 2
        smiles = "C" * (1 + place // 4) + "O" * oxygen + "CN" * nitrogen
        rows.append(f"{smiles},{oxygen},{'' if place % 5 == 0 else nitrogen}")
    (shared_project.folder / "assays.csv").write_text("\n".join(rows) + "\n")
    shared_project.write_study("assays", STUDY)
    run = shared_project.snakemake(TARGET)
    assert run.returncode == 0, run.stdout
    return shared_project


def test_a_study_runs_to_its_report(assayed: Project) -> None:
    assert (assayed.folder / TARGET).read_bytes().startswith(b"%PDF")
    assert (assayed.folder / "results/assays/tasks.png").read_bytes().startswith(b"\x89PNG")
    metrics = assayed.folder / "results/assays/metrics/GNN"
    scores = task_scores.read([metrics / "n6.tasks.parquet", metrics / "n12.tasks.parquet"])
    assert set(scores["task"]) == {"oxygen", "nitrogen"}
    assert set(scores["n"]) == {6, 12}
    assert set(scores["split"]) == {"validation", "test"}


def test_a_second_run_does_nothing_and_a_missing_table_is_made_again(assayed: Project) -> None:
    assert "Nothing to be done" in assayed.snakemake(TARGET).stdout
    path = assayed.folder / "results/assays/metrics/GNN/n12.tasks.parquet"
    kept = path.read_bytes()
    path.unlink()
    run = assayed.snakemake(TARGET, "--dry-run")
    path.write_bytes(kept)
    expected = {"evaluate_small_sizes": 1, "collect_metrics": 1, "report_tasks": 1}
    assert jobs(run.stdout) == expected


def test_the_report_of_its_scaling_is_there_too(assayed: Project) -> None:
    run = assayed.snakemake("results/assays_scaling.pdf", "--dry-run", "--rerun-triggers", "params")
    assert jobs(run.stdout)["report_scaling"] == 1
