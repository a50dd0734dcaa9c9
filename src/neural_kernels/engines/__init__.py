"""Engines: from an architecture and examples to kernel entries.

An engine is a module with the functions of :class:`Engine`. All engines take the same
``Architecture`` and compute the same function, ``native``, ``cuda`` and ``jax`` to rounding, ``neural_tangents`` to
its own tolerance (see ``neural_tangents_engine``) and ``cuda_mixed`` to that of its recipe.
"""

from __future__ import annotations

import functools
import importlib
import logging
import platform
from collections.abc import Callable
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np

from neural_kernels.architectures import Architecture, output_shape
from neural_kernels.errors import UserError
from neural_kernels.graphs import Examples, Graphs

log = logging.getLogger(__name__)

Kind = Literal["nngp", "ntk"]
Precision = Literal["float64", "float32"]

TILE_ENTRIES = 2**30

ENGINES = ("native", "jax", "neural_tangents", "cuda", "cuda_mixed")

# From the fastest to the slowest on a machine without an accelerator.
ON_PROCESSORS = ("native", "jax", "neural_tangents")


class Engine(Protocol):
    """What a module in this package provides."""

    def unavailable(self) -> str | None:
        """Why this engine cannot run on this machine, or None where it can."""

    def uncovered(self, architecture: Architecture, input_shape: tuple[int, ...]) -> str | None:
        """The first thing that this engine lacks for ``architecture`` on such examples, or None."""

    def prepare(self, architecture: Architecture, x: Examples, precision: Precision) -> Any:
        """What each example of ``x``, graphs or (n, *input_shape), needs once: its variances, layer by layer.

        The value is the engine's own and goes back to ``kernel`` only.
        """

    def kernel(
        self, architecture: Architecture, kind: Kind, left: Any, right: Any | None, precision: Precision
    ) -> np.ndarray:
        """Kernel entries (n_left, n_right) of dtype ``precision`` between two prepared sets.

        With ``right`` None, ``left`` against itself: only the upper triangle is computed, and the
        result is exactly symmetric. An entry does not depend on the other examples in the call.

        An entry that ``precision`` cannot hold is not finite, and so is every one of an example of which the
        variances cannot be held, somewhere in the network (see ``representable``).
        """


def load(name: str) -> Engine:
    """The engine module called ``name``."""
    if name not in ENGINES:
        raise UserError(f"engine is {name!r}, expected auto or one of {', '.join(ENGINES)}")
    return cast(Engine, importlib.import_module(f"neural_kernels.engines.{name}_engine"))


def select(name: str, architecture: Architecture, input_shape: tuple[int, ...]) -> tuple[str, Engine]:
    """The engine ``name``, or with "auto" the fastest one that is here and covers the architecture.

    Returns:
        Its name and its module; the choice is logged, once, with the reason each faster one was passed over.

    Raises:
        UserError: unknown engine, one that cannot run here or does not cover ``architecture``, or an
            architecture that does not fit ``input_shape``.
    """
    output_shape(architecture, input_shape)
    if architecture.is_sum:
        return _of_a_sum(name, architecture, input_shape)
    passed_over: list[str] = []
    for candidate in _in_order() if name == "auto" else (name,):
        engine = load(candidate)
        reason = engine.unavailable() or engine.uncovered(architecture, input_shape)
        if reason is None:
            because = f" (passed over: {'; '.join(passed_over)})" if passed_over else ""
            _say_once(f"engine {candidate} for architecture {architecture.name}{because}")
            return candidate, engine
        passed_over.append(f"{candidate}: {reason}")
    raise UserError(f"no engine for architecture {architecture.name}: {'; '.join(passed_over)}")


def check_accelerated(name: str) -> None:
    """Refuse an engine, or several of a sum, as ``select`` calls them, that would compute on the processor.

    Raises:
        UserError: which one, and why.
    """
    from neural_kernels.engines import jax_engine

    for part in name.split(" + "):
        if part == "native":
            why = "the engine native computes on the processor"
        elif part in ("jax", "neural_tangents") and not jax_engine.has_accelerator():
            why = f"JAX, which the engine {part} computes with, has started none on {platform.node()}"
        else:
            continue
        raise UserError(
            f"an accelerator is required, but {why}: install JAX for it, ask for a node that has one, or take "
            "the requirement back"
        )


def _of_a_sum(name: str, architecture: Architecture, input_shape: tuple[int, ...]) -> tuple[str, Engine]:
    from neural_kernels.engines.sums import SummedEngine

    found = [(weight, term, *select(name, term, input_shape)) for weight, term in architecture.terms]
    parts = tuple((weight, term, engine) for weight, term, _, engine in found)
    return " + ".join(dict.fromkeys(name for _, _, name, _ in found)), SummedEngine(parts)


@functools.cache
def _say_once(choice: str) -> None:
    """Log a choice, the first time in this process: many small blocks make it again and again."""
    log.info("%s", choice)


def _in_order() -> tuple[str, ...]:
    from neural_kernels.engines import cuda_engine, jax_engine

    order = ("jax", "native", "neural_tangents") if jax_engine.has_accelerator() else ON_PROCESSORS
    return order if cuda_engine.has_no_card() else ("cuda", *order)


def provenance(name: str) -> dict[str, str]:
    """What the record of a block says beside the engine's ``name``: of ``cuda``, the cards, the driver, the compiler.

    Args:
        name: as ``select`` gives it.
    """
    facts: dict[str, str] = {}
    for part in name.split(" + "):
        facts |= getattr(load(part), "provenance", dict)()
    return facts


def tile_entries(name: str) -> int:
    """Covariances of positions in a tile of pairs that keeps an engine busy for seconds."""
    return max(entries_of(load(part)) for part in name.split(" + "))


def entries_of(engine: Engine) -> int:
    """``tile_entries`` of one engine: a module may have a function of that name."""
    own: Callable[[], int] | None = getattr(engine, "tile_entries", None)
    return TILE_ENTRIES if own is None else own()


def kernel_matrix(
    architecture: Architecture,
    x1: Examples,
    x2: Examples | None = None,
    *,
    kind: Kind = "ntk",
    engine: str = "auto",
    precision: Precision = "float64",
) -> np.ndarray:
    """Kernel matrix between examples, for use as a library.

    Args:
        architecture: see ``neural_kernels.architectures.build``.
        x1: (n1, *input_shape) float64, channels last, or n1 ``Graphs``.
        x2: (n2, *input_shape) or n2 ``Graphs``, or None for ``x1`` against itself.
        kind: "ntk", or "nngp" for the covariance of the network's outputs at initialisation.
        engine: "auto" or a name in ``ENGINES``.
        precision: of the computation and of the result.

    Returns:
        (n1, n2) array of dtype ``precision``; exactly symmetric where ``x2`` is None.

    Raises:
        UserError: see ``select``; an unknown kind; something else than an architecture and examples of one shape; or
            ``precision`` cannot hold an entry, or the variances that it is made of.
    """
    from neural_kernels.engines import common_windows, representable

    _check_kind(kind)
    if not isinstance(architecture, Architecture):
        raise UserError(f"architecture is {architecture!r}, expected one as architectures.build gives")
    x1, x2 = _as_examples("x1", x1), None if x2 is None else _as_examples("x2", x2)
    if x2 is not None and x2.shape[1:] != x1.shape[1:]:
        raise UserError(f"x2 has examples of shape {x2.shape[1:]}, expected {x1.shape[1:]} as x1 has")
    _, chosen = select(engine, architecture, x1.shape[1:])
    pairs = len(x1) * (len(x1) + 1) // 2 if x2 is None else len(x1) * len(x2)
    sets = [x1] if x2 is None else [x1, x2]
    chosen = common_windows.cheapest(chosen, architecture, kind, precision, sets, pairs)
    left = chosen.prepare(architecture, x1, precision)
    right = None if x2 is None else chosen.prepare(architecture, x2, precision)
    entries = chosen.kernel(architecture, kind, left, right, precision)
    representable.refuse_untrusted(entries, precision)
    return entries


def _as_examples(name: str, given: Examples) -> Examples:
    """Graphs or an array as they are; a list of examples as the array that it makes."""
    if isinstance(given, Graphs | np.ndarray):
        return given
    try:
        examples = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        examples = np.array(np.nan)
    if examples.ndim < 2:
        raise UserError(f"{name} is a {type(given).__name__}, expected an array (n, ...) or Graphs")
    return examples


def _check_kind(kind: str) -> None:
    """Refuse what an engine would take for one of the kinds that it knows."""
    if kind not in get_args(Kind):
        raise UserError(f"kind is {kind!r}, expected {' or '.join(get_args(Kind))}")


# Examples whose variances are computed together, as the diagonal of the kernel among them.
VARIANCE_CHUNK = 16


def variances(
    architecture: Architecture,
    x: Examples,
    *,
    kind: Kind = "ntk",
    engine: str = "auto",
    precision: Precision = "float64",
) -> np.ndarray:
    """The kernel of each example with itself, (n,) of dtype ``precision``; see ``kernel_matrix``."""
    from neural_kernels.engines import common_windows, representable

    _check_kind(kind)
    _, chosen = select(engine, architecture, x.shape[1:])
    pairs = len(x) * (VARIANCE_CHUNK + 1) // 2
    chosen = common_windows.cheapest(chosen, architecture, kind, precision, [x], pairs)
    out = np.empty(len(x), precision)
    for first in range(0, len(x), VARIANCE_CHUNK):
        few = chosen.prepare(architecture, x[first : first + VARIANCE_CHUNK], precision)
        out[first : first + VARIANCE_CHUNK] = np.diag(chosen.kernel(architecture, kind, few, None, precision))
    representable.refuse_untrusted(out[:, None], precision)
    return out
