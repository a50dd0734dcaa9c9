"""The sizes of a ladder that take seconds, in one job: what each alone would give, kills, and what is taken over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny_studies import DIGITS, study_with_blocks

from neural_kernels import solvers
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.planning.small_sizes import small_sizes
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.small_sizes import evaluate_small_sizes, solve_small_sizes
from neural_kernels.stages.solve import solve
from neural_kernels.storage.files import read_json
from neural_kernels.study.folders import metrics_file, solution_folder
from neural_kernels.study.study import Study, load_study

SMALL = [8, 15, 20]
CONFIG: dict[str, Any] = DIGITS | {
    "training_sizes": {"sizes": [*SMALL, 40]},
    "draws": 2,
    "ridge": {"candidates": [1e-4, 1e-2, 1.0]},
    "solver": {"direct_up_to": 20},
}


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of which every block is there."""
    folder = tmp_path_factory.mktemp("study")
    study_with_blocks(folder, CONFIG)
    return folder


@pytest.fixture
def run(blocks: Path, tmp_path: Path) -> tuple[Study, Path]:
    """A study, of which every block is there and no size is solved, and its results."""
    shutil.copytree(blocks, tmp_path / "own")
    return load_study(tmp_path / "own/tiny.yaml"), tmp_path / "own/results"


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The windows of the systems that are solved from now on."""
    windows: list[tuple[int, int]] = []
    solve_system = solvers.solve_system

    def noted(store: Any, window: tuple[int, int], *arguments: Any, **options: Any) -> solvers.Solution:
        windows.append(window)
        return solve_system(store, window, *arguments, **options)

    monkeypatch.setattr(solvers, "solve_system", noted)
    return windows


def together(study: Study, results: Path) -> None:
    solve_small_sizes(study, results, "FC", threads=1)
    evaluate_small_sizes(study, results, "FC")


def alone(study: Study, results: Path) -> None:
    for n in SMALL:
        solve(study, results, "FC", n, threads=1)
        evaluate_predictions(study, results, "FC", n)


def vouching(results: Path) -> list[Path]:
    return [
        results / "tiny/solutions/FC/direct/small_sizes.json",
        results / "tiny/metrics/FC/small_sizes.json",
    ]


def test_sizes_together_give_the_bits_that_each_gives_alone(run: tuple[Study, Path], tmp_path: Path) -> None:
    study, results = run
    assert small_sizes(study, "FC") == SMALL
    other = tmp_path / "other"
    shutil.copytree(results, other)
    together(study, results)
    alone(study, other)
    files = {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
    found = {path.relative_to(results) for path in results.rglob("*") if path.is_file()}
    assert found - files == {path.relative_to(results) for path in vouching(results)}
    assert files <= found
    coefficients = [file for file in files if file.name == "coefficients.npy"]
    assert len(coefficients) == sum(study.draws(n, "FC") for n in SMALL) == 6
    for file in coefficients:
        assert (results / file).read_bytes() == (other / file).read_bytes()
    for n in SMALL:
        own, others = (
            pd.read_parquet(metrics_file(study, folder, "FC", n)).query("metric != 'seconds'")
            for folder in (results, other)
        )
        pd.testing.assert_frame_equal(own, others, check_exact=True)


def test_a_kill_costs_the_size_in_work(
    run: tuple[Study, Path], solved: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results = run
    save = solvers.Solution.save
    left = 3

    def killed(self: solvers.Solution, *arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        save(self, *arguments)

    monkeypatch.setattr(solvers.Solution, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        solve_small_sizes(study, results, "FC", threads=1)
    monkeypatch.setattr(solvers.Solution, "save", save)
    assert not vouching(results)[0].exists()
    solved.clear()
    together(study, results)
    assert solved == [(15, 30), (0, 20), (20, 40)]
    assert all(path.exists() for path in vouching(results))


def test_what_was_finished_alone_is_taken_over(
    run: tuple[Study, Path], solved: list[tuple[int, int]], caplog: pytest.LogCaptureFixture
) -> None:
    study, results = run
    alone(study, results)
    dates = {n: metrics_file(study, results, "FC", n).stat().st_mtime_ns for n in SMALL}
    solved.clear()
    caplog.set_level("INFO")
    together(study, results)
    assert solved == []
    assert caplog.text.count("nothing to evaluate") == len(SMALL)
    assert {n: metrics_file(study, results, "FC", n).stat().st_mtime_ns for n in SMALL} == dates


def test_what_vouches_stays_the_same_as_long_as_each_size_does(
    run: tuple[Study, Path], solved: list[tuple[int, int]]
) -> None:
    study, results = run
    together(study, results)
    before = [path.read_bytes() for path in vouching(results)]
    assert [entry["n"] for entry in read_json(vouching(results)[0])["sizes"]] == SMALL
    (solution_folder(study, results, "FC", 15) / "solved.json").unlink()
    solved.clear()
    together(study, results)
    assert solved == []
    assert [path.read_bytes() for path in vouching(results)] == before


def test_a_damaged_draw_of_one_size_is_solved_again_and_no_other(
    run: tuple[Study, Path], solved: list[tuple[int, int]]
) -> None:
    study, results = run
    together(study, results)
    path = solution_folder(study, results, "FC", 15) / "draw1/coefficients.npy"
    whole = path.read_bytes()
    content = bytearray(whole)
    content[-3] ^= 16
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match="coefficients"):
        evaluate_small_sizes(study, results, "FC")
    assert not (solution_folder(study, results, "FC", 15) / "solved.json").exists()
    solved.clear()
    together(study, results)
    assert solved == [(15, 30)]
    assert path.read_bytes() == whole


def test_a_longer_ladder_solves_what_is_new(run: tuple[Study, Path], solved: list[tuple[int, int]]) -> None:
    study, results = run
    together(study, results)
    path = results.parent / "tiny.yaml"
    path.write_text(yaml.safe_dump(CONFIG | {"training_sizes": {"sizes": [8, 12, 15, 20, 40]}}))
    solved.clear()
    together(load_study(path), results)
    assert solved == [(0, 12), (12, 24)]
    named = json.loads(vouching(results)[0].read_text())
    assert [entry["n"] for entry in named["sizes"]] == [8, 12, 15, 20]


def test_a_kernel_with_no_two_small_sizes_is_refused(run: tuple[Study, Path]) -> None:
    study, results = run
    path = results.parent / "tiny.yaml"
    path.write_text(yaml.safe_dump(CONFIG | {"training_sizes": {"sizes": [20, 40]}}))
    with pytest.raises(
        UserError, match=r"kernel FC has no two training sizes that are solved within seconds"
    ):
        solve_small_sizes(load_study(path), results, "FC")
    with pytest.raises(UserError, match=r"study tiny has no kernel 'CF'"):
        evaluate_small_sizes(study, results, "CF")


def test_the_sizes_are_evaluated_by_the_numbers_of_their_own_solutions(run: tuple[Study, Path]) -> None:
    study, results = run
    together(study, results)
    losses = [
        pd.read_parquet(metrics_file(study, results, "FC", n)).query("metric == 'loss'")["value"].mean()
        for n in SMALL
    ]
    assert np.all(np.isfinite(losses))
    assert len(set(losses)) == len(SMALL)
