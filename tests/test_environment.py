"""environment.yml, pyproject.toml and requirements.lock say the same."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


def locked() -> dict[str, set[str]]:
    """Versions in the lock by package name; some packages have one for each Python."""
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([a-z0-9._-]+)==([^ \\]+)", (ROOT / "requirements.lock").read_text(), re.M
    ):
        pins.setdefault(name, set()).add(version)
    return pins


UNLOCKED = {"cuda"}
"""Extras of some machines only."""


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def required() -> dict[str, Requirement]:
    """What pyproject.toml asks for, in all extras that are locked."""
    extras = project()["optional-dependencies"]
    texts = [*project()["dependencies"]]
    texts += [text for name, extra in extras.items() if name not in UNLOCKED for text in extra]
    return {requirement.name: requirement for requirement in map(Requirement, texts)}


def conda(file: str = "environment.yml") -> dict[str, str]:
    """The pins of a conda environment."""
    environment = yaml.safe_load((ROOT / file).read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    return dict(line.split("==") for line in pip)


def test_the_lock_satisfies_pyproject() -> None:
    pins = locked()
    for name, requirement in required().items():
        assert pins[name], name
        assert all(requirement.specifier.contains(version) for version in pins[name]), name


JOBS = "workflow/envs/neural-kernels.yaml"
PLANNING = "workflow/envs/planning.yaml"


@pytest.mark.parametrize("file", ["environment.yml", JOBS, PLANNING])
def test_conda_installs_what_the_lock_does(file: str) -> None:
    pins = locked()
    for name, version in conda(file).items():
        assert version in pins[name], name


def test_the_environment_of_jobs_has_what_they_may_load_and_what_the_package_is_built_with() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    needed = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    needed += [text for extra in ("mpi", "tuning", "molecules") for text in extras[extra]]
    assert {Requirement(text).name for text in needed} == conda(JOBS).keys()


def test_the_environment_of_planning_has_what_the_functions_of_rules_load() -> None:
    """And no Python, which Snakemake adds in its own version, and refuses where there is one."""
    script = (
        "import sys; before = set(sys.modules); import neural_kernels.stages.inputs, "
        "neural_kernels.stages.job_memory, neural_kernels.stages.targets; print(*set(sys.modules) - before)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    modules = {name.partition(".")[0] for name in loaded.split()}
    distributions = packages_distributions()
    needed = {name.lower() for module in modules for name in distributions.get(module, ())}
    assert needed & required().keys() == conda(PLANNING).keys()
    assert "python=" not in (ROOT / PLANNING).read_text()


def test_conda_installs_every_requirement_but_the_one_that_needs_no_deps() -> None:
    missing = required().keys() - conda().keys()
    assert missing == {"neural-tangents"}
    text = (ROOT / "environment.yml").read_text()
    (version,) = locked()["neural-tangents"]
    assert f"pip install --no-deps neural-tangents=={version}" in text


def test_the_lock_is_made_of_all_other_extras() -> None:
    recipe = re.search(r"addprefix --extra ,([a-z ]+)\)", (ROOT / "Makefile").read_text())
    assert recipe is not None
    assert set(recipe[1].split()) == project()["optional-dependencies"].keys() - UNLOCKED
    for extra in UNLOCKED:
        for requirement in map(Requirement, project()["optional-dependencies"][extra]):
            assert requirement.name not in locked().keys() | conda().keys()


def test_the_lock_has_a_hash_for_every_package() -> None:
    blocks = re.split(r"^(?=[a-z0-9])", (ROOT / "requirements.lock").read_text(), flags=re.M)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    assert len(blocks) > 50
