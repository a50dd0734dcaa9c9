"""Options of the command line at and beyond their limits: exit status 2 and one sentence, nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hostile_configs import BASE, is_in_order, make_folder, run, text_of

from neural_kernels.command_line import options


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project") / "config"
    folder.mkdir()
    make_folder(folder)
    return folder / "base.yaml"


PLAN = ["plan", "CONFIG", "--rate", "1000"]
BLOCK = ["compute-block", "CONFIG", "--kernel", "FC", "--part", "train"]
SOLVE = ["solve", "CONFIG", "--kernel", "FC"]
PREDICT = ["predict", "CONFIG", "--kernel", "FC", "--inputs", "x.npy", "--output", "y.csv"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            [*SOLVE, "--size", "1e300"],
            "argument --size: '1e300', expected a whole number from 1 to 1000000000",
        ),
        ([*SOLVE, "--size", "16.5"], "argument --size: '16.5', expected a whole number"),
        ([*SOLVE, "--size", "0"], "argument --size: '0', expected a whole number from 1"),
        ([*SOLVE, "--size", ""], "argument --size: '', expected a whole number"),
        ([*SOLVE, "--size", "9" * 5000], "argument --size: '999"),
        ([*SOLVE, "--size", "17"], "training size 17 is not on the ladder"),
        ([*SOLVE, "--size", "16", "--threads", "1" + 30 * "0"], "argument --threads: '1000"),
        (
            [*SOLVE, "--size", "16", "--threads", "-1"],
            "argument --threads: '-1', expected a whole number from 1",
        ),
        (
            [*SOLVE, "--size", "16", "--tasks", "1000000000"],
            "argument --tasks: '1000000000', expected a whole number",
        ),
        (
            [*BLOCK, "--block", "9999999999999999999-1"],
            "argument --block: '9999999999999999999-1' is not a block",
        ),
        ([*BLOCK, "--block", "-1-1"], "argument --block"),
        ([*BLOCK, "--block", "٣-٣"], "is not a block"),
        ([*PLAN, "--rate", "nan"], "argument --rate: 'nan' is not a rate"),
        ([*PLAN, "--rate", "inf"], "argument --rate: 'inf' is not a rate"),
        ([*PLAN, "--rate", "FC=1e300"], "argument --rate: 'FC=1e300' is not a rate"),
        ([*PLAN, "--rate", "CF=5"], "study base has no kernel 'CF', expected one of FC, Myrtle"),
        ([*PLAN, "--input-shape", "999999999x9999999999"], "'999999999x9999999999' is not a shape"),
        (
            [*PLAN, "--input-shape", "999999999x999999999"],
            "has 1e+18 numbers an example, expected at most 1e+07",
        ),
        ([*PLAN, "--input-shape", "32x0"], "is not a shape"),
        ([*PLAN, "--input-shape", ""], "is not a shape"),
        ([*PLAN, "--input-shape", "²x2"], "is not a shape"),
        ([*PLAN, "--node-memory", "1e300"], "argument --node-memory: '1e300' is not a positive number"),
        ([*PLAN, "--outputs", "10000000000"], "argument --outputs: '10000000000', expected a whole number"),
        (["run-trial", "CONFIG", "--trial", "1e3"], "argument --trial: '1e3', expected a whole number"),
        (["transfer-trial", "CONFIG", "--which", "1" * 5000], "is neither a number from 0 nor baseline"),
        (
            ["declare-kernel", "CONFIG", "--kernel", "../FC", "--part", "train"],
            "--kernel: '../FC' cannot be a name",
        ),
        (["declare-kernel", "CONFIG", "--kernel", "FC", "--part", "../x"], "--part: '../x' cannot be a name"),
        (["verify-blocks", "CONFIG", "--kernel", "", "--part", "train"], "--kernel: '' cannot be a name"),
        (["preprocess-data", "CONFIG", "--preprocessing", "x" * 300], "--preprocessing: 'xxx"),
        (
            ["preprocess-data", "CONFIG", "--preprocessing", "a\nb"],
            r"--preprocessing: 'a\nb' cannot be a name",
        ),
        (
            [*PREDICT, "--samples", "100000000000"],
            "argument --samples: '100000000000', expected a whole number",
        ),
        ([*PREDICT, "--seed", "-1"], "argument --seed: '-1', expected a whole number from 0"),
        (["check", ""], "argument config: '' is no path"),
        (["check", "a\0b"], "argument config: 'a\\x00b' is no path"),
        (["check", "CONFIG", "--results", ""], "argument --results: '' is no path"),
        (["check", "CONFIG", "--results", "CONFIG"], "is no folder, expected a place for one"),
        (["check", "CONFIG", "--results", "CONFIG/below"], "is no folder, expected a place for one"),
        (["check", "CONFIG", "--results", "x" * 300], "which cannot be a folder: File name too long"),
        (["check", "CONFIG", "--rseults", "x"], "unrecognized arguments: --rseults x"),
        (["check"], "the following arguments are required: config"),
        ([], "the following arguments are required: <verb>"),
        (["chek", "CONFIG"], "invalid choice: 'chek'"),
        (["--log", "", "check", "CONFIG"], "argument --log: '' is no path"),
        (["--log", "CONFIG", "check", "CONFIG"], "the config itself, expected another file"),
        (["--log", "CONFIG/x.log", "check", "CONFIG"], "CONFIG"),
        ([*PREDICT[:-1], "CONFIG/y.csv"], "is no folder, expected a place for one"),
        ([*PREDICT[:-1], ""], "argument --output: '' is no path"),
        ([*PREDICT], "features.json is missing"),
        (["check", "a\nb.yaml"], r"there is no study a\nb: a\nb.yaml is missing"),
    ],
)
def test_what_an_option_cannot_be_is_one_sentence(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before, content = sorted(config.parent.rglob("*")), config.read_bytes()
    outcome = run([argument.replace("CONFIG", str(config)) for argument in arguments])
    assert outcome.status == 2
    assert is_in_order(outcome), outcome.stderr
    assert sentence.replace("CONFIG", str(config)) in outcome.stderr
    assert (sorted(config.parent.rglob("*")), config.read_bytes()) == (before, content)
    assert not list(tmp_path.iterdir())


def test_the_largest_options_that_are_taken(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for more in (
        ["--input-shape", "8x8x3"],
        ["--outputs", "1000"],
        ["--node-memory", "0.5"],
        ["--rate", "FC=1e9"],
    ):
        assert run([argument.replace("CONFIG", str(config)) for argument in [*PLAN, *more]]).status == 0


def test_a_folder_that_may_not_be_written_to_is_named_before_any_work(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    outcome = run(["prepare-data", str(config), "--results", str(tmp_path / "results")])
    assert outcome.status == 2
    assert f"{tmp_path} may not be written to" in outcome.stderr
    assert run(["check", str(config), "--results", str(tmp_path / "results")]).status == 0


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            PermissionError(13, "Permission denied", "results/data.json"),
            "error: results/data.json: Permission denied",
        ),
        (
            OSError(36, "File name too long", "results/data.json"),
            "error: results/data.json: File name too long",
        ),
        (
            OSError(30, "Read-only file system", "results/data.json"),
            "error: results/data.json: Read-only file system",
        ),
        (MemoryError("Unable to allocate 7 TiB"), "(Unable to allocate 7 TiB)"),
    ],
)
def test_what_the_machine_refuses_is_one_sentence(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("neural_kernels.stages.data.prepare_data", refuse)
    outcome = run(["prepare-data", str(config), "--results", str(tmp_path)])
    assert outcome.status == 2
    assert is_in_order(outcome)
    assert sentence in outcome.stderr


def test_names_that_are_no_utf8_do_not_break_the_log(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "check.log"
    assert run(["--log", str(log), "check", os.fsdecode(b"\xff\xfe.yaml")]).status == 2
    assert "there is no study" in log.read_text()


def test_a_sentence_stays_in_its_line_and_does_not_reach_the_terminal() -> None:
    assert options.one_line("a\nb\x1b[2J\r") == r"a b\x1b[2J\r"
    assert len(options.one_line("x" * 10**6)) < 2100


def test_a_config_with_a_name_that_no_study_can_have_is_named(config: Path) -> None:
    for name in ("x`y`", "a b", "a" * 150, "-x", "é"):
        path = config.with_name(f"{name}.yaml")
        path.write_text(text_of(BASE))
        outcome = run(["check", str(path)])
        path.unlink()
        assert outcome.status == 2
        assert "cannot be a name, expected at most 100 letters" in outcome.stderr
