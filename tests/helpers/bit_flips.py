"""Damage for tests: one bit of a file, or of one of several, turned over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st

POSITION = st.floats(0, 1, exclude_max=True)
BIT = st.integers(0, 7)


def flip(path: Path, position: float, bit: int) -> None:
    """Turn bit ``bit`` of the byte at ``position``, a share of the file's length."""
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)


def flip_one(paths: Sequence[Path], which: float, position: float, bit: int) -> Path:
    """``flip`` of the file at ``which``, a share of their number; returns it."""
    path = sorted(paths)[int(which * len(paths))]
    flip(path, position, bit)
    return path
