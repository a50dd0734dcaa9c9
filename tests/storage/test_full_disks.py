"""A disk that is full, limited or read-only ends any stage with one sentence, and the same command then finishes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import disk_program
import numpy as np
import pytest

from neural_kernels.errors import UserError
from neural_kernels.storage import disk

PROGRAM = Path(disk_program.__file__)
SAID = {
    "full": ("No space left on device", "free: reduce", "free: make room"),
    "limited": ("File too large (a limit of the process",),
    "readonly": ("Read-only file system", "may not be written to"),
}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[Any]]]:
    """What ``disk_program`` saw, by the way in which the disk refused; on a small disk of its own where that can be."""
    folder, work = tmp_path_factory.mktemp("disk"), tmp_path_factory.mktemp("work")
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder], capture_output=True
        ).returncode
        == 0
    )
    ways = ["limited", *(["full", "readonly"] if mounted else [])]
    try:
        command = [sys.executable, str(PROGRAM), str(folder), str(work / "seen.jsonl"), *ways]
        done = subprocess.run(command, capture_output=True, text=True)
        # A write through a memory map on a full disk would end it by SIGBUS.
        assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    finally:
        if mounted:
            subprocess.run(["umount", folder], check=True)
    rows = [json.loads(line) for line in (work / "seen.jsonl").read_text().splitlines()]
    return {way: [row[1:] for row in rows if row[0] == way] for way in ways}


@pytest.mark.parametrize("way", SAID)
def test_every_stage_says_so_in_one_sentence_and_finishes_once_there_is_room(
    seen: dict[str, list[list[Any]]], way: str
) -> None:
    if way not in seen:
        pytest.skip("mounting a small disk takes root")
    *runs, (different, left_over) = seen[way]
    refused = set()
    for command, level, status, said in runs:
        if level is None:
            assert status == 0, (command, said)
            continue
        assert status in (0, 2), (command, level, status, said)
        if status == 2:
            refused.add(command[0])
            (sentence,) = [line for line in said.splitlines() if line.startswith("error: ")]
            assert sentence == said.splitlines()[-1]
            assert any(words in sentence for words in SAID[way]), (command, sentence)
            assert "/disk0" in sentence, "it names the file or its folder"
    assert refused == {command[0] for command, *_ in runs}
    assert different == []
    assert left_over == []


# ------------------------------------------------------------------------------------ reservations


def test_room_is_taken_and_what_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    disk.reserve(path, 5000)
    assert path.read_bytes() == b"abc" + bytes(4997)
    assert path.stat().st_blocks * 512 >= 5000
    disk.reserve(path, 10)
    assert path.stat().st_size == 5000


@pytest.mark.parametrize("error", [errno.EOPNOTSUPP, errno.EINVAL, None])
def test_a_file_system_without_reservations_gets_zeros_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int | None
) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.write(b"abc")
        file.seek(3 * 2**20)
        file.write(b"xyz")

    def refuse(*_: object) -> None:
        raise OSError(error, "not here")

    if error is None:
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", refuse)
    disk.reserve(path, 4 * 2**20)
    content = path.read_bytes()
    assert len(content) == 4 * 2**20
    assert content.strip(b"\0") == b"abc" + bytes(3 * 2**20 - 3) + b"xyz"
    assert path.stat().st_blocks * 512 >= 4 * 2**20


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_file_without_room_is_named_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(UserError, match=r"the\.npy: .*, 928 bytes were needed, [\d,]+ are free; make room"):
        disk.new_array(tmp_path / "made.npy", (10, 10), np.float64, tmp_path / "the.npy")
    assert list(tmp_path.iterdir()) == []


def test_a_new_array_is_a_plain_file_of_zeros(tmp_path: Path) -> None:
    array = disk.new_array(tmp_path / "a.npy", (3, 4), np.float32)
    array[1] = 7
    array.flush()
    assert np.load(tmp_path / "a.npy", allow_pickle=False).sum() == 28
