"""Paths: what the patterns say is what the modules below them write."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neural_kernels.blocks import Grid, KernelStore
from neural_kernels.solvers import solved_size
from neural_kernels.stages.report_kinds import REPORT_KINDS
from neural_kernels.study import folders
from neural_kernels.study.folders import at

RESULTS = Path("results")
PATTERNS = {name: value for name, value in vars(folders).items() if name.isupper() and isinstance(value, str)}


def test_no_two_patterns_are_one_path() -> None:
    assert len(set(PATTERNS.values())) == len(PATTERNS)


def test_a_report_has_a_suffix_of_its_own() -> None:
    reports = [*map(folders.report, REPORT_KINDS), folders.SPLITS_REPORT]
    assert all(re.fullmatch(r"\{[a-z]+\}_[a-z]+\.pdf", report) for report in reports)
    suffixes = {report.partition("}")[2] for report in reports}
    assert len(suffixes) == len(reports)
    assert not any(one != other and one.endswith(other) for one in suffixes for other in suffixes)


def test_what_is_not_given_stays_a_wildcard() -> None:
    assert at(RESULTS, folders.TRIAL, study="mine") == Path("results/mine/tuning/trials/{trial}.json")
    assert at(RESULTS, folders.TRIAL) == RESULTS / folders.TRIAL


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (folders.BLOCK, KernelStore.block_path),
        (folders.KEPT_BLOCK, KernelStore.kept_path),
        (folders.PARTIAL_BLOCK, KernelStore.partial_path),
    ],
)
def test_a_block_lies_where_the_store_keeps_it(pattern: str, method: Callable[..., Any]) -> None:
    names = {"study": "mine", "kernel": "FC", "part": "train"}
    folder = at(RESULTS, folders.KERNEL, **names).parent
    store = KernelStore(folder, Grid(8, 8, 2, True), np.dtype("float64"), {}, "")
    assert at(RESULTS, pattern, **names, i=1, j=2) == method(store, 1, 2)


def test_a_size_is_solved_in_the_file_that_solvers_write() -> None:
    assert Path(folders.SOLVED).name == solved_size.SOLVED
