"""From solutions to the tables: damage, kills, signals, and two jobs at the same work."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from bit_flips import BIT, POSITION, flip, flip_one
from file_faults import Killed, killed_after
from hypothesis import HealthCheck, given, settings
from tiny_studies import DIGITS, study_with_blocks

from neural_kernels import solvers
from neural_kernels.blocks import KernelStore
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.metrics import table as metrics_table
from neural_kernels.stages.compare import report_comparison
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.report import collect_metrics
from neural_kernels.stages.solve import solve
from neural_kernels.storage import sealed_parquet
from neural_kernels.storage.files import read_json
from neural_kernels.study.folders import solution_folder
from neural_kernels.study.study import Study, load_study

SIZES = 15, 40
CONFIG = DIGITS | {
    "training_sizes": {"sizes": list(SIZES)},
    "draws": 2,
    "ridge": {"candidates": [1e-4, 1e-2, 1.0]},
    "solver": {"direct_up_to": 20, "tolerance": 1e-10, "preconditioner": {"rank": 5}},
}


Numbers = tuple[dict[Path, np.ndarray], dict[str, pd.DataFrame]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path, Numbers]:
    """A study whose numbers are all there, its results, and what its files held."""
    study, results = study_with_blocks(tmp_path_factory.mktemp("study"), CONFIG)
    work(study, results)
    return study, results, numbers(results)


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill, unlike a power cut, loses nothing that was written."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def work(study: Study, results: Path) -> None:
    for n in SIZES:
        solve(study, results, "FC", n, threads=1)
    for n in SIZES:
        evaluate_predictions(study, results, "FC", n)
    collect_metrics(study, results)
    read(results)


def read(results: Path) -> None:
    """What the reports read."""
    metrics_table.read(results / "tiny/metrics.parquet")
    sealed_parquet.read(results / "tiny/convergence.parquet")
    sealed_parquet.read(results / "tiny/ridges.parquet")


def numbers(results: Path) -> Numbers:
    """Coefficients and metrics, but for what clocks and interruptions change."""
    tables = {
        str(path.relative_to(results)): pd.read_parquet(path).query("metric != 'seconds'")
        for path in [*results.glob("tiny/metrics/*/*.parquet"), results / "tiny/metrics.parquet"]
    }
    return {path: np.load(path) for path in results.rglob("coefficients.npy")}, tables


def assert_same(found: Numbers, expected: Numbers) -> None:
    for path, array in expected[0].items():
        np.testing.assert_array_equal(found[0][path], array)
    for name, table in expected[1].items():
        pd.testing.assert_frame_equal(found[1][name], table, check_exact=True)


def solution_files(results: Path) -> list[Path]:
    return [path for path in (results / "tiny/solutions").rglob("*") if path.is_file()]


def solves(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Counts the systems that are solved from now on."""
    solved: list[tuple[int, int]] = []
    solve_system = solvers.solve_system

    def counted(
        store: KernelStore, window: tuple[int, int], *arguments: Any, **options: Any
    ) -> solvers.Solution:
        solved.append(window)
        return solve_system(store, window, *arguments, **options)

    monkeypatch.setattr(solvers, "solve_system", counted)
    return solved


# ------------------------------------------------------------------------------------------ damage


def made_again(study: Study, results: Path, attempts: int = 6) -> list[str]:
    """Run as the workflow does, which makes what is missing, until nothing is refused; the sentences."""
    sentences = []
    for _ in range(attempts):
        try:
            for n in SIZES:
                if not (solution_folder(study, results, "FC", n) / "solved.json").exists():
                    solve(study, results, "FC", n, threads=1)
            for n in SIZES:
                evaluate_predictions(study, results, "FC", n)
            collect_metrics(study, results)
            read(results)
        except DamagedFile as error:
            sentences.append(str(error))
        else:
            return sentences
    raise AssertionError(sentences)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=POSITION, position=POSITION, bit=BIT)
def test_no_flipped_bit_of_a_solution_goes_unnoticed_and_the_same_numbers_come_again(
    run: tuple[Study, Path, Numbers], which: float, position: float, bit: int
) -> None:
    study, results, before = run
    path = flip_one(solution_files(results), which, position, bit)
    sentences = made_again(study, results)
    if path.suffix == ".parquet" and "direct" in path.parts:
        # Nobody reads the history of a direct solve, which is empty.
        assert not sentences
        path.unlink()
        assert_same(numbers(results), before)
        (path.parents[1] / "solved.json").unlink()
        made_again(study, results)
    else:
        assert path.name in sentences[0]
    assert_same(numbers(results), before)
    for rejected in results.rglob("*.rejected"):
        rejected.unlink()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=POSITION, position=POSITION, bit=BIT)
def test_no_flipped_bit_of_a_table_goes_unnoticed(
    run: tuple[Study, Path, Numbers], which: float, position: float, bit: int
) -> None:
    study, results, before = run
    tables = [results / f"tiny/{name}.parquet" for name in ("metrics", "convergence", "ridges")]
    path = flip_one([*tables, *results.glob("tiny/metrics/FC/*.parquet")], which, position, bit)
    with pytest.raises(DamagedFile, match=path.name):
        _ = read(results), collect_metrics(study, results)
    assert not path.exists()
    made_again(study, results)
    assert_same(numbers(results), before)


def test_a_draw_under_the_summary_of_another_solution_is_refused(
    run: tuple[Study, Path, Numbers],
) -> None:
    study, results, before = run
    folder = results / "tiny/solutions/FC/direct/n15"
    solution = solvers.load_solution(folder / "draw1")
    replace(solution, coefficients=2 * solution.coefficients).save(folder / "draw1")
    with pytest.raises(
        DamagedFile, match=r"solved\.json was written for another solution than the one in draw1"
    ):
        evaluate_predictions(study, results, "FC", 15)
    assert made_again(study, results) == []
    assert_same(numbers(results), before)


def test_results_of_a_version_without_checksums_are_refused_and_made_again(
    run: tuple[Study, Path, Numbers],
) -> None:
    study, results, before = run
    for path in solution_files(results):
        if path.suffix == ".json":
            old = {
                key: v for key, v in json.loads(path.read_text()).items() if key not in ("checksum", "files")
            }
            path.write_text(json.dumps(old))
    for path in results.rglob("*.parquet"):
        pd.read_parquet(path).to_parquet(path)
    sentences = made_again(study, results)
    assert all("has no checksum" in sentence for sentence in sentences)
    assert_same(numbers(results), before)


# ------------------------------------------------------------------------------- what is taken over


def test_what_is_finished_is_not_solved_or_evaluated_again(
    run: tuple[Study, Path, Numbers],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    study, results, _ = run
    solved = solves(monkeypatch)
    caplog.set_level("INFO")
    work(study, results)
    assert solved == []
    assert "nothing to solve" in caplog.text
    assert "nothing to evaluate" in caplog.text


def test_a_run_between_two_draws_goes_on_with_the_second(
    run: tuple[Study, Path, Numbers], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results, before = run
    folder = results / "tiny/solutions/FC/direct/n15"
    (folder / "solved.json").unlink()
    (folder / "draw1/record.json").unlink()
    solved = solves(monkeypatch)
    solve(study, results, "FC", 15, threads=1)
    assert solved == [(15, 30)]
    assert_same(numbers(results), before)


def test_another_problem_is_solved_anew(
    run: tuple[Study, Path, Numbers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results, _ = run
    config = yaml.safe_load((results.parent / "tiny.yaml").read_text())
    solved = solves(monkeypatch)
    for change in ({"ridge": {"candidates": [1e-3, 1e-2]}}, {"kernels": DIGITS["kernels"]}):
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config | change))
        solve(load_study(tmp_path / "tiny.yaml"), results, "FC", 15, threads=1)
    assert len(solved) == 4, "other ridges, and then those of before"
    validation = results / "tiny/features/plain/validation_targets.npy"
    content = np.load(validation)
    from neural_kernels.blocks import fingerprints, open_store

    store = open_store(results / "tiny/kernels/FC/train")
    one = fingerprints.content(store, [(0, 0)])
    assert one != fingerprints.content(store, [(0, 1)])
    assert fingerprints.problem([1], content) != fingerprints.problem([1], content[::-1])
    work(study, results)


def test_blocks_with_other_entries_are_another_problem(
    run: tuple[Study, Path, Numbers], monkeypatch: pytest.MonkeyPatch
) -> None:
    from neural_kernels.blocks import open_store, read_block, write_block

    study, results, before = run
    store = open_store(results / "tiny/kernels/FC/train")
    block, facts = read_block(store, 0, 0), store.read_record(0, 0)
    solved = solves(monkeypatch)
    write_block(store, 0, 0, 1.5 * block, facts)
    solve(study, results, "FC", 15, threads=1)
    write_block(store, 0, 0, block, facts)
    solve(study, results, "FC", 15, threads=1)
    assert len(solved) == 4
    work(study, results)
    assert_same(numbers(results), before)


# ----------------------------------------------------------------------------------- two at a time


PROGRAM = """
import os, sys, time
from neural_kernels import solvers
from neural_kernels.cli import main
solve_system = solvers.solve_system
def slowly(*arguments, **options):
    print("solving", flush=True)
    while os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    return solve_system(*arguments, **options)
solvers.solve_system = slowly
sys.exit(main(sys.argv[2:]))
"""


def program(results: Path, size: int, gate: str | Path = "/nowhere") -> subprocess.Popen[str]:
    """A solve in a process of its own, which waits before each system while there is a file ``gate``."""
    command = ["solve", str(results.parent / "tiny.yaml"), "--results", str(results), "--kernel", "FC"]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(gate), *command, "--size", str(size), "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )


def test_a_second_solve_waits_for_the_first_and_takes_over_its_solutions(
    run: tuple[Study, Path, Numbers], tmp_path: Path
) -> None:
    study, results, before = run
    forget(results, 15)
    gate = tmp_path / "gate"
    gate.touch()
    with program(results, 15, gate) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "solving\n"
        with program(results, 15) as second:
            assert second.stderr is not None
            assert f"is being made by process {first.pid} on " in second.stderr.readline()
            gate.unlink()
            out, errors = second.communicate(timeout=120)
        first.communicate(timeout=120)
    assert (first.returncode, second.returncode) == (0, 0), errors
    assert "draw 0 is there already" in errors
    assert "draw 1 is there already" in errors
    assert out == "", "nothing was solved twice"
    made_again(study, results)
    assert_same(numbers(results), before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_solve_that_a_signal_ends_goes_on_by_the_same_command(
    run: tuple[Study, Path, Numbers], number: signal.Signals
) -> None:
    study, results, before = run
    forget(results, 40)
    rng = np.random.default_rng()
    with program(results, 40) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "solving\n"
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    # After its last line of work the interpreter takes a signal as any program does.
    done = "draw 0: ridge" in errors
    if process.returncode != 0 and not (done and process.returncode == -number):
        assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number), errors
    if number != signal.SIGKILL:
        assert "Traceback" not in errors
        assert not list(results.rglob("*.tmp"))
        assert not list(results.rglob("*.lock"))
    with program(results, 40) as process:
        process.communicate(timeout=120)
    assert process.returncode == 0
    made_again(study, results)
    assert_same(numbers(results), before)
    assert leftovers(results) == []


def forget(results: Path, n: int) -> None:
    """Remove the solutions of a size."""
    for path in solution_files(results):
        if f"n{n}" in path.parts:
            path.unlink()


def leftovers(results: Path) -> list[Path]:
    """Files of checkpoints: a lock or a small temporary file may wait for the next run."""
    return [path for path in solution_files(results) if "checkpoint" in path.parts]


def test_a_temporary_file_of_a_killed_checkpoint_stops_nothing(
    run: tuple[Study, Path, Numbers],
) -> None:
    study, results, before = run
    forget(results, 40)
    checkpoints = results / "tiny/solutions/FC/iterative/n40/draw0/checkpoint"
    for name in (".checkpoint.json.tmp", "ridge-1e-05/.3.0.npz.x81.tmp", "0123/ridge-1/.checkpoint.json.tmp"):
        (checkpoints / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoints / name).write_bytes(b"half")
    made_again(study, results)
    assert_same(numbers(results), before)
    assert not checkpoints.exists()


# ------------------------------------------------------------------------------------- any file operation


OPERATIONS = [
    (os, "replace"), (os, "open"), (os, "ftruncate"), (Path, "unlink"), (Path, "mkdir"), (np, "savez")
]  # fmt: skip


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=POSITION)
def test_a_kill_at_any_file_operation_of_solve_and_evaluate_leads_to_the_same_numbers(
    run: tuple[Study, Path, Numbers], position: float
) -> None:
    study, results, before = run
    forget(results, 40)
    for path in results.glob("tiny/metrics/FC/*.parquet"):
        path.unlink()
    survived = int(position * 110)
    with pytest.MonkeyPatch.context() as patch:
        killed_after(survived, OPERATIONS, patch)
        with contextlib.suppress(Killed):
            work(study, results)
    made_again(study, results)
    assert_same(numbers(results), before)
    assert leftovers(results) == []


def test_a_comparison_does_not_pass_over_a_table_that_was_set_aside(
    run: tuple[Study, Path, Numbers], tmp_path: Path
) -> None:
    study, results, _ = run
    metrics = results / "tiny/metrics.parquet"
    (tmp_path / "tables").mkdir()
    (tmp_path / "tiny.yaml").write_text((results.parent / "tiny.yaml").read_text())
    table = {
        "title": "t",
        "test_sets": ["digits"],
        "printed_in": "nowhere",
        "architectures": [{"name": "FC", "runs": ["tiny/FC"], "published": []}],
    }
    (tmp_path / "tables/t.yaml").write_text(yaml.safe_dump(table))
    flip(metrics, 0.5, 2)
    with pytest.raises(DamagedFile, match=r"metrics\.parquet is damaged"):
        report_comparison(tmp_path / "tables/t.yaml", results)
    with pytest.raises(
        UserError, match=r"metrics\.parquet was damaged and has been set aside: make it again"
    ):
        report_comparison(tmp_path / "tables/t.yaml", results)
    collect_metrics(study, results)
    read(results)
    assert read_json(results / "tiny/solutions/FC/direct/n15/solved.json")["n"] == 15
