"""A comparison of splits, as a user runs it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from workflow_projects import Project, jobs, make_project

STUDY = """
title: "Few"
data: {name: flip, path: few.csv, validation_examples: null}
preprocessing: {plain: {method: standardize}}
kernels:
  FC:
    architecture: {name: FC, depth: 1}
    preprocessing: plain
blocks: {edge: 64}
training_sizes: {sizes: [9, 18]}
ridge: {candidates: [1.0e-2, 1.0]}
"""
COMPARISON = """
title: "Tiny proteins"
splits: {few_vs_many: few, elsewhere: null}
published:
  - {name: Others, source: nobody, values: {elsewhere: 0.5}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose study has been run, without anybody having thought of comparing it."""
    project = make_project(tmp_path_factory.mktemp("project"))
    rng = np.random.default_rng(0)
    letters = rng.choice(list("ACDE"), (40, 6))
    rows = [
        f"{''.join(row)},{(row == 'A').sum() + 0.01 * k},{'test' if k % 2 else 'train'},{'True' if k > 35 else ''}"
        for k, row in enumerate(letters)
    ]
    rows = [row.replace("test,True", "test,") for row in rows]
    (project.folder / "few.csv").write_text("\n".join(["sequence,target,set,validation", *rows]))
    project.write_study("few", STUDY)
    (project.folder / "config/comparisons").mkdir()
    project.write_study("comparisons/proteins", COMPARISON)
    run = project.snakemake("results/few/metrics.parquet")
    assert run.returncode == 0, run.stdout
    return project


def test_a_finished_study_is_compared_without_running_again(project: Project) -> None:
    before = project.files()
    run = project.snakemake("results/proteins_splits.pdf")
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout) == {"predict_tests": 1, "fit_baselines": 1, "report_splits": 1}
    assert {path: time for path, time in project.files().items() if path in before} == before
    results = project.folder / "results"
    assert (results / "proteins_splits.pdf").read_bytes().startswith(b"%PDF")
    assert pd.read_csv(results / "proteins/splits.csv")["split"].tolist() == ["few_vs_many", "elsewhere"]
    assert "Nothing to be done" in project.snakemake("results/proteins_splits.pdf").stdout


def test_a_published_figure_that_changed_changes_the_report_alone(project: Project) -> None:
    project.write_study("comparisons/proteins", COMPARISON.replace("0.5", "0.6"))
    run = project.snakemake("results/proteins_splits.pdf", "--dry-run")
    assert jobs(run.stdout) == {"report_splits": 1}


def test_mistakes_are_sentences(project: Project) -> None:
    run = project.snakemake("results/proteins_scaling.pdf", "--dry-run")
    assert run.returncode != 0
    assert (
        "config/comparisons/proteins.yaml compares studies, expected one of those that it names" in run.stdout
    )
    project.write_study("comparisons/proteins", COMPARISON.replace("elsewhere: 0.5", "another: 0.5"))
    run = project.snakemake("results/proteins.pdf", "--dry-run")
    assert run.returncode != 0
    assert "published.0.values has 'another', expected one of few_vs_many, elsewhere" in run.stdout
