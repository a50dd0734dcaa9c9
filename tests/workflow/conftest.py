"""Projects in which the tests run the real workflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from workflow_projects import Project, make_project


@pytest.fixture
def new_project(tmp_path: Path) -> Callable[[], Project]:
    return lambda: make_project(tmp_path)


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which nothing has run, for all tests of a file."""
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose tiny study has run to its report."""
    project = make_project(tmp_path_factory.mktemp("project"))
    run = project.snakemake("results/tiny_scaling.pdf")
    assert run.returncode == 0, run.stdout
    return project
