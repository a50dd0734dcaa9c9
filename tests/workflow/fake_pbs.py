"""qsub, qstat and qdel of a PBS with one node, this machine, for the tests: jobs run at once, in the background.

    python fake_pbs.py STATE qsub|qstat|qdel ARGUMENTS

A job is its script's copy in STATE/<number>.sh, its arguments in <number>.json, and the process group whose
leader's id is in <number>.pid. As with PBS, it starts in the home folder with PBS_JOBID and PBS_O_WORKDIR, its
output appears under -o, and an unknown or finished job is an error of qstat's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

SERVER = "fakepbs"


def qsub(state: Path, arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="qsub")
    parser.add_argument("-V", action="store_true", required=True)
    parser.add_argument("-S", required=True)
    parser.add_argument("-j", choices=["oe"], required=True)
    parser.add_argument("-o", type=Path, required=True)
    parser.add_argument("-l", action="append", required=True)
    parser.add_argument("script", type=Path)
    options = parser.parse_args(arguments)
    number = 1 + len(list(state.glob("*.json")))
    job = f"{number}.{SERVER}"
    shutil.copy(options.script, state / f"{job}.sh")
    (state / f"{job}.json").write_text(json.dumps({"resources": options.l, "script": options.script.name}))
    environment = {**os.environ, "PBS_JOBID": job, "PBS_O_WORKDIR": os.getcwd()}
    with (options.o / f"{job}.OU").open("w") as output:
        process = subprocess.Popen(
            [options.S, state / f"{job}.sh"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            cwd=state, env=environment, start_new_session=True,
        )  # fmt: skip
    (state / f"{job}.pid").write_text(str(process.pid))
    print(job)
    return 0


def qstat(state: Path, arguments: list[str]) -> int:
    option, job = arguments
    assert option == "-f"
    if not (state / f"{job}.json").exists():
        print(f"qstat: Unknown Job Id {job}", file=sys.stderr)
        return 153
    if not is_alive(state, job):
        print(
            f"qstat: {job} Job has finished, use -x or -H to obtain historical job information",
            file=sys.stderr,
        )
        return 35
    print(
        f"Job Id: {job}\n    Job_Name = snakejob\n    job_state = R\n    queue = workq\n    server = {SERVER}\n"
    )
    return 0


def qdel(state: Path, arguments: list[str]) -> int:
    for job in arguments:
        with (state / "deleted").open("a") as file:
            print(job, file=file)
        if is_alive(state, job):
            os.killpg(int((state / f"{job}.pid").read_text()), signal.SIGKILL)
    return 0


def is_alive(state: Path, job: str) -> bool:
    leader = (state / f"{job}.pid").read_text()
    try:
        return Path(f"/proc/{leader}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    programs = {"qsub": qsub, "qstat": qstat, "qdel": qdel}
    sys.exit(programs[sys.argv[2]](Path(sys.argv[1]), sys.argv[3:]))
