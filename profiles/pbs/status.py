#!/usr/bin/env python3
"""What became of a job of PBS or Grid Engine: prints success, failed or running, as Snakemake expects it.

    status.py JOBID        in the folder that Snakemake runs in

A job that the queue no longer has ended as the exit status says that jobscript.sh left. One that was killed,
for its memory or time or by a person, left none, and failed; that is said only after a while, since files that
another node wrote appear late. Where qstat gives no clear answer the job is running: a server that is down
must not end a study.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

EXITS = Path(".snakemake/pbs/exit")
PATIENCE_SECONDS = 60
# PBS, with and without a history of jobs, Torque, Grid Engine.
NOT_THERE = re.compile(
    r"unknown job id|job has finished|job_state = [CFX]\b|jobs do not exist", re.IGNORECASE
)


def status(job: str) -> str:
    """success, failed or running."""
    left, gone = EXITS / job, EXITS / f"{job}.gone"
    if not NOT_THERE.search(answer_of_qstat(job)):
        gone.unlink(missing_ok=True)
        return "running"
    if left.exists():
        return "success" if left.read_text().strip() == "0" else "failed"
    if not gone.exists():
        EXITS.mkdir(parents=True, exist_ok=True)
        gone.touch()
    return "failed" if time.time() - gone.stat().st_mtime >= PATIENCE_SECONDS else "running"


def answer_of_qstat(job: str) -> str:
    """What qstat prints of one job, empty where it does not answer."""
    command = ["qstat", "-j" if "SGE_ROOT" in os.environ else "-f", job]
    try:
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
        ).stdout
    except subprocess.TimeoutExpired:
        return ""


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch(r"\d[\w.\[\]-]*", sys.argv[1]):
        sys.exit(f"status.py: expected the number of a job, as qsub prints it, found {sys.argv[1:]}")
    print(status(sys.argv[1]))
