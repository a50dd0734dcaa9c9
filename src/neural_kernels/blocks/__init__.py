"""The block grid and the store: naming, atomic write, verification, reading.

A store is a directory that holds one kernel matrix, K[rows, columns], cut into blocks of one edge:

    kernel.json         what the matrix is: architecture, kind, precision, sizes, hashes of the data
    blocks/<i>-<j>.npy  block row i, block column j: plain .npy, readable by NumPy alone
    blocks/<i>-<j>.json its kernel's fingerprint, its place, checksums of its entries, engine and time
    kept/<i>-<j>.npy    another name (hard link) of the same file
    partial/            blocks that are being computed

A symmetric matrix (the training kernel) stores only i <= j. A block's JSON is written before its .npy
appears, so a .npy without it, of another kernel, of another place or with other entries is never used.

Snakemake deletes ``blocks/<i>-<j>.npy``, an output that a rule declares, before it runs that rule's job and
after a failure. The name in ``kept/`` it does not know: a block that was finished once is taken from there.
"""

from neural_kernels.blocks.grid import Grid
from neural_kernels.blocks.inspection import (
    StoredBlock,
    block_fault,
    check_changed_since,
    content_fault,
    inspect_block,
    is_of_an_earlier_version,
    raise_faults,
    seal_block,
    set_aside_faulty,
)
from neural_kernels.blocks.publication import adopt_block, publish_block, write_block
from neural_kernels.blocks.reading import read_block, read_submatrix, stored_diagonal
from neural_kernels.blocks.store import KernelStore, declare_store, open_store

__all__ = [
    "Grid",
    "KernelStore",
    "StoredBlock",
    "adopt_block",
    "block_fault",
    "check_changed_since",
    "content_fault",
    "declare_store",
    "inspect_block",
    "is_of_an_earlier_version",
    "open_store",
    "publish_block",
    "raise_faults",
    "read_block",
    "read_submatrix",
    "seal_block",
    "set_aside_faulty",
    "stored_diagonal",
    "write_block",
]
