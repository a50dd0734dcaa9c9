"""The fitted preprocessing as it is kept for examples that come later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_sections import prepare_data

from neural_kernels.errors import UserError
from neural_kernels.graphs import Graphs, made_up, open_examples
from neural_kernels.preprocessing import channels, transform
from neural_kernels.preprocessing.features import TRANSFORM_FILE, preprocess, preprocess_inputs
from neural_kernels.preprocessing.options import AsItIs, Standardize, Zca
from neural_kernels.preprocessing.transform import SavedTransform
from neural_kernels.storage.files import read_json

OPTIONS: dict[str, Zca | Standardize | AsItIs] = {
    "none": AsItIs(),
    "standardize": Standardize(fit_examples=200),
    "zca": Zca(),
    "zca of pixels": Zca(per_image_normalization=False),
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    prepare_data({"name": "digits", "train_examples": 300, "validation_examples": 50}, folder, seed=0)
    return folder


@pytest.mark.parametrize("name", OPTIONS)
def test_raw_examples_through_the_saved_transform_are_the_stored_features(
    digits: Path, tmp_path: Path, name: str
) -> None:
    preprocess(OPTIONS[name], digits, tmp_path)
    saved = transform.load(tmp_path / TRANSFORM_FILE)
    hashes = read_json(tmp_path / "features.json")["feature_hashes"]
    assert (saved.kind, saved.train_hash) == ("u", hashes["train"])
    for part in ("train", "digits"):
        found = preprocess_inputs(saved, np.load(digits / f"{part}_x.npy"), tmp_path / "new.npy")
        assert found == hashes[part]
        np.testing.assert_array_equal(np.load(tmp_path / "new.npy"), np.load(tmp_path / f"{part}.npy"))


def test_graphs_keep_their_structure(tmp_path: Path) -> None:
    graphs = made_up(5, 3, np.random.default_rng(0), mean_nodes=4)
    statistics = channels.fit([graphs.nodes])
    preprocess_inputs(SavedTransform(statistics, "f", ""), graphs, tmp_path / "new.npy")
    found = open_examples(tmp_path / "new.npy", (None, 3))
    assert isinstance(found, Graphs)
    np.testing.assert_allclose(found.nodes, (graphs.nodes - graphs.nodes.mean(0)) / graphs.nodes.std(0))
    np.testing.assert_array_equal(found.edges, graphs.edges)


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / TRANSFORM_FILE
    with pytest.raises(UserError, match=r"transform\.npz: cannot be read"):
        transform.load(path)
    transform.save(path, SavedTransform(None, "f", "h"))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"transform\.npz: cannot be read"):
        transform.load(path)
