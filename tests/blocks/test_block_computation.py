from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neural_kernels import architectures
from neural_kernels import architectures as arch
from neural_kernels.blocks import Grid, KernelStore, declare_store, read_block, write_block
from neural_kernels.blocks.computation import compute_block
from neural_kernels.engines import kernel_matrix
from neural_kernels.engines.rate import default_tile
from neural_kernels.errors import UserError
from neural_kernels.storage.locks import alone

FC = architectures.build("FC", depth=2)
X = np.random.default_rng(0).normal(size=(23, 6))


def store_in(
    directory: Path, architecture: arch.Architecture = FC, n: int = 23, edge: int = 9, rows: int | None = None
) -> KernelStore:
    grid = Grid(n if rows is None else rows, n, edge, symmetric=rows is None)
    return declare_store(directory, grid, "float64", {"architecture": architecture.describe()})


def test_blocks_are_the_engines_kernel(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for i, j in store.grid.blocks():
        compute_block(store, i, j, FC, X, X, kind="ntk", tile=4)
    expected = kernel_matrix(FC, X, kind="ntk")
    for i, j in store.grid.blocks():
        rows, columns = slice(*store.grid.row_range(i)), slice(*store.grid.column_range(j))
        np.testing.assert_allclose(read_block(store, i, j), expected[rows, columns], rtol=1e-13)
    assert not list((tmp_path / "partial").iterdir())


def test_a_diagonal_block_is_exactly_symmetric(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    compute_block(store, 0, 0, FC, X, X, kind="ntk", tile=4)
    block = read_block(store, 0, 0)
    np.testing.assert_array_equal(block, block.T)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 30), st.integers(1, 12))
def test_tile_and_edge_do_not_change_the_entries(
    tmp_path_factory: pytest.TempPathFactory, edge: int, tile: int
) -> None:
    store = store_in(tmp_path_factory.mktemp("store"), edge=edge, rows=5)
    compute_block(store, 0, 0, FC, X[:5], X, kind="nngp", tile=tile)
    block = read_block(store, 0, 0)
    expected = kernel_matrix(FC, X[:5], X, kind="nngp")[: block.shape[0], : block.shape[1]]
    np.testing.assert_allclose(block, expected, rtol=1e-13)


def test_the_record_says_what_computed_the_block(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    compute_block(store, 0, 1, FC, X, X, kind="ntk", engine="neural_tangents", tile=4)
    record = store.read_record(0, 1)
    assert record["engine"] == "neural_tangents"
    assert record["tiles"] == 9
    assert record["seconds"] >= 0


def test_overflow_is_one_sentence_and_leaves_no_block(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    with np.errstate(all="ignore"), pytest.raises(UserError, match=r"block 0-1 .* not finite"):
        compute_block(store, 0, 1, FC, X * 1e200, X * 1e200, kind="ntk", tile=4)
    assert not store.block_path(0, 1).exists()


def test_a_default_tile_suits_the_cost_of_a_pair() -> None:
    shape = (32, 32, 3)
    fc, cv8, myrtle = (architectures.build(name) for name in ("FC3", "CV8", "Myrtle10"))
    edges = [default_tile(architecture, shape) for architecture in (fc, cv8, myrtle)]
    assert edges == sorted(edges, reverse=True)
    assert edges[0] == 2048
    assert 16 <= edges[2] < 256


# ----------------------------------------------------------------------------------- kill and resume

PROGRAM = """
import os
import signal
import sys
import numpy as np
from pathlib import Path
from neural_kernels import architectures
from neural_kernels.blocks import computation, open_store

finished = 0
progress = computation.progress


def counted(**options):
    global finished
    bar = progress(**options)
    update = bar.update

    def count(tiles=1):
        global finished
        finished += 1
        if finished == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return update(tiles)

    bar.update = count
    return bar


computation.progress = counted
x = np.random.default_rng(1).normal(size=(24, 8, 8, 1))
store, architecture = open_store(Path(sys.argv[1])), architectures.build("Myrtle5")
computation.compute_block(store, 0, 0, architecture, x, x, kind="ntk", engine="auto", tile=4)
print(finished)
"""
TILES = 21


def run(directory: Path, killed_after: int = 0) -> subprocess.CompletedProcess[str]:
    """Compute the block, in a process that is killed after so many tiles."""
    command = [sys.executable, "-c", PROGRAM, str(directory), str(killed_after)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("tiles", [1, 7, TILES])
def test_a_killed_block_resumes_at_its_tile_and_is_bit_identical(tmp_path: Path, tiles: int) -> None:
    architecture = architectures.build("Myrtle5")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for directory in (whole, killed):
        store_in(directory, architecture, n=24, edge=24)
    assert int(run(whole).stdout) == TILES

    assert run(killed, tiles).returncode == -signal.SIGKILL
    assert not (killed / "blocks" / "0-0.npy").exists()
    record = killed / "partial" / "0-0.tiles"
    assert len(record.read_text().splitlines()) == 1 + tiles
    with record.open("a") as file:
        file.write("16 2")  # as if the kill had cut a line short

    again = run(killed)
    assert again.returncode == 0, again.stderr
    assert int(again.stdout) == TILES - tiles
    assert (killed / "blocks" / "0-0.npy").read_bytes() == (whole / "blocks" / "0-0.npy").read_bytes()


def test_a_tile_whose_data_was_lost_is_computed_again(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    partial = tmp_path / "partial" / "0-0.npy"
    partial.parent.mkdir()
    block = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float64, shape=(9, 9))
    block[:] = 7.0
    block.flush()
    from neural_kernels.engines import select

    engine, _ = select("auto", FC, (6,))
    identity = f"{store.fingerprint} {engine} tile 9"
    (tmp_path / "partial" / "0-0.tiles").write_text(f"{identity}\n0 0 0123456789abcdef 1.000\n")
    compute_block(store, 0, 0, FC, X, X, kind="ntk", tile=9)
    np.testing.assert_allclose(read_block(store, 0, 0), kernel_matrix(FC, X[:9], kind="ntk"), rtol=1e-13)


def test_the_partial_block_of_another_kernel_is_not_resumed(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    (tmp_path / "partial").mkdir()
    np.save(tmp_path / "partial" / "0-0.npy", np.full((9, 9), 7.0))
    (tmp_path / "partial" / "0-0.tiles").write_text("another kernel\n0 0 12345 1.0\n")
    compute_block(store, 0, 0, FC, X, X, kind="ntk", tile=9)
    np.testing.assert_allclose(read_block(store, 0, 0), kernel_matrix(FC, X[:9], kind="ntk"), rtol=1e-13)


def test_a_second_job_waits_for_the_first_and_takes_its_block(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = store_in(tmp_path)
    lock = tmp_path / "partial" / "0-0.lock"
    caplog.set_level("INFO")
    held, finish = threading.Event(), threading.Event()

    def first_job() -> None:
        with alone(lock, "block 0-0"):
            held.set()
            finish.wait()
            write_block(store, 0, 0, kernel_matrix(FC, X[:9], kind="ntk"), {"engine": "first"})

    first = threading.Thread(target=first_job)
    first.start()
    held.wait()
    second = threading.Thread(target=compute_block, args=(store, 0, 0, FC, X, X), kwargs={"kind": "ntk"})
    second.start()
    while "waiting" not in caplog.text:
        time.sleep(0.01)
    finish.set()
    first.join()
    second.join()
    assert f"by process {os.getpid()} on {socket.gethostname()}" in caplog.text
    assert store.read_record(0, 0)["engine"] == "first"


def test_a_finished_block_is_not_computed_again_unless_forced(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    write_block(store, 0, 0, np.eye(9), {"engine": "test"})
    compute_block(store, 0, 0, FC, X, X, kind="ntk")
    np.testing.assert_array_equal(read_block(store, 0, 0), np.eye(9))
    store.block_path(0, 0).unlink()  # as Snakemake does before a job and after a failure
    compute_block(store, 0, 0, FC, X, X, kind="ntk")
    np.testing.assert_array_equal(read_block(store, 0, 0), np.eye(9))
    compute_block(store, 0, 0, FC, X, X, kind="ntk", force=True)
    np.testing.assert_allclose(read_block(store, 0, 0), kernel_matrix(FC, X[:9], kind="ntk"), rtol=1e-13)
    assert not list((tmp_path / "partial").iterdir())


def test_a_forced_block_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    write_block(store, 0, 1, np.ones((9, 9)), {"engine": "test"})
    with np.errstate(all="ignore"), pytest.raises(UserError):
        compute_block(store, 0, 1, FC, X * 1e200, X * 1e200, kind="ntk", force=True)
    np.testing.assert_array_equal(read_block(store, 0, 1), np.ones((9, 9)))


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def garbage(file: Path) -> None:
    file.write_bytes(os.urandom(300))


def a_line_of_garbage(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"a b\n-4 0 0123456789abcdef 1.000\n\xff\xfe\n0 0 x 9e999\n")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *[("0-1.npy", damage) for damage in (emptied, cut, garbage)],
        *[("0-1.tiles", damage) for damage in (emptied, cut, garbage, a_line_of_garbage)],
    ],
)
def test_damaged_leftovers_of_a_killed_job_stop_nothing(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    store = store_in(tmp_path)
    features = X.copy()
    features[17] = 1e200  # the last tile fails, after others were kept
    with np.errstate(all="ignore"), pytest.raises(UserError):
        compute_block(store, 0, 1, FC, features, features, kind="ntk", tile=4)
    damage(tmp_path / "partial" / name)
    compute_block(store, 0, 1, FC, X, X, kind="ntk", tile=4)
    np.testing.assert_allclose(
        read_block(store, 0, 1), kernel_matrix(FC, X[:9], X[9:18], kind="ntk"), rtol=1e-13
    )
    assert not list((tmp_path / "partial").iterdir())
