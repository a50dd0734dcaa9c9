"""Blocks outlive their features: made anew they are known again, to rounding, and others are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from resealing import rewrite
from tiny_studies import DIGITS, study_with_blocks

from neural_kernels.blocks import kernel_features, open_store
from neural_kernels.datasets.writing import COPIES_FILE
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.prediction.model import load_model
from neural_kernels.preprocessing import transform
from neural_kernels.stages.augmentation import _contact_sheet
from neural_kernels.stages.data import prepare_data, preprocess_data
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.kernels import compute_block, declare_kernel, verify_blocks
from neural_kernels.stages.solve import solve
from neural_kernels.storage.files import read_json, write_json
from neural_kernels.study.folders import open_features_folder
from neural_kernels.study.study import Study, load_study

CONFIG = DIGITS | {
    "preprocessing": {"plain": {"method": "zca", "regularization": 0.1}},
    "training_sizes": {"sizes": [60]},
}
PARTS = ("train", "validation", "digits")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose blocks are there and are solved with."""
    folder = tmp_path_factory.mktemp("finished")
    study, results = study_with_blocks(folder, CONFIG)
    solve(study, results, "FC", 60, threads=1)
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> tuple[Study, Path]:
    """A copy of the finished study, and its results."""
    shutil.copytree(finished, tmp_path / "copy")
    return load_study(tmp_path / "copy/tiny.yaml"), tmp_path / "copy/results"


def elsewhere(monkeypatch: pytest.MonkeyPatch, relative: float = 5e-13) -> None:
    """Preprocessing as on a machine that rounds otherwise."""
    original, random = transform.apply, np.random.default_rng(1)

    def apply(fitted: Any, x: np.ndarray) -> np.ndarray:
        features = original(fitted, x)
        return features * (1 + relative * random.normal(size=features.shape))

    monkeypatch.setattr(transform, "apply", apply)


def purged(study: Study, results: Path) -> None:
    shutil.rmtree(results / "tiny/features")
    preprocess_data(study, results, "plain")


def test_features_that_differ_by_rounding_keep_their_kernel(
    copied: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    study, results = copied
    stores = {part: results / "tiny/kernels/FC" / part for part in PARTS}
    before = {part: open_store(folder).fingerprint for part, folder in stores.items()}
    old = read_json(results / "tiny/features/plain/features.json")["feature_hashes"]
    elsewhere(monkeypatch)
    purged(study, results)
    new = read_json(results / "tiny/features/plain/features.json")["feature_hashes"]
    assert not {*old.values()} & {*new.values()}
    with pytest.raises(
        UserError, match=r"the features of train are not those that .* declare the kernel again"
    ):
        compute_block(study, results, "FC", "train", (0, 0), threads=1, force=True)
    for part, folder in stores.items():
        store = declare_kernel(study, results, "FC", part)
        assert store.fingerprint == before[part]
        known = read_json(folder / "made_from.json")
        assert known["rows"]["hash"] == old[part]
        assert known["columns"]["hash"] == old["train"]
        assert known["rows"]["accepted"] == [old[part], new[part]]
        assert f"(hash {old[part][:12]}, now {new[part][:12]})" in caplog.text
        compute_block(study, results, "FC", part, (0, 0), threads=1, force=True)
        verify_blocks(study, results, "FC", part)
    model = load_model(study, results, "FC", 60)
    assert model.store.fingerprint == before["train"]
    written = {path: path.stat().st_mtime_ns for path in results.rglob("made_from.json")}
    for part in PARTS:
        declare_kernel(study, results, "FC", part)
    assert written == {path: path.stat().st_mtime_ns for path in results.rglob("made_from.json")}


def test_what_is_accepted_is_compared_with_the_first_features_so_that_it_cannot_wander(
    copied: tuple[Study, Path],
) -> None:
    study, results = copied
    path = results / "tiny/features/plain/train.npy"
    sketched = path.with_suffix(".sketch.npy")
    first = np.load(sketched)
    tolerance = read_json(path.with_name("features.json"))["rounding"]
    for step in (0.8, 1.6):
        other = first.copy()
        other[7, 0] += step * tolerance * first[7, -1]
        rewrite(sketched, other)
        described = read_json(path.with_name("features.json"))
        described["feature_hashes"]["train"] = f"{step}"
        write_json(path.with_name("features.json"), described)
        if step < 1:
            declare_kernel(study, results, "FC", "train")
        else:
            with pytest.raises(UserError, match="holds blocks of another kernel"):
                declare_kernel(study, results, "FC", "train")


def with_strength(config: dict[str, Any]) -> None:
    config["preprocessing"]["plain"]["regularization"] = 0.1001


def with_another_seed(config: dict[str, Any]) -> None:
    config["seed"] = 5


def with_another_method(config: dict[str, Any]) -> None:
    config["preprocessing"]["plain"] = {"method": "standardize"}


@pytest.mark.parametrize("change", [with_strength, with_another_seed, with_another_method])
def test_features_of_another_config_are_refused_and_nothing_is_lost(
    copied: tuple[Study, Path], change: Callable[[dict[str, Any]], None]
) -> None:
    study, results = copied
    path = results.parent / "tiny.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))
    changed = load_study(path)
    before = {file: file.read_bytes() for file in (results / "tiny/kernels").rglob("*") if file.is_file()}
    prepare_data(changed, results)
    preprocess_data(changed, results, "plain")
    for part in PARTS:
        with pytest.raises(UserError, match="holds blocks of another kernel"):
            declare_kernel(changed, results, "FC", part)
    after = {file: file.read_bytes() for file in (results / "tiny/kernels").rglob("*") if file.is_file()}
    assert after == before
    # Back to what it was, everything fits again.
    prepare_data(study, results)
    preprocess_data(study, results, "plain")
    for part in PARTS:
        declare_kernel(study, results, "FC", part)
        compute_block(study, results, "FC", part, (0, 0), threads=1)


def one_image(x: np.ndarray) -> None:
    x[7, 3, 3, 0] += 1


def swapped(x: np.ndarray) -> None:
    x[[3, 4]] = x[[4, 3]]


def mirrored(x: np.ndarray) -> None:
    x[11] = x[11, :, ::-1]


@pytest.mark.parametrize("change", [one_image, swapped, mirrored])
@pytest.mark.parametrize("part", ["train", "digits"])
def test_features_of_one_other_example_are_refused(
    copied: tuple[Study, Path], change: Callable[[np.ndarray], None], part: str
) -> None:
    study, results = copied
    data = results / f"tiny/data/{part}_x.npy"
    x = np.load(data)
    change(x)
    rewrite(data, x)
    preprocess_data(study, results, "plain")
    with pytest.raises(UserError, match="holds blocks of another kernel"):
        declare_kernel(study, results, "FC", part)


def test_features_that_were_rounded_to_float32_are_refused(
    copied: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results = copied
    original = transform.apply
    monkeypatch.setattr(
        transform, "apply", lambda fitted, x: original(fitted, x).astype(np.float32).astype(np.float64)
    )
    purged(study, results)
    with pytest.raises(UserError, match="holds blocks of another kernel"):
        declare_kernel(study, results, "FC", "train")


def test_a_store_of_an_earlier_version_takes_its_own_features_and_no_others(
    copied: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results = copied
    folder = results / "tiny/kernels/FC/train"
    for path in (*folder.glob("made_from.json"), *folder.glob("*.sketch.npy")):
        path.unlink()
    compute_block(study, results, "FC", "train", (0, 0), threads=1, force=True)
    with monkeypatch.context() as patch:
        elsewhere(patch)
        purged(study, results)
        with pytest.raises(UserError, match="holds blocks of another kernel"):
            declare_kernel(study, results, "FC", "train")
    purged(study, results)
    declare_kernel(study, results, "FC", "train")
    # Now it has a sketch.
    elsewhere(monkeypatch)
    purged(study, results)
    declare_kernel(study, results, "FC", "train")


def test_without_blocks_a_kernel_is_declared_with_the_features_at_hand(copied: tuple[Study, Path]) -> None:
    study, results = copied
    folder = results / "tiny/kernels/FC/train"
    shutil.rmtree(folder / "blocks")
    shutil.rmtree(folder / "kept")
    data = results / "tiny/data/train_x.npy"
    x = np.load(data)
    one_image(x)
    rewrite(data, x)
    preprocess_data(study, results, "plain")
    before = open_store(folder).fingerprint
    store = declare_kernel(study, results, "FC", "train")
    assert store.fingerprint != before
    compute_block(study, results, "FC", "train", (0, 0), threads=1)


def test_flips_stay_flips_by_what_the_first_features_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (60, 4, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(60) % 2, x_test=x[:4], y_test=[0, 1, 0, 1])
    config = {
        "title": "t",
        "data": {
            "name": "arrays",
            "path": str(tmp_path / "a.npz"),
            "validation_examples": 20,
            "augmentation": {"factor": 2},
        },
        "preprocessing": {"plain": {"method": "standardize"}},
        "kernels": {"FC": {"architecture": {"name": "FC", "depth": 1}, "preprocessing": "plain"}},
        "blocks": {"edge": 20},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    study, results = load_study(tmp_path / "tiny.yaml"), tmp_path / "results"
    prepare_data(study, results)
    preprocess_data(study, results, "plain")
    store = declare_kernel(study, results, "FC", "train")
    features = open_features_folder(study, results, study.kernels["FC"])
    assert kernel_features.check(store, "train", features) == 40
    monkeypatch.setattr("neural_kernels.preprocessing.features.followed_by_flips", lambda *_: False)
    elsewhere(monkeypatch, 1e-14)
    preprocess_data(study, results, "plain")
    declare_kernel(study, results, "FC", "train")
    features = open_features_folder(study, results, study.kernels["FC"])
    assert features.summary["flipped_images"] == 0
    assert kernel_features.check(store, "train", features) == 40


def test_a_damaged_sketch_is_named_and_the_next_declaration_writes_it_anew(
    copied: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results = copied
    path = results / "tiny/kernels/FC/train/rows.sketch.npy"
    flip(path, 128 * 8 + 70)
    with pytest.raises(DamagedFile, match=r"rows\.sketch\.npy is damaged.*run declare-kernel"):
        verify_blocks(study, results, "FC", "train")
    assert not path.exists()
    assert not path.with_name("made_from.json").exists()
    declare_kernel(study, results, "FC", "train")
    verify_blocks(study, results, "FC", "train")


# ---------------------------------------------------------------------------- every file of data/ and features/


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def read_features(study: Study, results: Path) -> None:
    """The stages that read features, targets, labels and the transform."""
    for part in PARTS:
        compute_block(study, results, "FC", part, (0, 0), threads=1, force=True)
        compute_block(study, results, "FC", part, (0, 3), threads=1, force=True)
        if part != "validation":
            compute_block(study, results, "FC", part, (1, 3), threads=1, force=True)
    compute_block(study, results, "FC", "train", (2, 3), threads=1, force=True)
    compute_block(study, results, "FC", "validation", (1, 3), threads=1, force=True)
    compute_block(study, results, "FC", "digits", (2, 3), threads=1, force=True)
    solve(study, results, "FC", 60, threads=1)
    evaluate_predictions(study, results, "FC", 60)
    load_model(study, results, "FC", 60)


@pytest.fixture(scope="module")
def readable(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A copy of the finished study and its files' content."""
    folder = tmp_path_factory.mktemp("readable") / "copy"
    shutil.copytree(finished, folder)
    study, results = load_study(folder / "tiny.yaml"), folder / "results"
    read_features(study, results)
    return study, results


def bits(folder: Path, data: st.DataObject) -> tuple[Path, int]:
    names = [path.name for path in sorted(folder.iterdir()) if path.name.endswith((".npy", ".npz", ".json"))]
    path = folder / data.draw(st.sampled_from([name for name in names if not name.endswith(UNREAD)]))
    # As many in the header as in what follows.
    size = 8 * data.draw(st.sampled_from([min(128, path.stat().st_size), path.stat().st_size]))
    return path, data.draw(st.integers(0, size - 1))


UNREAD = (".sketch.npy", "train_labels.npy")
"""What no stage reads: sketches only where features have another hash, training labels never."""

QUICK: dict[str, Any] = {"deadline": None, "phases": [Phase.generate]}


@settings(max_examples=15, **QUICK)
@given(data=st.data())
def test_no_flipped_bit_of_features_goes_unnoticed_where_they_are_read(
    readable: tuple[Study, Path], data: st.DataObject
) -> None:
    study, results = readable
    folder = results / "tiny/features/plain"
    path, bit = bits(folder, data)
    saved = {file: file.read_bytes() for file in folder.iterdir()}
    flip(path, bit)
    try:
        with pytest.raises(UserError, match=rf"{path.name}.*again to make it anew"):
            read_features(study, results)
        assert path.with_name(path.name + ".rejected").exists()
        assert not (folder / "features.json").exists()
    finally:
        for file in folder.glob("*.rejected"):
            file.unlink()
        for file, content in saved.items():
            file.write_bytes(content)


@settings(max_examples=12, **QUICK)
@given(data=st.data())
def test_no_flipped_bit_of_data_goes_unnoticed_where_it_is_read(
    readable: tuple[Study, Path], data: st.DataObject
) -> None:
    study, results = readable
    folder = results / "tiny/data"
    path, bit = bits(folder, data)
    saved = {file: file.read_bytes() for file in folder.iterdir()}
    flip(path, bit)
    try:
        with pytest.raises(UserError, match=rf"{path.name}.*again to make it anew"):
            preprocess_data(study, results, "plain")
        assert not (folder / "data.json").exists()
        prepare_data(study, results)
        assert {file: file.read_bytes() for file in saved} == saved
        preprocess_data(study, results, "plain")
    finally:
        for file in folder.glob("*.rejected"):
            file.unlink()
        for file, content in saved.items():
            file.write_bytes(content)


@pytest.mark.parametrize("name", ["train.npy", "train_targets.npy", "digits_labels.npy", "transform.npz"])
def test_verification_reads_features_and_targets_too(copied: tuple[Study, Path], name: str) -> None:
    study, results = copied
    verify_blocks(study, results, "FC", "digits")
    path = results / "tiny/features/plain" / name
    flip(path, 8 * path.stat().st_size - 5)
    with pytest.raises(DamagedFile, match=rf"{name} is damaged.*run preprocess-data"):
        verify_blocks(study, results, "FC", "digits")
    # Without features there is nothing to check but the blocks.
    verify_blocks(study, results, "FC", "digits")


def test_copies_of_an_augmented_training_set_are_checked_where_they_are_shown(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (30, 4, 4, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(30) % 2, x_test=x[:2], y_test=[0, 1])
    data = {"name": "arrays", "path": str(tmp_path / "a.npz"), "validation_examples": 10}
    kernels = {"FC": {"architecture": {"name": "FC", "depth": 1}, "preprocessing": "plain"}}
    config = DIGITS | {"data": data | {"augmentation": {"factor": 2}}, "kernels": kernels}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    study, results = load_study(tmp_path / "tiny.yaml"), tmp_path / "results"
    prepare_data(study, results)
    assert _contact_sheet(study, results) is not None
    flip(results / "tiny/data" / COPIES_FILE, 8 * (128 + 3))
    with pytest.raises(DamagedFile, match=r"train_copies\.npy is damaged.*run prepare-data"):
        _contact_sheet(study, results)
