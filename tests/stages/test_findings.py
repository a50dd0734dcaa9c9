"""What a report found is kept beside it, and is the last line of the run that made it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from workflow_projects import TINY

from neural_kernels.stages import findings

CONFIG = Path("config")


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (CONFIG / "comparisons").mkdir(parents=True)
    (CONFIG / "tiny.yaml").write_text(TINY)
    (CONFIG / "approximated.yaml").write_text(TINY + "approximations: {methods: [nystrom], sizes: [8]}\n")
    (CONFIG / "comparisons/several.yaml").write_text("not read")


@pytest.mark.parametrize(
    ("pdf", "kind", "name", "short"),
    [
        ("results/tiny_scaling.pdf", "scaling", "tiny", None),
        ("results/approximated_approximations.pdf", "approximations", "approximated", "results/approximated.pdf"),
        ("results/several_splits.pdf", "splits", "several", "results/several.pdf"),
    ],
)  # fmt: skip
def test_a_report_says_what_it_found_by_both_of_its_names(
    pdf: str, kind: str, name: str, short: str | None
) -> None:
    assert findings.of_target(pdf, CONFIG) == pdf
    findings.keep(Path(pdf), kind, name, "the best there is")
    for target in filter(None, (pdf, short, os.path.abspath(pdf))):
        path = os.path.relpath(target)
        assert findings.of_target(target, CONFIG) == f"{path}: the best there is"


def test_a_table_is_its_path_and_what_is_no_report_is_nothing() -> None:
    assert findings.of_target("results/table1.pdf", CONFIG) == "results/table1.pdf"
    for target in ("results/tiny/metrics.parquet", "elsewhere/tiny_scaling.pdf", "results/table1.md", "all"):
        assert findings.of_target(target, CONFIG) is None
