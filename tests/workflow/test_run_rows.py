"""Stages as rows and lines: shares, time left, and what room there is."""

from __future__ import annotations

import io

import pytest
from studies import a_study

from neural_kernels.stages import run_stages
from neural_kernels.study.study import Study
from snakemake_logger_plugin_stages.outputs import LINE_SECONDS, Lines
from snakemake_logger_plugin_stages.progress import Progress
from snakemake_logger_plugin_stages.rows import duration, line, rows

JOBS = {"data": [0, 1], "blocks of FC": [2, 3, 4, 5], "report": [6]}


def a_run() -> Progress:
    """Data is done after ten seconds, and one block of four ten seconds later."""
    progress = Progress()
    progress.plan_rules({"prepare_data": 2, "compute_block": 4, "report_scaling": 1})
    progress.plan_stages(JOBS)
    for job, start in ((0, 0.0), (1, 0.0), (2, 10.0)):
        progress.start(job, "some_rule", start)
        progress.finish(job, start + 10.0)
    progress.start(3, "compute_block", 20.0)
    return progress


def test_rows_have_share_count_and_time_left() -> None:
    found = rows(a_run(), 25.0, 100, 24, "utf-8")
    assert [row.split("%")[1].split(None, 3) for row in found] == [
        ["2", "of", "2", "in 10 s"],
        ["1", "of", "4", "about 25 s left"],
        ["0", "of", "1"],
        ["3", "of", "7", "for 25 s"],
    ]
    assert "\N{FULL BLOCK}" in found[0]
    assert all(row.isascii() for row in rows(a_run(), 25.0, 100, 24, "ascii"))
    # What took longer than was expected has no estimate.
    assert rows(a_run(), 60.0, 100, 24, "utf-8")[1].endswith("for 50 s")


@pytest.mark.parametrize(("columns", "lines"), [(20, 3), (40, 5), (300, 4)])
def test_rows_fit_into_the_terminal(columns: int, lines: int) -> None:
    found = rows(a_run(), 25.0, columns, lines, "utf-8")
    assert len(found) < lines
    assert all(len(row) < columns for row in found)


def test_an_attempt_that_failed_counts_until_another_one_ends_well() -> None:
    progress = a_run()
    progress.fail(3, 30.0)
    assert line(progress.stages["blocks of FC"], progress, 30.0) == (
        "blocks of FC: 1 of 4 jobs, 25 %, 1 failed, about 20 s left"
    )
    progress.start(3, "compute_block", 31.0)
    progress.finish(3, 40.0)
    assert "failed" not in line(progress.stages["blocks of FC"], progress, 40.0)


def test_a_job_of_no_stage_has_one_by_its_rule() -> None:
    progress = Progress()
    progress.plan_rules({"compute_block": 2})
    stage = progress.start(7, "another_rule", 0.0)
    assert (stage.name, progress.stages["compute_block"].name) == ("another rule", "compute block")
    assert progress.finish(8, 1.0) is None


def test_lines_come_at_start_and_end_and_each_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("snakemake_logger_plugin_stages.outputs.time.monotonic", lambda: now[0])
    stream, progress = io.StringIO(), Progress()
    progress.plan_stages({"blocks": range(100)})
    output = Lines(stream, progress)
    for job in range(100):
        output.update(progress.start(job, "compute_block", now[0]))
        now[0] += LINE_SECONDS / 10
        output.update(progress.finish(job, now[0]))
    assert len(stream.getvalue().splitlines()) == 1 + 10


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (59.6, "1 min"), (273, "4 min 33 s"), (7200, "2 h"), (90061, "1 d 1 h")],
)
def test_durations_are_said_in_two_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_stages_are_in_the_order_of_the_work_and_blocks_in_that_of_the_config() -> None:
    study = a_study({"Myrtle5": None, "FC3": None})
    kernels = enumerate(("FC3", "Myrtle5"))
    blocks = [("compute_block", {"study": "demo", "kernel": kernel}, job) for job, kernel in kernels]
    others = [
        ("report_scaling", {"study": "demo"}, 2),
        ("solve_directly", {"study": "demo"}, 3),
        ("all", {}, 4),
    ]
    others.append(("prepare_data", {"study": "demo"}, 5))

    def studies(_: str) -> Study:
        return study

    found = run_stages.grouped([*others, *blocks], studies)
    assert found == {
        "data": [5], "blocks of Myrtle5": [1], "blocks of FC3": [0], "solving": [3], "report": [2, 4],
    }  # fmt: skip
    assert run_stages.counted(found) == (
        "stages: data 1, blocks of Myrtle5 1, blocks of FC3 1, solving 1, report 2"
    )
    two = run_stages.grouped([*blocks, ("compute_block", {"study": "other", "kernel": "FC3"}, 6)], studies)
    assert list(two) == ["blocks of Myrtle5, demo", "blocks of FC3, demo", "blocks of FC3, other"]
