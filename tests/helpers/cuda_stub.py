"""The CUDA engine without a card: its kernel source compiled by g++ over vectors of 32, launched by a stub libcuda."""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from neural_kernels.engines.cuda import devices, driver, nvrtc

FLAGS = ("-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wno-psabi")
LOST, NO_DEVICE, OUT_OF_MEMORY = 999, 100, 2


@cache
def folder() -> Path:
    """Of this process, for what is compiled."""
    path = tempfile.mkdtemp(prefix="neural-kernels-cuda-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


@cache
def compiler() -> str:
    """g++; skips the test where there is none."""
    found = shutil.which("g++")
    if found is None:
        pytest.skip("no g++ to compile the CUDA kernel's source with")
    return found


def compile_for_processor(source: str, headers: Mapping[str, str], capability: int) -> bytes:
    """In place of ``nvrtc.compile_cubin``: the path of a library."""
    key = hashlib.sha256(repr((source, sorted(headers.items()))).encode()).hexdigest()[:16]
    place = folder() / key
    library = place / "kernel.so"
    if not library.exists():
        place.mkdir()
        for name, text in {**headers, "kernel.cpp": source}.items():
            (place / name).write_text(text)
        wide = ["-mavx2", "-mfma"] if "fma" in Path("/proc/cpuinfo").read_text() else []
        command = [compiler(), *FLAGS, "-O0", "-fno-strict-aliasing", *wide, "-o", str(library)]
        subprocess.run([*command, str(place / "kernel.cpp")], check=True)
    return str(library).encode() + b"\0"


@cache
def library() -> ctypes.CDLL:
    """The stub itself, to ask for failures."""
    path = folder() / "libcuda.so"
    source = Path(__file__).with_name("libcuda_stub.cpp")
    subprocess.run([compiler(), *FLAGS[:3], "-O1", str(source), "-o", str(path), "-ldl"], check=True)
    stub = ctypes.CDLL(str(path))
    stub.stub_reset.argtypes = [ctypes.c_int, ctypes.c_uint64]
    stub.stub_fail.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    return stub


@contextmanager
def installed(cards: int = 1, free: int = 2**33) -> Iterator[Any]:
    """The stub in place of libcuda and g++ in place of NVRTC, for the ``with``."""
    stub = library()
    stub.stub_reset(cards, free)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(driver.LIBRARY_VARIABLE, str(folder() / "libcuda.so"))
        patch.setenv("XDG_CACHE_HOME", str(folder() / "cache"))
        patch.setattr(nvrtc, "compile_cubin", compile_for_processor)
        patch.setattr(nvrtc, "version", lambda: "stub")
        patch.setattr(nvrtc, "unavailable", lambda: None)
        _forget()
        yield stub
    _forget()


def _forget() -> None:
    driver._library.cache_clear()
    devices.workers.cache_clear()
