"""What ``neural-kernels check`` makes of data files: sound ones pass, every other one is a sentence."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cifar10_files
import door_studies as door
import numpy as np
import pytest
import tiny_imagenet_files

from neural_kernels.datasets import npz

pytestmark = pytest.mark.usefixtures("small_batches")

X, Y = np.random.default_rng(0).normal(size=(12, 4)), np.arange(12) % 3


@pytest.mark.parametrize("kind", list(door.every_kind()))
def test_sound_files_of_every_kind_pass_and_can_be_prepared(tmp_path: Path, kind: str) -> None:
    assert door.check_door(door.write_study(tmp_path, *door.every_kind()[kind])) == 0


def spoiled(values: np.ndarray, place: Any, value: Any) -> np.ndarray:
    changed = np.array(values)
    changed[place] = value
    return changed


# ------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x_train": spoiled(X, (11, 3), np.nan)}, "x_train: a feature of example 11 is nan"),
        ({"x_train": spoiled(X, (0, 0), -np.inf)}, "x_train: a feature of example 0 is -inf"),
        ({"x_test": spoiled(X[:5], (4, 0), np.inf)}, "x_test: a feature of example 4 is inf"),
        ({"x_train": spoiled(X, (2, 0), 1e200)}, "example 2 is 1e+200, expected a magnitude of at most 1e+15"),
        ({"x_train": spoiled(X, (2, 0), -3e19).astype("f4")}, "example 2 is -3"),
        ({"x_train": np.ones((12, 4))}, "all 12 training examples are the same"),
        ({"x_train": X.astype("f2")}, "of float16, expected"),
        ({"x_train": X.astype(">i4")}, "of >i4, expected"),
        ({"x_train": X.astype("c16")}, "of complex128, expected"),
        ({"x_train": X > 0}, "of bool, expected"),
        ({"x_train": X.astype("M8[s]")}, "of datetime64[s], expected"),
        ({"x_train": X.astype("m8")}, "of timedelta64, expected"),
        ({"x_train": X.astype("S8")}, "of |S8, expected"),
        ({"x_train": np.zeros((12, 4), "f8,i4")}, "it holds an array of records"),
        ({"x_train": X.astype(object)}, "Python objects"),
        ({"y_train": np.array([None] * 12)}, "Python objects"),
        ({"x_train": X[:, :0], "x_test": X[:5, :0]}, "x_train: found an array (12, 0), expected at least one"),
        ({"x_train": X[:0], "y_train": Y[:0]}, "y_train: found no examples"),
        ({"x_test": X[:0], "y_test": Y[:0]}, "y_test: found no examples"),
        ({"x_train": np.float64(3)}, "found a single number for the examples"),
        ({"y_train": np.int64(3)}, "key y_train: found an array of shape ()"),
        ({"y_test": np.int64(3)}, "key y_test: found an array of shape ()"),
        ({"x_train": X.reshape(12, 1, 2, 2, 1)}, "found an array (12, 1, 2, 2, 1)"),
        ({"x_test": X[:5, :3]}, "test set test are (3,) of float64, expected (4,) of float64"),
        ({"x_test": np.zeros((5, 4), "u1")}, "of uint8, expected (4,) of float64 as in the training set"),
        ({"y_train": Y + 1}, "no training example has the label 0"),
        ({"y_train": Y * 2, "y_test": np.zeros(5, int)}, "no training example has the label 1"),
        ({"y_train": spoiled(Y, 3, -1)}, "label of example 3 is -1"),
        ({"y_train": 0 * Y}, "every label of y_train is 0"),
        ({"y_train": np.arange(12)}, "expected at least two examples a class"),
        ({"y_train": Y.astype(float)}, "key y_test: found (5,) of int64, expected (n,) floats as in y_train"),
        ({"y_test": Y[:5].astype(float)}, "y_test: found labels of shape (5,) and dtype float64"),
        ({"y_train": Y.astype(bool)}, "dtype bool, expected (n,) integers"),
        ({"y_train": Y.astype("S1")}, "dtype |S1, expected (n,) integers"),
        ({"y_train": Y.astype("c8")}, "dtype complex64, expected (n,) integers"),
        ({"y_train": np.array([2**63] * 12, "u8")}, "is 9223372036854775808, expected an integer from 0"),
        ({"y_test": np.array([0, 1, 2, 3, 0])}, "y_test: the label of example 3 is 3"),
        ({"class_names": np.array(["a", "b", "c", "d"])}, "no training example has the label 3 (d)"),
        ({"class_names": np.array(["a", "b", "b"])}, "found 'b' 2 times"),
        ({"class_names": np.array(["a", "b", ""])}, "found '', expected printable names"),
        ({"class_names": np.array(["a", "b", "c\n"])}, r"found 'c\n', expected printable names"),
        ({"class_names": np.array(["a", "b", "c"]), "y_train": X[:, 0]}, "of float64 beside class_names"),
        ({"y_train": X[:, 0] * 0 + 2.5, "y_test": X[:5, 0]}, "training values are 2.5"),
        ({"y_train": X[:, :2] * [1, 0], "y_test": X[:5, :2]}, "task 1: all 9 training values are"),
        ({"y_train": X[:, 0] * 1e-200, "y_test": X[:5, 0]}, "expected values that differ"),
        ({"y_train": spoiled(X[:, 0], 1, np.nan), "y_test": X[:5, 0]}, "the target of example 1 is nan"),
        ({"y_train": X[:, 0], "y_test": spoiled(X[:5, 0], 2, np.inf)}, "the target of example 2 is inf"),
        ({"y_train": spoiled(X[:, 0], 1, 1e16), "y_test": X[:5, 0]}, "expected a magnitude of at most"),
        ({"y_train": X[:, 0].astype("g") * np.longdouble("1e400"), "y_test": X[:5, 0]}, "expected a magnitude"),
        ({"y_train": X[:, 0], "y_test": spoiled(X[:5, 0], 2, np.inf).astype("f2")}, "example 2 is inf"),
        ({f"x_{'n' * 101}": X, f"y_{'n' * 101}": Y}, "cannot name a test set"),
    ],
)  # fmt: skip
def test_arrays_that_are_wrong_are_a_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str, compress: bool
) -> None:
    found = door.refused(door.write_study(tmp_path, door.ARRAYS, door.arrays(compress, **changes)))
    assert sentence in found
    assert "mine.npz" in found or "data.test_sets" in found


@pytest.mark.parametrize(
    "changes",
    [
        {"x_train": np.asfortranarray(X)},
        {"x_train": X.astype(">f4"), "x_test": X[:5].astype(">f8")},
        {"y_train": Y.astype(">u2"), "y_test": Y[:5].astype("i1")},
        {"y_train": X[:, 0].astype("g"), "y_test": X[:5, 0].astype("f2")},
        {"y_test": np.zeros(5, int)},
        {"x_train": X * 1e-200, "x_test": X[:5]},
        {"x_train": spoiled(X, (slice(None), 1), [0, 1e-200] * 6)},
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_arrays_that_are_unusual_but_sound_pass(
    tmp_path: Path, changes: dict[str, np.ndarray], compress: bool
) -> None:
    assert door.check_door(door.write_study(tmp_path, door.ARRAYS, door.arrays(compress, **changes))) == 0


def with_member(name: str, content: bytes, **options: Any) -> dict[str, bytes]:
    """The valid archive with another member in the place of ``name``."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(door.arrays()["mine.npz"])) as old, zipfile.ZipFile(stream, "w") as new:
        for member in old.namelist():
            if member != name:
                new.writestr(member, old.read(member))
        new.writestr(name, content, **options)
    return {"mine.npz": stream.getvalue()}


def header(shape: tuple[int, ...] | str, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (header((10**12, 4)), "bytes, expected 320000000000"),
        (header((10**12, 0)), "expected at least one value in an example"),
        (header((10**40,)), "its header is not that of an array of numbers"),
        (header((10**18, 10**18)), "more than any file holds"),
        (header("(-1, 4)"), "its header is not that of"),
        (header("(12, 4)", "__import__('os').system('false')"), "its header is not that of"),
        (header("(12, 4)", "'nonsense'"), "its dtype is 'nonsense'"),
        (header("(12, 4)", "'V0'"), "its dtype is 'V0'"),
        (header((1,) * 40) + b"12345678", "more than any file holds"),
        (b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000, "its header is not that of"),
        (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31), "its header has 2147483648 bytes"),
        (b"\x93NUMPY\x09\x00", "does not begin as"),
        (b"", "it ends within its header"),
        (pickle.dumps(X), "does not begin as"),
    ],
)
@pytest.mark.parametrize("key", ["x_train", "y_test"])
def test_headers_that_no_array_has_are_a_sentence(
    tmp_path: Path, key: str, content: bytes, sentence: str
) -> None:
    found = door.refused(door.write_study(tmp_path, door.ARRAYS, with_member(f"{key}.npy", content)))
    assert sentence in found or "expected one for each of" in found
    assert key in found or "mine.npz" in found


def test_other_compressions_and_keys_twice_are_refused(tmp_path: Path) -> None:
    packed = with_member("x_train.npy", door.npy(X), compress_type=zipfile.ZIP_LZMA)
    assert "neither stored nor deflated" in door.refused(door.write_study(tmp_path, door.ARRAYS, packed))
    stream = io.BytesIO(door.arrays()["mine.npz"])
    with zipfile.ZipFile(stream, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("x_train.npy", door.npy(X))
    twice = {"mine.npz": stream.getvalue()}
    assert "key 'x_train' 2 times" in door.refused(door.write_study(tmp_path, door.ARRAYS, twice))


def test_what_has_to_be_loaded_whole_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "LARGEST_LOADED", 100)
    study = door.write_study(tmp_path, door.ARRAYS, door.arrays(compress=True, x_train=np.asfortranarray(X)))
    assert "384 bytes that has to be read as a whole, expected at most 100" in door.refused(study)


@pytest.mark.parametrize("keep", [0, 1, 20, 400, 900])
def test_truncated_archives_are_a_sentence(tmp_path: Path, keep: int) -> None:
    content = door.arrays()["mine.npz"][:keep]
    assert "damaged" in door.refused(door.write_study(tmp_path, door.ARRAYS, {"mine.npz": content}))


# ------------------------------------------------------------------------------- tables


def edited(text: str, old: str, new: str) -> bytes:
    assert old in text
    return text.replace(old, new, 1).encode()


F, S = door.FLIP_TEXT, door.SMILES_TEXT
V = "sequence,target,set,validation\n"
M = "name,smiles,a,part\n"
NUMBERS = [
    "1_000",
    "nan",
    "inf",
    "-infinity",
    "0x10",
    "1,5",
    "1e",
    "1e400",
    "1e16",
    "--1",
    "\u0661",
    "1 2",
    "\u066b5",
    "1.5.2",
]


@pytest.mark.parametrize("number", NUMBERS)
def test_only_decimal_numbers_are_numbers(tmp_path: Path, number: str) -> None:
    quoted = f'"{number}"' if "," in number else number
    flip = door.write_study(tmp_path / "f", door.FLIP, {"table.csv": edited(F, "0.25", quoted)})
    assert f"line 5: target is {number!r}, expected a finite number" in door.refused(flip)
    smiles = door.write_study(tmp_path / "s", door.SMILES, {"table.csv": edited(S, "0.25", quoted)})
    found = door.refused(smiles)
    assert f"row 4 has {number!r} in column a, expected a number" in found
    files = door.ogb()
    files["raw/graph-label.csv.gz"] = gzip.compress(f"1,0.5\n0,1\n{number},0\n0,1\n1,0\n".encode())
    assert "graph-label.csv.gz" in door.refused(door.write_study(tmp_path / "o", door.OGB, files))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "found no columns"),
        (F[: F.index("\n") + 1].encode(), "found no row whose set is 'train'"),
        (edited(F, "A,0.25,train,False", "A,0.25,train,False,5"), "line 5: found 5 fields, expected 4"),
        (edited(F, "A,0.25,train,False", "A,0.25"), "line 5: found 2 fields, expected 4"),
        (edited(F, "sequence,target", "sequence,sequence"), "expected 'sequence' once"),
        (edited(F, "validation", "set"), "expected 'set' once"),
        (F.replace("\n", ",1\n").replace("validation,1", "validation,target ").encode(), "expected 'target' once"),
        (F.replace("\n", ",1,1\n").replace("validation,1,1", "validation,n,n").encode(), "found 2 columns 'n'"),
        (edited(F, "A,0.25", "A\0,0.25"), "line 5: found a NUL"),
        (F.encode("utf-16"), "damaged or no table"),
        (edited(F, "A,0.25", "Ä,0.25").decode().encode("latin-1"), "damaged or no table"),
        (edited(F, "A,0.25", "Ä,0.25"), "line 5: the sequence has 'Ä' at position 1"),
        (edited(F, "A,0.25", "B,0.25"), "has 'B' at position 1"),
        (edited(F, "A,0.25", "A-,0.25"), "has '-' at position 2"),
        (edited(F, "A,0.25", " ,0.25"), "line 5: the sequence is empty"),
        (edited(F, "A,0.25", '"A\nC",0.25'), r"has '\n' at position 2"),
        (edited(F, "A,0.25", '"A,0.25'), "damaged or no table"),
        (edited(F, "A,0.25", "A" * 200_000 + ",0.25"), "field larger than field limit"),
        (edited(F, "A,0.25,train", "A,0.25,valid"), "set is 'valid', expected train, test or nothing"),
        (edited(F, "train,False", "train,yes"), "validation is 'yes', expected True, False or nothing"),
        (edited(F, "WYCA,-1.0,test,", "WYCA,-1.0,test,True"), "expected validation rows among"),
        ((V + "A,1,train,\n" * 9 + "A,3,train,True\nC,2,test,\n").encode(), "are the same"),
        ((V + "A,1,train,\nC,1,train,\nD,3,train,True\nC,2,test,\n").encode(), "training values are 1.0"),
    ],
)  # fmt: skip
def test_sequences_that_are_wrong_are_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    for number, (name, packed) in enumerate(
        (
            ("table.csv", content),
            ("table.csv.gz", gzip.compress(content)),
            ("all.zip", door.zipped({"splits/table.csv": content})["archive.zip"]),
        )
    ):
        study = door.write_study(tmp_path / str(number), {**door.FLIP, "path": name}, {name: packed})
        found = door.refused(study)
        assert sentence in found
        assert name in found


@pytest.mark.parametrize("change", [("\n", "\r\n"), ("\n", "\r"), ("\n", "\n\n"), (",", " , ")])
def test_line_ends_and_spaces_change_nothing(tmp_path: Path, change: tuple[str, str]) -> None:
    plain, other = ({"table.csv": text.encode()} for text in (F, "\ufeff" + F.replace(*change)))
    for name, files in (("plain", plain), ("other", other)):
        assert door.check_door(door.write_study(tmp_path / name, door.FLIP, files)) == 0
    for part in ("train", "validation", "test"):
        one, two = (
            np.load(tmp_path / name / "results/door/data" / f"{part}_x.npy") for name in ("plain", "other")
        )
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "found no column 'smiles'"),
        (b"name,smiles,a,b,part\n", "found no rows"),
        (b"name,smiles,part\nm,CC,train\n", "found no column of values beside smiles"),
        (edited(S, "0.25,1,valid", "0.25,1,valid,5"), "line 5: found 6 fields, expected 5"),
        (edited(S, "0.25,1,valid", "0.25"), "line 5: found 3 fields, expected 5"),
        (edited(S, "a,b", "a,a"), "found 2 columns 'a'"),
        (edited(S, "a,b", "a,"), "found a column without a name"),
        (edited(S, "a,b", "smiles,b"), "found 2 columns 'smiles'"),
        (edited(S, "c1ccncc1", "c1ccncc"), "the first in row 4, 'c1ccncc'"),
        (edited(S, "c1ccncc1", ""), "the first in row 4, ''"),
        (edited(S, "c1ccncc1", "C" * 100_000), "longer than 10,000 characters"),
        (edited(S, "c1ccncc1", "C" * 3000 + "(" * 3000), "no molecules"),
        (edited(S, "m3", "m\0"), "found a NUL"),
        (edited(S, "valid", "holdout"), "row 4 is of part 'holdout'"),
        (S.replace("train", "").encode(), "none of the 8 molecules for train"),
        ((M + "m,CC,,train\n" * 3 + "m,C,,test\n").encode(), "found no value in 4"),
        ((M + "m,CC,2,train\nm,C,2,train\nm,N,3,valid\nm,O,4,test\n").encode(), "values are 2.0"),
        ((M + "m,CC,,train\nm,C,,train\nm,N,3,valid\nm,O,4,test\n").encode(), "values is there"),
    ],
)  # fmt: skip
def test_molecules_that_are_wrong_are_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    for name, packed in (("table.csv", content), ("table.csv.gz", gzip.compress(content))):
        study = door.write_study(tmp_path / name, {**door.SMILES, "path": name}, {name: packed})
        found = door.refused(study)
        assert sentence in found
        assert name in found


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("raw/graph-label", "1,\n0\n,0\n0,1\n1,0\n", "line 2: found 1 fields, expected 2"),
        ("raw/graph-label", "1,\n0,1,1\n,0\n0,1\n1,0\n", "line 2: found 3 fields, expected 2"),
        ("raw/graph-label", "NA,1\n0,1\n,0\n0,1\n1,0\n", "line 1: found 'N'"),
        ("raw/graph-label", ",\n,\n,\n,\n,\n", "found no value"),
        ("raw/graph-label", "", "cannot be read"),
        ("raw/graph-label", ",".join("1" * 11_000), "found 11000 columns, expected at most 10000"),
        ("raw/num-node-list", "1\n3\n2\n1\n-3\n", "none negative"),
        ("raw/num-node-list", "1\n3\n2\n1\n1000000000000\n", "found a count of 1000000000000"),
        ("raw/num-node-list", "1\n3\n2\n1\n3.0\n", "found '.'"),
        ("raw/num-node-list", "1\n3\n2\n1\n99999999999999999999\n", "cannot be read"),
        ("raw/num-node-list", "1,1\n3,1\n2,1\n1,1\n3,1\n", "found 2 columns, expected 1"),
        ("raw/num-edge-list", "0\n2\n1\n0\n", "found 4 counts"),
        ("raw/edge", "0,1\n1,2\n0,1\n0,3\n", "expected nodes 0 to 2"),
        ("raw/edge", "0,1\n1,-2\n0,1\n0,1\n", "expected nodes 0 to 2"),
        ("raw/edge", "0,1\n1\n0,1\n0,1\n", "line 2: found 1 fields"),
        ("raw/edge", "0,1\n1,\n0,1\n0,1\n", "cannot be read"),
        ("raw/node-feat", "5,0,4,5,4,0,2,0,0\n" * 9, "found 9 nodes, expected 10"),
        ("raw/node-feat", "5,0,4,5,4,0,2,0,9\n" * 10, "has 9 for in a ring"),
        ("split/scaffold/test", "9\n", "found row 9, expected rows from 0 to 4"),
        ("split/scaffold/test", "-1\n", "found row -1"),
        ("split/scaffold/test", "1\n", "row 1 is in the split twice"),
        ("split/scaffold/test", "3,4\n", "found 2 columns, expected 1"),
    ],
)  # fmt: skip
def test_graphs_that_are_wrong_are_a_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    files = door.ogb() | {f"{name}.csv.gz": gzip.compress(text.encode())}
    assert sentence in door.refused(door.write_study(tmp_path, door.OGB, files))


# ------------------------------------------------------------------------------- images


def pickled_batch(**changes: Any) -> bytes:
    """The valid first batch, with other labels or another array."""
    x, y = cifar10_files.images()
    batch = {b"data": cifar10_files.rows(x[:4]), b"labels": y[:4].tolist()} | {
        key.encode(): value for key, value in changes.items()
    }
    return pickle.dumps(batch, protocol=4)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value] * 10
    return value


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x80\x02" + b"r\xff\xff\xff\x0f" + b".", "at place 268435455, beyond those of a batch"),
        (b"\x80\x02Nr\xff\xff\xff\xff.", "at place 4294967295"),
        (b"Np99999999999\n.", "at place 99999999999"),
        (b"T\xff\xff\xff\x7f.", "expected 2147483647 bytes"),
        (b"B\xff\xff\xff\x7f.", "expected 2147483647 bytes"),
        (b"X\xff\xff\xff\x7f.", "expected 2147483647 bytes"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "damaged"),
        (b"\x80\x04\x95\xff\xff\xff\x7f\x00\x00\x00\x00N.", "damaged"),
        (b"\x8b\xff\xff\xff\x7f.", "damaged"),
        (b"\x96\xff\xff\xff\x7f\x00\x00\x00\x00.", "damaged"),
        (b"cos\nsystem\n(S'false'\ntR.", "names os.system"),
        (b"(S'false'\nios\nsystem\n.", "no CIFAR-10 batch needs"),
        (b"N" * 4000 + b".", "more instructions than a batch"),
        (b"(" + b")" * 2000 + b"t.", "more instructions than a batch"),
        (b"N", "damaged"),
        (b"\x80\x02N.", "no dictionary"),
        (pickled_batch(labels=[0, 1, 2, nested(6)]), "labels are no integers from 0 to 255"),
        (pickled_batch(labels=[0, 1, 2, 300]), "labels are no integers from 0 to 255"),
        (pickled_batch(labels=[0, 1, 2, 10]), "the label of example 3 is 10"),
        (pickled_batch(labels=[0, 1, 2]), "and 3 labels"),
        (pickled_batch(data=np.zeros((4, 3073), "u1")), "found pixels (4, 3073)"),
        (pickled_batch(data=np.zeros((4, 3072), "i1")), "expected u1"),
    ],
)
def test_pickles_that_are_no_batch_are_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    files = door.cifar10("py") | {"cifar-10-batches-py/data_batch_1": content}
    found = door.refused(door.write_study(tmp_path, door.CIFAR10, files))
    assert sentence in found
    assert "data_batch_1" in found


def tar_of(name: str, size: int, kind: bytes = tarfile.REGTYPE, content: bytes = b"") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, "/etc/passwd"
    return info.tobuf(tarfile.GNU_FORMAT) + content


BATCH = "cifar-10-batches-bin/data_batch_1.bin"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (tar_of(BATCH, 2**33), "8589934592 bytes, expected 12292"),
        (tar_of("other", 2**62), "ends within a member"),
        (tar_of("././@LongLink", 2**62, tarfile.GNUTYPE_LONGNAME), "ends within a member"),
        (tar_of("pax", 2**62, tarfile.XHDTYPE), "ends within a member"),
        (tar_of(BATCH, 12292, tarfile.SYMTYPE) + bytes(1024), "incomplete"),
        (tar_of(BATCH, 12292, tarfile.LNKTYPE) + bytes(1024), "incomplete"),
        (tar_of(BATCH, 0, tarfile.CHRTYPE) + bytes(1024), "incomplete"),
        (tar_of("../" + BATCH, 12292, content=bytes(12800)) + bytes(1024), "incomplete"),
        (b"nonsense" * 200, "damaged or not a tar archive"),
        (b"", "incomplete"),
    ],
)
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tar.bz2"])
def test_archives_that_are_wrong_are_a_sentence(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    packers: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress}
    packed = packers.get(name.rpartition(".")[2], bytes)(content)
    found = door.refused(door.write_study(tmp_path, {**door.CIFAR10, "path": name}, {name: packed}))
    assert sentence in found
    assert name in found


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data": np.zeros((6, 32, 32), "u1")}, "found an array (6, 32, 32) of uint8"),
        ({"data": np.zeros((6, 32, 32, 3), "i8")}, "of int64"),
        ({"labels": np.zeros(5, "i4")}, "found 5 labels"),
        ({"labels": np.zeros(6)}, "dtype float64, expected (n,) integers"),
        ({"labels": np.int32(3)}, "found an array of shape ()"),
        ({"labels": np.full(6, 10)}, "label of example 0 is 10"),
        ({"labels": np.array([{}] * 6)}, "Python objects"),
        ({"data": np.uint8(3)}, "found an array () of uint8"),
        ({"data": np.zeros((0, 32, 32, 3), "u1"), "labels": np.zeros(0, int)}, "found no examples"),
    ],
)
def test_further_test_sets_that_are_wrong_are_a_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    data, files = door.every_kind()["cifar10_1"]
    assert sentence in door.refused(door.write_study(tmp_path, data, files | door.cifar10_1(**changes)))


def test_a_header_of_an_npy_file_that_promises_more_is_a_sentence(tmp_path: Path) -> None:
    data, files = door.every_kind()["cifar10_1"]
    files = files | {"cifar10.1_v6_data.npy": header((10**12, 32, 32, 3), "'|u1'") + bytes(3072)}
    assert "it has 3072 bytes" in door.refused(door.write_study(tmp_path, data, files))


JPEG = "train/n01443537/images/n01443537_3.JPEG"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({JPEG: b""}, "found no image in it"),
        ({JPEG: b"\x89PNG\r\n\x1a\n" + bytes(100)}, "found no image in it"),
        ({JPEG: tiny_imagenet_files.jpeg(1)[:-300]}, "damaged JPEG"),
        ({JPEG: tiny_imagenet_files.jpeg(1, size=(65, 64))}, "found an image of 65x64 pixels"),
        ({JPEG: tiny_imagenet_files.jpeg(1).replace(b"\x00\x40\x00\x40", b"\xff\xff\xff\xff")}, "JPEG"),
        ({"wnids.txt": b""}, "found 0 classes"),
        ({"wnids.txt": b"n01443537\n" * 2}, "is there 2 times"),
        ({"wnids.txt": b"n01443537\nn02124075\n../../etc\n"}, "found the class '../../etc'"),
        ({"wnids.txt": b"n01443537\nn02124075\n" + b"n" * 300 + b"\n"}, "no such folder or no .JPEG"),
        ({"wnids.txt": b"\xff\xfe\n"}, "expected text in UTF-8"),
        ({"val/val_annotations.txt": b"val_0.JPEG\tn9\n"}, "the class 'n9'"),
        ({"val/val_annotations.txt": b"../x.JPEG\tn01443537\n"}, "expected an image in val/images"),
        ({"val/val_annotations.txt": b""}, "no line for val_0.JPEG"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_trees_of_images_that_are_wrong_are_a_sentence(
    tmp_path: Path, changes: dict[str, bytes], sentence: str, packed: bool
) -> None:
    files = tiny_imagenet_files.files() | changes
    data = door.TINY
    if packed:
        data, files = {**door.TINY, "path": "archive.zip"}, door.zipped(files)
    assert sentence in door.refused(door.write_study(tmp_path, data, files))


# ------------------------------------------------------------------------------- places


@pytest.mark.parametrize("kind", list(door.every_kind()))
def test_what_is_not_there_is_a_sentence(tmp_path: Path, kind: str) -> None:
    data, _ = door.every_kind()[kind]
    for name, path in (("gone", "nowhere"), ("long", "n" * 5000)):
        study = door.write_study(tmp_path / name, {**data, "path": path}, {})
        found = door.refused(study)
        assert "expected" in found


@pytest.mark.parametrize("kind", list(door.every_kind()))
def test_a_folder_for_a_file_and_a_file_for_a_folder_are_sentences(tmp_path: Path, kind: str) -> None:
    data, _ = door.every_kind()[kind]
    study = door.write_study(tmp_path, data, {})
    place = tmp_path / "data" / data["path"]
    place.parent.mkdir(parents=True, exist_ok=True)
    if data["path"]:
        place.mkdir()
    else:
        place.write_bytes(b"a file")
    assert str(place) in door.refused(study)


@pytest.mark.parametrize("kind", list(door.every_kind()))
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    data, files = door.every_kind()[kind]
    needed = [name for name in files if kind != "cifar10_1" or name.startswith("cifar10.1")]
    needed = [
        name for name in needed if name.endswith((".csv", "val_annotations.txt", ".gz", "_1", ".bin", ".npz"))
    ]
    for number, name in enumerate(needed[:3] or list(files)[:1]):
        study = door.write_study(tmp_path / str(number), data, files)
        (tmp_path / str(number) / "data" / name).unlink()
        os.mkfifo(tmp_path / str(number) / "data" / name)
        door.refused(study)


@pytest.mark.parametrize("kind", list(door.every_kind()))
def test_a_file_that_cannot_be_read_is_a_sentence(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, files = door.every_kind()[kind]
    study = door.write_study(tmp_path, data, files)
    real = io.open

    def refuse(file: Any, *arguments: Any, **options: Any) -> Any:
        if str(tmp_path / "data") in str(file):
            raise PermissionError(13, "Permission denied", str(file))
        return real(file, *arguments, **options)

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(io, "open", refuse)
    found = door.refused(study)
    assert "Permission denied" in found
