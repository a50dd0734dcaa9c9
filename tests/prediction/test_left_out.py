"""Rows that no prediction was made of, listed beside the predictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from neural_kernels.errors import UserError
from neural_kernels.prediction import left_out


def test_a_list_is_replaced_by_the_next_and_removed_where_there_is_nothing_to_list(tmp_path: Path) -> None:
    path = left_out.listed_in(tmp_path / "out.parquet", tmp_path / "new.csv")
    assert path == tmp_path / "out_left_out.csv"
    assert (
        left_out.write(path, [(3, "too long, by far"), (7, "empty")]) == f"2 rows left out, listed in {path}"
    )
    assert path.read_text() == 'line,reason\n3,"too long, by far"\n7,empty\n'
    left_out.write(path, [(4, "x")])
    assert path.read_text() == "line,reason\n4,x\n"
    assert left_out.write(path, []) == "0 rows left out"
    assert not path.exists()
    path.write_text("smiles\nCCO\n")  # somebody's own
    left_out.write(path, [])
    assert path.exists()


def test_the_inputs_are_never_where_the_list_goes(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"out_left_out\.csv is where rows would be listed that .*out\.csv leaves out"
    ):
        left_out.listed_in(tmp_path / "out.csv", tmp_path / "x" / ".." / "out_left_out.csv")
