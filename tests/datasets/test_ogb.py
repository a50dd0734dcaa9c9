"""OGB's folders: every atom, bond, label and split as it is there, and what is damaged is named."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import molecule_files as made_up
import numpy as np
import pytest
from data_sections import check_data, open_dataset, prepare_data
from hypothesis import given
from hypothesis import strategies as st
from molecule_files import decoded

from neural_kernels.datasets import atoms
from neural_kernels.datasets.pools import Chunk, Pool
from neural_kernels.errors import UserError
from neural_kernels.graphs import Graphs, open_examples
from neural_kernels.storage.files import read_json

OPTIONS = {"name": "ogb", "validation_examples": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made_up.write_folder(tmp_path / "ogbg_molmade")


def only_chunk(pool: Pool) -> Chunk:
    (chunk,) = pool.chunks()
    return chunk


@given(st.lists(st.tuples(*(st.integers(0, size - 1) for size in atoms.SIZES.values())), max_size=5))
def test_channels_hold_every_feature(features: list[tuple[int, ...]]) -> None:
    table = np.array(features, np.int64).reshape(-1, len(atoms.SIZES))
    channels = atoms.encode(table)
    assert channels.dtype == np.uint8
    np.testing.assert_array_equal(decoded(channels), table)


def test_a_folder_is_read_as_it_is(folder: Path) -> None:
    dataset = open_dataset({"name": "ogb", "path": str(folder)})
    assert (dataset.task, dataset.outputs) == ("multilabel", 2)
    assert dataset.validation is not None
    pools = {"train": dataset.train, "valid": dataset.validation, "test": dataset.tests["test"]()}
    for part, pool in pools.items():
        rows = made_up.SPLIT[part]
        chunk = only_chunk(pool)
        assert pool.count == len(chunk.x) == len(rows)
        shape: Any = pool.input_shape
        assert (shape, pool.dtype) == ((None, atoms.CHANNELS), np.dtype(np.uint8))
        np.testing.assert_array_equal(chunk.y, made_up.LABELS[rows])
        np.testing.assert_array_equal(
            decoded(chunk.x.nodes), np.concatenate([made_up.NODES[row] for row in rows])
        )
        edges = [
            edge
            for row in rows
            for bond in made_up.BONDS[row]
            for edge in (bond, bond[::-1])
        ]  # fmt: skip
        assert chunk.x.edges.tolist() == edges
        assert np.diff(chunk.x.edge_offsets).tolist() == [2 * len(made_up.BONDS[row]) for row in rows]


def test_labels_that_are_numbers_make_a_regression(tmp_path: Path) -> None:
    folder = made_up.write_folder(tmp_path / "mol", np.array([[0.5], [1], [np.nan], [0], [1]]))
    dataset = open_dataset({"name": "ogb", "path": str(folder)})
    assert (dataset.task, dataset.outputs) == ("regression", 1)
    assert dataset.validation is not None
    np.testing.assert_array_equal(only_chunk(dataset.validation).y, [[np.nan]])


def test_data_is_prepared_with_its_own_validation_split(folder: Path, tmp_path: Path) -> None:
    options = OPTIONS | {"path": str(folder)}
    assert check_data(options).parts == {"train": 3, "validation": 1, "test": 1}
    prepare_data(options, tmp_path / "data", seed=0)
    summary = read_json(tmp_path / "data" / "data.json")
    assert summary["task"] == "multilabel"
    graphs = open_examples(tmp_path / "data" / "train_x.npy", (None, atoms.CHANNELS))
    assert isinstance(graphs, Graphs)
    labels = np.load(tmp_path / "data" / "train_y.npy")
    assert sorted(graphs.node_counts.tolist()) == [1, 3, 3]
    order = {1: 0, 3: None}
    alone = graphs.node_counts.tolist().index(1)
    np.testing.assert_array_equal(labels[alone], made_up.LABELS[order[1]])


def spoil(folder: Path, name: str, content: bytes | str) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else gzip.compress(content.encode()))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("raw/edge.csv.gz", "0,1\n1,3\n0,1\n0,1\n", r"graph 1 has an edge from node 1 to node 3"),
        ("raw/edge.csv.gz", "0,1\n1,2\n0,1\n", r"found 3 edges, expected 4 as in num-edge-list"),
        ("raw/edge.csv.gz", "0,x\n", r"edge\.csv\.gz, line 1: found 'x', expected a table of whole"),
        ("raw/edge.csv.gz", b"\x1f\x8b\x08garbage", r"edge\.csv\.gz: cannot be read"),
        ("raw/node-feat.csv.gz", "5,0,4,5,3,0,2,0,2\n" * 10, r"line 1 has 2 for in a ring, expected an index from 0"),
        ("raw/node-feat.csv.gz", "5,0,4,5,3,0,2,0,1\n" * 9, r"found 9 nodes, expected 10"),
        ("raw/node-feat.csv.gz", "5,0,4,5,3,0,2,0,1\n" * 11, r"found 11 nodes, expected 10"),
        ("raw/node-feat.csv.gz", "5,0,4\n", r"found 3 columns, expected the 9 features"),
        ("raw/node-feat.csv.gz", "", r"node-feat\.csv\.gz: cannot be read"),
        ("raw/num-node-list.csv.gz", "1\n3\n2\n1\n", r"found 4 counts from 1, expected one for each of the 5"),
        ("raw/num-node-list.csv.gz", "1\n3\n2\n0\n4\n", r"graph 3 has no nodes"),
        ("raw/graph-label.csv.gz", "1,inf\n0,1\n,\n0,1\n1,0\n", r"graph-label\.csv\.gz, line 1: found 'i', expected"),
        ("split/scaffold/test.csv.gz", "5\n", r"found row 5, expected rows from 0 to 4"),
        ("split/scaffold/test.csv.gz", "4\n", r"row 4 is in the split twice"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_named(
    folder: Path, tmp_path: Path, name: str, content: bytes | str, sentence: str
) -> None:
    spoil(folder, name, content)
    with pytest.raises(UserError, match=sentence):
        prepare_data(OPTIONS | {"path": str(folder)}, tmp_path / "data", seed=0)
    assert not (tmp_path / "data" / "data.json").exists()


def test_a_missing_file_is_named_before_any_work(folder: Path) -> None:
    (folder / "raw" / "edge.csv.gz").unlink()
    with pytest.raises(UserError, match=r"edge\.csv\.gz: no such file"):
        check_data(OPTIONS | {"path": str(folder)})
    with pytest.raises(UserError, match="no such folder"):
        check_data(OPTIONS | {"path": str(folder / "nowhere")})


def test_a_line_without_anything_is_a_missing_label(folder: Path) -> None:
    spoil(folder, "raw/graph-label.csv.gz", "1\n\n0\n\n1\n")
    dataset = open_dataset({"name": "ogb", "path": str(folder)})
    np.testing.assert_array_equal(only_chunk(dataset.train).y[:, 0], [1, np.nan, 1])


@pytest.mark.parametrize(
    ("name", "task", "parts"),
    [("molbace", "multilabel", (1210, 151, 152)), ("molesol", "regression", (902, 113, 113))],
)
def test_real_folders(
    name: str, task: str, parts: tuple[int, int, int], shared_data: Callable[[str], Path]
) -> None:
    dataset = open_dataset({"name": "ogb", "path": str(shared_data(f"ogb/ogbg_{name}"))})
    assert dataset.validation is not None
    pools = (dataset.train, dataset.validation, dataset.tests["test"]())
    assert (dataset.task, tuple(pool.count for pool in pools)) == (task, parts)
    assert only_chunk(dataset.train).x.edges.max() > 0
