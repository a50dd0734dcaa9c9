"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neural_kernels.errors import UserError
from neural_kernels.storage.large_arrays import atomic_array, made_alone


def test_array_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.npy"
    with atomic_array(path, (3, 2), np.float64) as array:
        array[:] = 7
        assert not path.exists()
    np.testing.assert_array_equal(np.load(path), np.full((3, 2), 7.0))
    assert os.listdir(path.parent) == ["x.npy"]


def test_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(3))
    with pytest.raises(ZeroDivisionError), atomic_array(path, (5,), np.int64) as array:
        array[0] = 1 // 0
    np.testing.assert_array_equal(np.load(path), np.arange(3))
    assert os.listdir(tmp_path) == ["x.npy"]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room for a file")
def test_full_disk_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        pytest.raises(UserError, match=r"x\.npy: No space left on device, \d+ bytes were needed"),
        atomic_array(tmp_path / "x.npy", (5,), np.int64),
    ):
        pytest.fail("the array was handed out")
    assert os.listdir(tmp_path) == []


def test_what_killed_jobs_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; import numpy as np\n"
        "from neural_kernels.storage.large_arrays import atomic_array\n"
        "with atomic_array(Path(sys.argv[1]) / 'x.npy', (3,), np.float64):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", script, tmp_path]).returncode == -signal.SIGKILL
    np.save(tmp_path / "y.npy", np.zeros(1))
    # As an earlier version named it.
    (tmp_path / ".z.npy.123.tmp").touch()
    assert sorted(os.listdir(tmp_path)) == [".x.npy.tmp", ".z.npy.123.tmp", "y.npy"]
    with made_alone(tmp_path / "data.json", "the data") as made:
        assert not made
    assert os.listdir(tmp_path) == ["y.npy"]


def test_what_a_killed_process_left_is_used_by_the_next_writer(tmp_path: Path) -> None:
    (tmp_path / ".x.npy.tmp").write_bytes(b"longer than the array will be" * 100)
    with atomic_array(tmp_path / "x.npy", (3,), np.int64) as array:
        array[:] = 5
    assert np.load(tmp_path / "x.npy").tolist() == [5, 5, 5]
    assert os.listdir(tmp_path) == ["x.npy"]
