from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from bit_flips import BIT, POSITION, flip
from hypothesis import given, settings

from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.storage import sealed_parquet

TABLE = pd.DataFrame({"n": range(300), "x": [k / 7 for k in range(300)], "name": ["a", "b", "c"] * 100})


def test_any_reader_of_parquet_reads_it(tmp_path: Path) -> None:
    sealed_parquet.write(tmp_path / "t.parquet", TABLE)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), TABLE)
    pd.testing.assert_frame_equal(sealed_parquet.read(tmp_path / "t.parquet"), TABLE)


@settings(max_examples=200)
@given(position=POSITION, bit=BIT)
def test_no_flipped_bit_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, position: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("t")
    path, summary = folder / "t.parquet", folder / "summary.json"
    sealed_parquet.write(path, TABLE, "problem")
    summary.write_text("{}")
    flip(path, position, bit)
    with pytest.raises(DamagedFile, match=r"t\.parquet (is damaged|has no checksum).*run the same command"):
        sealed_parquet.read(path, summary)
    assert sorted(file.name for file in folder.iterdir()) == ["summary.json.rejected", "t.parquet.rejected"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no table at all"])
def test_what_is_no_table_is_set_aside(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with pytest.raises(DamagedFile, match="has no checksum"):
        sealed_parquet.read(path)
    assert not path.exists()
    with pytest.raises(UserError, match="is missing"):
        sealed_parquet.read(path)


def test_a_table_of_a_version_without_checksums_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    TABLE.to_parquet(path)
    with pytest.raises(DamagedFile, match="of a version that wrote none"):
        sealed_parquet.read(path)


def test_a_whole_table_of_the_same_problem_is_known_again(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    assert not sealed_parquet.has_problem(path, "one")
    sealed_parquet.write(path, TABLE, "one")
    assert sealed_parquet.has_problem(path, "one")
    assert not sealed_parquet.has_problem(path, "another")
    assert path.exists()
    flip(path, 0.5, 3)
    assert not sealed_parquet.has_problem(path, "one")
    assert not path.exists()
