"""The loader of compiled libraries."""

from __future__ import annotations

from pathlib import Path

import pytest

from neural_kernels.engines import native_engine
from neural_kernels.machine import native_library


def test_a_folder_without_a_library_says_how_to_get_one(tmp_path: Path) -> None:
    assert "was not built (install a C++ compiler" in str(native_library.load(tmp_path, "version", 1))


def test_a_file_that_is_no_library_is_named(tmp_path: Path) -> None:
    (tmp_path / "_native.so").write_bytes(b"not a library")
    assert "_native.so does not load" in str(native_library.load(tmp_path, "version", 1))


def test_a_library_of_another_version_or_without_one_is_refused() -> None:
    folder = Path(native_engine.__file__).parent
    if not (folder / native_library.NAME).exists():
        pytest.skip("the compiled library is not built here")
    assert "another version" in str(native_library.load(folder, "nk_interface", -1))
    assert "does not load" in str(native_library.load(folder, "no_such_function", 1))
    assert not isinstance(native_library.load(folder, "nk_interface", native_engine.INTERFACE), str)
