"""Posterior variances of many inputs: from one Krylov space, beside an iterative solve for each.

    python benchmarks/variances.py                   (two minutes)

NTKs of CIFAR-10 images in memory. For each kernel and ridge: passes and seconds of both ways, the single solves that
the space learns from among its own; the error of a variance against Cholesky's, and the share of inputs whose variance
lies in its interval of 95 %. Writes results/benchmarks/variances.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from solver import ROOT, load_images

from neural_kernels import architectures, engines
from neural_kernels.solvers import Stopping, block_lanczos, quadratic_forms
from neural_kernels.solvers.block_conjugate_gradients import block_conjugate_gradients
from neural_kernels.solvers.communicator import SerialCommunicator
from neural_kernels.solvers.inverse import SPACE_COLUMNS
from neural_kernels.solvers.krylov_basis import KrylovBasis
from neural_kernels.solvers.operator import DenseOperator, RidgeSystem
from neural_kernels.solvers.preconditioners import Identity
from neural_kernels.solvers.quadratic_forms import KNOWN
from neural_kernels.solvers.random_columns import gaussian_columns

CASES = (("FC3", 1e-3), ("FC3", 1e-1), ("CV8", 1e-6), ("CV8", 1e-2))
BATCH = 64


def single(kernel: np.ndarray, shift: float, rows: np.ndarray) -> tuple[np.ndarray, int, float]:
    """What the data explain of each input by a solve, 64 together; the passes and seconds."""
    begun, passes, explained = time.perf_counter(), 0, np.empty(rows.shape[1])
    for first in range(0, rows.shape[1], BATCH):
        few = np.ascontiguousarray(rows[:, first : first + BATCH])
        system = RidgeSystem(DenseOperator(kernel), shift)
        state = block_conjugate_gradients(system, few, Identity(), Stopping(1e-6))
        explained[first : first + BATCH] = np.einsum("ij,ij->j", few, state.x)
        passes += state.iteration
    return explained, passes, time.perf_counter() - begun


def measure(name: str, ridge: float, kernel: np.ndarray, n: int) -> dict[str, object]:
    train, rows = np.ascontiguousarray(kernel[:n, :n]), np.ascontiguousarray(kernel[:n, n:])
    prior = np.diag(kernel)[n:]
    shift = ridge * float(np.diag(train).mean())
    exact = np.einsum("ij,ij->j", rows, np.linalg.solve(train + shift * np.eye(n), rows))
    _, passes_each, seconds_each = single(train, shift, rows)
    begun, here = time.perf_counter(), SerialCommunicator()
    known, passes_known, _ = single(train, shift, rows[:, :KNOWN])
    start = gaussian_columns((0, n), SPACE_COLUMNS, 0)
    space = block_lanczos.begin(start, KrylovBasis(2**36, None, here), here)
    learned = quadratic_forms.from_space(
        DenseOperator(train), shift, space, (rows[:, :KNOWN], known), prior[:KNOWN] - known
    )
    found = learned.of(rows)
    seconds = time.perf_counter() - begun
    others = slice(KNOWN, None)
    error = (np.abs(found.value - exact) / (prior - exact))[others]
    held = ((found.least <= exact) & (exact <= found.most))[others]
    return {
        "kernel": name,
        "n": n,
        "ridge": ridge,
        "inputs": rows.shape[1],
        "passes_each": passes_each,
        "seconds_each": seconds_each,
        "passes": passes_known + space.passes,
        "seconds": seconds,
        "ratio": seconds_each / seconds,
        "median_error": float(np.median(error)),
        "largest_error": float(error.max()),
        "held": float(held.mean()),
        "variation_of_shares": float(learned.shares.std() / learned.shares.mean()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--new", type=int, default=1000, help="inputs, some of which are solved for singly")
    parser.add_argument("--images", type=Path, help="CIFAR-10, as a study's data.path")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "variances.json")
    options = parser.parse_args()
    pixels, _, source = load_images(options.images, options.n + options.new)
    print(f"n = {options.n}, {options.new} inputs, {source}")
    rows, kernels = [], {}
    for name, ridge in CASES:
        if name not in kernels:
            kernels[name] = engines.kernel_matrix(architectures.build(name), pixels)
        row = measure(name, ridge, kernels[name], options.n)
        rows.append(row)
        print(
            ", ".join(
                f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in row.items()
            )
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2) + "\n")
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
