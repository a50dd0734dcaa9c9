"""The source archive and the wheel that is built from it, installed where nothing of the clone is seen."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What a build reads of a clone.
SOURCES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
PROGRAM = ROOT / "tests/helpers/installed_program.py"
LIBRARIES = ("neural_kernels/engines/_native.so", "neural_kernels/solvers/_native.so")


def run(command: list[str | Path], **options: object) -> str:
    found = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)  # type: ignore[call-overload]
    assert found.returncode == 0, found.stdout
    return str(found.stdout)


@pytest.fixture(scope="module")
def source_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of a copy, so that nothing of an earlier build is in it."""
    clone = tmp_path_factory.mktemp("clone")
    for name in SOURCES:
        shutil.copy2(ROOT / name, clone)
    unwanted = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", clone / "src", ignore=unwanted)
    script = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
    environment = {**os.environ, "SETUPTOOLS_SCM_PRETEND_VERSION": "1.2.3"}
    run([sys.executable, "-c", script, clone / "dist"], cwd=clone, env=environment)
    return clone / "dist" / "neural_kernels-1.2.3.tar.gz"


@pytest.fixture(scope="module")
def wheel(source_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(source_archive) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    # What was compiled for this clone, and is newer than all that it is made from, is not compiled again.
    if (ROOT / "build/native").exists():
        shutil.copytree(ROOT / "build/native", source / "build/native")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    run([*pip, folder / "dist", source])
    (made,) = (folder / "dist").iterdir()
    return made


def test_one_wheel_serves_every_python(wheel: Path) -> None:
    system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name == f"neural_kernels-1.2.3-py3-none-{system}.whl"


def test_the_wheel_has_the_libraries_with_every_instruction_set_and_no_test(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        libraries = [archive.read(name) for name in LIBRARIES]
    packages = {"neural_kernels", "neural_kernels-1.2.3.dist-info", "snakemake_logger_plugin_stages"}
    assert {name.split("/")[0] for name in names} == packages
    assert "neural_kernels/py.typed" in names
    expected = {b"baseline", b"avx2", b"avx512"} if platform.machine() == "x86_64" else {b"baseline"}
    for library in libraries:
        # Names of functions end in their set; the table of symbols is not stripped.
        assert all(b"_" + isa + b"\0" in library for isa in expected)


def test_the_wheel_works_in_an_environment_that_has_nothing_but_its_dependencies(
    wheel: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    run([sys.executable, "-m", "venv", "--without-pip", environment])
    python = environment / "bin" / "python"
    run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel])
    # The dependencies are those of this environment, whose own files that name further paths, such as that of the
    # editable package, are not read.
    (place,) = environment.glob("lib/python*/site-packages")
    (place / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    assert run([python, PROGRAM], env=clean, cwd=tmp_path).strip() == "1.2.3"
    said = run([environment / "bin" / "neural-kernels", "--version"], env=clean, cwd=tmp_path)
    assert said.strip() == "1.2.3"
