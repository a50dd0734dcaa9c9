"""The peak of every stage with a memory budget stays within it, and memory that runs out is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import memory_program
import pytest

from neural_kernels.errors import UserError
from neural_kernels.machine import memory

PROGRAM = Path(memory_program.__file__)


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc, as Linux has it"
)
@pytest.mark.parametrize(("what", "cases"), [("solve", 6), ("approximate", 5), ("predict", 4)])
def test_peaks_stay_within_the_least_budget_that_is_accepted(tmp_path: Path, what: str, cases: int) -> None:
    done = subprocess.run([sys.executable, PROGRAM, tmp_path, what], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    budgeted = [row for row in rows if len(row) == 3]
    peaks = {case: (budget, peak) for case, budget, peak in budgeted if isinstance(peak, int)}
    assert len(peaks) == cases, budgeted
    for case, (budget, peak) in peaks.items():
        assert peak <= budget, f"{case}: {peak / 2**20:.0f} MiB of {budget / 2**20:.0f}"
    for _, _, said in budgeted:
        if not isinstance(said, int):
            (sentence,) = [line for line in said.splitlines() if "error: " in line]
            assert "solver.memory_gib" in sentence
    for verb, more, status, _, said in (row for row in rows if len(row) == 5):
        if more > 2**30:
            assert status == 0, (verb, said)
            continue
        assert status == 2, (verb, said)
        # OpenBLAS would hang where it gets no buffers: the limit is looked at before the work begins.
        limit = "error: the limit of this process's address space (ulimit -v)"
        assert said.splitlines()[-1].startswith((limit, "error: memory ran out in ")), said


def test_a_budget_below_the_program_itself_says_how_much_it_takes() -> None:
    with pytest.raises(
        UserError, match=r"solver.memory_gib is 0.01, 10 MiB, but the program .* raise it to more than"
    ):
        memory.left(0.01)
    taken = 64 * 2**30 - memory.LIBRARIES - memory.left(64.0)
    assert taken == pytest.approx(memory.resident(), rel=0.2)
