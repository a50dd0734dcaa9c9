"""The report of a comparison of splits: predicted against measured, scaling, and the table (paper, Table 2)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from neural_kernels.datasets.log_targets import name_of
from neural_kernels.datasets.options import MeasuredOptions
from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics.evaluation import LOSS
from neural_kernels.metrics.table import TRAIN, VALIDATION
from neural_kernels.reports import style
from neural_kernels.reports.chosen import count_passed_over
from neural_kernels.reports.kernel_choice import choices, preferred
from neural_kernels.reports.scaling_panels import scaling_figure
from neural_kernels.reports.scaling_summary import kernel_labels
from neural_kernels.reports.scaling_tables import exponents
from neural_kernels.reports.split_tables import all_kernels, beside_published, chosen_by, simple_methods
from neural_kernels.reports.table_pages import table_pages
from neural_kernels.reports.warnings import Warned, warning_table, warnings_of
from neural_kernels.study.split_comparison import Comparison
from neural_kernels.study.study import Study

COLUMNS_A_PAGE = 4
PANELS_A_ROW, PANELS_A_PAGE = 3, 6
HEXAGONS = 40  # across a panel
# Around the panels and between them, inches.
LEFT, RIGHT, TOP, BOTTOM, ACROSS, BETWEEN = 1.05, 1.25, 1.6, 1.0, 0.75, 1.1
LARGEST_PANEL = 4.3


@dataclass(frozen=True)
class Run:
    """What a study of one split has found.

    ``metrics`` is its table, and ``predictions`` has for each kernel the table of ``stages.splits.predict_tests`` at
    its largest n; ``baselines`` has the scores of simple methods (``reports.beside_baselines``), where there are some,
    and ``ridges`` what each candidate of the ridge was worth (``reports.ridge_sweep``).
    """

    study: Study
    metrics: pd.DataFrame
    predictions: Mapping[str, pd.DataFrame]
    baselines: pd.DataFrame | None = None
    ridges: pd.DataFrame | None = None


def summary(comparison: Comparison, runs: Mapping[str, Run]) -> pd.DataFrame:
    """A row for each split and kernel that was run, one with names alone for each other split.

    Columns: split, study, kernel, label, n, draws, ridge, validation_mse, left_out_mse, test_examples, mse, spearman,
    pearson, passed_over (candidates of the ridge), converged, chosen, and one for each published column. All numbers
    are at the kernel's largest n, means over its draws but for left_out_mse, the first draw's; ``chosen`` marks the
    kernel of the split that ``kernel_choice.preferred`` takes: by the validation set, without one by leaving one out.
    """
    records: list[dict[Any, Any]] = []
    for split in comparison.studies:
        published = {column.name: column.values.get(split, np.nan) for column in comparison.published}
        if split not in runs:
            records.append({"split": split, "chosen": True, **published})
            continue
        own = [
            _kernel_record(comparison, runs[split], kernel, label)
            for kernel, label in kernel_labels(runs[split].metrics, runs[split].study).items()
        ]
        choice = choices(runs[split].metrics, runs[split].study, {}, runs[split].ridges)
        best, left_out = preferred(choice), choice.set_index("kernel")["left_out"]
        records += [
            {
                "split": split,
                **record,
                "left_out_mse": left_out[record["kernel"]],
                "chosen": record["kernel"] == best,
                **published,
            }
            for record in own
        ]
    columns = ["split", "study", "kernel", "label", "n", "draws", "ridge", "validation_mse", "left_out_mse"]
    columns += ["test_examples", "mse", "spearman", "pearson", "passed_over", "converged", "chosen"]
    columns += [column.name for column in comparison.published]
    return pd.DataFrame(records, columns=columns).astype(
        {"n": "Int64", "draws": "Int64", "test_examples": "Int64", "passed_over": "Int64"}
    )


def _kernel_record(comparison: Comparison, run: Run, kernel: str, label: str) -> dict[str, Any]:
    own = run.metrics.loc[run.metrics["kernel"] == kernel]
    own = own.loc[own["n"] == own["n"].max()]

    def mean(split: str, metric: str) -> float:
        return float(own.loc[(own["split"] == split) & (own["metric"] == metric), "value"].mean())

    predictions = run.predictions[kernel]
    return {
        "study": run.metrics["study"].iloc[0],
        "kernel": kernel,
        "label": label,
        "n": int(own["n"].iloc[0]),
        "draws": own["draw"].nunique(),
        "ridge": float(own.loc[own["split"] == TRAIN, "ridge"].iloc[0]),
        "validation_mse": mean(VALIDATION, LOSS["regression"]),
        "test_examples": int((predictions["test_set"] == comparison.test_set).sum()),
        **{metric: mean(comparison.test_set, metric) for metric in ("mse", "spearman", "pearson")},
        "passed_over": count_passed_over(own),
        "converged": bool(own["converged"].all()),
    }


def write_splits_report(comparison: Comparison, runs: Mapping[str, Run], out: Path) -> None:
    """The report as a PDF of A4 pages: predictions, scaling, and the tables; equal input gives equal bytes."""
    table = summary(comparison, runs)
    with style.context():
        pages = prediction_figures(comparison, runs, table)
        metrics, study = by_split(comparison, runs)
        shown = metrics_table.test_sets(metrics)
        for first in range(0, len(shown), COLUMNS_A_PAGE):
            pages.append(scaling_figure(metrics, study, shown[first : first + COLUMNS_A_PAGE]))
            _draw_note(pages[-1], comparison.note)
        foot = f"{comparison.title}  ·  comparison {comparison.name}"
        tables = [
            *warning_table(_warnings(runs)),
            beside_published(comparison, table),
            all_kernels(comparison, table),
            *simple_methods(comparison, {split: run.baselines for split, run in runs.items()}),
            exponents(metrics, study),
        ]
        pages += table_pages(tables, foot, len(pages) + 1)
        style.write_pdf(pages, out, comparison.title)


def _warnings(runs: Mapping[str, Run]) -> list[Warned]:
    return [
        replace(one, kernel=f"{split}: {one.kernel}")
        for split, run in runs.items()
        for one in warnings_of(run.metrics, run.study)
    ]


def write_splits_figure(comparison: Comparison, runs: Mapping[str, Run], out: Path) -> None:
    """The panels of the first page alone, as .png or .svg by the name of ``out``."""
    with style.context():
        style.write_image(prediction_figures(comparison, runs, summary(comparison, runs))[0], out)


def by_split(comparison: Comparison, runs: Mapping[str, Run]) -> tuple[pd.DataFrame, Study]:
    """One metrics table with a test set for each split, and one study of all, for ``scaling_panels``."""
    tables = []
    for split, run in runs.items():
        tested = run.metrics.loc[run.metrics["split"] == comparison.test_set]
        tables.append(tested.assign(study=comparison.name, split=split))
    first = next(iter(runs.values())).study
    # How far each split has tested them is in no panel of all.
    kernels = {
        name: replace(kernel, test_examples=None)
        for run in runs.values()
        for name, kernel in run.study.kernels.items()
    }
    sections = first.sections.model_copy(update={"title": comparison.title})
    shared = replace(first, sections=sections, kernels=kernels)
    return metrics_table.concat(tables), shared


# ----------------------------------------------------------------------------- predictions


def prediction_figures(comparison: Comparison, runs: Mapping[str, Run], table: pd.DataFrame) -> list[Figure]:
    """Predicted against measured, a panel for each split that was run; to be called within ``style.context()``."""
    chosen = table.loc[table["chosen"] & table["kernel"].notna()].to_dict("records")
    pages = [chosen[first : first + PANELS_A_PAGE] for first in range(0, len(chosen), PANELS_A_PAGE)]
    return [_prediction_page(comparison, runs, table, page) for page in pages]


def _prediction_page(
    comparison: Comparison, runs: Mapping[str, Run], table: pd.DataFrame, records: list[dict[Any, Any]]
) -> Figure:
    figure = style.new_figure()
    style.draw_title(figure, comparison.title)
    _draw_note(figure, comparison.note)
    axes = _panels(figure, len(records))
    hexagons = []
    for place, (ax, record) in enumerate(zip(axes, records, strict=True)):
        predictions = runs[record["split"]].predictions[record["kernel"]]
        part = predictions.loc[predictions["test_set"] == comparison.test_set].dropna(subset="measured")
        hexagons.append(_draw(ax, part["measured"].to_numpy(), part["predicted"].to_numpy()))
        ax.set_gid(f"predictions {record['split']}")
        ax.set_title(record["split"], fontweight="bold", pad=32)
        ax.annotate(
            f"Spearman {record['spearman']:.3f}, $n$ = {record['n']:,}\n{record['label']}",
            (0.5, 1.0),
            (0, 6),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="center",
            size=style.SMALL,
        )
        ax.set_xlabel(f"Measured{_logarithm(runs[record['split']].study)}")
        if place % PANELS_A_ROW == 0:
            ax.set_ylabel("Predicted")
    norm = LogNorm(1, max(2.0, *(float(np.max(np.asarray(drawn.get_array()))) for drawn in hexagons)))
    for drawn in hexagons:
        drawn.set_norm(norm)
    _, low, _, tall = axes[-1].get_position().bounds
    right = max(ax.get_position().x1 for ax in axes)
    bar = figure.add_axes((right + 0.3 / style.PAGE[0], low, 0.14 / style.PAGE[0], tall))
    figure.colorbar(hexagons[0], cax=bar).set_label("Test examples in a hexagon")
    style.log_axis(bar, "y", most=5)
    style.draw_notes(
        figure,
        "Test examples of each split in the units of what is learnt, predicted by the kernel with the smallest "
        f"{chosen_by(table)} error at its largest n. Line: predicted as measured.",
    )
    return figure


def _logarithm(study: Study) -> str:
    """What to add to the name of an axis of targets, where these are logarithms."""
    offset = study.data.log_offset if isinstance(study.data, MeasuredOptions) else None
    return "" if offset is None else f", {name_of('target', offset)}"


def _draw_note(figure: Figure, note: str) -> None:
    """The comparison's note below the title, not to be missed."""
    width, height = figure.get_size_inches()
    for line, text in enumerate(textwrap.wrap(note, style.NOTE_WIDTH)):
        down = 0.74 + 0.15 * line
        figure.text(style.MARGIN / width, 1 - down / height, text, size=style.SMALL, color=style.ALERT)


def _draw(ax: Axes, measured: np.ndarray, predicted: np.ndarray) -> PolyCollection:
    """Hexagons by how many examples they hold, and the line of equal values."""
    low = min(measured.min(), predicted.min())
    high = max(measured.max(), predicted.max())
    room = 0.03 * (high - low or 1.0)
    ends = (low - room, high + room)
    ax.plot(ends, ends, color=style.MUTED, linewidth=0.8, zorder=1)
    drawn = ax.hexbin(
        measured, predicted, gridsize=HEXAGONS, extent=(*ends, *ends), mincnt=1, cmap="viridis", linewidths=0.1,
        zorder=2,
    )  # fmt: skip
    ax.set_xlim(*ends)
    ax.set_ylim(*ends)
    ax.set_aspect("equal")
    ax.set_yticks([tick for tick in ax.get_xticks() if ends[0] <= tick <= ends[1]])
    ax.set_xticks(ax.get_yticks())
    return drawn


def _panels(figure: Figure, count: int) -> list[Axes]:
    """Square panels in rows of at most ``PANELS_A_ROW``, as large as the page allows."""
    width, height = figure.get_size_inches()
    columns = min(count, PANELS_A_ROW)
    rows = -(-count // PANELS_A_ROW)
    side = min(
        LARGEST_PANEL,
        (width - LEFT - RIGHT - ACROSS * (columns - 1)) / columns,
        (height - TOP - BOTTOM - BETWEEN * (rows - 1)) / rows,
    )
    axes = []
    for place in range(count):
        row, column = divmod(place, PANELS_A_ROW)
        left = LEFT + column * (side + ACROSS)
        low = height - TOP - (row + 1) * side - row * BETWEEN
        axes.append(figure.add_axes((left / width, low / height, side / width, side / height)))
    return axes
