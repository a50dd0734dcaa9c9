"""A real Slurm of three nodes on this host, and projects that run on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from slurm_cluster import Cluster
from workflow_projects import TINY, Project, make_project


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Starts the cluster; the tests are skipped, with the reason, where it cannot be."""
    if not os.environ.get("NEURAL_KERNELS_SLURM_TESTS"):
        pytest.skip("set NEURAL_KERNELS_SLURM_TESTS=1 to have a Slurm installed and started on this host")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("a Slurm for tests needs root and apt-get")
    state = str(tmp_path_factory.mktemp("cluster") / "state")
    cluster = Cluster({**os.environ, "SLURM_TEST_CLUSTER": state})
    for step in (["install"], ["start", "3"]):
        run = cluster.do(*step)
        if run.returncode != 0:
            cluster.do("stop")
            pytest.skip(f"Slurm cannot be started here: {run.stderr.strip()[-300:]}")
    yield cluster
    cluster.do("stop").check_returncode()


@pytest.fixture(scope="module")
def project(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Project:
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
