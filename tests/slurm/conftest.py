"""A real Slurm of three nodes on this host, and projects that run on it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from workflow_projects import TINY, Project, make_project

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Starts the cluster; the tests are skipped, with the reason, where it cannot be."""
    if not os.environ.get("NEURAL_KERNELS_SLURM_TESTS"):
        pytest.skip("set NEURAL_KERNELS_SLURM_TESTS=1 to have a Slurm installed and started on this host")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("a Slurm for tests needs root and apt-get")
    script = str(HERE / "cluster.sh")
    environment = {**os.environ, "SLURM_TEST_CLUSTER": str(tmp_path_factory.mktemp("cluster") / "state")}
    for step in (["install"], ["start", "3"]):
        run = subprocess.run([script, *step], env=environment, capture_output=True, text=True)
        if run.returncode != 0:
            subprocess.run([script, "stop"], env=environment, capture_output=True)
            pytest.skip(f"Slurm cannot be started here: {run.stderr.strip()[-300:]}")
    yield
    subprocess.run([script, "stop"], env=environment, check=True, capture_output=True)


@pytest.fixture(scope="module")
def project(slurm: None, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose ``neural-kernels`` runs through ``before``, a script of the test's, first."""
    project = make_project(tmp_path_factory.mktemp("project"))
    # Each job starts two Snakemakes: one training size has every kind of job.
    project.write_study("tiny", TINY.replace("[8, 16, 64]", "[64]"))
    binaries = project.folder / "bin"
    binaries.mkdir()
    (project.folder / "before").write_text("")
    real = shutil.which("neural-kernels", path=Project.search_path())
    wrapper = binaries / "neural-kernels"
    wrapper.write_text(f'#!/bin/bash\n. {project.folder}/before\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    return project
