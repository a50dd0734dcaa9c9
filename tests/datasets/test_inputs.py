"""New examples without labels, from a user's file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from data_sections import read_inputs

from neural_kernels.datasets import DATASETS, inputs
from neural_kernels.datasets.inputs import Inputs
from neural_kernels.errors import UserError
from neural_kernels.graphs import Examples, Graphs, stack

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)


def test_every_data_set_of_arrays_reads_them() -> None:
    for name in ("arrays", "cifar10", "cifar5m", "digits", "tiny_imagenet"):
        assert DATASETS[name].inputs == "neural_kernels.datasets.inputs:read_arrays"


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_arrays_of_both_kinds_of_files(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"new{ending}"
    np.save(path, IMAGES) if ending == ".npy" else np.savez_compressed(path, x=IMAGES, other=1)
    found = read_inputs({"name": "digits"}, path, (8, 8, 1), "u")
    np.testing.assert_array_equal(found.examples, IMAGES)
    assert found.identifiers.to_dict("list") == {"row": [0, 1, 2, 3, 4]}


def test_files_that_are_none_are_one_sentence(tmp_path: Path) -> None:
    def read(name: str) -> Inputs:
        return read_inputs({"name": "arrays", "path": "a.npz"}, tmp_path / name, (8, 8, 1), "u")

    with pytest.raises(UserError, match=r"a\.npy: no such file"):
        read("a.npy")
    (tmp_path / "a.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.npy: damaged or not an \.npy file"):
        read("a.npy")
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(UserError, match=r"a\.npy: damaged or not an \.npy file"):
        read("a.npy")
    np.save(tmp_path / "a.npy", np.float64(1))
    with pytest.raises(UserError, match=r"a\.npy: found a single number"):
        read("a.npy")
    np.savez(tmp_path / "a.npz", y=IMAGES)
    with pytest.raises(UserError, match=r"a\.npz: found the keys y, expected x"):
        read("a.npz")
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(UserError, match=r"a\.txt: found a file ending in '\.txt', expected \.npy or \.npz"):
        read("a.txt")


NO_EDGES = np.empty((0, 2), int)


def test_graphs_are_checked_like_those_of_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(graphs: Graphs) -> Examples:
        monkeypatch.setattr(
            inputs, "read_arrays", lambda options, path: Inputs("g", graphs, names[: len(graphs)])
        )
        return read_inputs({"name": "arrays", "path": "a.npz"}, Path("g"), (None, 2), "f").examples

    names = pd.DataFrame({"name": ["a", "b"]})
    nodes, edges = [np.ones((2, 2)), np.ones((1, 2))], [np.array([(0, 1), (1, 0)]), NO_EDGES]
    assert len(read(stack(nodes, edges))) == 2
    with pytest.raises(UserError, match="g: a node feature of example 1 is inf"):
        read(stack([nodes[0], np.full((1, 2), np.inf)], edges))
    with pytest.raises(UserError, match=r"g: found examples of shape \(any, 3\).*expected \(any, 2\)"):
        read(stack([np.ones((1, 3))], [NO_EDGES]))
