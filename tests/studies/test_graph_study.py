"""A study whose examples are graphs, stage by stage, against the same computed directly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from resealing import rewrite

from neural_kernels import blocks
from neural_kernels.datasets import arrays
from neural_kernels.datasets.pools import Chunk, Dataset, Pool, in_memory
from neural_kernels.engines import kernel_matrix, variances
from neural_kernels.errors import UserError
from neural_kernels.graphs import Graphs, made_up, open_examples
from neural_kernels.planning import costs as planning
from neural_kernels.preprocessing import features as preprocessing
from neural_kernels.preprocessing.options import Zca
from neural_kernels.stages.data import prepare_data, preprocess_data
from neural_kernels.stages.kernels import compute_block, declare_kernel
from neural_kernels.storage.files import read_json
from neural_kernels.study.study import Study, load_study

CONFIG = {
    "title": "t",
    "data": {"name": "arrays", "path": "none", "train_examples": 20, "validation_examples": 6},
    "preprocessing": {"plain": {"method": "none"}, "scaled": {"method": "standardize"}},
    "kernels": {
        "GNN": {"architecture": {"name": "SimpleGNN", "activation": "erf"}, "preprocessing": "scaled"}
    },
    "blocks": {"edge": 12, "tile": 5},
    "training_sizes": {"sizes": [20]},
    "ridge": {"candidates": [1e-3]},
    "solver": {"direct_up_to": 20},
}
GRAPHS = made_up(40, 3, np.random.default_rng(0), mean_nodes=7)
TARGETS = np.random.default_rng(1).standard_normal((40, 2))


def loader(options: Any) -> Dataset:
    """What a data set of graphs hands over: pools of graphs, here read in chunks that come out of order."""

    def chunks() -> Iterator[Chunk]:
        for start in (16, 0):
            few = slice(start, min(start + 16, 30))
            yield Chunk(start, GRAPHS[few], TARGETS[few], "train.csv", start)

    train = Pool("train.csv", 30, GRAPHS.shape[1:], GRAPHS.dtype, chunks)
    return Dataset(train, {"test": lambda: in_memory("test.csv", GRAPHS[30:], TARGETS[30:])}, "regression", 2)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setattr(arrays, "open_dataset", loader)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(CONFIG))
    return load_study(tmp_path / "small.yaml")


def open_part(folder: Path, part: str) -> Graphs:
    graphs = open_examples(folder / f"{part}.npy", (None, 3))
    assert isinstance(graphs, Graphs)
    return graphs


def test_blocks_are_the_kernel_of_the_standardised_graphs(study: Study, tmp_path: Path) -> None:
    prepare_data(study, tmp_path)
    for name in ("plain", "scaled"):
        preprocess_data(study, tmp_path, name)
    order = np.random.default_rng(study.seed).permutation(30)
    chosen = GRAPHS[order[6:26]]
    mean, scale = chosen.nodes.mean(axis=0), chosen.nodes.std(axis=0)
    expected = {"train": chosen, "validation": GRAPHS[order[:6]], "test": GRAPHS[30:]}
    for part, graphs in expected.items():
        plain = open_part(tmp_path / "small/features/plain", part)
        scaled = open_part(tmp_path / "small/features/scaled", part)
        np.testing.assert_array_equal(plain.nodes, graphs.nodes)
        np.testing.assert_allclose(scaled.nodes, (graphs.nodes - mean) / scale, rtol=1e-12)
        for name in ("node_offsets", "edges", "edge_offsets"):
            np.testing.assert_array_equal(getattr(scaled, name), getattr(graphs, name))
    network = study.kernels["GNN"].architecture
    train = open_part(tmp_path / "small/features/scaled", "train")
    for part in expected:
        store = declare_kernel(study, tmp_path, "GNN", part)
        rows = open_part(tmp_path / "small/features/scaled", part)
        K = kernel_matrix(network, rows, None if part == "train" else train)
        for i, j in store.grid.blocks():
            compute_block(study, tmp_path, "GNN", part, (i, j), threads=1)
            here = slice(*store.grid.row_range(i)), slice(*store.grid.column_range(j))
            np.testing.assert_allclose(blocks.read_block(store, i, j), K[here], rtol=1e-13)
    np.testing.assert_allclose(variances(network, train), np.diag(kernel_matrix(network, train)), rtol=1e-13)


def test_the_hash_of_features_is_also_of_the_edges(study: Study, tmp_path: Path) -> None:
    prepare_data(study, tmp_path)
    preprocess_data(study, tmp_path, "plain")
    described = tmp_path / "small/features/plain/features.json"
    before = read_json(described)["feature_hashes"]
    path = tmp_path / "small/data/train_x.edges.npy"
    edges = np.load(path)
    edges[0] = edges[0, ::-1]
    rewrite(path, edges)
    preprocess_data(study, tmp_path, "plain")
    after = read_json(described)["feature_hashes"]
    assert after["train"] != before["train"]
    assert after["test"] == before["test"]


def test_whitening_graphs_is_refused(study: Study, tmp_path: Path) -> None:
    prepare_data(study, tmp_path)
    options = Zca(per_image_normalization=False)
    with pytest.raises(UserError, match="method is zca, but the examples are graphs"):
        preprocessing.preprocess(options, tmp_path / "small/data", tmp_path / "features")


def test_an_architecture_for_images_is_refused_before_any_work(study: Study, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(
        yaml.safe_dump(
            CONFIG | {"kernels": {"C": {"architecture": {"name": "CV8"}, "preprocessing": "plain"}}}
        )
    )
    with pytest.raises(UserError, match="Conv has no meaning on the nodes of a graph"):
        prepare_data(load_study(tmp_path / "small.yaml"), tmp_path)
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda graphs: graphs.edges.__setitem__((-1, 0), 99),
            r"train\.csv: graph \d+ has an edge from node 99",
        ),
        (
            lambda graphs: graphs.nodes.__setitem__((-1, 0), np.nan),
            r"train\.csv: a node feature of example \d+ is nan",
        ),
    ],
)
def test_a_graph_that_is_none_is_named(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Any], Any], sentence: str
) -> None:
    spoiled = GRAPHS[np.arange(40)]
    spoil(spoiled)
    # The last node and edge are of the test set's last graph: put it first.
    monkeypatch.setitem(globals(), "GRAPHS", spoiled[np.arange(40)[::-1]])
    with pytest.raises(UserError, match=sentence):
        prepare_data(study, tmp_path)
    assert not (tmp_path / "small/data/data.json").exists()


def test_the_plan_measures_made_up_graphs(study: Study) -> None:
    any_graph: Any = (None, 3)
    engine, rate = planning.calibrate(study, study.kernels["GNN"], any_graph, seconds=0.01)
    assert engine in ("native", "jax", "neural_tangents")
    assert rate > 0
