"""Pages of the test examples themselves, at the largest n: values against predictions, or who is taken for whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from neural_kernels.prediction.example_table import LEFT_OUT
from neural_kernels.reports import style
from neural_kernels.reports.mutation_pages import mutation_page, mutation_table
from neural_kernels.reports.prediction_panels import (
    calibration_said,
    confusion,
    draw_values,
    reliability,
    scores,
)
from neural_kernels.reports.table_pages import Table
from neural_kernels.reports.test_scores import Case, cases, interval_table, score_table
from neural_kernels.reports.worst_examples import names_of, worst_table

MOST_PAGES = 12
"""Of values: each has a kernel, a test set and an output."""

FEWEST = 5
"""Measured values without which a page says nothing."""

MOST_TABLES = 4
"""Test sets and outputs with tables of their own."""

REFERENCE = "the commonest letters of the training set"


@dataclass(frozen=True)
class Shown:
    """What the pages are drawn from.

    Attributes:
        examples: rows of ``prediction.example_table`` of each kernel, of a regression or a classification.
        labels: what people read for a kernel.
        sizes: n of each.
        classes: their names; None in a regression.
        preferred: the kernel whose worst predictions are listed.
        others: the same rows of simple methods, with a column ``method``; None where there are none.
        trained: training examples of these.
        names: split, example, name and, of sequences, mutations; None where there are none.
    """

    examples: Mapping[str, pd.DataFrame]
    labels: Mapping[str, str]
    sizes: Mapping[str, int]
    classes: Sequence[str] | None
    preferred: str
    others: pd.DataFrame | None = None
    trained: int = 0
    names: pd.DataFrame | None = None


def example_pages(shown: Shown, title: str, foot: str) -> list[Figure]:
    """The pages, to be called within ``style.context()``; ``foot`` stands below every one."""
    if shown.classes is not None:
        return list(_matrices(shown, shown.classes, title, foot))
    found = cases(shown.examples, shown.others, FEWEST)
    each = [(case, kernel) for case in found for kernel in case.kernels]
    pages: list[Figure] = []
    for case, kernel in each[:MOST_PAGES]:
        heading = f"{shown.labels[kernel]} trained on n = {shown.sizes[kernel]:,}: {case.title}"
        last = len(pages) == min(MOST_PAGES, len(each)) - 1
        left = len(each) - MOST_PAGES
        more = f"{left} more kernels, test sets or outputs are in the tables. " if last and left > 0 else ""
        pages.append(_values(case, kernel, shown, title, heading, more + foot))
    for case in found[:MOST_TABLES]:
        mutations = _mutations(case, shown)
        if mutations is not None:
            kernels = {shown.labels[kernel]: _pair(rows) for kernel, rows in case.kernels.items()}
            others = {name: _pair(rows) for name, rows in case.others.items()}
            below = f"By number of mutations: {case.title}"
            pages += mutation_page(title, below, mutations, kernels, others, REFERENCE, foot)
    return pages


def example_tables(shown: Shown) -> list[Table]:
    """Scores beside simple methods, what intervals hold, scores by number of mutations, the worst predictions."""
    name, tables = names_of(shown.names), []
    label = shown.labels[shown.preferred]
    own = shown.examples.get(shown.preferred)
    if shown.classes is not None:
        if own is None:
            return []
        return [
            worst_table(
                f"The least expected of {style.test_set_name(str(split))}, by {label}",
                rows,
                own,
                name,
                shown.classes,
            )
            for split, rows in own[own["split"] != LEFT_OUT].groupby("split", sort=False)
        ][:MOST_TABLES]
    for case in cases(shown.examples, shown.others, FEWEST)[:MOST_TABLES]:
        tables.append(score_table(case, shown.labels, shown.sizes, shown.trained))
        tables += interval_table(case, shown.examples, shown.labels)
        mutations = _mutations(case, shown)
        if mutations is not None:
            methods = {shown.labels[kernel]: _pair(rows) for kernel, rows in case.kernels.items()}
            methods |= {method: _pair(rows) for method, rows in case.others.items()}
            tables += mutation_table(f"{case.title}: by number of mutations", mutations, methods, REFERENCE)
        if own is not None and shown.preferred in case.kernels:
            title = f"{case.title}: the worst predictions of {label}"
            tables.append(worst_table(title, case.kernels[shown.preferred], own, name, None))
    return tables


def _pair(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows["measured"].to_numpy(float), rows["predicted"].to_numpy(float)


def _mutations(case: Case, shown: Shown) -> np.ndarray | None:
    """Of each example of a case, (m,); None where they are no sequences, or kernels were tested on different ones."""
    tables = [*case.kernels.values(), *case.others.values()]
    places = tables[0]["example"].to_numpy(int)
    if shown.names is None or "mutations" not in shown.names:
        return None
    if any(not np.array_equal(places, rows["example"]) for rows in tables[1:]):
        return None
    own = shown.names[shown.names["split"] == case.split].set_index("example")["mutations"]
    return None if not set(places) <= set(own.index) else own.loc[places].to_numpy(int)


def _values(case: Case, kernel: str, shown: Shown, title: str, heading: str, foot: str) -> Figure:
    rows, target = case.kernels[kernel], case.output or "value"
    truth, found, spread = (rows[name].to_numpy(float) for name in ("measured", "predicted", "spread"))
    known = bool(np.isfinite(spread).all() and (spread > 0).all())
    errors = truth - found
    page = style.new_figure()
    style.draw_title(page, title, heading)
    draw_values(page, truth, found, spread if known else None, target, others=case.errors())
    rmse, mae, explained, rank = scores(truth, found)
    mean = float(np.sqrt(((truth - truth.mean()) ** 2).mean()))
    said = (
        f"{len(truth):,} examples: RMSE {rmse:.4g} (their own mean as prediction: {mean:.4g}), MAE {mae:.4g}, "
        f"R\N{SUPERSCRIPT TWO} {explained:.3f}, Spearman {rank:.3f}."
    )
    if known:
        said += f" Intervals hold {calibration_said(errors, spread)}"
    if case.others and known:
        said += f" Grey lines, fitted to {shown.trained:,} examples: {style.dashes_said(case.others)}."
    style.draw_notes(page, f"{said} {foot}")
    return page


def _matrices(shown: Shown, classes: Sequence[str], title: str, foot: str) -> Iterator[Figure]:
    """A page for each kernel and test set: the matrix, and how far the probabilities can be believed."""
    each = [
        (kernel, str(split), rows)
        for kernel, table in shown.examples.items()
        for split, rows in table[table["split"] != LEFT_OUT].groupby("split", sort=False)
    ]
    for kernel, split, rows in each[:MOST_PAGES]:
        page = style.new_figure()
        heading = (
            f"{shown.labels[kernel]} trained on n = {shown.sizes[kernel]:,}: {style.test_set_name(split)}"
        )
        style.draw_title(page, title, heading)
        truth, found = (rows[name].to_numpy(int) for name in ("measured", "predicted"))
        known = "probability" in rows and bool(rows["probability"].notna().all())
        panels = page.subplots(1, 2 if known else 1, squeeze=False)[0]
        page.subplots_adjust(left=0.1, right=0.97, top=0.82, bottom=0.22, wspace=0.25)
        confusion(panels[0], truth, found, np.array(classes, dtype=object))
        share = float((truth == found).mean())
        said = f"{len(truth):,} examples, {share:.2%} right"
        if known:
            reliability(panels[1], rows["probability"].to_numpy(float), truth == found)
            said += (
                f"; log loss {rows['surprise'].mean():.4g} nats. Probabilities: a softmax of the scores, as sharp as "
                "the validation set, or without one what was left out, makes likeliest"
            )
        style.draw_notes(page, f"{said}. Shares of each true class in colour, examples in numbers. {foot}")
        yield page
