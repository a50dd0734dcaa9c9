"""Features and data come out the same: on any number of threads, after any kill, from two jobs at once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_sections import prepare_data
from file_faults import Killed, killed_after

import neural_kernels.preprocessing.features as preprocessing
from neural_kernels import datasets
from neural_kernels.machine import threads as blas
from neural_kernels.preprocessing.features import preprocess
from neural_kernels.preprocessing.options import AsItIs, Zca
from neural_kernels.storage import files

ZCA = Zca()
DATA = {
    "name": "digits",
    "train_examples": 40,
    "validation_examples": 10,
    "test_sets": {"digits": {"examples": 9}},
}

PROGRAM = """
import sys
from pathlib import Path
import neural_kernels.preprocessing.features as preprocessing
from neural_kernels.preprocessing.options import Standardize, Zca
preprocessing._BATCH_BYTES = 2**20
folder = Path(sys.argv[1])
for options in (Zca(), Standardize()):
    preprocessing.preprocess(options, folder / "data", folder / sys.argv[2] / options.method)
spectrum = preprocessing.spectrum_of(Zca(), folder / "data")
preprocessing.zca.save_spectrum(folder / sys.argv[2] / "spectrum.npz", spectrum)
"""


def content(folder: Path) -> dict[str, str]:
    """Of every file in a folder; members of an archive, which has dates, by themselves."""
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                found |= {f"{path.name} {name}": arrays[name].tobytes() for name in arrays}
        elif path.is_file() and path.suffix == ".npy":
            found[str(path.relative_to(folder))] = path.read_bytes()
    return {name: hashlib.sha256(value).hexdigest() for name, value in found.items()}


def test_features_have_the_same_bits_on_any_number_of_threads(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    # Large enough that BLAS shares its products among threads.
    x = random.integers(0, 256, (900, 12, 12, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(900) % 2, x_test=x[:9], y_test=np.arange(9) % 2)
    options = {"name": "arrays", "path": str(tmp_path / "a.npz"), "validation_examples": 50}
    prepare_data(options, tmp_path / "data", seed=0)
    for threads in ("1", "2", "4"):
        names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
        subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path, threads],
            env=os.environ | dict.fromkeys(names, threads),
            check=True,
        )
    one = content(tmp_path / "1")
    assert len(one) > 20
    assert content(tmp_path / "2") == one
    assert content(tmp_path / "4") == one


def test_results_come_in_order_and_some_are_under_way_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    together = threading.Barrier(2, timeout=20)
    info = [{"user_api": "blas", "num_threads": 2}, {"user_api": "openmp", "num_threads": 9}]
    controller = blas._controller()
    monkeypatch.setattr(controller, "info", lambda: info)

    def wait(item: Any) -> Any:
        together.wait()
        return item

    assert list(blas.each_alone(wait, iter(range(6)))) == list(range(6))


# ---------------------------------------------------------------------------------------------- kills


OPERATIONS = [
    (os, "open"),
    (os, "replace"),
    (os, "ftruncate"),
    (os, "fsync"),
    (io, "open"),
    (Path, "unlink"),
    (Path, "mkdir"),
    (np.lib.format, "open_memmap"),
]


def killed(survived: int, patch: pytest.MonkeyPatch) -> list[Any]:
    """From the operation of this number on, none is carried out: the process is no more."""
    # What a process has open dies with it, its locks too.
    opened, original = [], os.open

    def remember(*arguments: Any, **options: Any) -> Any:
        descriptor = original(*arguments, **options)
        opened.append((descriptor, os.fstat(descriptor)))
        return descriptor

    patch.setattr(os, "open", remember)
    killed_after(survived, OPERATIONS, patch)
    return opened


def bury(opened: list[Any]) -> None:
    for descriptor, status in opened:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), status):
                os.close(descriptor)


def stage(name: str, folder: Path) -> None:
    if name == "data":
        prepare_data(DATA, folder / "data", seed=0)
    else:
        preprocess(ZCA, folder / "data", folder / "features")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    stage("data", folder)
    stage("features", folder)
    return folder


@pytest.mark.parametrize("name", ["data", "features"])
def test_a_kill_at_any_file_operation_and_another_run_give_the_same_bits(
    undisturbed: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    if name == "features":
        stage("data", tmp_path)
    survived, finished = 0, False
    while not finished:
        with pytest.MonkeyPatch.context() as patch:
            opened = killed(survived, patch)
            try:
                stage(name, tmp_path)
                finished = True
            except Killed:
                pass
        if not finished:
            bury(opened)
            stage(name, tmp_path)
            assert content(tmp_path / name) == content(undisturbed / name)
            found, expected = (
                {file.name for file in (at / name).iterdir()} for at in (tmp_path, undisturbed)
            )
            assert found == expected
        survived += 3
    assert survived > 50


# ---------------------------------------------------------------------------------------- two at once


@pytest.mark.parametrize(("name", "work"), [("data", "_write_parts"), ("features", "_write_all")])
def test_a_second_job_waits_and_takes_over_what_the_first_one_finished(
    undisturbed: Path,
    tmp_path: Path,
    name: str,
    work: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    if name == "features":
        stage("data", tmp_path)
    module = datasets if name == "data" else preprocessing
    begun, original, calls = threading.Event(), getattr(module, work), []

    def slow(*arguments: Any) -> Any:
        calls.append(arguments)
        begun.set()
        deadline = threading.Event()
        for _ in range(2000):
            if "waiting for it" in caplog.text:
                break
            deadline.wait(0.01)
        return original(*arguments)

    monkeypatch.setattr(module, work, slow)
    first = threading.Thread(target=stage, args=(name, tmp_path))
    first.start()
    assert begun.wait(20)
    stage(name, tmp_path)
    first.join()
    assert len(calls) == 1
    assert f"process {os.getpid()} on" in caplog.text
    assert "was made by another job meanwhile" in caplog.text
    assert content(tmp_path / name) == content(undisturbed / name)
    # By itself it does the work again: the files of the data set may be others.
    stage(name, tmp_path)
    assert len(calls) == 2


def test_a_second_job_with_other_options_makes_its_own(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    begun, original, calls = threading.Event(), preprocessing._write_all, []

    def slow(*arguments: Any) -> Any:
        calls.append(arguments[0])
        begun.set()
        for _ in range(2000):
            if len(calls) > 1 or "waiting for it" in caplog.text:
                break
            threading.Event().wait(0.01)
        return original(*arguments)

    monkeypatch.setattr(preprocessing, "_write_all", slow)
    first = threading.Thread(target=preprocess, args=(ZCA, undisturbed / "data", tmp_path / "features"))
    first.start()
    assert begun.wait(20)
    preprocess(AsItIs(), undisturbed / "data", tmp_path / "features")
    first.join()
    assert [used.method for used in calls] == ["zca", "none"]
    assert files.read_json(tmp_path / "features/features.json")["preprocessing"] == {"method": "none"}
