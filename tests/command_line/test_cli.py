from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from neural_kernels.cli import main
from neural_kernels.command_line.verbs import FOR_PEOPLE, OF_RULES

CONFIG = Path(__file__).parents[2] / "config"
RULES = Path(__file__).parents[2] / "workflow" / "rules"


def test_help_lists_the_verbs_of_people_before_those_of_rules_and_each_has_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    listed = [
        line.split()[0] for line in lines if re.match("  [a-z]+", line) and "show this help" not in line
    ]
    assert listed == [verb.name for verb in (*FOR_PEOPLE, *OF_RULES)]
    for verb in listed:
        with pytest.raises(SystemExit) as ended:
            main([verb, "--help"])
        assert ended.value.code == 0
        assert "config" in capsys.readouterr().out


def test_every_verb_names_a_stage_that_takes_its_options() -> None:
    for verb in (*FOR_PEOPLE, *OF_RULES):
        module, function = verb.stage.split(":")
        stage = getattr(importlib.import_module(f"neural_kernels.stages.{module}"), function)
        inspect.signature(stage).bind(None, None, *verb.options)


def test_the_verbs_that_rules_call_are_those_that_the_table_says() -> None:
    called = set()
    for file in RULES.glob("*.smk"):
        called |= set(re.findall(r"neural-kernels --log \{log:q\} ([a-z-]+)", file.read_text()))
    assert called == {verb.name for verb in OF_RULES}


def test_a_mistake_is_one_sentence_and_status_two(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "neural_kernels.cli", "check", "config/nowhere.yaml"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 2
    assert run.stderr == "error: there is no study nowhere: config/nowhere.yaml is missing\n"
    assert not list(tmp_path.iterdir())


def test_the_log_holds_what_the_terminal_shows(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "check.log"
    assert main(["--log", str(log), "check", str(CONFIG / "demo.yaml"), "--results", str(tmp_path)]) == 0
    assert "study demo: config, data, engines and disk are in order" in log.read_text()
    assert main(["--log", str(log), "check", str(tmp_path / "nowhere.yaml")]) == 2
    assert log.read_text().startswith("error: there is no study nowhere")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["preprocess-data", "--preprocessing", "none"], "has no preprocessing 'none', expected one of"),
        (["declare-kernel", "--kernel", "FC9", "--part", "train"], "has no kernel 'FC9', expected one of"),
        (["compute-block", "--kernel", "FC3", "--part", "train", "--block", "0-0"], "kernel.json is missing"),
        (["solve", "--kernel", "FC3", "--size", "17"], "training size 17 is not on the ladder"),
        (
            ["predict", "--kernel", "FC3", "--inputs", "x.npy", "--output", "y.csv"],
            "features.json is missing: make",
        ),
        (["collect-metrics"], "n16.parquet does not exist"),
        (["run-trial", "--trial", "0"], "config/demo.yaml has no section tuning"),
    ],
)
def test_each_verb_says_what_it_misses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, arguments: list[str], sentence: str
) -> None:
    verb, *rest = arguments
    assert main([verb, str(CONFIG / "demo.yaml"), "--results", str(tmp_path), *rest]) == 2
    assert sentence in caplog.text or sentence in _errors(tmp_path, verb, rest)


def _errors(results: Path, verb: str, rest: list[str]) -> str:
    command = [
        sys.executable,
        "-m",
        "neural_kernels.cli",
        verb,
        str(CONFIG / "demo.yaml"),
        "--results",
        str(results),
    ]
    return subprocess.run([*command, *rest], capture_output=True, text=True).stderr


def test_a_block_is_named_by_row_and_column(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compute-block", "c", "--kernel", "k", "--part", "p", "--block", "3,7"])
    assert "expected row-column, as 3-7" in capsys.readouterr().err


def test_a_plan_without_the_data_counts_the_outputs_that_are_given(
    capsys: pytest.CaptureFixture[str],
) -> None:
    study = ["plan", str(CONFIG / "tiny_imagenet.yaml"), "--input-shape", "64x64x3", "--rate", "1000"]

    def solve_memory(*arguments: str) -> str:
        assert main([*study, *arguments]) == 0
        (row,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["FC3"]]
        return re.findall(r"[\d.]+ GiB", row)[-1]

    # 16 vectors and a factor of rank 2,000, float64: 98,000 examples.
    assert solve_memory() == "3.2 GiB"
    assert solve_memory("--outputs", "200") == "5.4 GiB"


def test_the_second_look_is_at_a_number_or_the_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["transfer-trial", "c", "--which", "../x"])
    assert "neither a number from 0 nor baseline" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["run-trial", "c", "--trial", "-1"])
    assert "'-1', expected a whole number from 0 to" in capsys.readouterr().err
