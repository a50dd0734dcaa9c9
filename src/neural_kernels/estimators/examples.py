"""From what people have, tables, images, sequences, SMILES, molecules, graphs, to the examples that engines take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from neural_kernels.datasets import flip, molecules
from neural_kernels.graphs import Examples, Graphs, stack

Kind = Literal[
    "table", "sequences", "images", "strings", "molecules", "fingerprints", "descriptors", "graphs"
]
"""(n, features), (n, length, channels) and (n, height, width, channels) arrays; strings of letters, each a position;
molecules as SMILES or as RDKit has them, as graphs, by their fingerprints or by their descriptors; graphs."""

KINDS: tuple[Kind, ...] = get_args(Kind)

# Characters that SMILES have and no sequence of letters has, and letters that no amino acid has.
_SMILES_ONLY = frozenset("()[]=#@+/\\%.0123456789")
_ATOMS_ONLY = frozenset("OBobcnslr")
_ATOMS = frozenset("BCNOPSFIHbcnopslr")


@dataclass(frozen=True)
class Encoding:
    """What the examples that were fitted on say of those that come later.

    Attributes:
        shape: of one example as engines see it.
        letters: of strings, a channel each, and one for what is beyond a string's end.
    """

    kind: Kind
    shape: tuple[int | None, ...]
    letters: str = ""


def kind_of(X: Any, asked: str = "auto") -> Kind:
    """What ``X`` is, or is to be taken for.

    Raises:
        ValueError: strings that may be sequences as well as SMILES, or an unknown name.
    """
    if asked != "auto":
        if asked not in KINDS:
            raise ValueError(f"inputs is {asked!r}, expected auto, {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        return asked
    if isinstance(X, Graphs):
        return "graphs"
    values = _column(X)
    if values is None:
        dimensions = getattr(X, "ndim", None) or (np.ndim(X) if isinstance(X, list | tuple) else 2)
        return {3: "sequences", 4: "images"}.get(dimensions, "table")  # type: ignore[return-value]
    if isinstance(values[0], str):
        return _kind_of_strings(values)
    return "molecules" if _is_molecule(values[0]) else "graphs"


def _kind_of_strings(values: Sequence[Any]) -> Kind:
    letters = frozenset().union(*(value for value in values if isinstance(value, str)))
    if letters & _SMILES_ONLY:
        return "molecules"
    if letters <= _ATOMS and not letters & _ATOMS_ONLY:
        raise ValueError(
            f"the strings have the letters {''.join(sorted(letters)) or '(none)'} alone and may be sequences or "
            "SMILES: set inputs='strings' or inputs='molecules'"
        )
    return "molecules" if letters <= _ATOMS else "strings"


def _column(X: Any) -> Sequence[Any] | None:
    """Strings, molecules, or graphs as pairs of nodes and edges; None where ``X`` is anything else, numbers mostly."""
    if hasattr(X, "iloc"):
        if getattr(X, "ndim", 2) == 2:
            if X.shape[1] != 1:
                return None
            X = X.iloc[:, 0]
        X = X.to_numpy(object)
    if isinstance(X, np.ndarray):
        if X.ndim == 2 and X.shape[1] == 1 and X.dtype.kind in "OUT":
            X = X[:, 0]
        if X.ndim != 1 or X.dtype.kind not in "OUT":
            return None
        X = X.tolist()
    if not isinstance(X, list | tuple) or not X:
        return None
    first = X[0]
    pair = isinstance(first, tuple) and len(first) == 2 and np.ndim(first[0]) == 2
    return X if isinstance(first, str) or _is_molecule(first) or pair else None


def _is_molecule(value: Any) -> bool:
    return hasattr(value, "GetAtoms") and hasattr(value, "GetBonds")


def learned(X: Any, kind: Kind, positions: int | None = None) -> tuple[Encoding, Examples]:
    """The encoding that fits ``X``, and the examples, (n, ...) float64 or graphs.

    Args:
        positions: that strings are filled up to, those of the longest where None.

    Raises:
        ValueError: what is not of that kind.
        UserError: a string that is no molecule, or graphs that are not sound.
    """
    letters, length = "", None
    if kind == "strings":
        strings = strings_of(X)
        found = set("".join(strings).upper()) - set(flip.ALPHABET)
        strange = sorted(letter for letter in found if not "!" <= letter <= "~" or letter == "?")
        if strange:
            raise ValueError(
                f"X has strings with {strange[0]!r}, expected visible ASCII letters other than ?"
            )
        letters = flip.ALPHABET + "".join(sorted(found))
        length = max(map(len, strings)) if positions is None else positions
    encoding = Encoding(kind, (length, len(letters) + 1), letters)
    examples = _ENCODERS[kind](encoding, X)
    return Encoding(kind, examples.shape[1:], letters), examples


def numbers_in(encoding: Encoding) -> int:
    """Numbers in one example, or in one node of a graph."""
    return math.prod(size for size in encoding.shape if size is not None)


def encode(encoding: Encoding, X: Any) -> Examples:
    """Further examples as those that ``encoding`` was learned from.

    Raises:
        ValueError: of another kind or another shape.
        UserError: as ``learned``.
    """
    examples = _ENCODERS[encoding.kind](encoding, X)
    if examples.shape[1:] != encoding.shape:
        raise ValueError(f"X has examples of shape {examples.shape[1:]}, expected {encoding.shape} as fitted")
    return examples


def _encode_array(encoding: Encoding, X: Any) -> np.ndarray:
    from sklearn.utils import check_array

    wanted = 3 if encoding.kind == "sequences" else 4
    array = check_array(X, dtype=np.float64, allow_nd=True, ensure_2d=False, input_name="X")
    if array.ndim != wanted:
        what = "(n, length, channels)" if wanted == 3 else "(n, height, width, channels)"
        raise ValueError(f"X has shape {array.shape}, expected {what}")
    return np.ascontiguousarray(array)


def _encode_strings(encoding: Encoding, X: Any) -> np.ndarray:
    encoder, (length, _) = flip.encoder(encoding.letters), encoding.shape
    assert length is not None
    codes = []
    for place, text in enumerate(strings_of(X)):
        try:
            code = encoder(text)
        except ValueError as error:
            raise ValueError(f"X[{place}] {error}") from None
        if len(code) > length:
            raise ValueError(
                f"X[{place}] has {len(code)} letters, expected at most {length}, that of the longest which was fitted "
                "on: set sequence_length for longer ones"
            )
        codes.append(code)
    return flip.one_hot(codes, length, len(encoding.letters)).astype(np.float64)


def strings_of(X: Any) -> list[str]:
    """The strings of a list, an array or one column of a table.

    Raises:
        ValueError: anything else.
    """
    values = _column(X)
    if values is None:
        raise ValueError(f"X is {_shown(X)}, expected strings")
    for place, value in enumerate(values):
        if not isinstance(value, str):
            raise ValueError(f"X[{place}] is {value!r}, expected a string as X[0] is")
    return list(values)


def _smiles(X: Any) -> list[str]:
    values = _column(X)
    if values is None:
        raise ValueError(f"X is {_shown(X)}, expected SMILES or RDKit molecules")
    smiles = []
    for place, value in enumerate(values):
        if not isinstance(value, str) and not _is_molecule(value):
            raise ValueError(f"X[{place}] is {value!r}, expected SMILES or an RDKit molecule")
        smiles.append(value if isinstance(value, str) else molecules.smiles_of(value))
    return smiles


def _encode_molecules(encoding: Encoding, X: Any) -> Graphs:
    smiles = _smiles(X)
    found = molecules.parse(smiles)
    missing = np.setdiff1d(np.arange(len(smiles)), found.rows)
    if missing.size:
        raise ValueError(
            f"X[{missing[0]}], {smiles[missing[0]][:200]!r}, is no molecule to RDKit"
            + (f", nor are {missing.size - 1} others" if missing.size > 1 else "")
        )
    return _with_numbers(found.graphs)


def _encode_graphs(encoding: Encoding, X: Any) -> Graphs:
    if isinstance(X, Graphs):
        return _with_numbers(X.check("X"))
    values = _column(X)
    if values is None or isinstance(values[0], str):
        raise ValueError(f"X is {_shown(X)}, expected Graphs, or a list of pairs (nodes, edges)")
    nodes = [np.atleast_2d(np.asarray(pair[0], np.float64)) for pair in values]
    return stack(nodes, [np.asarray(pair[1]) for pair in values])


def _with_numbers(graphs: Graphs) -> Graphs:
    nodes = np.asarray(graphs.nodes, np.float64)
    if not np.isfinite(nodes).all():
        raise ValueError("X has nodes with values that are not finite numbers")
    return Graphs(nodes, graphs.node_offsets, graphs.edges, graphs.edge_offsets)


def _shown(X: Any) -> str:
    return f"an array of shape {X.shape}" if hasattr(X, "shape") else f"a {type(X).__name__}"


def _encode_table(encoding: Encoding, X: Any) -> np.ndarray:
    from sklearn.utils import check_array

    return np.ascontiguousarray(check_array(X, dtype=np.float64, input_name="X"))


_ENCODERS: dict[Kind, Callable[[Encoding, Any], Any]] = {
    "table": _encode_table,
    "sequences": _encode_array,
    "images": _encode_array,
    "strings": _encode_strings,
    "molecules": _encode_molecules,
    "fingerprints": lambda encoding, X: molecules.fingerprints(_smiles(X)),
    "descriptors": lambda encoding, X: molecules.descriptors(_smiles(X)),
    "graphs": _encode_graphs,
}
