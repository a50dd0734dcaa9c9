from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.metrics import table as metrics_table
from neural_kernels.storage import sealed_parquet

FACTS = {
    "study": "demo",
    "kernel": "FC3",
    "architecture": "FC3",
    "kind": "ntk",
    "precision": "float64",
    "engine": "jax",
    "preprocessing": "zca",
    "solver": "cholesky",
    "n": 64,
    "size": 0,
    "draw": 0,
    "ridge": 1e-6,
    "stopped_by": "direct",
    "converged": True,
}


def table() -> pd.DataFrame:
    return metrics_table.concat(
        [
            metrics_table.rows(FACTS, "train", {"residual": 1e-9, "seconds": 0.5}),
            metrics_table.rows(FACTS, "digits", {"loss": 0.01, "accuracy": 0.97}),
        ]
    )


def test_rows_hold_the_facts_and_the_values() -> None:
    found = table()
    assert list(found.columns) == list(metrics_table.COLUMNS)
    assert found["value"].tolist() == [1e-9, 0.5, 0.01, 0.97]
    assert found["split"].tolist() == ["train", "train", "digits", "digits"]
    assert (found["n"] == 64).all()


def test_a_table_survives_the_file_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "metrics.parquet"
    metrics_table.write(table(), path)
    pd.testing.assert_frame_equal(metrics_table.read(path), table(), check_exact=True)
    assert [file.name for file in path.parent.iterdir()] == ["metrics.parquet"]


def test_a_bad_table_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.parquet"
    metrics_table.write(table(), path)
    with pytest.raises(ValueError, match="value has inf"):
        metrics_table.write(table().assign(value=[1.0, 2.0, 3.0, np.inf]), path)
    pd.testing.assert_frame_equal(metrics_table.read(path), table())


def test_columns_come_in_order_whatever_order_they_had() -> None:
    shuffled = table()[sorted(metrics_table.COLUMNS)]
    pd.testing.assert_frame_equal(metrics_table.check(shuffled), table())


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("n", 0, "n has 0 .*expected at least 1"),
        ("n", 1.5, "n has fractions"),
        ("n", "many", "n is .*expected int64"),
        ("size", -1, "size has -1"),
        ("draw", -1, "draw has -1"),
        ("ridge", -1.0, "ridge has -1.0"),
        ("ridge", np.inf, "ridge has inf .*expected a finite number"),
        ("kind", "rbf", "kind has 'rbf' .*expected one of ntk, nngp"),
        ("precision", "float16", "precision has 'float16'"),
        ("converged", "yes", "converged is .*expected bool"),
        ("split", "", "split has '', expected text"),
        ("kernel", 3, "kernel has 3, expected text"),
        ("metric", None, "metric has 4 missing values"),
        ("metric", "loss", "expected one row for each"),
    ],
)
def test_a_wrong_value_is_named(column: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics_table.check(table().assign(**{column: value}))


def test_missing_and_unknown_columns_are_named() -> None:
    with pytest.raises(ValueError, match=r"missing: \['solver'\]; columns unknown: \['solvr'\]"):
        metrics_table.check(table().rename(columns={"solver": "solvr"}))


def test_the_same_number_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="one row for each solve"):
        metrics_table.concat([table(), table()])
    other = table().assign(draw=1)
    assert len(metrics_table.concat([table(), other])) == 8


def test_facts_have_to_be_complete() -> None:
    with pytest.raises(ValueError, match="ridge"):
        metrics_table.rows({k: v for k, v in FACTS.items() if k != "ridge"}, "train", {"seconds": 1.0})


def test_nothing_to_put_together_is_refused() -> None:
    with pytest.raises(ValueError, match="no metrics tables"):
        metrics_table.concat([])


def test_test_sets_keep_the_order_of_the_table() -> None:
    parts = [metrics_table.rows(FACTS, split, {"loss": 0.1}) for split in ("validation", "zeta", "alpha")]
    assert metrics_table.test_sets(metrics_table.concat([table(), *parts])) == ["digits", "zeta", "alpha"]


def test_files_that_are_no_metrics_table_are_the_users_to_mend(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.parquet does not exist"):
        metrics_table.read(tmp_path / "missing.parquet")
    text = tmp_path / "text.parquet"
    text.write_text("not parquet at all, though long enough to look for its end")
    with pytest.raises(DamagedFile, match=r"text\.parquet has no checksum"):
        metrics_table.read(text)
    foreign = tmp_path / "foreign.parquet"
    sealed_parquet.write(foreign, pd.DataFrame({"n": [1]}))
    with pytest.raises(DamagedFile, match=r"is not a metrics table of this version \(columns missing"):
        metrics_table.read(foreign)
    assert not foreign.exists()
