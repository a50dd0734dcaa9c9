"""The files of .github/workflows: they are YAML, and what they call is there."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
# What a runner has, and what `uses:` brings.
PROGRAMS = {"make", "sudo", "pipx"}


def jobs(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text())
    # YAML 1.1 reads the key `on` as true.
    assert {"name", True, "permissions", "jobs"} <= content.keys()
    found: dict[str, Any] = content["jobs"]
    return found


def matrix_keys(job: dict[str, Any]) -> set[str]:
    matrix = job.get("strategy", {}).get("matrix", {})
    return {*matrix, *(key for row in matrix.get("include", []) for key in row)} - {"include"}


def pythons() -> list[str]:
    matrix: dict[str, list[str]] = jobs(ROOT / ".github/workflows/ci.yml")["tests"]["strategy"]["matrix"]
    return matrix["python"]


def test_there_are_workflows() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yml", "wheels.yml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_step_does_one_thing_that_is_there(path: Path) -> None:
    targets = set(re.findall(r"^([\w.$()/-]+):", (ROOT / "Makefile").read_text(), re.M)) | {".venv/installed"}
    for job in jobs(path).values():
        assert job["runs-on"]
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"])
                continue
            words = step["run"].split()
            if words[0] == "make":
                assert set(words[1:]) <= targets, step
            first = ROOT / words[0]
            # What is installed there by an earlier step, a program of the runner, or a file of ours.
            assert words[0].startswith(".venv/") or words[0] in PROGRAMS or os.access(first, os.X_OK), step
            for word in words:
                if word.startswith(".ci/"):
                    assert os.access(ROOT / word, os.X_OK), step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_value_of_a_matrix_that_is_named_is_in_it(path: Path) -> None:
    for job in jobs(path).values():
        named = set(re.findall(r"matrix\.(\w+)", yaml.safe_dump(job)))
        assert named == matrix_keys(job)


def test_every_python_that_is_claimed_is_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    claimed = [
        text.rpartition(" ")[2]
        for text in project["project"]["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", text)
    ]
    assert claimed == pythons()
    assert project["project"]["requires-python"] == f">={claimed[0]}"
    wheels = project["tool"]["cibuildwheel"]
    assert wheels["build"] == [f"cp{version.replace('.', '')}-*" for version in claimed]


def test_a_wheel_is_built_for_every_architecture_that_is_configured() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rows = jobs(ROOT / ".github/workflows/wheels.yml")["wheels"]["strategy"]["matrix"]["include"]
    wheels = project["tool"]["cibuildwheel"]
    assert [row["architecture"] for row in rows] == wheels["linux"]["archs"]
    for path in re.findall(r"\{project\}/(\S+\.py)", wheels["test-command"]):
        assert (ROOT / path).is_file()
