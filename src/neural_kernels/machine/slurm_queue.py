"""What Slurm's queue has of a project, where there is a Slurm: which jobs run, which wait, and why."""

from __future__ import annotations

import getpass
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

SECONDS = 20
"""A controller that takes longer is busy, and is not to be waited for."""

# Slurm's word, %r of squeue, and what it means to who waits. One of a family, as QOSMaxCpuPerUserLimit, begins so.
REASONS = {
    "Priority": "jobs of others go first",
    "Resources": "the next in line: it waits for nodes to be free",
    "None": "Slurm has not looked at it yet",
    "BeginTime": "put back into the queue; Slurm holds it for two minutes then",
    "Dependency": "waits for another job",
    "JobHeldUser": "held: `scontrol release` lets it go",
    "JobHeldAdmin": "held by an administrator",
    "PartitionConfig": "asks for more than its partition gives to any job: it waits for ever; lower runtime, mem_mb or "
    "threads of its rule in the profile, or choose another partition",
    "PartitionNodeLimit": "asks for more nodes than its partition gives to any job: it waits for ever",
    "PartitionTimeLimit": "asks for more time than its partition gives to any job: lower runtime of its rule in the "
    "profile",
    "PartitionDown": "its partition is closed",
    "PartitionInactive": "its partition is closed",
    "ReqNodeNotAvail": "nodes that it needs are down, drained or reserved, often for maintenance that begins "
    "before its time limit",
    "BadConstraints": "no node has what it asks for: it waits for ever",
    "AccountNotAllowed": "its account may not use this partition",
    "InvalidAccount": "its account is unknown: set slurm_account in the profile",
    "InvalidQOS": "its quality of service is unknown",
    "Licenses": "waits for a licence",
    "Reservation": "waits for its reservation to begin",
    "JobArrayTaskLimit": "as many of its array run as may",
    "QOS": "the limit of a quality of service: as much runs as may, or it asks for more than any job may",
    "Assoc": "the limit of an account or user: as much runs as may, or it asks for more than any job may",
    "MaxGRESPerAccount": "the limit of an account",
}


@dataclass(frozen=True)
class QueuedJob:
    """A job that runs or waits: its number, Slurm's state and reason, and the rule with the values of its wildcards."""

    number: str
    state: str
    reason: str
    rule: str
    wildcards: str


def queued_jobs(project: Path) -> list[QueuedJob] | None:
    """Jobs of this user that were submitted in the folder ``project``; None where no Slurm answers."""
    command = ["squeue", "--noheader", "--user", getpass.getuser(), "--format", "%i|%T|%r|%Z|%k"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return [job for line in said.splitlines() if (job := _read(line, project)) is not None]


def explained(reason: str) -> str:
    """What a reason means, empty where it is not known here."""
    for word, meaning in REASONS.items():
        if reason == word or (word in ("QOS", "Assoc", "ReqNodeNotAvail") and reason.startswith(word)):
            return meaning
    return ""


def _read(line: str, project: Path) -> QueuedJob | None:
    """A line of squeue, None where it is of another project or of no rule."""
    number, state, reason, folder, comment = (line.split("|", 4) + 4 * [""])[:5]
    # Snakemake's plugin writes rule and wildcards into the comment, since it finds its jobs by their name.
    rule = re.fullmatch(r"rule_(.*?)(?:_wildcards_(.*))?", comment.strip())
    if rule is None or Path(folder).resolve() != project.resolve():
        return None
    return QueuedJob(number, state, reason.strip("()"), rule[1], rule[2] or "")
