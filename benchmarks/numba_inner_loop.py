"""The inner loop of Myrtle's kernels in Numba, for comparison with the native engine: why that is C++.

    python benchmarks/numba_inner_loop.py       # needs numba, which is no dependency of the project

One layer, a 3x3 convolution and a ReLU of the NTK, over the positions of one offset with 16 pairs side by
side (REFERENCE: the offset layout, docs/architecture.md). Prints nanoseconds of one core for each entry.
"""

from __future__ import annotations

import math
import time

import numba
import numpy as np

SHAPE = (32, 32, 16)
REPEATS, CALLS = 7, 40


@numba.njit(fastmath=True)  # type: ignore[untyped-decorator]
def layer(
    K: np.ndarray,
    T: np.ndarray,
    sum_K: np.ndarray,
    sum_T: np.ndarray,
    p: np.ndarray,
    W_squared: float,
    b_squared: float,
) -> None:
    height, width, pairs = K.shape
    for i in range(height):
        for j in range(width):
            for pair in range(pairs):
                k, t = K[i, j, pair], T[i, j, pair]
                if j > 0:
                    k += K[i, j - 1, pair]
                    t += T[i, j - 1, pair]
                if j < width - 1:
                    k += K[i, j + 1, pair]
                    t += T[i, j + 1, pair]
                sum_K[i, j, pair], sum_T[i, j, pair] = k, t
    for i in range(height):
        for j in range(width):
            for pair in range(pairs):
                k, t = sum_K[i, j, pair], sum_T[i, j, pair]
                if i > 0:
                    k += sum_K[i - 1, j, pair]
                    t += sum_T[i - 1, j, pair]
                if i < height - 1:
                    k += sum_K[i + 1, j, pair]
                    t += sum_T[i + 1, j, pair]
                k = W_squared * k / 9 + b_squared
                t = W_squared * t / 9 + k
                scale = p[i, j, pair]
                slope = (math.pi - math.acos(min(1.0, max(-1.0, k / scale)))) / (2 * math.pi)
                K[i, j, pair] = math.sqrt(max(scale * scale - k * k, 0.0)) / (2 * math.pi) + slope * k
                T[i, j, pair] = t * slope


def main() -> None:
    K = np.random.default_rng(0).random(SHAPE)
    T, p = K.copy(), np.full(SHAPE, 2.0)
    arguments = (K, T, np.empty(SHAPE), np.empty(SHAPE), p, 2.0, 0.01)
    layer(*arguments)
    seconds = []
    for _ in range(REPEATS):
        started = time.process_time()
        for _ in range(CALLS):
            layer(*arguments)
        seconds.append((time.process_time() - started) / CALLS)
    print(f"{min(seconds) / K.size * 1e9:.1f} ns an entry and layer, one core, float64")


if __name__ == "__main__":
    main()
