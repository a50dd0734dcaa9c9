"""profiles/slurm-gpu up to the line that submits, which a program in Slurm's place writes down; and what a block does
that is to be computed on a GPU where there is none."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from tiny_studies import DIGITS, study_with_blocks
from workflow_projects import Project, make_project

from neural_kernels import engines
from neural_kernels.engines import jax_engine
from neural_kernels.errors import UserError
from neural_kernels.stages.kernels import compute_block

TARGET = "results/tiny/kernels/FC/train/blocks/0-0.npy"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Its Slurm refuses every job, and keeps what it was asked for."""
    project = make_project(tmp_path_factory.mktemp("project"))
    binaries = project.folder / "bin"
    binaries.mkdir()
    for program, does in {
        "sbatch": f'printf "%q " "$@" >>{project.folder}/asked; echo >>{project.folder}/asked; exit 1',
        "squeue": "exit 0",
        "sinfo": "echo main",
        "scontrol": "echo MinJobAge = 300 sec",
        "sacct": "exit 0",
        "sacctmgr": "exit 1",
    }.items():
        (binaries / program).write_text(f"#!/bin/bash\n{does}\n")
        (binaries / program).chmod(0o755)
    run = project.snakemake("results/tiny/kernels/FC/train/kernel.json")
    assert run.returncode == 0, run.stdout
    return project


def asked(project: Project, *arguments: str) -> list[str]:
    """Words of the line that would submit the block."""
    (project.folder / "asked").unlink(missing_ok=True)
    run = project.snakemake(
        TARGET, "--retries", "0", *arguments, profile="slurm-gpu", path=project.folder / "bin"
    )
    assert run.returncode != 0
    assert "SLURM sbatch failed" in run.stdout, run.stdout
    (line,) = (project.folder / "asked").read_text().splitlines()
    return shlex.split(line)


def test_a_block_is_a_job_on_one_gpu_that_is_refused_without_it(project: Project) -> None:
    words = asked(project)
    assert "--gpus=1" in words
    assert {"--cpus-per-task=8", "-t", "480", "--mem", "4003"} <= set(words)
    assert not any(word.startswith("--ntasks") for word in words)
    # The job reads the workflow again, with what the profile says of the accelerator.
    (command,) = (word for word in words if word.startswith("--wrap="))
    assert "accelerator=required" in command


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (("compute_block:gpu=4",), "--gpus=4"),
        (("compute_block:gpu=0", "compute_block:gres='gpu:a100:1'"), "--gres=gpu:a100:1"),
        (("compute_block:cpus_per_gpu=6", "compute_block:gpu=1"), "--cpus-per-gpu=6"),
    ],
)
def test_sites_that_differ_set_resources(project: Project, resources: tuple[str, ...], expected: str) -> None:
    assert expected in asked(project, "--set-resources", *resources)


def test_what_the_profile_says_of_the_accelerator_reaches_the_block(project: Project) -> None:
    run = project.snakemake("-n", "-p", TARGET, profile="slurm-gpu")
    assert "--require-accelerator" in run.stdout
    run = project.snakemake("-n", "-p", TARGET, profile="slurm")
    assert run.returncode == 0
    assert "compute-block" in run.stdout
    assert "--require-accelerator" not in run.stdout
    run = project.snakemake("-n", "--config", "accelerator=gpu", "--", TARGET)
    assert "error: config: accelerator is 'gpu', expected required, or to be left out" in run.stdout
    assert run.returncode != 0


# --------------------------------------------------------------------------------------- the block


def test_without_an_accelerator_the_block_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    study, folder = study_with_blocks(tmp_path, DIGITS)
    store = folder / study.name / "kernels/FC/train"
    for name in ("blocks", "kept"):
        shutil.rmtree(store / name)
    with pytest.raises(UserError, match="an accelerator is required, but"):
        compute_block(study, folder, "FC", "train", (0, 0), threads=1, require_accelerator=True)
    assert not list(store.glob("blocks/*")) + list(store.glob("partial/*"))
    compute_block(study, folder, "FC", "train", (0, 0), threads=1)
    # A block that is finished is what it is, whatever computed it.
    compute_block(study, folder, "FC", "train", (0, 0), threads=1, require_accelerator=True)


def test_engines_that_would_compute_on_the_processor_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax_engine, "has_accelerator", lambda: False)
    for name in ("native", "jax", "neural_tangents", "jax + native"):
        with pytest.raises(UserError, match="an accelerator is required"):
            engines.check_accelerated(name)
    monkeypatch.setattr(jax_engine, "has_accelerator", lambda: True)
    engines.check_accelerated("jax")
    with pytest.raises(UserError, match="the engine native computes on the processor"):
        engines.check_accelerated("jax + native")
