"""The cluster of the tests on a real Slurm, which its script's verbs change."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "slurm" / "cluster.sh"


@dataclass(frozen=True)
class Cluster:
    environment: dict[str, str]

    def do(self, *verb: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([SCRIPT, *verb], env=self.environment, capture_output=True, text=True)
