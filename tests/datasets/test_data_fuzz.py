"""Data files that are changed at random: the check passes them or says one sentence, and what it passes can be used.

Every example is one small study; more of them are drawn with NEURAL_KERNELS_FUZZ_EXAMPLES.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import door_studies as door
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("small_batches")

EXAMPLES = int(os.environ.get("NEURAL_KERNELS_FUZZ_EXAMPLES", "0"))
QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def fuzz(examples: int) -> settings:
    return settings(max_examples=EXAMPLES or examples, suppress_health_check=QUIET, deadline=None)


def passes_or_says_why(data: Mapping[str, Any], files: door.Files) -> None:
    folder = Path(tempfile.mkdtemp(prefix="door-"))
    try:
        door.check_door(door.write_study(folder, data, files))
    finally:
        shutil.rmtree(folder)


# --------------------------------------------------------------------------------- bytes


@st.composite
def changed_bytes(draw: st.DrawFn, whole: bytes) -> bytes:
    """``whole`` after one to three edits: a byte, a cut, an insertion, a repetition, a run of one byte."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        # Headers are at the beginning, directories at the end.
        size = len(content)
        near = draw(st.sampled_from(["begin", "end", "any"]))
        low = max(0, size - 300) if near == "end" else 0
        at = draw(st.integers(low, min(size, 300) if near == "begin" else size))
        length = draw(st.integers(0, 40))
        kind = draw(st.sampled_from(["set", "flip", "truncate", "delete", "insert", "repeat", "fill"]))
        if kind == "set" and at < size:
            content[at] = draw(st.integers(0, 255))
        elif kind == "flip" and at < size:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "truncate":
            del content[at:]
        elif kind == "delete":
            del content[at : at + length]
        elif kind == "insert":
            content[at:at] = draw(st.binary(max_size=40))
        elif kind == "repeat":
            content[at:at] = content[at : at + length]
        elif kind == "fill":
            content[at : at + length] = bytes([draw(st.sampled_from([0, 0x20, 0x30, 0xFF]))]) * length
    return bytes(content)


KINDS = door.every_kind()


@fuzz(120)
@given(data=st.data())
def test_files_with_changed_bytes(data: st.DataObject) -> None:
    section, files = KINDS[data.draw(st.sampled_from(sorted(KINDS)), label="kind")]
    name = data.draw(st.sampled_from(sorted(files)), label="file")
    content = data.draw(changed_bytes(files[name]), label="content")
    passes_or_says_why(section, files | {name: content})


@fuzz(60)
@given(data=st.data())
def test_archives_with_changed_contents(data: st.DataObject) -> None:
    """The bytes inside a .gz or a .zip, whose checksums are right again."""
    kinds = ["flip, gzip", "flip, zip", "ogb", "cifar10, tar.gz", "tiny_imagenet, zip", "arrays, compressed"]
    section, files = KINDS[data.draw(st.sampled_from(kinds), label="kind")]
    name = data.draw(st.sampled_from(sorted(files)), label="file")
    if name.endswith(".gz"):
        content = gzip.compress(data.draw(changed_bytes(gzip.decompress(files[name]))), mtime=0)
    else:
        with zipfile.ZipFile(io.BytesIO(files[name])) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        member = data.draw(st.sampled_from(sorted(members)), label="member")
        changed = members | {member: data.draw(changed_bytes(members[member]))}
        content = door.zipped(changed)["archive.zip"]
    passes_or_says_why(section, files | {name: content})


# --------------------------------------------------------------------------------- tables


CELLS = st.one_of(
    st.sampled_from(
        [
            *("", " ", "0", "1", "-1", "2", "1.5", "1e9", "1e15", "1e16", "1e308", "1e-320", "5e400", "nan", "NaN"),
            *("inf", "1_0", "0x1", "1,5", "True", "False", "yes", "train", "test", "valid", "set", "target", "smiles"),
            *("ACD", "acd", "A C", "*", "-", "C", "CC", "c1ccccc1", "[Na+]", "C.C", "C>>C", "\0", '"', "'", "\n", "\r"),
            *("NA", "null", "None", "9" * 30, "A" * 3000, "\u0663", "\ufeff", "\u2028", "é"),
        ]
    ),
    st.text(max_size=8),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(repr),
)  # fmt: skip


@st.composite
def changed_table(draw: st.DrawFn, text: str) -> str:
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(draw(st.integers(1, 4))):
        row = draw(st.integers(0, len(rows) - 1))
        column = draw(st.integers(0, max(0, len(rows[row]) - 1)))
        kind = draw(
            st.sampled_from(["cell", "cell", "cell", "drop row", "repeat row", "drop", "add", "column"])
        )
        if kind == "cell" and rows[row]:
            rows[row][column] = draw(CELLS)
        elif kind == "drop row" and len(rows) > 1:
            del rows[row]
        elif kind == "repeat row":
            rows.insert(row, list(rows[row]))
        elif kind == "drop" and rows[row]:
            del rows[row][column]
        elif kind == "add":
            rows[row].insert(column, draw(CELLS))
        elif kind == "column":
            value = draw(CELLS)
            for each in rows[1:]:
                if column < len(each):
                    each[column] = value
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    quoted = draw(st.booleans())

    def cell(value: str) -> str:
        return f'"{value}"' if quoted and re.search('[,\n\r"]', value) else value

    return end.join(",".join(map(cell, row)) for row in rows) + end


@fuzz(150)
@given(data=st.data())
def test_tables_with_changed_cells(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["flip", "smiles", "ogb"]), label="kind")
    section, files = KINDS[kind]
    name = data.draw(st.sampled_from(sorted(files)), label="file")
    content = gzip.decompress(files[name]) if kind == "ogb" else files[name]
    text = data.draw(changed_table(content.decode()), label="text")
    changed = text.encode("utf-8", "surrogatepass")
    passes_or_says_why(section, files | {name: gzip.compress(changed, mtime=0) if kind == "ogb" else changed})


# --------------------------------------------------------------------------------- arrays


DTYPES = [
    "u1",
    "i1",
    "<i8",
    ">i4",
    "u8",
    "f2",
    "f4",
    "f8",
    ">f8",
    "g",
    "?",
    "c8",
    "O",
    "U3",
    "S2",
    "M8[s]",
    "V4",
]
NUMBERS = st.sampled_from(
    [0, 0, 1, 1, 2, 2, 3, -1, 255, 2**31, 1e-320, 0.5, 1e15, 1e16, 1e200, np.nan, np.inf]
)


@st.composite
def odd_array(draw: st.DrawFn) -> np.ndarray:
    shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 5, 12, 12, 12]), max_size=4)))
    if np.prod(shape) > 2000:
        shape = shape[:2]
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    values = draw(st.lists(NUMBERS, min_size=1, max_size=6))
    flat = np.resize(np.array(values, float), int(np.prod(shape)))
    with np.errstate(all="ignore"):
        if dtype.kind == "V":
            array = np.zeros(shape, dtype)
        elif dtype.kind == "M":
            array = np.zeros(shape, "i8").view(dtype) if shape else np.zeros((), dtype)
        else:
            array = flat.astype(dtype).reshape(shape)
    return np.asfortranarray(array) if draw(st.booleans()) else array


@fuzz(150)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_arrays_that_are_replaced(data: st.DataObject) -> None:
    keys = ["x_train", "y_train", "x_test", "y_test", "class_names", "x_other", "y_other", "x_", "y_../x"]
    changes = data.draw(
        st.dictionaries(st.sampled_from(keys), st.one_of(st.none(), odd_array()), min_size=1, max_size=3)
    )
    if data.draw(st.booleans(), label="one shape for training and test"):
        x = data.draw(odd_array())
        if x.ndim and x.shape[0] > 1:
            changes |= {
                "x_train": x,
                "x_test": x[:2],
                "y_train": np.arange(len(x)) % 2,
                "y_test": np.arange(2),
            }
    passes_or_says_why(door.ARRAYS, door.arrays(data.draw(st.booleans()), **changes))
