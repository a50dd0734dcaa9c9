import json

import numpy as np
import pytest

from neural_kernels.errors import UserError
from neural_kernels.files import read_json, write_atomically, write_json, write_npy


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "value.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "sentence"), [("{", "is not valid JSON"), ("[1]", "holds list"), (None, "is missing")]
)
def test_reading_says_what_is_wrong(tmp_path, text, sentence):
    path = tmp_path / "value.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_json(path)


def test_npy_is_plain_and_readable_by_others(tmp_path):
    path = tmp_path / "folder" / "array.npy"
    write_npy(path, np.arange(6.0).reshape(2, 3))
    assert np.load(path, allow_pickle=False).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert path.stat().st_mode & 0o444 == 0o444 & ~_umask()


def _umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_json_is_stable_text(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, 2]}
