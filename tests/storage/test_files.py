from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_kernels.command_line import verbs
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.storage.files import MADE_BY, read_json, write_atomically, write_json, write_npy
from neural_kernels.study import folders


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})

    def fail(file: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_a_missing_file_of_a_study_names_the_verb_that_writes_it(tmp_path: Path) -> None:
    known = {verb.name for verb in (*verbs.FOR_PEOPLE, *verbs.OF_RULES)}
    patterns = {value for value in vars(folders).values() if isinstance(value, str)}
    for name, verb in MADE_BY.items():
        assert verb in known
        assert any(pattern.endswith(f"/{name}") for pattern in patterns), name
        with pytest.raises(UserError, match=rf"{name} is missing: neural-kernels {verb} writes it"):
            read_json(tmp_path / name)
    with pytest.raises(UserError, match=r"other\.json is missing$"):
        read_json(tmp_path / "other.json")


def test_json_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "value.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "sentence"), [("{", "is not valid JSON"), ("[1]", "holds list"), (None, "is missing")]
)
def test_reading_says_what_is_wrong(tmp_path: Path, text: str | None, sentence: str) -> None:
    path = tmp_path / "value.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_json(path)


def test_npy_is_plain_and_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "array.npy"
    write_npy(path, np.arange(6.0).reshape(2, 3))
    assert np.load(path, allow_pickle=False).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert path.stat().st_mode & 0o444 == 0o444 & ~_umask()


def _umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_json_is_stable_text(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1, 2]})
    text = json.loads((tmp_path / "a.json").read_text())
    assert text.pop("checksum")
    assert text == {"b": [1, 2]}


@given(st.integers(0, 2**30), st.integers(0, 7))
def test_no_flipped_bit_of_json_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, position: int, bit: int
) -> None:
    path = tmp_path_factory.mktemp("json") / "value.json"
    value = {"ridge": 1.5e-7, "name": "FC", "list": [1, 2.25, None, True]}
    write_json(path, value)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        assert read_json(path) == value
    except DamagedFile:
        assert not path.exists()
        assert path.with_name("value.json.rejected").exists()


def test_json_of_a_version_that_wrote_no_checksum_is_taken_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    path.write_text('{"a": 1}')
    assert read_json(path, unsealed=True) == {"a": 1}
    with pytest.raises(DamagedFile, match="no checksum"):
        read_json(path)


def test_a_killed_writer_leaves_nothing_that_adds_up(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    for _ in range(3):
        program = "import os,sys; from pathlib import Path; from neural_kernels.storage.files import write_atomically; "
        program += "write_atomically(Path(sys.argv[1]), lambda file: (file.write(b'x' * 99), os.kill(os.getpid(), 9)))"
        subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    write_json(path, {"a": 1})
    assert [file.name for file in tmp_path.iterdir()] == ["value.json"]


def test_writers_at_one_time_all_leave_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "value.json"

    def write(number: int) -> None:
        for _ in range(20):
            write_json(path, {"number": number, "text": "x" * 1000 * number})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert read_json(path)["number"] in range(4)
    assert [file.name for file in tmp_path.iterdir()] == ["value.json"]
