from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
from solver_problems import digits_problem, stored

from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.solvers.panels import read_panel
from neural_kernels.solvers.store_operator import StoreOperator
from neural_kernels.storage import checksums
from neural_kernels.storage.checksums import Strips
from neural_kernels.storage.files import write_json

KERNEL, _ = digits_problem(403)


@pytest.fixture
def small_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels of a few rows, so that small blocks have several."""
    monkeypatch.setattr(checksums, "STRIP_BYTES", 2**13)


def expected(window: tuple[int, int]) -> np.ndarray:
    return KERNEL[window[0] : window[1], window[0] : window[1]]


@pytest.mark.usefixtures("small_panels")
@pytest.mark.parametrize("edge", [1000, 403, 128, 97, 50])
@pytest.mark.parametrize("window", [(0, 403), (0, 128), (100, 333), (129, 131), (402, 403)])
@pytest.mark.parametrize("budget", [None, 2**19, 2**17], ids=["in RAM", "in part", "streamed"])
def test_any_edge_window_and_placement_agree(
    tmp_path: Path, edge: int, window: tuple[int, int], budget: int | None
) -> None:
    store = stored(tmp_path, KERNEL, edge)
    operator = StoreOperator(store, window, memory_budget=budget, threads=2)
    matrix = expected(window)
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((operator.n, 3))
    pivots = rng.permutation(operator.n)[:7]
    for _ in range(2):  # the second time from RAM where there is room
        product = operator.matmul(vectors)
        np.testing.assert_allclose(product, matrix @ vectors, rtol=1e-12, atol=1e-10)
        np.testing.assert_array_equal(operator.columns(pivots), matrix[:, pivots])
        np.testing.assert_array_equal(operator.diagonal(), np.diag(matrix))


@pytest.mark.usefixtures("small_panels")
@pytest.mark.parametrize("count", [10, 200])
def test_placements_give_the_same_bits(tmp_path: Path, count: int) -> None:
    store = stored(tmp_path, KERNEL, 128)
    vectors = np.random.default_rng(0).standard_normal((403, count))
    operators = [
        StoreOperator(store, memory_budget=b, threads=t) for b in (None, 2**19, 2**17) for t in (1, 3)
    ]
    products = [operator.matmul(vectors) for operator in operators]
    for product in products[1:]:
        np.testing.assert_array_equal(product, products[0])


@pytest.mark.usefixtures("small_panels")
def test_placement_keeps_to_the_budget(tmp_path: Path) -> None:
    store = stored(tmp_path, KERNEL, 128)
    everything = StoreOperator(store, threads=2)
    assert everything.streamed_bytes == 0
    part = StoreOperator(store, memory_budget=2**19, threads=2)
    assert 0 < part.resident_bytes < 2**19
    # Of diagonal blocks half is kept, and all is read.
    size = sum(8 * math.prod(store.grid.shape(*block)) for block in store.grid.blocks())
    assert everything.resident_bytes < part.streamed_bytes + part.resident_bytes < size
    with pytest.raises(UserError, match="memory budget leaves 0 MiB"):
        StoreOperator(store, memory_budget=2**10, threads=2)


def test_each_block_is_read_once_a_product(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from neural_kernels.solvers import store_operator

    store = stored(tmp_path, KERNEL, 128)
    operator = StoreOperator(store, memory_budget=2**22, threads=2)
    operator._kept = set()
    read = []
    original = read_panel
    monkeypatch.setattr(store_operator, "read_panel", lambda p, b: (read.append(p.block), original(p, b))[1])
    operator.matmul(np.ones((403, 2)))
    assert sorted(read) == sorted(store.grid.blocks())


def test_single_precision_is_summed_in_double(tmp_path: Path) -> None:
    store = stored(tmp_path, KERNEL, 128, "float32")
    operator = StoreOperator(store, threads=2)
    vectors = np.random.default_rng(0).standard_normal((403, 3))
    exact = KERNEL.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(operator.matmul(vectors), exact @ vectors, rtol=1e-12, atol=1e-10)
    assert operator.columns(np.array([3])).dtype == np.float64


def test_entries_that_are_not_finite_are_named_and_set_aside(tmp_path: Path) -> None:
    store = stored(tmp_path, KERNEL, 128)
    block = np.load(store.block_path(0, 2))
    block[5, 7] = np.nan
    np.save(store.block_path(0, 2), block)
    # As another program could have written it, with a record that vouches for it.
    write_json(store.record_path(0, 2), store.read_record(0, 2) | Strips.of(block).as_json())
    operator = StoreOperator(store, threads=2)
    with pytest.raises(UserError, match=r"blocks/0-2\.npy has entries that are not finite"):
        operator.matmul(np.ones((403, 2)))
    assert not store.block_path(0, 2).exists()
    assert store.block_path(0, 2).with_name("0-2.npy.rejected").exists()


@pytest.mark.usefixtures("small_panels")
@pytest.mark.parametrize("budget", [None, 2**19], ids=["in RAM", "in part"])
@pytest.mark.parametrize("place", [(0, 0), (0, 2), (3, 3)])
def test_a_flipped_bit_is_named_and_set_aside(
    tmp_path: Path, place: tuple[int, int], budget: int | None
) -> None:
    store = stored(tmp_path, KERNEL, 128)
    path = store.block_path(*place)
    with path.open("r+b") as file:
        file.seek(-9, os.SEEK_END)
        last = file.read(1)
        file.seek(-9, os.SEEK_END)
        file.write(bytes([last[0] ^ 4]))
    with pytest.raises(DamagedFile, match=f"{path.name} is damaged"):
        StoreOperator(store, memory_budget=budget, threads=2).matmul(np.ones((403, 2)))
    assert not path.exists()


@pytest.mark.usefixtures("small_panels")
def test_a_bit_that_flips_between_two_passes_is_noticed_in_what_is_streamed(tmp_path: Path) -> None:
    store = stored(tmp_path, KERNEL, 128)
    operator = StoreOperator(store, memory_budget=2**19, threads=2)
    assert operator.streamed_bytes > 0
    operator.matmul(np.ones((403, 2)))
    for block in store.grid.blocks():
        content = bytearray(store.block_path(*block).read_bytes())
        content[200] ^= 1
        store.block_path(*block).write_bytes(content)
    with pytest.raises(DamagedFile, match="is damaged"):
        operator.matmul(np.ones((403, 2)))


def test_a_diagonal_block_that_is_not_symmetric_is_refused_before_work(tmp_path: Path) -> None:
    store = stored(tmp_path, KERNEL, 128)
    block = np.load(store.block_path(1, 1))
    block[3, 100] += 1
    np.save(store.block_path(1, 1), block)
    write_json(store.record_path(1, 1), store.read_record(1, 1) | Strips.of(block).as_json())
    with pytest.raises(DamagedFile, match=r"1-1\.npy is on the diagonal, but not symmetric"):
        StoreOperator(store)


def test_foreign_and_truncated_blocks_are_refused_before_work(tmp_path: Path) -> None:
    store = stored(tmp_path, KERNEL, 128)
    path = store.block_path(1, 2)
    path.write_bytes(path.read_bytes()[:-8])
    write_json(store.record_path(0, 1), {"fingerprint": "0"})
    with pytest.raises(UserError, match=r"0-1\.npy belongs to another kernel.*1-2\.npy is truncated"):
        StoreOperator(store)


def test_a_block_that_vanishes_during_the_solve_is_named(tmp_path: Path) -> None:
    store = stored(tmp_path, KERNEL, 128)
    operator = StoreOperator(store, memory_budget=2**22, threads=1)
    store.block_path(1, 1).unlink()
    with pytest.raises(UserError, match=r"1-1\.npy is missing"):
        operator.matmul(np.ones((403, 1)))


def test_window_outside_the_store(tmp_path: Path) -> None:
    store = stored(tmp_path, KERNEL[:50, :50], 20)
    with pytest.raises(UserError, match="examples 10 to 51 were asked"):
        StoreOperator(store, (10, 51))
