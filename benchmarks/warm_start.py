"""Whether a solve gains from the one of half its size: passes of block conjugate gradients, from zero and from there.

    python benchmarks/warm_start.py                  (two minutes)

Kernels of CIFAR-10 images, ten right-hand sides, to a true residual of 1e-6: from zero, from the solution of the size
below, with random columns, and with as many leading eigenvectors of the size below in their place, the best that its
Ritz vectors could be. Writes results/benchmarks/warm_start.json.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from solver import ROOT, load_images

from neural_kernels import architectures, engines
from neural_kernels.solvers import Stopping
from neural_kernels.solvers.block_conjugate_gradients import BlockState, block_conjugate_gradients
from neural_kernels.solvers.operator import DenseOperator, RidgeSystem
from neural_kernels.solvers.preconditioners import Identity
from neural_kernels.solvers.random_columns import gaussian_columns

RIDGES = (1e-4, 1e-2, 1e-1)
COLUMNS = (30, 100)


def solve(
    kernel: np.ndarray,
    targets: np.ndarray,
    shift: float,
    start: np.ndarray | None = None,
    beside: Callable[[], np.ndarray] | None = None,
) -> BlockState:
    system = RidgeSystem(DenseOperator(kernel), shift)
    return block_conjugate_gradients(system, targets, Identity(), Stopping(1e-6), start=start, beside=beside)


def passes(kernel: np.ndarray, targets: np.ndarray, ridge: float) -> dict[str, int]:
    """Of each way to begin, by its name."""
    n, half = len(kernel), len(kernel) // 2
    shift = ridge * float(np.diag(kernel).mean())
    below = kernel[:half, :half].copy()
    _, vectors = np.linalg.eigh(below)
    run = functools.partial(solve, kernel, targets, shift)

    def padded(rows: np.ndarray) -> np.ndarray:
        return np.vstack([rows, np.zeros((n - half, rows.shape[1]))])

    found = {
        "from zero": run().iteration,
        "from the solution below": run(start=padded(solve(below, targets[:half], shift).x)).iteration,
    }
    for count in COLUMNS:
        random = functools.partial(gaussian_columns, (0, n), count, 0)
        leading = functools.partial(padded, vectors[:, -count:])
        found[f"{count} random columns"] = run(beside=random).iteration
        found[f"{count} eigenvectors from below"] = run(beside=leading).iteration
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=1536)
    parser.add_argument("--images", type=Path, help="CIFAR-10, as a study's data.path")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "warm_start.json")
    options = parser.parse_args()
    pixels, labels, source = load_images(options.images, options.n)
    print(f"n = {options.n}, {source}")
    rows = []
    for name in ("FC3", "CV8"):
        kernel = engines.kernel_matrix(architectures.build(name), pixels)
        for ridge in RIDGES:
            found = passes(kernel, np.eye(10)[labels] - 0.1, ridge)
            rows.append({"kernel": name, "n": options.n, "ridge": ridge, "passes": found})
            print(f"{name}, ridge {ridge:g}: " + ", ".join(f"{way} {count}" for way, count in found.items()))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2) + "\n")
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
