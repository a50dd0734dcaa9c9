"""A program for an environment in which the package was installed: both libraries are its own, and right."""

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

import neural_kernels
from neural_kernels.architectures import build
from neural_kernels.engines import kernel_matrix, native_engine
from neural_kernels.solvers import panel_product

for module in (neural_kernels, native_engine, panel_product):
    assert str(module.__file__).startswith(sys.prefix), module.__file__
    folder = Path(str(module.__file__)).parent
    assert module is neural_kernels or (folder / "_native.so").exists(), folder
assert native_engine.unavailable() is None, native_engine.unavailable()

x = np.random.default_rng(0).standard_normal((4, 8, 8, 3))
native, jax = (kernel_matrix(build("Myrtle5"), x, kind="ntk", engine=name) for name in ("native", "jax"))
np.testing.assert_allclose(native, jax, rtol=1e-9)
print(version("neural-kernels"))
