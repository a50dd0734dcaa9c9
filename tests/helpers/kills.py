"""Kills a stage of a study, runs it until it ends, and compares what it leaves with a run that nothing stopped."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import kill_server
import numpy as np
import pandas as pd

MOST, TIMES = 16, 3
VARYING = {
    "seconds",
    "preconditioner_seconds",
    "preconditioner_reads",
    "trace_left",
    "resumed_at_iteration",
    "resident_bytes",
    "checksum",
    "record_checksum",
    "checksums",
    "files",
    "time",
    "version",
}
"""Keys of records that may differ between two runs of the same work: times, sums of files that hold times, and what
is known of a preconditioner only where it was made: a solve that finds its last checkpoint makes none."""


class Server:
    """The process that runs and kills stages."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, kill_server.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(
        self,
        folder: Path,
        arguments: list[str],
        kill_at: int | None = None,
        kill_after: float | None = None,
        signal_number: int = signal.SIGKILL,
    ) -> dict[str, Any]:
        """One run; its status is negative where a signal ended it."""
        asked = {"folder": str(folder), "arguments": arguments, "kill_at": kill_at, "kill_after": kill_after}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(asked | {"signal": signal_number}), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def finish(self, folder: Path, arguments: list[str]) -> dict[str, Any]:
        """A run that has to succeed."""
        ended = self.run(folder, arguments)
        assert ended["status"] == 0, (folder.parent / "stderr").read_text()
        return ended

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass
class Stage:
    """A verb of the command line, and a project folder in which everything that it needs is there.

    Attributes:
        kills: how many killed it, by kind.
    """

    server: Server
    before: Path
    arguments: list[str]
    work: Path
    kills: Counter[str] = field(default_factory=Counter)
    operations: int = 0
    seconds: float = 0.0
    expected: dict[str, Any] = field(default_factory=dict)

    def run_undisturbed(self) -> Path:
        """Run the stage without a kill, keep what it leaves as what is expected; the folder that it ran in."""
        folder = self._fresh()
        ended = self.server.finish(folder, self.arguments)
        self.operations, self.seconds = ended["operations"], ended["seconds"]
        self.expected = contents(folder)
        return folder

    def kill_at_every_operation(self, rng: random.Random, most: int) -> None:
        """Kill it before each file operation, or ``most`` of them, then twice more anywhere, and let it end."""
        places = list(range(self.operations))
        for place in sorted(rng.sample(places, min(most, len(places)))):
            folder = self._fresh()
            self._kill(folder, "operation", kill_at=place)
            for _ in range(2):
                self._kill(folder, "operation", kill_at=rng.randrange(self.operations))
            self._end(folder, f"killed before file operation {place}")

    def kill_at_random_times(self, rng: random.Random, times: int) -> None:
        """Kill it at random moments, twice, and let it end."""
        for _ in range(times):
            folder = self._fresh()
            for _ in range(2):
                after = rng.uniform(0, self.seconds)
                self._kill(folder, "time", kill_after=after)
            self._end(folder, f"killed after {after:.3f} s")

    def _kill(self, folder: Path, kind: str, **how: Any) -> None:
        ended = self.server.run(folder, self.arguments, **how)
        # A run may be over before its time has come.
        assert ended["status"] in (0, -signal.SIGKILL), (folder.parent / "stderr").read_text()
        self.kills[kind] += ended["status"] != 0

    def _end(self, folder: Path, what: str) -> None:
        self.server.finish(folder, self.arguments)
        found = contents(folder)
        assert found.keys() == self.expected.keys(), what
        different = [name for name in found if not same(found[name], self.expected[name])]
        assert not different, f"{what}: {different}"

    def _fresh(self) -> Path:
        """A copy of the project as it was before the stage; hard links stay such."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        subprocess.run(["cp", "-a", str(self.before), str(self.work / "project")], check=True)
        return self.work / "project"


def contents(folder: Path) -> dict[str, Any]:
    """What is in every file of the results but logs, by its path; reports by their size alone."""
    results = folder / "results"
    files = (path for path in results.rglob("*") if path.is_file() and "logs" not in path.parts)
    return {str(path.relative_to(results)): _content(path) for path in files}


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return without_varying(json.loads(path.read_text()))
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        if "metric" in table:
            table = table[table["metric"] != "seconds"]
        return table.drop(columns="seconds", errors="ignore")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    if path.suffix in (".pdf", ".png", ".log"):
        return path.stat().st_size > 0
    return path.read_bytes()


def without_varying(value: Any) -> Any:
    """A record without the keys in ``VARYING``."""
    if isinstance(value, dict):
        return {key: without_varying(part) for key, part in value.items() if key not in VARYING}
    if isinstance(value, list):
        return [without_varying(part) for part in value]
    return value


def same(left: Any, right: Any) -> bool:
    """Whether two contents agree to the bit."""
    if isinstance(left, pd.DataFrame):
        return left.equals(right)
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.tobytes() == right.tobytes()
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


def see_killed(killed: Stage, rng: random.Random) -> None:
    """Kill a stage before many of its file operations, and at some moments, and see what comes of it."""
    killed.run_undisturbed()
    killed.kill_at_every_operation(rng, most=MOST)
    killed.kill_at_random_times(rng, times=TIMES)
    print(f"{killed.arguments[0]}: {killed.operations} operations, {dict(killed.kills)}")
    assert killed.kills["operation"] >= min(killed.operations, MOST)
