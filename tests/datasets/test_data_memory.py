"""Files that ask for gigabytes: the check ends with a sentence, and its memory stays small."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import door_studies as door
import numpy as np
import pytest

MEBIBYTE = 2**20
# The check of such a file may take so much on top of what the program itself has; every one of them asks for more.
ALLOWED = 400 * MEBIBYTE
CHILD = """
import json, resource, sys
from pathlib import Path
import pandas
from neural_kernels.cli import main
studies = json.loads(sys.argv[1])
main(["check", studies.pop(0)])
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 2 * int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for study in studies:
    status = main(["check", study])
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([study, status, 1024 * (found - peak)]), flush=True)
"""


def bomb(block: bytes, repeats: int) -> bytes:
    """``block`` so many times, as the members of one gzip file."""
    return gzip.compress(block, mtime=0) * repeats


def huge_dictionary() -> bytes:
    """An .xz file that asks for a dictionary of 4 GiB, with the checksum of its header right."""
    content = bytearray(lzma.compress(bytes(5000), filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]))
    assert content[14:16] == b"\x21\x01"
    content[16] = 40
    size = 4 * (content[12] + 1)
    content[12 + size - 4 : 12 + size] = struct.pack("<I", zlib.crc32(content[12 : 12 + size - 4]))
    return bytes(content)


def cases() -> Iterator[tuple[str, Any, Any, str]]:
    sequences = (door.FLIP, "table.csv.gz")
    molecules = (door.SMILES, "table.csv.gz")
    rows = (b"A,1,train,\n" * 100_000, b"m,CC,1,2,train\n" * 70_000)
    heads = (b"sequence,target,set,validation\n", b"name,smiles,a,b,part\n")
    gzipped: dict[str, tuple[Any, str, bytes, bytes, str]] = {
        "a line without end": (*sequences, heads[0], bytes([65]) * MEBIBYTE, "a row of more than 4,194,304"),
        "a row without end": (*sequences, heads[0], b'"\n",' * 250_000, "a row of more than 4,194,304"),
        "a header without end": (*molecules, b"", b"," * MEBIBYTE, "a row of more than 4,194,304"),
        "rows without end": (*sequences, heads[0], rows[0], "bytes of content, expected at most"),
        "molecules without end": (*molecules, heads[1], rows[1], "bytes of content, expected at most"),
    }
    for name, (data, file, head, block, sentence) in gzipped.items():
        yield name, {**data, "path": file}, {file: gzip.compress(head) + bomb(block, 30)}, sentence
    for name, block in (("numbers without end", b"0\n" * 500_000), ("a number without end", b"0" * MEBIBYTE)):
        files = door.ogb() | {"raw/graph-label.csv.gz": bomb(block, 30)}
        sentence = "bytes of content, expected" if b"\n" in block else "found a line of more"
        yield name, door.OGB, files, sentence
    packed = door.zipped({"splits/table.csv": heads[0] + rows[0] * 40})
    yield (
        "a member of a zip",
        {**door.FLIP, "path": "archive.zip"},
        packed,
        "bytes of content, expected at most",
    )
    pickle = {"cifar-10-batches-py/data_batch_1": b"\x80\x02Nr\xff\xff\xff\x1f."}
    yield "nine bytes", door.CIFAR10, door.cifar10("py") | pickle, "at place 536870911"
    other = gzip.compress(tar_header("other", 2**33)) + bomb(bytes(MEBIBYTE), 1100)
    yield "a tar", {**door.CIFAR10, "path": "a.tar.gz"}, {"a.tar.gz": other}, "1,073,741,824 bytes of content"
    yield (
        "a dictionary",
        {**door.CIFAR10, "path": "a.tar.xz"},
        {"a.tar.xz": huge_dictionary()},
        "Memory usage limit",
    )
    zeros = np.zeros((2**15, 2**13), np.uint8)
    arrays = door.arrays(
        True, x_train=zeros, x_test=zeros[:2], y_train=np.arange(2**15) % 2, y_test=np.arange(2)
    )
    yield "a large array", door.ARRAYS, arrays, "training examples are the same"
    row = door.arrays(
        True, x_train=np.zeros((2, 2**27 + 1), np.uint8), y_train=[0, 1], class_names=np.array(["a", "b"])
    )
    yield "a large example", door.ARRAYS, row, "found examples of 134,217,729 bytes"
    names = door.arrays(True, class_names=np.array(["a" * 9, "b", "c"]))
    yield "long names", door.ARRAYS, renamed(names, "<U500000000"), "bytes, expected 6000000"


def tar_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def renamed(files: Any, dtype: str) -> dict[str, bytes]:
    """The .npz with another dtype in the header of ``class_names``."""
    with zipfile.ZipFile(io.BytesIO(files["mine.npz"])) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    old = members["class_names.npy"]
    members["class_names.npy"] = old.replace(b"'<U9'", f"'{dtype}'".encode())
    return {"mine.npz": door.zipped(members)["archive.zip"]}


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit on memory is set from /proc")
def test_files_that_ask_for_gigabytes_are_refused_in_little_memory(tmp_path: Path) -> None:
    studies = [door.write_study(tmp_path / "sound", door.ARRAYS, door.arrays())]
    sentences = {}
    for number, (name, data, files, sentence) in enumerate(cases()):
        study = door.write_study(tmp_path / str(number), data, files)
        studies.append(study)
        sentences[str(study)] = (name, sentence)
    arguments = [json.dumps([str(study) for study in studies]), str(ALLOWED)]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=900,
    )
    assert child.returncode == 0, child.stderr[-3000:]
    errors = [line for line in child.stderr.splitlines() if line.startswith("error: ")]
    results = [json.loads(line) for line in child.stdout.splitlines()]
    assert len(results) == len(errors) == len(sentences), child.stderr[-3000:]
    for (study, status, growth), error in zip(results, errors, strict=True):
        name, sentence = sentences[study]
        assert status == 2, name
        assert sentence in error, name
        assert growth < ALLOWED, f"{name}: {growth:,} bytes"
    assert not (tmp_path / "results").exists()
