"""CIFAR-5m's parts: stored or compressed, read one at a time."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sections import Contents

from neural_kernels.datasets import cifar5m, npz, pools
from neural_kernels.errors import UserError


def write_parts(
    folder: Path,
    count: int = 6,
    name: str = "cifar5m_part{}.npz",
    save: Callable[..., Any] = np.savez,
    parts: Iterable[int] = range(6),
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Parts of different sizes; returns the images and labels of each."""
    rng = np.random.default_rng(0)
    written = []
    for part in parts:
        x = rng.integers(0, 256, (count + part, 32, 32, 3), dtype=np.uint8)
        y = rng.integers(0, 10, count + part)
        save(folder / name.format(part), X=x, Y=y)
        written.append((x, y))
    return written


@pytest.mark.parametrize("name", ["cifar5m_part{}.npz", "part{}.npz"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_parts_0_to_4_train_and_part_5_tests(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    save: Callable[..., Any],
    contents_of: Contents,
) -> None:
    monkeypatch.setattr(pools, "CHUNK_ROWS", 4)
    written = write_parts(tmp_path, name=name, save=save)
    dataset = cifar5m.open_dataset(cifar5m.Options(path=str(tmp_path)))
    x, y = contents_of(dataset.train)
    np.testing.assert_array_equal(x, np.concatenate([x for x, _ in written[:5]]))
    np.testing.assert_array_equal(y, np.concatenate([y for _, y in written[:5]]))
    x, y = contents_of(dataset.tests["cifar5m"]())
    np.testing.assert_array_equal(x, written[5][0])
    np.testing.assert_array_equal(y, written[5][1])


def test_chosen_parts_need_no_others(tmp_path: Path, contents_of: Contents) -> None:
    written = write_parts(tmp_path, parts=[1, 3])
    x, _ = contents_of(cifar5m.open_dataset(cifar5m.Options(path=str(tmp_path), train_parts=(3, 1))).train)
    np.testing.assert_array_equal(x, np.concatenate([written[1][0], written[0][0]]))


def test_real_samples(tmp_path: Path, shared_data: Callable[[str], Path], contents_of: Contents) -> None:
    (tmp_path / "part0.npz").symlink_to(shared_data("cifar5m_sample_approx.npz"))
    x, y = contents_of(cifar5m.open_dataset(cifar5m.Options(path=str(tmp_path), train_parts=(0,))).train)
    assert x.shape == (400, 32, 32, 3)
    assert set(y) == set(range(10))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_part_is_never_all_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[..., Any]
) -> None:
    rows = 1000
    monkeypatch.setattr(pools, "CHUNK_ROWS", 50)
    write_parts(tmp_path, count=rows, save=save)
    pool = cifar5m.open_dataset(cifar5m.Options(path=str(tmp_path))).train
    tracemalloc.start()
    try:
        count = sum(len(np.array(chunk.x)) for chunk in pool.chunks())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == pool.count
    assert peak < rows * 32 * 32 * 3 / 2


def test_parts_are_opened_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parts(tmp_path)
    pool = cifar5m.open_dataset(cifar5m.Options(path=str(tmp_path))).train
    loaded = []
    load = npz.load
    monkeypatch.setattr(npz, "load", lambda member: loaded.append(member.path.name) or load(member))
    chunks = pool.chunks()
    for number in range(5):
        next(chunks)
        assert loaded == [f"cifar5m_part{part}.npz" for part in range(number + 1)]


def test_missing_part_is_named_with_its_source(tmp_path: Path) -> None:
    write_parts(tmp_path, parts=[0, 1, 2, 4, 5])
    with pytest.raises(UserError, match=r"cifar5m_part3\.npz: no such file, .*github\.com/preetum/cifar5m"):
        cifar5m.open_dataset(cifar5m.Options(path=str(tmp_path)))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((4, 3, 32, 32), np.uint8), np.zeros(4, int), r"found an array \(4, 3, 32, 32\) of uint8"),
        (np.zeros((4, 32, 32, 3)), np.zeros(4, int), r"of float64, expected \(n, 32, 32, 3\) of uint8"),
        (np.zeros((4, 32, 32, 3), np.uint8), np.zeros(5, int), "key Y: found 5 labels, .* the 4 examples"),
        (np.zeros((0, 32, 32, 3), np.uint8), np.zeros(0, int), "no examples"),
    ],
)
def test_part_of_another_form(tmp_path: Path, x: np.ndarray, y: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "part0.npz", X=x, Y=y)
    with pytest.raises(UserError, match=rf"part0\.npz.*{message}"):
        cifar5m.open_dataset(cifar5m.Options(path=str(tmp_path), train_parts=(0,)))


def test_part_without_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "part0.npz", X=np.zeros((4, 32, 32, 3), np.uint8))
    with pytest.raises(UserError, match=r"part0\.npz: found the keys X, expected Y"):
        cifar5m.open_dataset(cifar5m.Options(path=str(tmp_path), train_parts=(0,)))
