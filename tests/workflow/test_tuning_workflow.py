"""A tiny tuning study, as a user runs it, and a trial that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tuning_studies import config
from workflow_projects import Project, jobs, make_project

TARGET = "results/tuned_tuning.pdf"
TRIAL = "results/tuned/tuning/trials/{}.json"


def project_with(folder: Path, **tuning: Any) -> Project:
    project = make_project(folder)
    project.write_study("tuned", yaml.safe_dump(config(**tuning)))
    return project


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """A project whose tuning study has run to its report."""
    project = project_with(
        tmp_path_factory.mktemp("project"), trials=3, transfer={"training_examples": 40, "trials": 1}
    )
    # Two trials at a time.
    run = project.snakemake(TARGET, "--cores", "2", "--set-threads", "run_trial=1")
    assert run.returncode == 0, run.stdout
    return project, run.stdout


def test_a_tuning_study_runs_to_its_report(tuned: tuple[Project, str]) -> None:
    project, output = tuned
    assert jobs(output) == {
        "prepare_data": 1, "start_tuning": 1, "run_trial": 3, "select_tuned": 1, "transfer_trial": 2,
        "test_tuned": 2, "report_tuning": 1,
    }  # fmt: skip
    assert (project.folder / TARGET).read_bytes().startswith(b"%PDF")
    record = json.loads((project.folder / TRIAL.format(1)).read_text())
    assert record["state"] == "complete"
    run = project.snakemake(TARGET)
    assert "Nothing to be done" in run.stdout


def test_a_deleted_trial_is_missed_and_drawn_as_before(tuned: tuple[Project, str]) -> None:
    project, _ = tuned
    path = project.folder / TRIAL.format(1)
    before = json.loads(path.read_text())
    path.unlink()
    run = project.snakemake(TARGET)
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout)["run_trial"] == 1
    after = json.loads(path.read_text())
    assert after["hyperparameters"] == before["hyperparameters"]


def test_more_trials_are_added_and_the_old_ones_stay(tuned: tuple[Project, str]) -> None:
    project, _ = tuned
    before = project.files()
    project.write_study(
        "tuned", yaml.safe_dump(config(trials=4, transfer={"training_examples": 40, "trials": 1}))
    )
    run = project.snakemake(TARGET)
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout)["run_trial"] == 1
    after = project.files()
    for trial in range(3):
        name = f"tuned/tuning/trials/{trial}.json"
        assert after[name] == before[name]


def test_other_settings_delete_nothing(tuned: tuple[Project, str]) -> None:
    project, _ = tuned
    text = (project.folder / "config/tuned.yaml").read_text()
    before = {name: when for name, when in project.files().items() if "/trials/" in name}
    project.write_study("tuned", text.replace("seed: 5", "seed: 6"))
    run = project.snakemake(TARGET)
    project.write_study("tuned", text)
    assert run.returncode != 0
    assert "was made with other settings: seed was 5 and is 6" in run.stdout
    assert {name: when for name, when in project.files().items() if "/trials/" in name} == before


def test_the_winner_serves_another_study(tuned: tuple[Project, str]) -> None:
    project, _ = tuned
    kernels = {"Tuned": {"tuned": "results/tuned/tuned.yaml"}}
    study = {
        "title": "Other",
        "data": config()["data"],
        "preprocessing": {"plain": {"method": "none"}},
        "kernels": kernels,
        "blocks": {"edge": 80},
        "training_sizes": {"sizes": [40]},
    }
    project.write_study("other", yaml.safe_dump(study))
    target = "results/other/kernels/Tuned/train/kernel.json"
    run = project.snakemake(target)
    assert run.returncode == 0, run.stdout
    described = json.loads((project.folder / target).read_text())
    assert described["description"]["architecture"][0]["layer"] == "Conv"
    tuned_file = project.folder / "results/tuned/tuned.yaml"
    tuned_file.rename(tuned_file.with_suffix(".away"))
    run = project.snakemake(target)
    tuned_file.with_suffix(".away").rename(tuned_file)
    assert run.returncode != 0
    assert "kernels.Tuned: results/tuned/tuned.yaml is missing" in run.stdout
    assert "Traceback" not in run.stdout


def test_a_study_without_tuning_has_no_such_report(tuned: tuple[Project, str]) -> None:
    project, _ = tuned
    run = project.snakemake("results/tiny_tuning.pdf", "--dry-run")
    assert run.returncode != 0
    assert "config/tiny.yaml has no section tuning" in run.stdout
    assert "Traceback" not in run.stdout


def test_a_space_that_cannot_be_stops_before_anything_starts(tmp_path: Path) -> None:
    space = config()["tuning"]["space"]
    wrong = {**space, "architecture": {**space["architecture"], "width": {"choices": [1]}}}
    project = project_with(tmp_path, space=wrong)
    run = project.snakemake(TARGET)
    assert run.returncode != 0
    assert "tuned.yaml: tuning.space: architecture CNNVec has no parameter 'width'" in run.stdout
    assert not (project.folder / "results").exists()


def test_a_killed_trial_is_taken_up_again(tmp_path: Path) -> None:
    project = project_with(tmp_path, trials=1, attempts=2)
    assert project.snakemake("results/tuned/tuning/started.json").returncode == 0
    journal = project.folder / "results/tuned/tuning/journal.log"
    command = [
        sys.executable, "-c", SLOW_TRIAL, "config/tuned.yaml", str(project.folder / "results"),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=project.folder, env=os.environ)
    while '"starts":1' not in journal.read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    drawn = journal.read_text().count('"param_name"')
    assert drawn >= 5
    assert not (project.folder / TRIAL.format(0)).exists()
    run = project.snakemake(TRIAL.format(0))
    assert run.returncode == 0, run.stdout
    assert json.loads((project.folder / TRIAL.format(0)).read_text())["state"] == "complete"
    # The same hyperparameters: nothing was drawn again, and there is one trial.
    assert journal.read_text().count('"param_name"') == drawn
    assert journal.read_text().count('"op_code":4') == 1


SLOW_TRIAL = """
import sys, time
from pathlib import Path
from neural_kernels.stages import tune as tuning_stages
from neural_kernels.study.study import load_study

tuning_stages.assess = lambda *_: time.sleep(600)
tuning_stages.run_trial(load_study(Path(sys.argv[1])), Path(sys.argv[2]), 0)
"""


def test_a_cluster_run_is_planned(tmp_path: Path) -> None:
    run = project_with(tmp_path).snakemake(TARGET, "--dry-run", profile="slurm")
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout)["run_trial"] == 5
