"""Builds the native engine's library, several times the same source: once an instruction set.

It is optional: where no compiler is found the installation goes on without it, and
``neural_kernels.engines.native_engine.unavailable()`` says so.
"""

import os
import platform
import subprocess
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = Path("src/neural_kernels/engines/native")
FLAGS = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-math-errno",
    "-fno-trapping-math",
    # The same formula must give the same bits wherever it is inlined, so only explicit fma fuses.
    "-ffp-contract=off",
    "-Wno-psabi",
    "-Wno-maybe-uninitialized",
]
# Order instructions before registers are given out, for chains that wait less; clang refuses these.
GCC_FLAGS = ["-fschedule-insns", "-fsched-pressure"]
INSTRUCTION_SETS = {"baseline": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    INSTRUCTION_SETS["avx2"] = ["-mavx2", "-mfma"]
    INSTRUCTION_SETS["avx512"] = ["-mavx512f", "-mavx512dq", "-mfma", "-mprefer-vector-width=512"]


def is_gcc(compiler: str) -> bool:
    """Whether ``compiler`` is GCC itself: clang, too, calls itself by that name on some systems."""
    question = [compiler, "-dM", "-E", "-x", "c", os.devnull]
    try:
        macros = subprocess.run(question, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    return "__GNUC__" in macros and "__clang__" not in macros


class BuildNative(build_ext):
    """A plain shared library, opened with ctypes: no Python headers, hence no module to initialise."""

    def build_extension(self, ext: Extension) -> None:
        folder = Path(self.build_temp)
        common = FLAGS + (GCC_FLAGS if is_gcc(self.compiler.compiler_so[0]) else [])
        objects = self.compiler.compile(
            [str(FOLDER / "dispatch.cpp")], output_dir=self.build_temp, extra_postargs=common
        )
        for name, flags in INSTRUCTION_SETS.items():
            objects += self.compiler.compile(
                [str(FOLDER / "kernels.cpp")],
                output_dir=str(folder / name),
                macros=[("NK_ISA", name)],
                extra_postargs=common + flags,
                depends=ext.depends,
            )
        self.compiler.link_shared_object(objects, self.get_ext_fullpath(ext.name), target_lang="c++")

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []


native = Extension(
    "neural_kernels.engines._native",
    sources=[str(FOLDER / "dispatch.cpp"), str(FOLDER / "kernels.cpp")],
    depends=[str(path) for path in sorted(FOLDER.glob("*.h"))],
    language="c++",
    optional=True,
)

setup(ext_modules=[native], cmdclass={"build_ext": BuildNative})
