"""Builds the compiled libraries, several times the same source: once an instruction set.

They are optional: where no compiler is found the installation goes on without them.
``neural_kernels.engines.native_engine.unavailable()`` says so of the engine; products with the kernel in the
solvers then run in NumPy.

They know nothing of Python, so that one wheel serves every version of it. What was compiled before lies in
build/native/, and is compiled anew where something that it is made from is newer.
"""

import os
import platform
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

# Of each library: its folder, and the source that is compiled for every instruction set.
LIBRARIES = {
    "neural_kernels.engines._native": ("src/neural_kernels/engines/native", "kernels.cpp"),
    "neural_kernels.solvers._native": ("src/neural_kernels/solvers/native", "panel_product.cpp"),
}
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


def is_newer(file: Path, sources: list[str]) -> bool:
    """Whether ``file`` is there, and none of what it is made from was changed after it."""
    return file.exists() and all(file.stat().st_mtime > Path(path).stat().st_mtime for path in sources)


class BuildNative(build_ext):
    """A plain shared library, opened with ctypes: no Python headers, hence no module to initialise."""

    def build_extension(self, ext: Extension) -> None:
        dispatch, source = ext.sources
        folder = Path("build/native") / platform.machine() / ext.name

        def compiled(name: str) -> list[str]:
            output = str(folder / name)
            made = self.compiler.object_filenames([source], output_dir=output)
            if all(is_newer(Path(file), [source, *ext.depends, __file__]) for file in made):
                return made
            return self.compiler.compile(
                [source],
                output_dir=output,
                macros=[("NK_ISA", name)],
                extra_postargs=FLAGS + INSTRUCTION_SETS[name],
            )

        objects = self.compiler.compile([dispatch], output_dir=str(folder), extra_postargs=FLAGS)
        # Each takes minutes of one core. The slowest first, for machines with fewer cores than there are sets.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for of_one_set in pool.map(compiled, reversed(INSTRUCTION_SETS)):
                objects += of_one_set
        self.compiler.link_shared_object(objects, self.get_ext_fullpath(ext.name), target_lang="c++")

    def get_ext_filename(self, fullname: str) -> str:
        return f"{fullname.replace('.', os.sep)}.so"

    def get_export_symbols(self, ext: Extension) -> list[str]:
        return []


class OfEveryPython(bdist_wheel):
    """Tagged for its platform alone."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    ext_modules=[
        Extension(
            name,
            sources=[f"{folder}/dispatch.cpp", f"{folder}/{source}"],
            depends=[str(path) for path in sorted(Path(folder).glob("*.h"))],
            language="c++",
            optional=True,
        )
        for name, (folder, source) in LIBRARIES.items()
    ],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": OfEveryPython},
)
