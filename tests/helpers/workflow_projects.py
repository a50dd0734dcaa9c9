"""Project folders of their own with tiny studies, in which tests run the real workflow."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from pathlib import Path

from forked_programs import forked_programs

ROOT = Path(__file__).parents[2]

TINY = """
title: "Tiny"
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
blocks: {edge: 32, tile: 16}
training_sizes: {sizes: [8, 16, 64]}
draws: 2
ridge: {log10_smallest: -6, log10_largest: 0, count: 4}
solver: {direct_up_to: 16, preconditioner: {rank: 10}}
"""


def jobs(output: str) -> dict[str, int]:
    """Rule to number of jobs, from Snakemake's table."""
    table = output.split("Job stats:")[1].split("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+)\s+(\d+)\s*$", table, re.M)}


@dataclass(frozen=True)
class Project:
    """A folder with the workflow, its profiles and a config folder of the test's own."""

    folder: Path

    def snakemake(
        self, *arguments: str, profile: str = "default", path: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run Snakemake as a user does, without waiting for its imports (``forked_programs``); its output is text,
        standard error with it.

        Args:
            path: a folder whose programs go before all others.
        """
        forked = forked_programs().programs
        folders = [path, forked] if path is not None else [forked]
        return subprocess.run(
            [forked / "snakemake", "--profile", profile, *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": os.pathsep.join(map(str, [*folders, self.search_path()]))},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def snakemake_in_terminal(self, *arguments: str, columns: int = 100, lines: int = 30) -> tuple[int, str]:
        """As ``snakemake``, in a terminal of that size; gives the exit status and all that was sent to it."""
        forked = forked_programs().programs
        own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        process = subprocess.Popen(
            [forked / "snakemake", "--profile", "default", *arguments],
            cwd=self.folder,
            env={**os.environ, "TERM": "xterm", "PATH": f"{forked}{os.pathsep}{self.search_path()}"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        sent = b""
        try:
            while part := os.read(own, 65536):
                sent += part
        except OSError:
            pass  # nobody has the terminal any more
        os.close(own)
        return process.wait(), sent.decode().replace("\r\n", "\n")

    def start_snakemake(self, *arguments: str, profile: str = "default") -> subprocess.Popen[str]:
        """Start Snakemake, the program itself with processes of its own, which signals reach."""
        return subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--profile", profile, *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": self.search_path()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @staticmethod
    def search_path() -> str:
        """PATH with this environment's programs first."""
        return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def write_study(self, name: str, text: str) -> None:
        (self.folder / "config" / f"{name}.yaml").write_text(text)

    def files(self) -> dict[str, int]:
        """Every file of the results but logs, and the time it was last written."""
        results = self.folder / "results"
        paths = (path for path in results.rglob("*") if path.is_file() and "logs" not in path.parts)
        return {str(path.relative_to(results)): path.stat().st_mtime_ns for path in paths}


def make_project(folder: Path) -> Project:
    shutil.copy(ROOT / "Snakefile", folder)
    shutil.copytree(ROOT / "workflow", folder / "workflow")
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    # What --profile is given: the profiles' names in the root, as in a fresh clone.
    for profile in (ROOT / "profiles").iterdir():
        shutil.copy(ROOT / profile.name, folder, follow_symlinks=False)
    (folder / "config").mkdir()
    project = Project(folder)
    project.write_study("tiny", TINY)
    return project
