"""What the verb status says, on files as the stages leave them and a squeue that says what the test wants."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml
from tiny_studies import DIGITS

from neural_kernels.machine.slurm_queue import REASONS, explained
from neural_kernels.stages.status import study_status
from neural_kernels.study.study import Study, load_study


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    Path("config").mkdir()
    # In the place of a real one, if this machine has one.
    program("exit 1")
    blocks = {"edge": 20, "tile": 10}
    Path("config/tiny.yaml").write_text(yaml.safe_dump(DIGITS | {"blocks": blocks}))
    return load_study(Path("config/tiny.yaml"))


def program(text: str) -> None:
    Path("bin").mkdir(exist_ok=True)
    Path("bin/squeue").write_text(f"#!/bin/sh\n{text}\n")
    Path("bin/squeue").chmod(0o755)


def queue(lines: str) -> None:
    program(f"cat <<'END'\n{lines}END")


def finish(block: str, seconds_ago: float, part: str = "train") -> None:
    path = Path(f"results/tiny/kernels/FC/{part}/blocks/{block}.npy")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    os.utime(path, (time.time() - seconds_ago,) * 2)


def log_of(job: str, text: str) -> None:
    path = Path(f"results/tiny/logs/{job}.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def status(study: Study) -> list[str]:
    return study_status(study, Path("results")).splitlines()


def line(study: Study, begin: str) -> str:
    return next(line for line in status(study) if line.strip().startswith(begin))


def test_of_a_study_that_has_not_begun_everything_is_missing_and_nothing_is_written(study: Study) -> None:
    said = status(study)
    assert said[0] == f"study tiny: {study.title}"
    assert "blocks: 0 of " in "\n".join(said)
    assert line(study, "sizes: ").endswith("reports: none yet")
    assert line(study, "failed") == "failed: nothing"
    assert not Path("results").exists()


def test_the_rate_is_that_of_the_last_blocks_and_says_what_is_left(study: Study) -> None:
    planned = int(line(study, "blocks: 0 of ").split()[3])
    for place, block in enumerate(("0-0", "0-1", "0-2")):
        finish(block, seconds_ago=130 - 60 * place)
    said = line(study, "blocks: ")
    assert said.startswith(f"blocks: 3 of {planned} done, 60 an hour by the last 3, ")
    assert f"{planned - 3} minutes left" in said
    assert said.endswith("the last one was finished 10 seconds ago") or "11 seconds" in said


def test_the_rate_falls_where_nothing_is_finished_any_more(study: Study) -> None:
    for block, ago in (("0-0", 7230), ("0-1", 7220), ("0-2", 7210)):
        finish(block, ago)
    said = line(study, "blocks: ")
    assert ", 0.997" in said
    assert "the last one was finished 2.00 hours ago" in said


def test_blocks_that_no_study_plans_do_not_count(study: Study) -> None:
    finish("7-9", 0)
    assert line(study, "blocks: ").startswith("blocks: 0 of ")


def test_begun_and_faulty_blocks_are_counted(study: Study) -> None:
    finish("0-0", 5)
    partial = Path("results/tiny/kernels/FC/train/partial")
    partial.mkdir()
    (partial / "0-1.npy").write_bytes(b"")
    (partial.parent / "blocks/1-1.npy.rejected").write_bytes(b"")
    row = next(line.split() for line in status(study) if line.split()[1:2] == ["train"])
    assert row[3:] == ["1", "1", "1"]


def test_what_failed_is_the_last_sentence_of_logs_whose_result_is_missing(study: Study) -> None:
    finish("0-0", 5)
    log_of("compute_block/FC/train/0-0", "error: of an attempt before the one that succeeded\n")
    log_of("compute_block/FC/train/0-1", "block 0-1\nerror: the disk is full\n")
    log_of("solve_directly/FC/n16", "error: no ridge will do\n")
    log_of("prepare_data", "all is well\n")
    said = status(study)
    place = said.index("failed:")
    assert sorted(said[place + 1 : place + 3]) == [
        "  compute_block FC/train/0-1: the disk is full",
        "  solve_directly FC/n16: no ridge will do",
    ]
    assert len(said) == place + 3


def test_a_job_that_slurm_ended_is_named_with_the_reason(study: Study) -> None:
    folder = Path(".snakemake/slurm_logs/rule_compute_block/tiny_FC_train_0_1")
    folder.mkdir(parents=True)
    (folder / "17.log").write_text("slurmstepd: error: Detected 1 oom-kill event(s)\n")
    assert line(study, "compute_block") == "  compute_block FC/train/0-1: killed for its memory (job 17)"
    finish("0-1", 0)
    assert line(study, "failed") == "failed: nothing"


def test_jobs_wait_for_reasons_that_are_explained(study: Study, tmp_path: Path) -> None:
    here = "|".join((str(tmp_path), "rule_compute_block_wildcards_"))
    queue(
        f"1|RUNNING|None|{here}tiny_FC_train_0_0\n"
        f"2|PENDING|PartitionConfig|{here}tiny_FC_train_0_1\n"
        f"3|PENDING|Priority|{here}tiny_FC_train_1_1\n"
        f"4|PENDING|Priority|{here}tiny_FC_train_0_2\n"
        f"5|PENDING|Priority|{here}tiny_small_FC_train_0_0\n"
        f"6|PENDING|Priority|/elsewhere|rule_compute_block_wildcards_tiny_FC_train_0_0\n"
        f"7|PENDING|Odd|{tmp_path}|rule_prepare_data_wildcards_tiny\n"
        f"8|PENDING|Priority|{tmp_path}|\n"
    )
    said = status(study)
    place = said.index("queue: 1 jobs of this study run, 4 wait")
    assert said[place + 1] == (
        f"  2 for Priority: {REASONS['Priority']} "
        "(3 compute_block tiny_FC_train_1_1, 4 compute_block tiny_FC_train_0_2)"
    )
    assert "waits for ever" in said[place + 2]
    assert said[place + 2].endswith("(2 compute_block tiny_FC_train_0_1)")
    assert said[place + 3] == "  1 for Odd (7 prepare_data tiny)"


@pytest.mark.parametrize("answers", [True, False])
def test_without_a_slurm_that_answers_nothing_is_said_of_a_queue(
    study: Study, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not answers:
        Path("bin/squeue").unlink()
        monkeypatch.setenv("PATH", str(Path("bin").absolute()))
    assert not [line for line in status(study) if line.startswith("queue")]


def test_a_limit_is_explained_by_the_family_that_it_is_of() -> None:
    assert "quality of service" in explained("QOSMaxCpuPerUserLimit")
    assert "account" in explained("AssocGrpCpuLimit")
    assert "maintenance" in explained("ReqNodeNotAvail, UnavailableNodes:n1")
    assert explained("Unheard") == ""
