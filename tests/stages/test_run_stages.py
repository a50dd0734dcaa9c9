"""Stages of a run: every rule belongs to one, and jobs are counted where people look for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from neural_kernels.stages.run_stages import STAGES, counted, grouped
from neural_kernels.study.study import load_study

ROOT = Path(__file__).parents[2]


def rules() -> set[str]:
    found = set()
    for file in (ROOT / "workflow").rglob("*"):
        if file.name == "Snakefile" or file.suffix == ".smk":
            found |= set(re.findall(r"^rule (\w+):", file.read_text(), re.M))
    return found


def test_only_what_writes_reports_is_left_to_the_last_stage() -> None:
    listed = {rule for of_stage in STAGES.values() for rule in of_stage}
    assert listed < rules()
    left = {rule for rule in rules() - listed if not rule.startswith(("report_", "collect_"))}
    assert left == {"all", "copy_report"}


def test_blocks_are_a_stage_a_kernel_in_the_order_of_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    demo = load_study(Path("config/demo.yaml"))
    jobs = [
        ("report_scaling", {"study": "demo"}, 1),
        ("compute_block", {"study": "demo", "kernel": "CV8"}, 2),
        ("compute_block", {"study": "demo", "kernel": "FC3"}, 3),
        ("compute_block", {"study": "demo", "kernel": "CV8"}, 4),
        ("solve_small_sizes", {"study": "demo", "kernel": "FC3"}, 5),
    ]
    found = grouped(jobs, lambda name: demo)
    assert found == {"blocks of FC3": [3], "blocks of CV8": [2, 4], "solving": [5], "report": [1]}
    assert counted(found) == "stages: blocks of FC3 1, blocks of CV8 2, solving 1, report 1"
