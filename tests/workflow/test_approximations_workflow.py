"""A tiny study of approximations, as a user runs it."""

from __future__ import annotations

import pandas as pd
import pytest
from workflow_projects import Project, jobs

STUDY = """
title: "Tiny approximations"
kernels_from: tiny
training_sizes: {sizes: [64]}
ridge: {candidates: [1.0e-2, 1.0]}
solver: {preconditioner: {method: none}}
approximations:
  methods: [nystrom, bayesian_committee_machine, truncated_cg]
  sizes: [16]
  iterations: [4]
  jitter: {candidates: [1.0e-6]}
"""
TARGET = "results/approximated_approximations.pdf"
BLOCK = "results/tiny/kernels/FC/train/blocks/0-1.npy"


@pytest.fixture(scope="module")
def approximated(finished: Project) -> tuple[Project, str]:
    finished.write_study("approximated", STUDY)
    run = finished.snakemake(TARGET)
    assert run.returncode == 0, run.stdout
    return finished, run.stdout


LAST = {"collect_approximations": 1, "report_approximations": 1}
SOLVES = {"approximate_solution": 3, "solve_directly": 1, "evaluate_predictions": 1}


def test_a_study_of_approximations_shares_blocks_and_runs_to_its_report(
    approximated: tuple[Project, str],
) -> None:
    project, output = approximated
    assert jobs(output) == SOLVES | LAST
    assert (project.folder / TARGET).read_bytes().startswith(b"%PDF")
    table = pd.read_parquet(project.folder / "results/approximated/approximations.parquet")
    assert set(zip(table["solver"], table["size"], strict=True)) == {
        ("cholesky", 0),
        ("nystrom", 16),
        ("bayesian_committee_machine", 16),
        ("truncated_cg", 4),
    }


def test_a_deleted_block_is_asked_for_behind_the_report(approximated: tuple[Project, str]) -> None:
    project, _ = approximated
    (project.folder / BLOCK).unlink()
    run = project.snakemake(TARGET, "--dry-run")
    assert jobs(run.stdout) == {"compute_block": 1} | SOLVES | LAST
    assert project.snakemake(BLOCK).returncode == 0


def test_other_studies_have_no_such_report(approximated: tuple[Project, str]) -> None:
    project, _ = approximated
    run = project.snakemake("results/tiny.pdf", "--dry-run")
    assert run.returncode != 0
    assert "config/tiny.yaml has no section approximations" in run.stdout
    assert "Traceback" not in run.stdout
