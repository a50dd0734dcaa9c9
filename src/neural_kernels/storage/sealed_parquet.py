"""Parquet tables that carry a checksum of their whole file, which any reader of Parquet passes over.

The footer has a key whose value is the checksum of all bytes of the file, its own digits taken as zeros. So a
table stays one file, and none of its bits, in pages, headers or footer, can change unnoticed.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.storage import checksums
from neural_kernels.storage.files import damaged, write_atomically

if TYPE_CHECKING:
    import pandas as pd

KEY, PROBLEM = b"checksum", b"problem"
MARK = b"neural-kernels xxh3_64 "
ZEROS = b"0" * 16


def write(path: Path, table: pd.DataFrame, problem: str = "") -> None:
    """``table`` without its index; the file appears whole or not at all.

    Args:
        problem: fingerprint of everything that the table follows from, for ``has_problem``.
    """
    import pyarrow as pa
    from pyarrow import parquet

    arrow = pa.Table.from_pandas(table, preserve_index=False)
    own = {PROBLEM: problem.encode(), KEY: MARK + ZEROS}
    buffer = io.BytesIO()
    parquet.write_table(arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **own}), buffer)
    content = bytearray(buffer.getbuffer())
    place = content.rindex(MARK) + len(MARK)
    content[place : place + len(ZEROS)] = checksums.of_bytes(content).encode()
    write_atomically(path, lambda file: file.write(content))


def read(path: Path, *vouching: Path) -> pd.DataFrame:
    """The table that ``write`` wrote.

    Args:
        vouching: files that say that it is whole, set aside with it where it is not.

    Raises:
        UserError: the file is missing.
        DamagedFile: it is not what was written; it has been set aside.
    """
    import pandas as pd

    return pd.read_parquet(io.BytesIO(_content(path, *vouching)))


def has_problem(path: Path, problem: str) -> bool:
    """Whether a whole table of this problem is there already; a damaged one is set aside."""
    from pyarrow import parquet

    if not path.exists():
        return False
    try:
        metadata: dict[bytes, Any] = parquet.read_schema(io.BytesIO(_content(path))).metadata
    except DamagedFile:
        return False
    return metadata.get(PROBLEM) == problem.encode()


def _content(path: Path, *vouching: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    place = content.rfind(MARK) + len(MARK)
    if place < len(MARK):
        raise damaged(path, "has no checksum: it is damaged, or of a version that wrote none", *vouching)
    found = content[place : place + len(ZEROS)]
    if found != checksums.of_bytes(content[:place] + ZEROS + content[place + len(ZEROS) :]).encode():
        raise damaged(path, "is damaged: its checksum does not match what it holds", *vouching)
    return content
