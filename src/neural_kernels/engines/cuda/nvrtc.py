"""NVRTC, NVIDIA's run-time compiler, by ctypes: from CUDA C++ to the code of one kind of card. Needs no GPU.

The library comes with the extra ``cuda``, or is one that the system's loader finds.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from neural_kernels.errors import UserError

MAJOR_VERSIONS = (13, 12)


def unavailable() -> str | None:
    """Why there is no compiler, or None."""
    return None if _library() else "NVRTC is not installed (pip install neural-kernels[cuda])"


def version() -> str:
    """The compiler's version, as 12.9."""
    major, minor = ctypes.c_int(), ctypes.c_int()
    _check(_loaded().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "nvrtcVersion")
    return f"{major.value}.{minor.value}"


def capabilities() -> list[int]:
    """The compute capabilities that it compiles for, as 90 of sm_90."""
    count = ctypes.c_int()
    _check(_loaded().nvrtcGetNumSupportedArchs(ctypes.byref(count)), "nvrtcGetNumSupportedArchs")
    found = (ctypes.c_int * count.value)()
    _check(_loaded().nvrtcGetSupportedArchs(found), "nvrtcGetSupportedArchs")
    return list(found)


def compile_cubin(source: str, headers: Mapping[str, str], capability: int) -> bytes:
    """Machine code for cards of ``capability``.

    Args:
        headers: text by the name that ``source`` includes it by.

    Raises:
        UserError: there is no compiler, it knows no such card, or it refuses the source.
    """
    library = _loaded()
    if capability not in capabilities():
        raise UserError(
            f"NVRTC {version()} does not compile for compute capability {capability / 10}, "
            f"expected one of {', '.join(str(known / 10) for known in capabilities())}"
        )
    program = ctypes.c_void_p()
    texts = (ctypes.c_char_p * len(headers))(*(text.encode() for text in headers.values()))
    names = (ctypes.c_char_p * len(headers))(*(name.encode() for name in headers))
    created = library.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"neural_kernels.cu", len(headers), texts, names
    )
    _check(created, "nvrtcCreateProgram")
    try:
        options = [
            f"--gpu-architecture=sm_{capability}",
            "--std=c++17",
            # Only explicit fma fuses: the same formula has the same bits wherever it is inlined.
            "--fmad=false",
            "--device-as-default-execution-space",
        ]
        given = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if library.nvrtcCompileProgram(program, len(options), given):
            raise UserError(f"NVRTC {version()} refuses the kernel: {_text(program, 'ProgramLog')}")
        return _bytes(program, "CUBIN")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _bytes(program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(getattr(_loaded(), f"nvrtcGet{what}Size")(program, ctypes.byref(size)), what)
    buffer = ctypes.create_string_buffer(size.value)
    _check(getattr(_loaded(), f"nvrtcGet{what}")(program, buffer), what)
    return buffer.raw


def _text(program: ctypes.c_void_p, what: str) -> str:
    return _bytes(program, what).rstrip(b"\0").decode(errors="replace").strip()


def _check(result: int, what: str) -> None:
    if result:
        raise UserError(f"NVRTC: {what} failed with error {result}")


def _loaded() -> ctypes.CDLL:
    library = _library()
    if library is None:
        raise UserError(f"the CUDA engine cannot compile: {unavailable()}")
    return library


@functools.cache
def _library() -> ctypes.CDLL | None:
    for folder in _folders():
        for found in sorted(folder.glob("libnvrtc.so.*")):
            for builtins in folder.glob("libnvrtc-builtins.so.*"):
                ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(str(found))
    for major in MAJOR_VERSIONS:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(f"libnvrtc.so.{major}")
    return None


def _folders() -> list[Path]:
    """Where the wheels put it: nvidia/cu13/lib, nvidia/cuda_nvrtc/lib."""
    package = importlib.util.find_spec("nvidia")
    roots = [] if package is None else [Path(root) for root in package.submodule_search_locations or ()]
    return [root / part / "lib" for root in roots for part in ("cu13", "cuda_nvrtc")]
