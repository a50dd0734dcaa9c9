"""The kernels are what wide random networks have on average: engines against networks that are sampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import Kernel

from neural_kernels import architectures as arch
from neural_kernels.engines import jax_engine

CASES = {
    "fully connected": (arch.build("FC", depth=2, b_std=0.3).layers, (6,), 512),
    "pooled images": (
        (
            arch.Conv(3, 1.5, 0.2),
            arch.Relu(),
            arch.AvgPool(2),
            arch.Conv(3, 1.2, 0.1),
            arch.Gelu(),
            arch.GlobalAvgPool(),
            arch.Dense(1.0, 0.5),
        ),
        (4, 4, 2),
        128,
    ),
    "pooled, then flattened": (
        (arch.Conv(3, 1.5, 0.2), arch.Erf(), arch.AvgPool(2), arch.Flatten(), arch.Dense(1.4, 0.1)),
        (4, 4, 2),
        512,
    ),
    "sequences": (
        (
            arch.Conv(5, 1.1, 0.3),
            arch.LayerNorm(),
            arch.SigmoidLike(),
            arch.Conv(3, 1.6, 0.1),
            arch.Abs(),
            arch.GlobalSumPool(),
            arch.Dense(0.8, 0.2),
        ),
        (6, 3),
        192,
    ),
}
NETWORKS = 24


@pytest.mark.parametrize("case", CASES)
def test_sampled_networks_have_the_kernel(case: str, compute: Kernel, reference: Kernel) -> None:
    layers, shape, width = CASES[case]
    architecture = arch.Architecture(case, layers)
    x = np.random.default_rng(0).standard_normal((3, *shape))
    samples: dict[str, list[np.ndarray]] = {"nngp": [], "ntk": []}
    for seed in range(NETWORKS):
        for kind, sample in zip(samples, _sampled_kernels(layers, x, width, seed), strict=True):
            samples[kind].append(sample)
    for kind, found in samples.items():
        mean = np.mean(found, axis=0)
        # Five standard errors of the mean, and the bias of a finite width, one part in the width.
        error = 5 * np.std(found, axis=0) / np.sqrt(NETWORKS) + 4 * np.abs(mean).max() / width
        assert (error < 0.2 * np.abs(mean).max()).all()
        for kernel in (compute(jax_engine, architecture, kind, x), reference(architecture, kind, x)):
            assert (np.abs(kernel - mean) < error).all()


def _sampled_kernels(
    layers: tuple[arch.Layer, ...], x: np.ndarray, width: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(NNGP, NTK) of one random network of the given width, each (n, n)."""
    import jax
    import jax.numpy as jnp

    random = np.random.default_rng(seed)
    parameters: list[tuple[Any, Any]] = []
    channels, dims, positions = x.shape[-1], x.ndim - 2, np.array(x.shape[1:-1])
    for layer in layers:
        match layer:
            case arch.Conv(size):
                shape: tuple[int, ...] = (*(size,) * dims, channels, width)
            case arch.Dense():
                shape = (channels, 1 if layer is layers[-1] else width)
            case arch.AvgPool(window):
                positions = positions // window
                continue
            case arch.Flatten():
                channels *= int(np.prod(positions))
                continue
            case _:
                continue
        parameters.append((random.standard_normal(shape), random.standard_normal(shape[-1])))
        channels = shape[-1]

    with jax.enable_x64(True):
        nngp, ntk = jax.jit(_kernels, static_argnums=0)(layers, parameters, jnp.asarray(x))
        return np.asarray(nngp), np.asarray(ntk)


def _kernels(layers: tuple[arch.Layer, ...], parameters: list[tuple[Any, Any]], x: Any) -> tuple[Any, Any]:
    """(covariance over the last layer's weights, product of the Jacobians), each (n, n)."""
    import jax
    import jax.numpy as jnp

    features, last = _forward(layers[:-1], parameters[:-1], x), layers[-1]
    assert isinstance(last, arch.Dense)
    nngp = last.W_std**2 * features @ features.T / features.shape[1] + last.b_std**2
    jacobian = jax.jacrev(lambda weights: _forward(layers, weights, x)[:, 0])(parameters)
    flat = jnp.concatenate([leaf.reshape(len(x), -1) for leaf in jax.tree.leaves(jacobian)], axis=1)
    return nngp, flat @ flat.T


def _forward(layers: tuple[arch.Layer, ...], parameters: list[tuple[Any, Any]], x: Any) -> Any:
    """The network of finite width, in the NTK parameterisation, on x (n, *space, channels)."""
    import jax
    import jax.numpy as jnp
    from jax.scipy.special import erf

    weights = iter(parameters)
    for layer in layers:
        space = tuple(range(1, x.ndim - 1))
        match layer:
            case arch.Dense(W_std, b_std):
                W, b = next(weights)
                x = W_std * x @ W / np.sqrt(W.shape[0]) + b_std * b
            case arch.Conv(size, W_std, b_std):
                W, b = next(weights)
                half = size // 2
                padded = jnp.pad(x, [(0, 0), *[(half, half)] * len(space), (0, 0)])
                total = 0
                for tap in np.ndindex(*(size,) * len(space)):
                    window = tuple(slice(t, t + n) for t, n in zip(tap, x.shape[1:-1], strict=True))
                    total = total + padded[(slice(None), *window)] @ W[tap]
                x = W_std * total / np.sqrt(np.prod(W.shape[:-1])) + b_std * b
            case arch.Relu():
                x = jnp.maximum(x, 0)
            case arch.Abs():
                x = jnp.abs(x)
            case arch.Erf():
                x = erf(x)
            case arch.Gelu():
                x = jax.nn.gelu(x, approximate=False)
            case arch.SigmoidLike():
                x = 0.5 * erf(x / 2.4020563531719796) + 0.5
            case arch.LayerNorm(epsilon):
                centred = x - x.mean(-1, keepdims=True)
                x = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
            case arch.AvgPool(window):
                for axis in space:
                    shape = (*x.shape[:axis], x.shape[axis] // window, window, *x.shape[axis + 1 :])
                    x = x.reshape(shape).mean(axis + 1)
            case arch.GlobalAvgPool():
                x = x.mean(space)
            case arch.GlobalSumPool():
                x = x.sum(space)
            case arch.Flatten():
                x = x.reshape(len(x), -1)
            case _:
                raise TypeError(f"no finite network for {layer}")
    return x
