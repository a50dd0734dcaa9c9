"""Arrays are what was written, or are named, set aside and made again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.graphs import made_up, structure_files, write_structure
from neural_kernels.sealed_arrays import KEY, open_folder, record_of, record_of_file
from neural_kernels.storage import checksums
from neural_kernels.storage.checksums import Strips, StripsInPassing
from neural_kernels.storage.files import write_json, write_npy

ARRAY = np.arange(60.0).reshape(20, 3)


@pytest.fixture
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips of four rows of three numbers."""
    monkeypatch.setattr(checksums, "STRIP_BYTES", 4 * 24)


def sealed(folder: Path, arrays: dict[str, np.ndarray], **more: Any) -> Any:
    for name, array in arrays.items():
        write_npy(folder / name, array)
    records = {name: record_of(array) for name, array in arrays.items()}
    write_json(folder / "features.json", more | {KEY: records})
    return open_folder(folder / "features.json")


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_no_flipped_bit_of_a_file_goes_unnoticed(tmp_path: Path) -> None:
    folder = sealed(tmp_path, {"x.npy": ARRAY[:1]})
    whole, summary = (tmp_path / "x.npy").read_bytes(), (tmp_path / "features.json").read_bytes()
    for bit in range(8 * len(whole)):
        flip(tmp_path / "x.npy", bit)
        with pytest.raises(DamagedFile, match=r"x\.npy (is damaged|has another header).*run preprocess-data"):
            folder.load("x.npy")
        assert {path.name for path in tmp_path.iterdir()} == {"x.npy.rejected", "features.json.rejected"}
        (tmp_path / "x.npy").write_bytes(whole)
        (tmp_path / "features.json").write_bytes(summary)
    np.testing.assert_array_equal(folder.load("x.npy"), ARRAY[:1])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda path: path.unlink(), r"x\.npy is missing"),
        (lambda path: path.write_bytes(b""), r"x\.npy is 0 bytes, expected 608"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"x\.npy is 607 bytes, expected 608"),
        (lambda path: path.write_bytes(path.read_bytes() + b"\0"), r"x\.npy is 609 bytes, expected 608"),
        (lambda path: np.save(path, ARRAY.reshape(3, 20)), r"another header than that of an array \(20, 3\)"),
        (lambda path: np.save(path, ARRAY.astype(np.int64)), "another header than that of .* float64"),
        (lambda path: np.save(path, np.asfortranarray(ARRAY)), "another header"),
        (lambda path: np.save(path, ARRAY[::-1]), r"the rows from 0 on are not those written \(checksum\)"),
    ],
)
def test_another_array_is_named_and_set_aside_with_its_summary(
    tmp_path: Path, change: Callable[[Any], Any], sentence: str
) -> None:
    folder = sealed(tmp_path, {"x.npy": ARRAY})
    change(tmp_path / "x.npy")
    with pytest.raises(DamagedFile, match=sentence):
        folder.load("x.npy")
    assert not (tmp_path / "x.npy").exists()
    assert not (tmp_path / "features.json").exists()
    assert (tmp_path / "features.json.rejected").exists()


def test_a_summary_that_does_not_vouch_for_a_file_is_not_enough(tmp_path: Path) -> None:
    folder = sealed(tmp_path, {"x.npy": ARRAY})
    write_npy(tmp_path / "y.npy", ARRAY)
    with pytest.raises(DamagedFile, match=r"features\.json has no checksum of y\.npy"):
        folder.load("y.npy")


def test_a_summary_of_an_earlier_version_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "features.json").write_text('{"parts": {"train": 3}}')
    with pytest.raises(
        DamagedFile, match=r"features\.json has no checksum: it was edited, or is of a version"
    ):
        open_folder(tmp_path / "features.json")
    assert [path.name for path in tmp_path.iterdir()] == ["features.json.rejected"]
    with pytest.raises(UserError, match=r"features\.json is missing"):
        open_folder(tmp_path / "features.json")


def test_only_the_strips_that_rows_touch_are_read(tmp_path: Path, small_strips: None) -> None:
    folder = sealed(tmp_path, {"x.npy": ARRAY}, input_shape=[3])
    flip(tmp_path / "x.npy", 8 * (128 + 24 * 9) + 3)
    for rows in ((0, 8), (12, 20), (3, 5)):
        examples = folder.examples("x.npy", rows)
        np.testing.assert_array_equal(examples[slice(*rows)], ARRAY[slice(*rows)])
    with pytest.raises(DamagedFile, match=r"the rows from 8 on"):
        folder.examples("x.npy", (7, 9))


def test_a_strip_is_read_once_for_all_the_rows_of_it(
    tmp_path: Path, small_strips: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = sealed(tmp_path, {"x.npy": ARRAY}).array("x.npy")
    summed = []
    original = checksums.of_bytes
    monkeypatch.setattr(checksums, "of_bytes", lambda data: summed.append(len(data)) or original(data))
    for first in range(0, 20, 3):
        np.testing.assert_array_equal(array.rows(first, first + 3), ARRAY[first : first + 3])
    assert summed == [4] * 5


def test_of_graphs_the_structure_and_the_nodes_of_the_rows_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = made_up(9, 3, np.random.default_rng(0), mean_nodes=5)
    arrays = {"x.npy": graphs.nodes}
    files = structure_files(tmp_path / "x.npy").values()
    arrays |= zip((file.name for file in files), write_structure(tmp_path / "x.npy", graphs), strict=True)
    monkeypatch.setattr(checksums, "STRIP_BYTES", 24)
    folder = sealed(tmp_path, arrays, input_shape=[None, 3])
    saved = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name, bit, notices in (
        ("x.npy", 8 * (128 + 24 * int(graphs.node_offsets[5])), {(5, 9), (0, 9)}),
        ("x.edges.npy", 8 * (128 + 16 * int(graphs.edge_offsets[5])), {(5, 9), (0, 9)}),
        ("x.node_offsets.npy", 8 * (128 + 8 * 5), {(0, 5), (5, 9), (0, 9)}),
        ("x.edge_offsets.npy", 8 * (128 + 8 * 5), {(0, 5), (5, 9), (0, 9)}),
    ):
        for rows in ((0, 5), (5, 9), (0, 9)):
            flip(tmp_path / name, bit)
            if rows in notices:
                with pytest.raises(DamagedFile, match=name):
                    folder.examples("x.npy", rows)
            else:
                part = folder.examples("x.npy", rows)[slice(*rows)]
                np.testing.assert_array_equal(part.nodes, graphs[slice(*rows)].nodes)
            for path, content in saved.items():
                path.write_bytes(content)


def test_a_file_that_is_no_array_is_checked_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "transform.npz"
    np.savez(path, a=ARRAY)
    write_json(tmp_path / "features.json", {KEY: {path.name: record_of_file(path)}})
    folder = open_folder(tmp_path / "features.json")
    assert folder.file(path.name) == path
    flip(path, 8 * 200)
    with pytest.raises(DamagedFile, match=r"transform\.npz is damaged: its checksum"):
        folder.file(path.name)
    with pytest.raises(DamagedFile, match=r"transform\.npz is missing"):
        folder.file(path.name)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(0, 40), cuts=st.lists(st.integers(0, 40), max_size=6), strip=st.integers(1, 300))
def test_sums_of_pieces_are_those_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, rows: int, cuts: list[int], strip: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checksums, "STRIP_BYTES", strip)
        array = np.random.default_rng(rows).normal(size=(rows, 3))
        summing = StripsInPassing(array)
        for piece in np.split(array, sorted(cuts)):
            summing.add(piece)
        assert summing.strips() == Strips.of(array)
