"""Runs every stage of two tiny studies on a disk that is full, limited or read-only, then on one with room.

Arguments: a folder of its own, a file for what was seen, and how the disk is made to refuse, one way after the other:
"full", "limited" or "readonly". The first and the last need the folder to be a mount point. What was seen are JSON
lines [way, command, level, exit status, standard error], and at the end of each way [way, files that differ, files left
over].
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from tuning_studies import config as tuning_config

from neural_kernels.cli import main

STUDY: dict[str, Any] = {
    "title": "t",
    "data": {"name": "arrays", "train_examples": 60, "validation_examples": 25},
    "preprocessing": {"plain": {"method": "standardize"}},
    "kernels": {"FC": {"architecture": {"name": "FC", "depth": 1}, "preprocessing": "plain"}},
    "blocks": {"edge": 17, "tile": 8},
    "training_sizes": {"sizes": [20, 60]},
    "ridge": {"candidates": [1e-4, 1e-2]},
    "solver": {"direct_up_to": 20, "preconditioner": {"rank": 10}},
}
ALL = (0, 4096, 65536)
FIRST = ALL[:1]
NONE = ALL[:0]


def commands(inputs: Path, output: Path) -> Iterator[tuple[tuple[int, ...], list[str]]]:
    """Every command of both studies in order, and the bytes that the disk leaves it at first, one after the other."""
    kernel = ["tiny.yaml", "--kernel", "FC"]
    yield ALL, ["prepare-data", "tiny.yaml"]
    yield ALL, ["preprocess-data", "tiny.yaml", "--preprocessing", "plain"]
    for part, rows in (("train", 4), ("validation", 2), ("test", 3)):
        yield FIRST if part == "train" else NONE, ["declare-kernel", *kernel, "--part", part]
        for i in range(rows):
            for j in range(i if part == "train" else 0, 4):
                block = ["compute-block", *kernel, "--part", part, "--block", f"{i}-{j}", "--threads", "1"]
                yield ALL if (part, i, j) in (("train", 0, 0), ("test", 2, 3)) else NONE, block
    for size in ("20", "60"):
        yield ALL, ["solve", *kernel, "--size", size, "--threads", "1"]
        yield ALL, ["evaluate", *kernel, "--size", size]
    yield ALL, ["predict-tests", *kernel, "--size", "60"]
    asked = ["--inputs", str(inputs), "--output", str(output), "--samples", "2", "--threads", "1"]
    yield ALL, ["predict", *kernel, "--size", "20", *asked]
    yield ALL, ["collect-metrics", "tiny.yaml"]
    yield FIRST, ["report-scaling", "tiny.yaml"]
    yield NONE, ["prepare-data", "tuned.yaml"]
    yield ALL, ["start-tuning", "tuned.yaml", "--threads", "1"]
    for trial in range(2):
        yield (
            ALL if trial == 0 else NONE,
            ["run-trial", "tuned.yaml", "--trial", str(trial), "--threads", "1"],
        )
    yield ALL, ["select-tuned", "tuned.yaml"]
    for which in ("tuned", "baseline"):
        yield (
            FIRST if which == "tuned" else NONE,
            ["test-tuned", "tuned.yaml", "--which", which, "--threads", "1"],
        )
    yield FIRST, ["report-tuning", "tuned.yaml"]


@contextlib.contextmanager
def full(folder: Path, level: int) -> Iterator[None]:
    """All but ``level`` bytes of the disk are taken."""
    ballast = folder / "ballast"
    found = os.statvfs(folder)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(found.f_bavail * found.f_frsize - level, 1))
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def limited(folder: Path, level: int) -> Iterator[None]:
    """No file may grow beyond ``level`` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (level, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextlib.contextmanager
def readonly(folder: Path, level: int) -> Iterator[None]:
    """Nothing can be written, whatever the level."""
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)


def run(arguments: list[str], results: Path) -> tuple[int | str, str]:
    """Exit status, or the type of the error that nobody caught, and standard error of one command."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            status: int | str = main([arguments[0], *arguments[1:], "--results", str(results)])
        except Exception as error:
            status = f"{type(error).__name__}: {error}"
    return status, said.getvalue()


def differing(results: Path, reference: Path) -> list[str]:
    """Files of numbers that are not what they are on a disk with room: seconds apart, to the bit."""
    found = []
    for path in (path for path in reference.rglob("*") if path.suffix in (".npy", ".parquet")):
        own = results / path.relative_to(reference)
        if not own.exists():
            same = False
        elif path.suffix == ".npy":
            same = own.read_bytes() == path.read_bytes()
        else:
            tables = [pd.read_parquet(each) for each in (own, path)]
            kept = [t[t["metric"] != "seconds"] if "metric" in t else t.drop(columns="seconds", errors="ignore")
                    for t in tables]  # fmt: skip
            same = kept[0].reset_index(drop=True).equals(kept[1].reset_index(drop=True))
        if not same:
            found.append(str(own))
    return found


def main_program(folder: Path, seen: Path, ways: list[str]) -> None:
    work = seen.parent
    os.chdir(work)
    random = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        f"{what}_{part}": random.normal(size=(n, columns))
        for part, n in (("train", 90), ("test", 45))
        for what, columns in (("x", 30), ("y", 2))
    }
    np.savez("examples.npz", **arrays)
    np.savez("new.npz", x=random.normal(size=(5, 30)))
    study = STUDY | {"data": STUDY["data"] | {"path": str(work / "examples.npz")}}
    Path("tiny.yaml").write_text(yaml.safe_dump(study))
    Path("tuned.yaml").write_text(yaml.safe_dump(tuning_config(trials=2, startup_trials=1, transfer=None)))
    inputs = work / "new.npz"
    for _, command in commands(inputs, work / "reference" / "predictions.parquet"):
        status, said = run(command, work / "reference")
        assert status == 0, (command, status, said)
    with seen.open("w") as lines:

        def note(*row: object) -> None:
            lines.write(json.dumps(row) + "\n")

        for way in ways:
            results = folder / way
            for levels, command in commands(inputs, results / "predictions.parquet"):
                for level in levels[:1] if way == "readonly" else levels:
                    with REFUSALS[way](folder, level):
                        status, said = run(command, results)
                    note(way, command, level, status, said)
                    if status == 0:
                        break
                note(way, command, None, *run(command, results))
            left = [str(path) for path in results.rglob("*") if path.name.startswith(".")]
            note(way, differing(results, work / "reference"), left)
            shutil.rmtree(results)


REFUSALS: dict[str, Callable[..., Any]] = {"full": full, "limited": limited, "readonly": readonly}

if __name__ == "__main__":
    main_program(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
