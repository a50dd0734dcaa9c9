"""What suits an input where nothing is asked for: an architecture and a preprocessing. Docs say how they were found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neural_kernels import architectures
from neural_kernels.architectures import Architecture, Composite, Layer
from neural_kernels.architectures.composites import Term
from neural_kernels.estimators.examples import Kind, kind_of
from neural_kernels.preprocessing.options import AsItIs, Preprocessing, Standardize, Zca, parse_preprocessing

RIDGES: Sequence[float] = tuple(10.0 ** np.arange(-8.0, 3.0))
"""Candidates, relative to the mean diagonal of the kernel."""

RIDGES_OF_ANY_MATRIX: Sequence[float] = (*RIDGES, *(10.0 ** np.arange(3.0, 7.0)))
"""Candidates for a matrix of somebody's own, which may be so far from positive definite that it takes more."""

_ARCHITECTURES: dict[Kind, tuple[str, dict[str, Any]]] = {
    "table": ("FC3", {}),
    "sequences": ("Conv1D", {}),
    "strings": ("Conv1D", {}),
    "images": ("CV8", {}),
    "molecules": ("SimpleGNN", {"depth": 3, "pooling": "average"}),
    "fingerprints": ("FC", {"depth": 1}),
    "descriptors": ("FC3", {}),
    "graphs": ("SimpleGNN", {"pooling": "average"}),
}

_PREPROCESSING: dict[Kind, Preprocessing] = {
    "table": Standardize(),
    "sequences": Standardize(),
    "strings": Standardize(),
    "images": Zca(),
    "molecules": AsItIs(),
    "fingerprints": AsItIs(),
    "descriptors": Standardize(),
    "graphs": AsItIs(),
}

# Of molecules, whose weights are then chosen.
_VIEWS: tuple[Kind, ...] = ("molecules", "fingerprints", "descriptors")


def terms_for(asked: Any, X: Any, inputs: str, preprocessing: Any) -> tuple[Term, ...]:
    """The kernels that are added up: those that are asked for, or what suits the inputs where nothing is.

    Args:
        asked: an architecture by name, as a value or as its layers, a sum of them, or None.
        inputs, preprocessing: of the estimator, for what is no sum.

    Raises:
        UserError: an unknown name.
        ValueError: something else.
    """
    if isinstance(asked, Composite):
        return asked.terms
    kind = kind_of(X, inputs)
    if asked is None and kind == "molecules" and inputs == "auto":
        return tuple(Term(1.0, architecture_for(None, view), inputs=view) for view in _VIEWS)
    return (Term(1.0, architecture_for(asked, kind), inputs=kind, preprocessing=preprocessing),)


def named_architecture(kind: Kind) -> tuple[str, dict[str, Any]]:
    """The name and the parameters of the architecture that suits, as a config has them."""
    return _ARCHITECTURES[kind]


def architecture_for(asked: Any, kind: Kind) -> Architecture:
    """The architecture that is asked for, or the one that suits where None; see ``terms_for``."""
    if asked is None:
        name, parameters = _ARCHITECTURES[kind]
        return architectures.build(name, **parameters)
    if isinstance(asked, Architecture):
        return asked
    if isinstance(asked, str):
        return architectures.build(asked)
    if isinstance(asked, list | tuple) and asked and all(isinstance(layer, Layer) for layer in asked):
        return Architecture("layers", tuple(asked))
    raise ValueError(
        f"architecture is {asked!r}, expected a name, an Architecture, a list of layers, a sum of them, or None"
    )


def preprocessing_for(asked: Any, kind: Kind) -> Preprocessing:
    """The preprocessing that is asked for: "auto", the name of a method, its keys as a dict, or its value.

    Raises:
        UserError: an unknown method or key.
    """
    if asked == "auto":
        return _PREPROCESSING[kind]
    if isinstance(asked, Zca | Standardize | AsItIs):
        return asked
    return parse_preprocessing("preprocessing", asked if isinstance(asked, dict) else {"method": asked})
