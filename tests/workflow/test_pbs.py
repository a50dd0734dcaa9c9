"""profiles/pbs against programs that answer as those of PBS do; a real one is not to be had here."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workflow_projects import ROOT, Project, make_project

STUDY = """
title: "Tiny; $(touch injected) `touch injected`"
data:
  name: digits
  train_examples: 64
  validation_examples: 20
  test_sets: {digits: {examples: 30}}
preprocessing:
  plain: {method: standardize}
kernels:
  FC:
    architecture: {name: FC, depth: 1}
    preprocessing: plain
blocks: {edge: 64}
training_sizes: {sizes: [64]}
ridge: {candidates: [1.0e-3]}
solver: {direct_up_to: 0, preconditioner: {rank: 10}}
"""
TARGET = "results/tiny_scaling.pdf"
QUICK = ["--latency-wait=10", "--seconds-between-status-checks=1", "--max-status-checks-per-second=50"]
# Small as the study is, the tests are about jobs that are submitted.
EVERY = ["--config", "local_seconds=0"]


def heed_interrupts() -> None:
    # Where a shell runs the tests in the background, interrupts are ignored, and by all children too.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Pbs:
    """A project whose PATH begins with the fake programs, and with a neural-kernels that runs ``before`` first."""

    def __init__(self, folder: Path) -> None:
        self.state, self.binaries = folder / "pbs", folder / "bin"
        for path in (self.state, self.binaries, folder / "the project"):
            path.mkdir()
        self.project = make_project(folder / "the project")
        self.project.write_study("tiny", STUDY)
        self.before = folder / "before"
        self.before.write_text("")
        fake = shlex.join([sys.executable, str(Path(__file__).with_name("fake_pbs.py")), str(self.state)])
        for program in ("qsub", "qstat", "qdel"):
            self.write_program(program, f'exec {fake} {program} "$@"')
        real = Path(sys.executable).parent / "neural-kernels"
        self.write_program("neural-kernels", f'. {self.before}\nexec {real} "$@"')
        self.edit_profile("status.py", "PATIENCE_SECONDS = 60", "PATIENCE_SECONDS = 1")

    def edit_profile(self, file: str, old: str, new: str) -> None:
        path = self.project.folder / "profiles" / "pbs" / file
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def write_program(self, name: str, line: str) -> None:
        path = self.binaries / name
        path.write_text(f"#!/bin/bash\n{line}\n")
        path.chmod(0o755)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "snakemake", "--profile", "pbs", *QUICK, *arguments, *EVERY]
        path = os.pathsep.join([str(self.binaries), Project.search_path()])
        return subprocess.Popen(
            command, cwd=self.project.folder, env={**os.environ, "PATH": path}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=heed_interrupts,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=300)
        return process.returncode, output

    def jobs(self, rule: str) -> dict[str, str]:
        """Resources that the jobs of a rule were submitted with, by their id, in their order."""
        submitted = {path.stem: json.loads(path.read_text()) for path in self.state.glob("*.json")}
        return {
            job: " ".join(submitted[job]["resources"])
            for job in sorted(submitted, key=lambda job: int(job.split(".")[0]))
            if submitted[job]["script"].startswith(f"snakejob.{rule}.")
        }


@pytest.fixture
def pbs(tmp_path: Path) -> Pbs:
    return Pbs(tmp_path)


def test_a_study_runs_and_a_block_that_is_killed_is_tried_again_with_more_memory(pbs: Pbs) -> None:
    # PBS kills a job that needs more than its memory as a whole, the script that would leave its status too.
    pbs.before.write_text(
        f"""
if [[ "$*" == *"compute-block"*"--part train"* ]] && ! grep -q mem=8006mb {pbs.state}/$PBS_JOBID.json; then
    kill -KILL -- -$(cat {pbs.state}/$PBS_JOBID.pid)
fi
"""
    )
    pbs.edit_profile(
        "config.v8+.yaml",
        "  solve_iteratively:\n",
        "  solve_iteratively:\n    mpi: mpiexec\n    tasks: 2\n",
    )
    code, output = pbs.run(TARGET)
    assert code == 0, output
    folder = pbs.project.folder
    assert (folder / TARGET).read_bytes().startswith(b"%PDF")
    blocks = list(pbs.jobs("compute_block").values())
    asked = "select=1:ncpus=8:mpiprocs=1:mem={}mb walltime={}:00"
    assert sorted(blocks) == sorted([*3 * [asked.format(4003, 480)], asked.format(8006, 960)])
    assert blocks[-1] == asked.format(8006, 960)
    assert list(pbs.jobs("prepare_data").values()) == [
        "select=1:ncpus=1:mpiprocs=1:mem=2001mb walltime=240:00"
    ]
    solve = "select=2:ncpus=16:mpiprocs=1:mem=9192mb walltime=1440:00"
    assert list(pbs.jobs("solve_iteratively").values()) == [solve]
    log = folder / "results/tiny/logs/solve_iteratively/FC/n64.log"
    assert "converged" in log.read_text()
    # Reports are made here, not in jobs.
    assert not pbs.jobs("report_scaling")
    exits = {path.name: path.read_text() for path in (folder / ".snakemake/pbs/exit").iterdir()}
    (killed,) = set(pbs.jobs("compute_block")) - {job for job, status in exits.items() if status == "0\n"}
    assert f"{killed}.gone" in exits
    outputs = {path.stem for path in (folder / ".snakemake/pbs/output").glob("*.OU")}
    assert outputs == {path.stem for path in pbs.state.glob("*.json")}
    assert not list(folder.parent.rglob("injected"))


def test_interrupting_snakemake_deletes_its_jobs(pbs: Pbs) -> None:
    started = pbs.state / "started"
    pbs.before.write_text(f"touch {started}\nsleep 60\n")
    data = "results/tiny/data/data.json"
    # Snakemake deletes no job whose state it is just asking for, so here it asks seldom.
    process = pbs.start(data, "--seconds-between-status-checks=15")
    while not started.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    # The job may have begun before Snakemake knows its number, by which it is deleted.
    assert process.stdout is not None
    assert any("external jobid" in line for line in process.stdout)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0, output
    (job,) = pbs.jobs("prepare_data")
    deleted = pbs.state / "deleted"
    deadline = time.monotonic() + 60
    while not (deleted.exists() and deleted.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert deleted.read_text().split() == [job]
    assert not (pbs.project.folder / data).exists()


# ------------------------------------------------------------------------------------------ status.py

JOB = "7.server.example"
ANSWERS = {
    "running": "Job Id: 7.server.example\n    job_state = R",
    "queued": "Job Id: 7.server.example\n    job_state = Q",
    "server down": "Connection refused\nqstat: cannot connect to server example (errno=15010)",
    "finished": "qstat: 7.server.example Job has finished, use -x or -H to obtain historical job information",
    "forgotten": "qstat: Unknown Job Id 7.server.example",
    "forgotten by Torque": "qstat: Unknown Job Id Error 7.server.example",
    "completed in Torque": "Job Id: 7.server.example\n    job_state = C\n    exit_status = 271",
    "forgotten by Grid Engine": "Following jobs do not exist or permissions are not sufficient:\n7",
}


def status(folder: Path, answer: str, job: str = JOB) -> tuple[str, int]:
    """What status.py prints where qstat answers so, and its exit status."""
    (folder / "qstat").write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    (folder / "qstat").chmod(0o755)
    run = subprocess.run(
        [sys.executable, ROOT / "profiles" / "pbs" / "status.py", job],
        cwd=folder, env={"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}, capture_output=True, text=True,
    )  # fmt: skip
    return run.stdout.strip(), run.returncode


def leave(folder: Path, name: str, content: str = "", seconds_ago: float = 0.0) -> None:
    path = folder / ".snakemake" / "pbs" / "exit" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    when = time.time() - seconds_ago
    os.utime(path, (when, when))


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("left", [None, "0\n", "1\n"])
def test_a_job_that_is_gone_ended_as_the_status_that_it_left_says(
    tmp_path: Path, answer: str, left: str | None
) -> None:
    if left is not None:
        leave(tmp_path, JOB, left)
    if answer in ("running", "queued", "server down"):
        expected = "running"
    else:
        # One that left nothing may have done so a moment ago, on another node.
        expected = {"0\n": "success", "1\n": "failed", None: "running"}[left]
    assert status(tmp_path, ANSWERS[answer]) == (expected, 0)


def test_a_job_that_left_nothing_failed_after_a_while(tmp_path: Path) -> None:
    leave(tmp_path, f"{JOB}.gone", seconds_ago=30)
    assert status(tmp_path, ANSWERS["finished"]) == ("running", 0)
    leave(tmp_path, f"{JOB}.gone", seconds_ago=61)
    assert status(tmp_path, ANSWERS["finished"]) == ("failed", 0)
    # Requeued after all: its time begins anew.
    assert status(tmp_path, ANSWERS["queued"]) == ("running", 0)
    assert status(tmp_path, ANSWERS["finished"]) == ("running", 0)


@pytest.mark.parametrize("job", ["", "../7", "Your job 7 has been submitted", "7;touch x"])
def test_what_is_not_the_number_of_a_job_is_refused(tmp_path: Path, job: str) -> None:
    assert status(tmp_path, ANSWERS["finished"], job) == ("", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["qstat"]


def test_stages_are_shown_on_a_cluster_where_they_are_asked_for(pbs: Pbs) -> None:
    code, output = pbs.run(TARGET, "--logger", "stages")
    assert code == 0, output
    assert re.search(r"^\S+  blocks of FC: (\d) of \1 jobs, 100 %", output, re.M), output
    assert not re.search("external jobid|^rule |Finished jobid", output, re.M)
    assert output.splitlines()[-1].startswith(f"{TARGET}: FC NTK at n = 64: ")
    # Standard error of a job is no terminal of anybody's.
    (folder,) = pbs.project.folder.glob(".snakemake/pbs/output")
    assert any("in order" in path.read_text() for path in folder.glob("*.OU"))
