"""Imports Neural Tangents 0.6.5 on today's JAX, without TensorFlow.

Neural Tangents is finished, JAX is not: some names that 0.6.5 imports have moved since, and its
``experimental`` package alone asks for TensorFlow. The names are put in place for the time of the
import and taken away again, so that code which looks for them to learn JAX's version still learns it.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from neural_kernels.errors import UserError

# jax 0.10 has these in jax.extend.core only.
_MOVED_CORE_NAMES = ("Jaxpr", "JaxprEqn", "Literal", "Var", "Primitive", "ClosedJaxpr", "jaxpr_as_fun")


def missing() -> str | None:
    """Why Neural Tangents cannot be imported, or None where it is installed; imports nothing."""
    for package in ("neural_tangents", "frozendict"):
        if importlib.util.find_spec(package) is None:
            mend = "pip install frozendict; pip install --no-deps neural-tangents==0.6.5"
            return f"the package {package} is not installed ({mend})"
    return None


def import_neural_tangents() -> ModuleType:
    """The module ``neural_tangents``, without its ``experimental`` and empirical-kernel features.

    Raises:
        UserError: it is not installed.
    """
    if "neural_tangents" in sys.modules:
        return sys.modules["neural_tangents"]
    reason = missing()
    if reason is not None:
        raise UserError(f"engine neural_tangents: {reason}")
    with _names_of_older_jax(), _without_experimental():
        neural_tangents = importlib.import_module("neural_tangents")
    del neural_tangents.experimental
    _pad_before_convolving(importlib.import_module("neural_tangents._src.stax.linear"))
    return neural_tangents


def _pad_before_convolving(linear: ModuleType) -> None:
    # On CPUs with AVX-512, jaxlib 0.10.2 compiles the zero padding of a convolution to loads that run
    # over the end of its input, and the process dies of a segmentation fault. With the padding done
    # beforehand there is nothing to run over. Only Neural Tangents' own view of jax.lax is changed.
    from jax import lax

    def conv_general_dilated(
        lhs: Any, rhs: Any, window_strides: Any, padding: Any, *, dimension_numbers: Any, **options: Any
    ) -> Any:
        lhs_spec, rhs_spec, _ = dimension_numbers
        axes = [axis for axis, name in enumerate(lhs_spec) if name not in "NC"]
        window = [size for size, name in zip(rhs.shape, rhs_spec, strict=True) if name not in "IO"]
        widths = [(0, 0, 0)] * lhs.ndim
        pads = lax.padtype_to_pads([lhs.shape[axis] for axis in axes], window, window_strides, padding)
        for axis, (low, high) in zip(axes, pads, strict=True):
            widths[axis] = (low, high, 0)
        # The barrier keeps XLA from folding the padding back into the convolution.
        padded = lax.optimization_barrier(lax.pad(lhs, lhs.dtype.type(0), widths))
        return lax.conv_general_dilated(
            padded, rhs, window_strides, "VALID", dimension_numbers=dimension_numbers, **options
        )

    own_lax: Any = ModuleType("lax")
    own_lax.__dict__.update(vars(lax))
    own_lax.conv_general_dilated = conv_general_dilated
    linear.lax = own_lax  # type: ignore[attr-defined]


@contextmanager
def _without_experimental() -> Iterator[None]:
    name = "neural_tangents.experimental"
    sys.modules[name] = ModuleType(name)
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def _names_of_older_jax() -> Iterator[None]:
    import jax
    import jax.core
    import jax.extend.core
    import jax.interpreters.ad

    added: list[tuple[ModuleType, str]] = []

    def put(module: ModuleType, name: str, value: object) -> None:
        if not hasattr(module, name):
            setattr(module, name, value)
            added.append((module, name))

    for name in _MOVED_CORE_NAMES:
        put(jax.core, name, getattr(jax.extend.core, name))
    # Neural Tangents only keys its table of empirical rules with this primitive, which JAX no longer emits.
    put(jax.interpreters.ad, "zeros_like_p", jax.extend.core.Primitive("zeros_like"))
    own_util = importlib.util.find_spec("jax.util") is None
    if own_util:
        sys.modules["jax.util"] = _jax_util()
    try:
        yield
    finally:
        for module, name in added:
            delattr(module, name)
        if own_util:
            del sys.modules["jax.util"]


def _jax_util() -> ModuleType:
    def safe_zip(*sequences: Iterable[Any]) -> list[tuple[Any, ...]]:
        return list(zip(*sequences, strict=True))

    def safe_map(function: Callable[..., Any], *sequences: Iterable[Any]) -> list[Any]:
        return [function(*values) for values in safe_zip(*sequences)]

    module: Any = ModuleType("jax.util")
    module.safe_zip, module.safe_map = safe_zip, safe_map
    return module
