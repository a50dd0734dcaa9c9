"""Tiny ImageNet as a tree and as a .zip, and what is wrong with either."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_imagenet_files as made_up
from data_sections import Contents, check_data, open_dataset, prepare_data
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_kernels.datasets import tiny_imagenet
from neural_kernels.errors import UserError

Tree = dict[str, bytes]


@pytest.fixture(params=["tree", "parent", "zip", "zip without its folder"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Tree], Path]:
    """Writes a tree in one of the forms that it may have; returns where."""

    def written(tree: Tree) -> Path:
        if request.param in ("tree", "parent"):
            folder = made_up.write_folder(tmp_path / "raw" / "tiny-imagenet-200", tree)
            return folder if request.param == "tree" else folder.parent
        prefix = "tiny-imagenet-200/" if request.param == "zip" else ""
        (tmp_path / "raw").mkdir()
        return made_up.write_zip(tmp_path / "raw" / "tiny.zip", tree, prefix)

    return written


def options(path: Path, **changes: Any) -> dict[str, Any]:
    return {"name": "tiny_imagenet", "path": str(path), "validation_examples": 2} | changes


def test_every_form_gives_the_same_examples(
    write: Callable[[Tree], Path],
    contents_of: Contents,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiny_imagenet, "CHUNK_IMAGES", 4)
    tree = made_up.files()
    dataset = open_dataset(options(write(tree)))
    wanted = made_up.expected(tree)
    for part, pool in (("train", dataset.train), ("tiny_imagenet", dataset.tests["tiny_imagenet"]())):
        x, y = contents_of(pool)
        np.testing.assert_array_equal(x, wanted[part][0])
        np.testing.assert_array_equal(y, wanted[part][1])
    assert (dataset.task, dataset.outputs) == ("classification", 3)
    # A class that words.txt lacks goes by its own name.
    assert dataset.class_names == ("n03444034", "goldfish, Carassius auratus", "Egyptian cat")


def test_greyscale_is_the_same_in_every_channel(tmp_path: Path, contents_of: Contents) -> None:
    path = made_up.write_folder(tmp_path, made_up.files())
    x, _ = contents_of(open_dataset(options(path)).train)
    grey = (x == x[..., :1]).all(axis=(1, 2, 3))
    assert grey.tolist() == [False, False, True, *[False] * 6]


def test_without_words_the_classes_are_their_names(tmp_path: Path) -> None:
    tree = made_up.files()
    del tree["words.txt"]
    dataset = open_dataset(options(made_up.write_folder(tmp_path, tree)))
    assert dataset.class_names == made_up.CLASSES


def test_what_a_mac_adds_is_no_image(tmp_path: Path) -> None:
    tree = made_up.files() | {"train/n01443537/images/._n01443537_0.JPEG": b"", "val/images/.DS_Store": b""}
    path = made_up.write_zip(tmp_path / "tiny.zip", tree)
    assert check_data(options(path)).parts == {"train": 7, "validation": 2, "tiny_imagenet": 3}


@pytest.mark.parametrize("size", [32, 8])
def test_smaller_images_are_means_of_squares(tmp_path: Path, contents_of: Contents, size: int) -> None:
    tree = made_up.files()
    path = made_up.write_zip(tmp_path / "tiny.zip", tree)
    x, _ = contents_of(open_dataset(options(path, image_size=size)).train)
    assert (x.shape[1:], x.dtype) == ((size, size, 3), np.uint8)
    factor = 64 // size
    full = made_up.expected(tree)["train"][0].astype(np.float64)
    for row, column in ((0, 0), (3, 5), (size - 1, size - 1)):
        square = full[:, row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
        np.testing.assert_array_equal(x[:, row, column], np.floor(square.mean(axis=(1, 2)) + 0.5))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 255), st.sampled_from([1, 2, 4, 8]), st.integers(0, 2**32 - 1))
def test_averaging_keeps_constants_and_the_range(value: int, factor: int, seed: int) -> None:
    constant = np.full((2, 16, 16, 3), value, np.uint8)
    assert (tiny_imagenet.downsized(constant, 16 // factor) == value).all()
    x = np.random.default_rng(seed).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    small = tiny_imagenet.downsized(x, 16 // factor)
    # Mirroring before and after is the same: squares do not overlap and nothing is shifted.
    np.testing.assert_array_equal(tiny_imagenet.downsized(x[:, ::-1], 16 // factor), small[:, ::-1])
    assert x.min() <= small.min() <= small.max() <= x.max()


def test_preparing_gives_one_permutation_and_unpacks_nothing(tmp_path: Path) -> None:
    path = made_up.write_zip(tmp_path / "raw.zip", made_up.files())
    prepare_data(options(path, image_size=32), tmp_path / "out", seed=3)
    assert sorted(file.name for file in tmp_path.rglob("*") if file.is_file()) == sorted(
        ["raw.zip", "data.json", "rows.csv"]
        + [f"{part}_{what}.npy" for part in ("train", "validation", "tiny_imagenet") for what in "xy"]
    )
    order = np.random.default_rng(3).permutation(9)
    images, labels = made_up.expected(made_up.files())["train"]
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "validation_y.npy"), labels[order[:2]])
    np.testing.assert_array_equal(
        np.load(tmp_path / "out" / "train_x.npy"), tiny_imagenet.downsized(images[order[2:]], 32)
    )


# ----------------------------------------------------------------------------- what is wrong


def without(*names: str) -> Callable[[Tree], Tree]:
    return lambda tree: {name: content for name, content in tree.items() if not name.startswith(names)}


def replaced(name: str, content: bytes) -> Callable[[Tree], Tree]:
    return lambda tree: tree | {name: content}


ANNOTATIONS = "val/val_annotations.txt"
TWO_LINES = b"val_2.JPEG\tn02124075\t0\t0\t9\t9\nval_0.JPEG\tn01443537\t0\t0\t9\t9\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("wnids.txt"), r"found no wnids\.txt and no tiny-imagenet-200/wnids\.txt in it"),
        (replaced("wnids.txt", b"n03444034\n"), r"wnids\.txt: found 1 classes, expected at least two"),
        (
            replaced("wnids.txt", b"n01443537\nn03444034\nn01443537\n"),
            r"wnids\.txt: the class n01443537 is there 2 times",
        ),
        (
            replaced("wnids.txt", b"n01443537\n../n02124075\n"),
            r"found the class '\.\./n02124075', expected a",
        ),
        (replaced("wnids.txt", b"n01443537\nn\xe9\n"), r"wnids\.txt: .*expected text in UTF-8"),
        (without("train/n02124075"), r"train/n02124075/images: no such folder or no \.JPEG in it"),
        (without("train/n02124075/images"), r"train/n02124075/images: .* images of class n02124075"),
        (without("val/images"), r"val/images: no such folder or no \.JPEG"),
        (without(ANNOTATIONS), r"val_annotations\.txt: "),
        (replaced(ANNOTATIONS, TWO_LINES), r"val_annotations\.txt: no line for val_1\.JPEG, expected one"),
        (
            replaced(ANNOTATIONS, TWO_LINES + b"val_1.JPEG\tn99999999\t0\t0\t9\t9\n"),
            r"line 3 gives val_1\.JPEG the class 'n99999999', expected one of the 3 in wnids\.txt",
        ),
        (replaced(ANNOTATIONS, TWO_LINES + b"val_1.JPEG n01443537\n"), r"line 3 gives val_1.* the class ''"),
        (replaced(ANNOTATIONS, TWO_LINES + b"\n"), r"line 3 gives an empty name the class ''"),
        (
            replaced(ANNOTATIONS, TWO_LINES + b"val_0.JPEG\tn02124075\t0\t0\t9\t9\n"),
            r"line 3 is of val_0\.JPEG, expected an image in val/images, once each",
        ),
        (
            replaced(ANNOTATIONS, TWO_LINES + b"val_9.JPEG\tn02124075\t0\t0\t9\t9\n"),
            r"line 3 is of val_9\.JPEG, expected an image in val/images",
        ),
    ],
)
def test_refused_at_the_door(
    write: Callable[[Tree], Path],
    tmp_path: Path,
    change: Callable[[Tree], Tree],
    message: str,
) -> None:
    path = write(change(made_up.files()))
    for act in (check_data, lambda wrong: prepare_data(wrong, tmp_path / "out", seed=0)):
        with pytest.raises(UserError, match=rf"{path}.*{message}") as raised:
            act(options(path))
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


GOOD = made_up.jpeg(7)


@pytest.mark.parametrize("image", ["train/n01443537/images/n01443537_3.JPEG", "val/images/val_1.JPEG"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[: len(GOOD) // 2], "damaged JPEG .* expected a complete one"),
        (GOOD[:-1], "damaged JPEG .* expected a complete one"),
        (GOOD[:12], "damaged JPEG .* expected a complete one"),
        (b"", "found no image in it, expected a JPEG"),
        (b"\x89PNG\r\n\x1a\n" + GOOD, "found no image in it, expected a JPEG"),
        (made_up.jpeg(7, size=(64, 63)), "found an image of 64x63 pixels, expected 64x64"),
        (made_up.jpeg(7, size=(500, 375)), "found an image of 500x375 pixels, expected 64x64"),
    ],
)
def test_a_bad_image_is_named_and_leaves_nothing_that_looks_finished(
    write: Callable[[Tree], Path], tmp_path: Path, image: str, content: bytes, message: str
) -> None:
    path = write(made_up.files() | {image: content})
    with pytest.raises(UserError, match=rf"{path}.*{image}: {message}"):
        prepare_data(options(path), tmp_path / "out", seed=0)
    assert not (tmp_path / "out" / "data.json").exists()
    # The training set was whole where it is a test image that is not.
    written = {file.name for file in (tmp_path / "out").iterdir()}
    whole = {f"{part}_{what}.npy" for part in ("train", "validation") for what in "xy"}
    assert written == (set() if image.startswith("train") else whole)


def test_images_of_other_colours_become_rgb(tmp_path: Path, contents_of: Contents) -> None:
    tree = made_up.files() | {"val/images/val_1.JPEG": made_up.jpeg(5, "CMYK")}
    x, _ = contents_of(open_dataset(options(made_up.write_folder(tmp_path, tree))).tests["tiny_imagenet"]())
    np.testing.assert_array_equal(x[2], made_up.pixels(tree["val/images/val_1.JPEG"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 48}, r"data\.image_size is 48, expected one of 8, 16, 32, 64"),
        ({"train_parts": [0]}, r"unknown key 'train_parts' in data"),
        ({"test_sets": {"cifar10_1": {"path": "x"}}}, "its classes are CIFAR-10's"),
        ({"name": "digits", "image_size": 32}, r"unknown key 'path' in data"),
        ({"path": "nowhere"}, "nowhere: no such file or folder, expected data from http"),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = made_up.write_folder(tmp_path, made_up.files())
    with pytest.raises(UserError, match=message):
        check_data(options(path) | changes)


def test_the_real_subset(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    path = shared_data("tiny-imagenet-200-subset.zip")
    dataset = open_dataset(options(path, image_size=32))
    assert (dataset.train.count, dataset.outputs, len(dataset.class_names)) == (30_000, 200, 200)
    assert dataset.class_names[0] == "Egyptian cat"
    test = dataset.tests["tiny_imagenet"]()
    chunk = next(test.chunks())
    assert (test.count, chunk.x.shape[1:]) == (5000, (32, 32, 3))
    # The first lines of the official annotations: a go-kart, a reel, an obelisk.
    names = [dataset.class_names[label] for label in chunk.y[:3]]
    with zipfile.ZipFile(path) as archive:
        first = archive.read("tiny-imagenet-200/val/val_annotations.txt").decode().splitlines()[:3]
        words = dict(
            line.split("\t") for line in archive.read("tiny-imagenet-200/words.txt").decode().splitlines()
        )
    assert names == [words[line.split("\t")[1]] for line in first]
    assert names[0] == "go-kart"
    grey = (chunk.x == chunk.x[..., :1]).all(axis=(1, 2, 3)).sum()
    assert 0 < grey < 200
