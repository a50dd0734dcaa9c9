"""What ``plan`` says a study takes beside what it takes: blocks and solves of AAV, CIFAR-10 and molbace, small.

    python benchmarks/planned_seconds.py

Each study that ships is planned before anything of it is there, as a person would, then its blocks are computed and its
solves are run, one after the other in this process. Prints a row a kernel and one for the solves, planned over measured
seconds, and writes results/benchmarks/planned_seconds.json. Data that is not there is a row that says so. Exit status 1
where a plan is not within a factor of two; it takes a machine without other work.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from neural_kernels import datasets
from neural_kernels.planning import costs, solve_seconds
from neural_kernels.stages.data import prepare_data, preprocess_data
from neural_kernels.stages.kernels import compute_block, declare_kernel
from neural_kernels.stages.plan import kernel_plans
from neural_kernels.stages.solve import solve
from neural_kernels.study.study import load_study

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("NEURAL_KERNELS_TEST_DATA", ROOT.parent / "shared" / "data"))

# What is changed of a study that ships, so that its blocks take some ten seconds.
SMALL: dict[str, dict[str, Any]] = {
    "aav_sampled": {
        "data": {"train_examples": 2000, "validation_examples": 200, "test_sets": {"test": {"examples": 300}}},
        "training_sizes": {"smallest": 250, "largest": 2000},
        "blocks": {"edge": 1000},
    },
    "cifar10_small": {
        "data": {"train_examples": 1500, "validation_examples": 200, "test_sets": {"cifar10": {"examples": 200}}},
        "training_sizes": {"smallest": 150, "largest": 1200},
        "blocks": {"edge": 750},
    },
    "molbace": {},
}  # fmt: skip

FACTOR = 2.0

Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "planned_seconds.json")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, changes in SMALL.items():
            for row in measured(name, changes, Path(folder)):
                rows.append(row)
                print(as_line(row), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2) + "\n")
    print(options.out)
    return int(any(not 1 / FACTOR <= found["ratio"] <= FACTOR for found in rows if "ratio" in found))


def measured(name: str, changes: dict[str, Any], folder: Path) -> Iterable[Row]:
    configs, results = folder / "config", folder / "results"
    if not configs.exists():
        shutil.copytree(ROOT / "config", configs)
    config = yaml.safe_load((configs / f"{name}.yaml").read_text())
    path = DATA / Path(config["data"]["path"]).relative_to("data")
    if not path.exists():
        yield {"name": name, "note": f"{path} is not there"}
        return
    config |= {key: value for key, value in changes.items() if key != "data"}
    config["data"] |= changes.get("data", {}) | {"path": str(path)}
    (configs / f"{name}.yaml").write_text(yaml.safe_dump(config))
    study = load_study(configs / f"{name}.yaml")
    summary = datasets.check_data(study.data)
    plans = kernel_plans(study, results, summary.input_shape, summary.outputs, {}, at_hand=True)
    pace = solve_seconds.measure_pace()
    prepare_data(study, results)
    for preprocessing in {kernel.preprocessing for kernel in study.kernels.values()}:
        preprocess_data(study, results, preprocessing)
    solving = solved = 0.0
    for kernel, plan in zip(study.kernels, plans, strict=True):
        for part in ("train", *study.evaluation_sizes(kernel)):
            declare_kernel(study, results, kernel, part)
        blocks = [(part, i, j) for own, part, i, j, _ in costs.planned_blocks(study) if own == kernel]
        begun = time.perf_counter()
        for part, i, j in blocks:
            compute_block(study, results, kernel, part, (i, j), None)
        yield row(f"{name}, {kernel}, blocks", plan.seconds or 0, time.perf_counter() - begun)
        solving += solve_seconds.of_kernel(study, kernel, summary.outputs, pace)
        begun = time.perf_counter()
        for n in study.training_sizes(kernel):
            solve(study, results, kernel, n)
        solved += time.perf_counter() - begun
    yield row(f"{name}, solves", solving, solved)


def row(name: str, planned: float, seconds: float) -> Row:
    return {"name": name, "planned": planned, "seconds": seconds, "ratio": planned / seconds}


def as_line(found: Row) -> str:
    if "note" in found:
        return f"{found['name']:44} {found['note']}"
    return (
        f"{found['name']:44} planned {found['planned']:8.2f} s, took {found['seconds']:8.2f} s, "
        f"ratio {found['ratio']:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
