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


def counted(what: str, folder: Path, *arguments: str) -> dict[str, int]:
    """What the helper counted in a dry run."""
    command = [sys.executable, str(PROGRAM), "--dry-run", *arguments]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    [line] = [line for line in run.stdout.splitlines() if line.startswith(what)]
    found: dict[str, int] = json.loads(line.removeprefix(what))
    return found


def parses(project: Project, *targets: str) -> dict[str, int]:
    """How often each config was parsed in a dry run."""
    counts = counted("PARSES", project.folder, "--profile", "default", *targets)
    configs = (project.folder / "config").rglob("*.yaml")
    return {path.stem: counts.get(path.read_text(), 0) for path in configs}


def test_each_config_is_parsed_once_and_none_that_is_not_asked_for(project: Project) -> None:
    found = parses(project, "results/several_splits.pdf", "results/approximated.pdf")
    assert found == {"several": 1, "tiny": 1, "mine": 1, "guest": 1, "approximated": 1, "unasked": 0}


def submitted(project: Project, *arguments: str) -> dict[str, int]:
    """How many jobs of each rule Slurm would get."""
    return counted("SUBMITTED", project.folder, "--profile", "slurm", *arguments)


def test_a_small_study_submits_its_blocks_and_nothing_else(project: Project) -> None:
    assert submitted(project, "results/tiny_scaling.pdf") == {"compute_block": 7}
    assert submitted(project, "results/approximated.pdf").keys() == {"compute_block"}
    # What a comparison asks for are its studies.
    assert submitted(project, "results/several_splits.pdf").keys() == {"compute_block"}


def test_the_demo_submits_its_blocks_and_nothing_else(project: Project) -> None:
    project.write_study("demo", (ROOT / "config/demo.yaml").read_text())
    # It is what is made without a target.
    assert submitted(project) == {"compute_block": 21}


def test_every_job_is_submitted_where_the_limit_is_none_the_study_is_large_or_is_asked_for_with_one(
    project: Project,
) -> None:
    every = submitted(project, "--config", "local_seconds=0", "--", "results/tiny_scaling.pdf")
    assert every == {
        "prepare_data": 1, "preprocess_data": 1, "declare_kernel": 3, "compute_block": 7, "solve_small_sizes": 1,
        "solve_iteratively": 1, "predict_learning_curve": 1, "evaluate_small_sizes": 1, "evaluate_predictions": 1,
        "fit_baselines": 1,
    }  # fmt: skip
    project.write_study("large", TINY.replace("train_examples: 64", "train_examples: 1700"))
    large = ("--config", "local_seconds=0.02", "--", "results/large_scaling.pdf")
    assert submitted(project, *large)["solve_small_sizes"] == 1
    assert submitted(project, *large, "results/tiny_scaling.pdf")["solve_small_sizes"] == 2


def test_of_a_large_study_the_sizes_that_take_seconds_are_two_jobs_a_kernel(project: Project) -> None:
    long = TINY.replace("[8, 16, 64]", "[8, 12, 16, 20, 24, 28, 32, 40, 48, 64]")
    project.write_study("ladder", long.replace("direct_up_to: 16", "direct_up_to: 48"))
    found = submitted(project, "--config", "local_seconds=0", "--", "results/ladder_scaling.pdf")
    assert found["solve_small_sizes"] == found["evaluate_small_sizes"] == 1
    assert found["solve_iteratively"] == found["evaluate_predictions"] == 1
    assert "solve_directly" not in found
    # Without, it would be 9 + 1 solves and 10 evaluations.
    assert sum(found.values()) == 1 + 1 + 3 + 7 + 1 + 1 + 4


def test_each_of_them_may_be_asked_for_alone(project: Project) -> None:
    found = submitted(project, "--config", "local_seconds=0", "--", "results/tiny/metrics/FC/n16.parquet")
    assert found["solve_directly"] == found["evaluate_predictions"] == 1
    assert not found.keys() & {"solve_small_sizes", "evaluate_small_sizes"}


def test_a_solve_over_several_nodes_is_submitted_however_small(project: Project) -> None:
    several = ("--set-resources", "solve_iteratively:mpi=mpiexec", "solve_iteratively:tasks=2")
    found = submitted(project, *several, "--", "results/tiny_scaling.pdf")
    assert found == {"compute_block": 7, "solve_iteratively": 1}


@pytest.mark.parametrize("value", ["much", "-1", "true"])
def test_a_limit_that_is_no_number_is_refused(project: Project, value: str) -> None:
    run = project.snakemake("-n", "--config", f"local_seconds={value}", "--", "results/tiny_scaling.pdf")
    assert run.returncode != 0
    assert "error: config: local_seconds is" in run.stdout


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
