"""Which row of the user's files each example is: for every data set, whatever is shuffled, left out or held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flip_files
import molecule_files
import numpy as np
import pandas as pd
import pytest
import tiny_imagenet_files
from data_sections import prepare_data
from PIL import Image

from neural_kernels.datasets import pools, rows
from neural_kernels.errors import DamagedFile


def written(data: dict[str, Any], folder: Path, seed: int = 0) -> pd.DataFrame:
    prepare_data(data, folder, seed)
    table = pd.read_csv(folder / rows.FILE)
    for part in table["part"].unique():
        own = table[table["part"] == part]
        assert own["example"].tolist() == list(range(len(own)))
    return table


def test_a_table_of_sequences_is_known_by_row_and_line(tmp_path: Path) -> None:
    # The second row takes two lines, and the third is of no split.
    lines = [
        "ACD,1.5,train,,a",
        'AC*,-2.0,train,True,"b\nb"',
        "GGG,7.0,,,c",
        "A,0.25,train,,d",
        "ACDE,3.0,test,,e",
    ]
    lines += ["WYCA,-1.0,test,,f", "ACC,0.5,train,,g"]
    path = flip_files.write_csv(tmp_path / "mine.csv", lines, flip_files.HEADER + ",note")
    data = {"name": "flip", "path": str(path), "validation_examples": None}
    table = written(data, tmp_path / "out", seed=2)
    assert list(table.columns) == ["part", "example", "row", "line"]
    assert dict(zip(table["row"], table["line"], strict=True)) == {0: 2, 1: 4, 3: 6, 4: 7, 5: 8, 6: 9}
    y = pd.read_csv(path)["target"].to_numpy()
    for part in ("train", "validation", "test"):
        own = table[table["part"] == part]
        np.testing.assert_array_equal(y[own["row"]], np.load(tmp_path / f"out/{part}_y.npy")[:, 0])
    # Validation rows that train are a second pool after the first.
    joined = written(data | {"validation_examples": 0}, tmp_path / "joined", seed=1)
    train = joined[joined["part"] == "train"]
    assert sorted(train["line"]) == [2, 4, 6, 9]
    np.testing.assert_array_equal(y[train["row"]], np.load(tmp_path / "joined/train_y.npy")[:, 0])


@pytest.mark.parametrize("validation", [None, 0])
def test_molecules_that_are_left_out_are_counted(tmp_path: Path, validation: int | None) -> None:
    pytest.importorskip("rdkit", reason="reading SMILES needs the package rdkit")
    smiles = ["nothing", *molecule_files.SMILES]
    lines = ["smiles,y", *(f"{text},{row}.5" for row, text in enumerate(smiles))]
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")
    split = {"method": "random", "fractions": [0.5, 0.25, 0.25]}
    data = {"name": "smiles", "path": str(tmp_path / "mine.csv"), "invalid": "drop", "split": split}
    table = written(data | {"validation_examples": validation}, tmp_path / "out")
    assert sorted(table["row"]) == list(range(1, 8))
    np.testing.assert_array_equal(table["line"], table["row"] + 2)
    for part in table["part"].unique():
        y = np.load(tmp_path / f"out/{part}_y.npy")[:, 0]
        np.testing.assert_array_equal(table[table["part"] == part]["row"] + 0.5, y)


def test_molecules_of_ogb_are_rows_of_its_tables(tmp_path: Path) -> None:
    molecule_files.write_folder(tmp_path / "raw")
    data = {"name": "ogb", "path": str(tmp_path / "raw"), "validation_examples": None}
    table = written(data, tmp_path / "out")
    found = {part: sorted(own["row"]) for part, own in table.groupby("part")}
    assert found == {"train": [0, 1, 4], "validation": [2], "test": [3]}
    own = table[table["part"] == "train"]["row"]
    np.testing.assert_array_equal(molecule_files.LABELS[own], np.load(tmp_path / "out/train_y.npy"))


def test_images_of_a_tree_are_known_by_their_files(tmp_path: Path) -> None:
    root = tiny_imagenet_files.write_folder(tmp_path / "raw", tiny_imagenet_files.files())
    data = {"name": "tiny_imagenet", "path": str(root), "validation_examples": 2}
    table = written(data, tmp_path / "out", seed=3)
    assert list(table.columns) == ["part", "example", "file"]
    for part in ("train", "validation", "tiny_imagenet"):
        x = np.load(tmp_path / f"out/{part}_x.npy")
        for file, image in zip(table[table["part"] == part]["file"], x, strict=True):
            np.testing.assert_array_equal(np.asarray(Image.open(root / file).convert("RGB")), image)
    assert rows.names(rows.of_parts(tmp_path / "out")["tiny_imagenet"]) == [
        "val_2.JPEG", "val_0.JPEG", "val_1.JPEG"
    ]  # fmt: skip


def test_digits_are_rows_of_scikit_learns(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    table = written({"name": "digits", "train_examples": 30, "validation_examples": 20}, tmp_path / "out")
    x, _ = load_digits(return_X_y=True)
    for part in ("train", "validation", "digits"):
        own = table[table["part"] == part]["row"]
        np.testing.assert_array_equal(x[own].reshape(-1, 8, 8, 1), np.load(tmp_path / f"out/{part}_x.npy"))


def test_images_of_several_files_are_known_by_file_and_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "CHUNK_ROWS", 3)
    for number in (1, 3, 5):
        x = np.random.default_rng(number).integers(0, 256, (7, 32, 32, 3), np.uint8)
        np.savez(tmp_path / f"part{number}.npz", X=x, Y=np.arange(7))
    data = {"name": "cifar5m", "path": str(tmp_path), "train_parts": [1, 3], "validation_examples": 5}
    table = written(data | {"train_examples": 9}, tmp_path / "out")
    for part in ("train", "validation", "cifar5m"):
        own = table[table["part"] == part]
        images = [
            np.load(tmp_path / file)["X"][row] for file, row in zip(own["file"], own["row"], strict=True)
        ]
        np.testing.assert_array_equal(images, np.load(tmp_path / f"out/{part}_x.npy"))
    known = rows.of_parts(tmp_path / "out")["cifar5m"]
    assert rows.names(known)[:2] == ["part5.npz, row 0", "part5.npz, row 1"]


def test_augmented_copies_are_left_out(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(12) % 2, x_test=x[:2], y_test=np.arange(2))
    data = {"name": "arrays", "path": str(tmp_path / "a.npz"), "validation_examples": 4}
    table = written(data | {"augmentation": {"factor": 3}}, tmp_path / "out")
    own = table[table["part"] == "train"]["row"]
    assert len(own) == 8
    np.testing.assert_array_equal(np.load(tmp_path / "out/train_x.npy")[:8], x[own])


def test_labels_of_an_imported_kernel_are_its_rows(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.arange(20) % 3)
    tests = {"one": {"examples": 3}, "two": {"examples": 4}}
    data = {"name": "labels", "path": str(tmp_path / "y.npy"), "validation_examples": 5, "test_sets": tests}
    table = written(data, tmp_path / "out")
    found = {part: own["row"].tolist() for part, own in table.groupby("part")}
    assert found == {
        "train": [*range(8)],
        "validation": [*range(8, 13)],
        "one": [13, 14, 15],
        "two": [*range(16, 20)],
    }


def test_what_is_written_is_read_and_a_changed_file_is_refused(tmp_path: Path) -> None:
    parts = {
        "NA": {"file": np.array(["a,b", "nan"], dtype=object), "row": np.array([2, 0])},
        "t": {"line": np.array([7])},
        "none": {"row": np.empty(0, np.int64)},
    }
    rows.write(tmp_path / "rows.csv", parts)
    assert (
        tmp_path / "rows.csv"
    ).read_text() == 'part,example,file,row,line\nNA,0,"a,b",2,\nNA,1,nan,0,\nt,0,,,7\n'
    x = np.zeros((5, 1))
    np.savez(tmp_path / "a.npz", x_train=x, y_train=x, x_test=x, y_test=x)
    data = {"name": "arrays", "path": str(tmp_path / "a.npz"), "validation_examples": 0}
    prepare_data(data, tmp_path / "out", 0)
    found = rows.of_parts(tmp_path / "out")
    assert {part: list(known) for part, known in found.items()} == {"train": ["row"], "test": ["row"]}
    assert found["train"]["row"].dtype == np.int64
    assert rows.of_parts(tmp_path / "nothing") == {}
    (tmp_path / "out/rows.csv").write_text("part,example,row\ntrain,0,1\n")
    with pytest.raises(DamagedFile, match=r"rows\.csv is damaged.*run prepare-data"):
        rows.of_parts(tmp_path / "out")
