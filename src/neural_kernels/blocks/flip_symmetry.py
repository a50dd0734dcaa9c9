"""Images and their horizontal flips cost two quarters of their kernel, not four.

With n images first and their flips after them, the kernel of these 2n is [[A, B], [B, A]], where A and B are
symmetric: k(flip x, flip x') = k(x, x') where every layer is known to keep that (``architectures.facts``), its weights
drawn alike for mirrored positions, and so k(x, flip x') = k(flip x, x'). It needs features whose flips are the
features of the flips: whitening keeps that if it was fitted on a set closed under flips. Further augmented
copies may follow in the training set; they have no such symmetry.
"""

from __future__ import annotations

from neural_kernels.blocks import Grid


def same_block(grid: Grid, i: int, j: int, images: int) -> tuple[int, int, bool]:
    """The first block with the entries of block (i, j), i <= j, of a training set's kernel.

    Args:
        images: so many leading examples are followed by their flips; 0 for none.

    Returns:
        Its row, its column, and whether it is to be transposed; (i, j, False) where the block is itself
        the first, or where the edge does not divide the number of images, so that blocks straddle both.
    """
    half, rest = divmod(images, grid.edge)
    if rest or j >= 2 * half:
        return i, j, False
    if i >= half:
        return i - half, j - half, False
    if j >= half and j - half < i:
        return j - half, i + half, True
    return i, j, False


def is_symmetric_block(grid: Grid, i: int, j: int, images: int) -> bool:
    """Whether block (i, j) of a symmetric kernel is itself symmetric: on the diagonal, or on that of B."""
    if not grid.symmetric:
        return False
    half, rest = divmod(images, grid.edge)
    return i == j or (rest == 0 and i < half and j - i == half)
