"""Kernels that another program computed: what can be checked of one, and its blocks in a store."""

from __future__ import annotations

import hashlib
import itertools
import logging

import numpy as np

import neural_kernels
from neural_kernels.blocks.computation import _adopt, _alone
from neural_kernels.blocks.kernel_files import KernelFiles
from neural_kernels.blocks.publication import write_block
from neural_kernels.blocks.store import KernelStore
from neural_kernels.errors import UserError
from neural_kernels.progress import progress
from neural_kernels.triangles import mirror_upper

log = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Of an entry, relative to the root of the product of its two diagonal entries: more than rounding in float32 leaves,
less than any mistake."""

TILE = 2048
"""Rows and columns that are looked at together."""

MOST_EIGENVALUES = 1000


def check_kernel(source: KernelFiles, train: int) -> float:
    """Look at every entry that there is of a kernel of ``source.examples`` examples, the first ``train`` of them for
    training, a tile at a time.

    Returns:
        The largest |K[i, j] - K[j, i]|, relative to the root of K[i, i] K[j, j].

    Raises:
        UserError: a block is not there, or an entry shows that this is no kernel of these examples: one that is not
            finite, a diagonal that is not positive, K[i, j] and K[j, i] that differ, |K[i, j]| above the root of
            K[i, i] K[j, j], or a negative eigenvalue of the leading examples, all beyond ``TOLERANCE``.
    """
    n, cuts = source.examples, source.cuts(source.examples, TILE)
    lacking = source.lacking((0, train), (0, train)) or source.lacking((0, n), (0, train))
    if lacking is not None:
        found = (
            f"a matrix {source.rows} x {source.columns}"
            if len(source.files) == 1
            else f"no block {lacking[0]}-{lacking[1]}"
        )
        raise UserError(
            f"{source.path}: found {found}, expected the kernel of all {n} examples with the {train} training examples"
        )
    cuts = sorted({*cuts, train})
    spans = list(itertools.pairwise(cuts))
    roots = np.full(n, np.nan)
    for span in spans:
        if source.lacking(span, span) is None:
            roots[slice(*span)] = _roots(source, span)
    pairs = [(rows, columns) for rows in spans for columns in spans if columns <= rows]
    asymmetry = 0.0
    for rows, columns in progress(pairs, total=len(pairs), description="checking the kernel"):
        if source.lacking(rows, columns) is None:
            asymmetry = max(asymmetry, _check_tile(source, rows, columns, roots))
    _check_eigenvalues(source, min(train, MOST_EIGENVALUES))
    return asymmetry


def first_row(source: KernelFiles, row: int, columns: int) -> str:
    """Hexadecimal SHA-256 of the entries of example ``row`` with the first ``columns`` ones: tells kernels apart."""
    entries = source.entries((row, row + 1), (0, columns)).astype("<f8")
    return hashlib.sha256(entries.tobytes()).hexdigest()


def import_block(
    store: KernelStore,
    i: int,
    j: int,
    source: KernelFiles,
    rows: np.ndarray,
    columns: np.ndarray,
    force: bool = False,
) -> None:
    """Put block (i, j) in the store, out of another program's files; one that is finished already is kept.

    Of the blocks on the diagonal of a symmetric kernel the upper triangle is taken, of the others what is above it.

    Args:
        rows: (r,) the examples of ``source`` that the block's rows are, one after the other.
        columns: (c,) likewise.
        force: replace a block that is there whole.

    Raises:
        UserError: entries are not there, or not finite.
    """
    with _alone(store, i, j):
        if not force and _adopt(store, i, j):
            return
        block = source.entries(_span(rows), _span(columns)).astype(store.dtype)
        if not np.isfinite(block).all():
            raise UserError(
                f"{source.path}: block {i}-{j} of {store.directory} has entries that are not finite"
            )
        if store.grid.symmetric and i == j:
            mirror_upper(block)
        facts = {
            "engine": "imported",
            "seconds": 0.0,
            "source": str(source.path),
            "version": neural_kernels.__version__,
        }
        write_block(store, i, j, block, facts)
        log.info("block %d-%d of %s is taken from %s", i, j, store.directory, source.path)


def _span(examples: np.ndarray) -> tuple[int, int]:
    first, count = int(examples[0]), len(examples)
    if not np.array_equal(examples, np.arange(first, first + count)):
        raise UserError("an imported kernel has its rows in their order, found examples in another one")
    return first, first + count


def _roots(source: KernelFiles, span: tuple[int, int]) -> np.ndarray:
    diagonal = np.diagonal(source.entries(span, span)).astype(np.float64)
    wrong = np.flatnonzero(~((diagonal > 0) & np.isfinite(diagonal)))
    if wrong.size:
        place = span[0] + int(wrong[0])
        raise UserError(
            f"{source.path}: the kernel of example {place} with itself is {diagonal[wrong[0]]}, expected a positive "
            "number"
        )
    return np.sqrt(diagonal)


def _check_tile(
    source: KernelFiles, rows: tuple[int, int], columns: tuple[int, int], roots: np.ndarray
) -> float:
    entries = source.entries(rows, columns)
    _refuse(source, ~np.isfinite(entries), rows, columns, entries, "a finite number")
    scale = np.outer(roots[slice(*rows)], roots[slice(*columns)])
    beyond = np.abs(entries) > (1 + TOLERANCE) * scale
    expected = "at most the root of the product of the kernels of its two examples with themselves"
    _refuse(source, beyond, rows, columns, entries, expected)
    if source.lacking(columns, rows) is not None:
        return 0.0
    gaps = np.abs(entries - source.entries(columns, rows).T.astype(np.float64)) / scale
    _refuse(source, gaps > TOLERANCE, rows, columns, entries, "the same as on the other side of the diagonal")
    return float(np.nanmax(gaps, initial=0.0))


def _refuse(
    source: KernelFiles,
    wrong: np.ndarray,
    rows: tuple[int, int],
    columns: tuple[int, int],
    entries: np.ndarray,
    expected: str,
) -> None:
    if not wrong.any():
        return
    r, c = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    edge, row, column = source.grid.edge, rows[0] + int(r), columns[0] + int(c)
    block = f" (block {row // edge}-{column // edge})" if len(source.files) > 1 else ""
    raise UserError(
        f"{source.path}: the kernel of examples {row} and {column}{block} is {entries[r, c]}, expected {expected}"
    )


def _check_eigenvalues(source: KernelFiles, n: int) -> None:
    leading = source.entries((0, n), (0, n)).astype(np.float64)
    eigenvalues = np.linalg.eigvalsh(leading)
    if eigenvalues[0] < -TOLERANCE * eigenvalues[-1]:
        raise UserError(
            f"{source.path}: the kernel of the first {n} examples has the eigenvalue {eigenvalues[0]:.3g}, expected "
            f"none below {-TOLERANCE * eigenvalues[-1]:.1g}, which rounding explains"
        )
