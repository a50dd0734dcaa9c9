"""The test examples that are predicted worst, each with the training example that the kernel finds nearest."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from neural_kernels.prediction.example_table import LEFT_OUT
from neural_kernels.reports.prediction_panels import short
from neural_kernels.reports.table_pages import Table

WORST = 12
"""Examples that are listed."""

Name = Callable[[str, int], str]
"""What an example is called, by its split and place."""


def names_of(table: pd.DataFrame | None) -> Name:
    """A function that names examples, by the table of names where they are in it, else by their places.

    Args:
        table: split, example and name; None where there is none.
    """
    known = {}
    if table is not None:
        for split, example, name in zip(table["split"], table["example"], table["name"], strict=True):
            known[str(split), int(example)] = str(name)
    return lambda split, example: known.get((split, example), f"{split} {example:,}")


def worst_table(
    title: str, rows: pd.DataFrame, of_kernel: pd.DataFrame, name: Name, classes: Sequence[str] | None
) -> Table:
    """The worst of one test set and output.

    Args:
        rows: those of it with a measured value (``prediction.example_table``).
        of_kernel: all rows of the kernel, among which what training examples measured is looked up.
        classes: their names; None in a regression.
    """
    output = str(rows["output"].iloc[0])
    left_out = of_kernel[(of_kernel["split"] == LEFT_OUT) & (of_kernel["output"] == output)]
    measured = dict(zip(left_out["example"].astype(int), left_out["measured"], strict=True))
    cost = (rows["measured"] - rows["predicted"]).abs() if classes is None else rows.get("surprise")
    if cost is None or cost.isna().all():
        cost = (rows["measured"] != rows["predicted"]).astype(float)
    chosen = rows.loc[cost.sort_values(ascending=False, kind="stable").index[:WORST]]
    cells = []
    for row in chosen.to_dict("records"):
        split, near = str(row["split"]), row.get("nearest", np.nan)
        there = not pd.isna(near)
        values = [row["measured"], row["predicted"], measured.get(int(near)) if there else None]
        shown = [_value(value, classes) for value in values]
        spread = row.get("spread" if classes is None else "probability", np.nan)
        cells.append(
            (
                short(name(split, int(row["example"])), 40),
                shown[0],
                shown[1],
                "" if pd.isna(spread) else f"{spread:.2g}",
                short(name("train", int(near)), 40) if there else "",
                shown[2],
                f"{row['likeness']:.3f}" if there else "",
            )
        )
    header = [
        "Example",
        "Measured",
        "Predicted",
        "Spread",
        "Nearest training example",
        "It measured",
        "Likeness",
    ]
    if classes is not None:
        header[1:4], header[5] = ["True class", "Predicted", "Its probability"], "Its class"
    kept = [column for column in range(len(header)) if any(row[column] for row in cells)]
    numbers = (1, 2, 3, 5, 6) if classes is None else (3, 6)
    return Table(
        title,
        [header[column] for column in kept],
        [[row[column] for column in kept] for row in cells],
        numbers=frozenset(place for place, column in enumerate(kept) if column in numbers),
        notes=(
            "Likeness: the correlation that the kernel gives both. Examples of a set and rows of a file are counted "
            "from 0, lines from 1.",
        ),
    )


def _value(value: float | None, classes: Sequence[str] | None) -> str:
    if value is None or pd.isna(value):
        return ""
    return f"{value:.4g}" if classes is None else short(str(classes[int(value)]), 16)
