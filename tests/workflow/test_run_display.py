"""What a run shows: a line a stage, errors in full, and in the end where the report is and what it found."""

from __future__ import annotations

import re
import shutil

import pytest
from workflow_projects import Project, make_project

import snakemake_logger_plugin_stages
from neural_kernels import progress

TARGET = "results/tiny_scaling.pdf"
FOUND = rf"{TARGET}: FC NTK at n = 64: accuracy \d+\.\d %, loss \S+ on Digits; \S+"
REDRAWN = re.compile(r"\x1b\[\d+F\x1b\[J")
STAGES = ["data", "baselines", "blocks of FC", "solving", "evaluation", "report"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, list[str]]:
    """A project whose study has run without a terminal, and the lines of that run."""
    project = make_project(tmp_path_factory.mktemp("project"))
    run = project.snakemake(TARGET)
    assert run.returncode == 0, run.stdout
    return project, run.stdout.splitlines()


def forget(project: Project, *folders: str) -> None:
    """Have the report made anew from what is left below the study's results."""
    results = project.folder / "results"
    for folder in folders:
        shutil.rmtree(results / "tiny" / folder)
    for file in ("tiny_scaling.pdf", "tiny/metrics.parquet"):
        (results / file).unlink()


def test_without_a_terminal_it_is_a_line_where_a_stage_starts_and_ends(
    shown: tuple[Project, list[str]],
) -> None:
    _, lines = shown
    assert not any("\x1b" in line for line in lines)
    assert len(lines) < 60
    said = [line[10:].split(":")[0] for line in lines if re.match(r"\d\d:\d\d:\d\d  ", line)]
    assert (said[0], said[-1], set(said)) == (STAGES[0], STAGES[-1], set(STAGES))
    assert any(re.search(r"blocks of FC: 7 of 7 jobs, 100 %, in \d+ s$", line) for line in lines)
    assert re.match(FOUND, lines[-1]), lines[-1]
    assert not any(re.match("rule |Select jobs|Finished jobid|study tiny: config", line) for line in lines)


def test_what_jobs_say_is_in_their_logs(shown: tuple[Project, list[str]]) -> None:
    project, _ = shown
    logs = project.folder / "results/tiny/logs"
    assert "in order" in (logs / "prepare_data.log").read_text()
    assert re.match(FOUND, (logs / "report_scaling.log").read_text().splitlines()[-1])
    assert snakemake_logger_plugin_stages.DISPLAYED == progress.DISPLAYED


def test_in_a_terminal_it_is_a_row_a_stage_in_place(shown: tuple[Project, list[str]]) -> None:
    project, _ = shown
    forget(project, "solutions", "metrics")
    status, sent = project.snakemake_in_terminal(TARGET)
    assert status == 0, sent
    frames = REDRAWN.split(sent)
    assert len(frames) > 5
    *rows, found = frames[-1].splitlines()
    assert [row.split("  ")[0].split(" \N{FULL BLOCK}")[0].strip() for row in rows] == [*STAGES[3:], "all"]
    assert all(re.search(r"\N{FULL BLOCK} 100 %  +\d+ of \d+  in \d", row) for row in rows)
    assert re.match(FOUND, found)
    # Nothing but the rows, and what Snakemake prints before it has read the profile.
    assert not [frame for frame in frames[1:-1] if len(frame.splitlines()) != len(rows)]
    assert all(len(row) < 100 for frame in frames[1:] for row in frame.splitlines()[: len(rows)])


def test_a_narrow_terminal_has_rows_that_do_not_break(shown: tuple[Project, list[str]]) -> None:
    project, _ = shown
    status, sent = project.snakemake_in_terminal("-f", TARGET, columns=40, lines=4)
    assert status == 0, sent
    assert all(len(row) < 40 for frame in REDRAWN.split(sent)[1:-1] for row in frame.splitlines())


def test_a_job_that_fails_is_said_with_its_sentence_and_its_log(shown: tuple[Project, list[str]]) -> None:
    project, _ = shown
    results = project.folder / "results/tiny"
    block = results / "kernels/FC/train/blocks/0-1.npy"
    content = bytearray(block.read_bytes())
    content[3000] ^= 1
    block.write_bytes(content)
    forget(project, "solutions/FC/iterative", "metrics")
    run = project.snakemake(TARGET)
    assert run.returncode != 0
    for part in (
        "\nError in rule solve_iteratively:\n",
        "    log: results/tiny/logs/solve_iteratively/FC/n64.log",
        "\nLogfile results/tiny/logs/solve_iteratively/FC/n64.log:\n",
        "\nerror: results/tiny/kernels/FC/train/blocks/0-1.npy is damaged",
        "\nComplete log(s): ",
    ):
        assert part in run.stdout, part
    assert "    input: " not in run.stdout
    assert TARGET not in run.stdout.splitlines()[-1]
    # The same command makes it again; in a terminal the block is a stage of its own.
    status, sent = project.snakemake_in_terminal(TARGET)
    assert status == 0, sent
    assert re.search(r"blocks of FC \S+ 100 %  1 of 1", REDRAWN.split(sent)[-1])


def test_verbose_brings_what_snakemake_prints_and_a_finished_study_has_nothing_to_show(
    shown: tuple[Project, list[str]],
) -> None:
    project, _ = shown
    *_, nothing, last = project.snakemake(TARGET).stdout.splitlines()
    assert nothing.startswith("Nothing to be done")
    assert re.match(FOUND, last)
    for option in ("--verbose", "-p"):
        run = project.snakemake("-f", option, TARGET).stdout
        assert re.search("^localrule report_scaling:", run, re.M), run
        assert "    reason: " in run
        assert "1 of 1 steps (100%) done" in run
        assert re.search(FOUND, run)


def test_asked_for_without_a_run_it_leaves_the_output_to_snakemake(shown: tuple[Project, list[str]]) -> None:
    project, _ = shown
    run = project.snakemake("-n", "-f", TARGET, "--logger", "stages")
    assert run.returncode == 0, run.stdout
    assert "Job stats:" in run.stdout
    assert "report_scaling" in run.stdout
    run = project.snakemake("-f", "--quiet", "all", "--", TARGET)
    assert run.returncode == 0, run.stdout
    assert "100 %" not in run.stdout
