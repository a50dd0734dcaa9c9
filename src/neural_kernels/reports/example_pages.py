"""Pages of the test examples themselves, at the largest n: values against predictions, or who is taken for whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from neural_kernels.reports import style
from neural_kernels.reports.prediction_panels import calibration_said, confusion, draw_values, scores

MOST_PAGES = 12
"""Of values: each has a kernel, a test set and an output."""

FEWEST = 5
"""Measured values without which a page says nothing."""

MATRICES_A_PAGE = 2


def example_pages(
    examples: Mapping[str, pd.DataFrame],
    labels: Mapping[str, str],
    sizes: Mapping[str, int],
    classes: Sequence[str] | None,
    title: str,
    foot: str,
) -> list[Figure]:
    """The pages, to be called within ``style.context()``.

    Args:
        examples: rows of ``prediction.example_table`` of each kernel, of a regression or a classification.
        labels: what people read for a kernel.
        sizes: n of each.
        classes: their names; None in a regression.
        foot: below every page.
    """
    cases = [
        (kernel, str(split), str(output), rows)
        for kernel, table in examples.items()
        for (split, output), rows in table.groupby(["split", "output"], sort=False)
    ]
    if classes is not None:
        return list(_matrices(cases, labels, sizes, classes, title, foot))
    measured = [
        (kernel, split, output, rows[rows["measured"].notna()]) for kernel, split, output, rows in cases
    ]
    shown = [case for case in measured if len(case[3]) >= FEWEST][:MOST_PAGES]
    left = len(cases) - len(shown)
    pages: list[Figure] = []
    for kernel, split, output, rows in shown:
        what = ", ".join(filter(None, (style.test_set_name(split), output)))
        heading = f"{labels[kernel]} trained on n = {sizes[kernel]:,}: {what}"
        last = left and len(pages) == len(shown) - 1
        more = f"{left} more kernels, test sets or outputs are in the tables. " if last else ""
        pages.append(_values(rows, output or "value", title, heading, more + foot))
    return pages


def _values(rows: pd.DataFrame, target: str, title: str, heading: str, foot: str) -> Figure:
    truth, found, spread = (rows[name].to_numpy(float) for name in ("measured", "predicted", "spread"))
    known = bool(np.isfinite(spread).all() and (spread > 0).all())
    errors = truth - found
    page = style.new_figure()
    style.draw_title(page, title, heading)
    draw_values(page, truth, found, spread if known else None, target)
    rmse, mae, explained, rank = scores(truth, found)
    mean = float(np.sqrt(((truth - truth.mean()) ** 2).mean()))
    said = (
        f"{len(truth):,} examples: RMSE {rmse:.4g} (their own mean as prediction: {mean:.4g}), MAE {mae:.4g}, "
        f"R\N{SUPERSCRIPT TWO} {explained:.3f}, Spearman {rank:.3f}."
    )
    if known:
        said += f" Intervals hold {calibration_said(errors, spread)}"
    style.draw_notes(page, f"{said} {foot}")
    return page


def _matrices(
    cases: Sequence[tuple[str, str, str, pd.DataFrame]],
    labels: Mapping[str, str],
    sizes: Mapping[str, int],
    classes: Sequence[str],
    title: str,
    foot: str,
) -> Iterator[Figure]:
    for first in range(0, len(cases), MATRICES_A_PAGE):
        here = cases[first : first + MATRICES_A_PAGE]
        page = style.new_figure()
        style.draw_title(page, title, "Who is taken for whom, at the largest n")
        panels = page.subplots(1, MATRICES_A_PAGE, squeeze=False)[0]
        page.subplots_adjust(left=0.1, right=0.97, top=0.8, bottom=0.22, wspace=0.32)
        for ax in panels[len(here) :]:
            ax.set_axis_off()
        for ax, (kernel, split, _, rows) in zip(panels, here, strict=False):
            truth, found = (rows[name].to_numpy(int) for name in ("measured", "predicted"))
            confusion(ax, truth, found, np.array(classes, dtype=object))
            share = float((truth == found).mean())
            ax.set_title(
                f"{labels[kernel]}, n = {sizes[kernel]:,}, {style.test_set_name(split)}: {share:.1%} right"
            )
        style.draw_notes(page, f"Shares of each true class in colour, examples in numbers. {foot}")
        yield page
