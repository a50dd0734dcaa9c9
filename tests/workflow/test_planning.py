"""What it takes to plan, before any job starts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from workflow_projects import ROOT, TINY, Project, jobs, make_project

PROGRAM = Path(__file__).parents[1] / "helpers" / "counted_planning.py"
COMPARISON = "title: Several\nsplits: {one: tiny, two: mine, three: guest}\ntest_set: digits\n"
APPROXIMATED = TINY + "approximations: {methods: [nystrom], sizes: [8]}\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("project"))
    project.write_study("mine", "title: Mine\nlike: tiny\ndraws: 1\n")
    project.write_study("guest", "title: Guest\nkernels_from: tiny\ntraining_sizes: {sizes: [8]}\n")
    project.write_study("approximated", APPROXIMATED)
    project.write_study("unasked", "title: Unasked\n" + TINY)
    (project.folder / "config/comparisons").mkdir()
    project.write_study("comparisons/several", COMPARISON)
    return project


def parses(project: Project, *targets: str) -> dict[str, int]:
    """How often each config was parsed in a dry run."""
    command = [sys.executable, str(PROGRAM), "--profile", "default", "--dry-run", *targets]
    run = subprocess.run(command, cwd=project.folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    [line] = [line for line in run.stdout.splitlines() if line.startswith("PARSES")]
    counts = json.loads(line.removeprefix("PARSES"))
    configs = (project.folder / "config").rglob("*.yaml")
    return {path.stem: counts.get(path.read_text(), 0) for path in configs}


def test_each_config_is_parsed_once_and_none_that_is_not_asked_for(project: Project) -> None:
    found = parses(project, "results/several_splits.pdf", "results/approximated.pdf")
    assert found == {"several": 1, "tiny": 1, "mine": 1, "guest": 1, "approximated": 1, "unasked": 0}


def test_a_short_name_is_a_copy_of_the_report_that_its_study_has(project: Project) -> None:
    for short, report in (("approximated", "report_approximations"), ("several", "report_splits")):
        run = project.snakemake("--dry-run", f"results/{short}.pdf")
        assert run.returncode == 0, run.stdout
        asked = jobs(run.stdout)
        assert (asked["copy_report"], asked[report]) == (1, 1)


@pytest.mark.parametrize("profile", ["default", "slurm"])
def test_a_dry_run_prints_a_line_a_rule_and_verbose_every_job(project: Project, profile: str) -> None:
    short = project.snakemake("-n", "results/tiny_scaling.pdf", profile=profile).stdout
    assert jobs(short)["compute_block"] == 7
    assert not re.search("^rule |reason:", short, re.M)
    for option in ("--verbose", "-p"):
        every = project.snakemake("-n", option, "results/tiny_scaling.pdf", profile=profile).stdout
        assert jobs(every) == jobs(short)
        assert len(re.findall("^rule compute_block:", every, re.M)) == 7
        assert "    reason: Missing output files" in every


def test_rules_have_their_paths_from_one_place_but_for_logs() -> None:
    for rules in (ROOT / "workflow/rules").glob("*.smk"):
        said = re.findall(r'"results/[^"]+', rules.read_text())
        assert all("/logs/" in path for path in said), (rules, said)
    assert len((ROOT / "workflow/rules/common.smk").read_text().splitlines()) < 120
