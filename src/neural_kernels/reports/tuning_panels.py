"""The panels of the tuning report: history, importances, slices, and the transfer to more examples."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy import stats

from neural_kernels.reports import style
from neural_kernels.reports.tuning_summary import WINNER, Results, judged_on, text_of
from neural_kernels.tuning.importance import FEWEST
from neural_kernels.tuning.records import TrialRecord
from neural_kernels.tuning.space import Choices, Hyperparameter

TRIAL, BEST, BASELINE = style.COLOURS[0], style.COLOURS[1], "#000000"
SLICE_COLUMNS, SLICE_ROWS = 5, 3
DASHES = (0, (5, 2))


def history_figure(results: Results) -> Figure:
    """The objective of each trial and the best so far, and beside it the importances.

    To be called within ``style.context()``.
    """
    space, found = results.tuning.space, len(results.ranking)
    heading = f"{len(space.hyperparameters)} hyperparameters of {space.fixed['architecture']['name']}, "
    figure = _page(results, f"{heading}{len(results.trials):,} trials, {found:,} of them complete")
    ax = _axes(figure, (1.25, 1.85, 5.75, 5.05))
    complete = [record for record in results.trials if record.state == "complete"]
    numbers = np.array([record.number for record in complete])
    values = np.array([results.value(record) for record in complete])
    best = (np.minimum if results.objective.direction == "minimize" else np.maximum).accumulate(values)
    ax.plot(numbers, values, "o", color=TRIAL, markersize=3.6, alpha=0.75, label="Trial", gid="trials")
    end = len(results.trials) - 1
    ax.step(
        [*numbers, end],
        [*best, best[-1]],
        where="post",
        color=BEST,
        label="Best so far",
        gid="best",
        zorder=3,
    )
    _baseline_line(ax, results)
    _value_axis(ax, [*values, *_baseline_value(results)], "y")
    for state, marker in (("pruned", "v"), ("failed", "x")):
        lost = [record.number for record in results.trials if record.state == state]
        if lost:
            # At the lower edge: they have no value.
            ax.plot(
                lost, [0.015] * len(lost), marker, color=style.ALERT, markersize=5, linestyle="none",
                transform=ax.get_xaxis_transform(), label=f"{state.capitalize()}, no value", gid=state, clip_on=False,
            )  # fmt: skip
    ax.set_xlim(-0.02 * max(end, 1) - 0.5, end + 0.02 * max(end, 1) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("Trial")
    ax.set_ylabel(results.objective_label())
    ax.grid(True)
    width, height = figure.get_size_inches()
    figure.legend(
        *ax.get_legend_handles_labels(),
        loc="lower left",
        bbox_to_anchor=(1.25 / width, 0.95 / height),
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        ncols=5,
        columnspacing=1.4,
        handlelength=1.6,
    ).set_gid("legend")
    _importance_panel(figure, results)
    _notes(figure, _history_notes(results))
    return figure


def _importance_panel(figure: Figure, results: Results) -> None:
    names = list(results.importances or {})
    box = (9.05, 1.85, 2.1, 5.05)
    ax = _axes(figure, box)
    ax.set_title("Importance", fontweight="bold", pad=8)
    if not names:
        ax.set_axis_off()
        text = f"not shown with fewer\nthan {FEWEST} complete trials"
        ax.text(0.5, 0.95, text, ha="center", va="top", color=style.MUTED, transform=ax.transAxes)
        return
    shares = [100 * (results.importances or {})[name] for name in names]
    ax.barh(range(len(names)), shares, color=TRIAL, height=0.65, gid="importances")
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.12 * max(shares))
    ax.set_xlabel("Share (%)")
    ax.tick_params(axis="y", length=0)
    ax.grid(True, axis="x")


def _history_notes(results: Results) -> list[str]:
    ended = {state: sum(record.state == state for record in results.trials) for state in ("pruned", "failed")}
    first = results.trials[0]
    text = (
        f"{first.training_examples:,} training and {first.validation_examples:,} validation examples of the training "
        f"set, {first.precision}; the ridge of every trial is the best of the study's candidates {judged_on(first)}. "
        "The value of the best of many trials is optimistic: the test is on the page of tables."
    )
    if any(ended.values()):
        text += f" Without a value: {ended['pruned']} pruned, {ended['failed']} failed; the reasons are in a table."
    if results.importances:
        text += (
            " Importance: share of the explained variance of the objective (functional ANOVA, main effects)"
        )
        conditional = [h.name for h in results.tuning.space.hyperparameters if h.when]
        text += f", without {', '.join(conditional)}, which not every trial has." if conditional else "."
    return textwrap.wrap(text, style.NOTE_WIDTH)


# ------------------------------------------------------------------------------------------- slices


def slice_figures(results: Results) -> list[Figure]:
    """The objective against each hyperparameter, the more important ones first."""
    order = list(results.importances or {})
    known = {h.name: h for h in results.tuning.space.hyperparameters}
    shown = [known[name] for name in order] + [h for name, h in known.items() if name not in order]
    shown = [h for h in shown if any(h.name in record.hyperparameters for record in results.ranking)]
    size = SLICE_COLUMNS * SLICE_ROWS
    pages = [shown[first : first + size] for first in range(0, len(shown), size)]
    return [_slices(results, page) for page in pages]


def _slices(results: Results, shown: Sequence[Hyperparameter]) -> Figure:
    figure = _page(results, "Each hyperparameter against the objective")
    values = [results.value(record) for record in results.ranking] + _baseline_value(results)
    left, right, gap, between = 1.2, style.MARGIN, 0.3, 0.72
    wide = (style.PAGE[0] - left - right - gap * (SLICE_COLUMNS - 1)) / SLICE_COLUMNS
    high = (style.PAGE[1] - 1.25 - 1.3 - between * (SLICE_ROWS - 1)) / SLICE_ROWS
    for place, hyperparameter in enumerate(shown):
        row, column = divmod(place, SLICE_COLUMNS)
        bottom = style.PAGE[1] - 1.25 - (row + 1) * high - row * between
        ax = _axes(figure, (left + column * (wide + gap), bottom, wide, high))
        _draw_slice(ax, results, hyperparameter)
        _value_axis(ax, values, "y", most=4)
        ax.grid(True, axis="y")
        if column == 0:
            ax.set_ylabel(textwrap.fill(results.objective_label(), 20))
        else:
            ax.tick_params(labelleft=False)
    _notes(
        figure,
        textwrap.wrap(
            "Dots: complete trials. Square: the best one. Choices are spread sideways by the trial's number. What a "
            "sampler has tried is no random sample: it looks where it found good values.",
            style.NOTE_WIDTH,
        ),
    )
    return figure


def _draw_slice(ax: Axes, results: Results, hyperparameter: Hyperparameter) -> None:
    name, domain = hyperparameter.name, hyperparameter.domain
    records = [record for record in results.ranking if name in record.hyperparameters]
    values = [results.value(record) for record in records]
    drawn = [record.hyperparameters[name] for record in records]
    if isinstance(domain, Choices):
        last = max(len(results.trials) - 1, 1)
        x = [
            domain.values.index(value) + 0.5 * (record.number / last - 0.5)
            for value, record in zip(drawn, records, strict=True)
        ]
        labels = [textwrap.fill(text_of(value).replace("_", " "), 10) for value in domain.values]
        crowded = len(labels) > 4 or max(map(len, labels)) > 8
        ax.set_xticks(range(len(labels)), labels, size=style.SMALL - (1.5 if crowded else 0))
        ax.set_xlim(-0.6, len(labels) - 0.4)
    else:
        x = drawn
        if domain.log:
            room = (domain.high / domain.low) ** 0.04
            ax.set_xscale("log")
            ax.set_xlim(domain.low / room, domain.high * room)
            style.log_axis(ax, "x", most=5)
        else:
            room = 0.04 * (domain.high - domain.low)
            ax.set_xlim(domain.low - room, domain.high + room)
            ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=domain.integer))
    ax.plot(x, values, "o", color=TRIAL, markersize=3, alpha=0.6, gid=name)
    best = results.ranking[0]
    if best in records:
        ax.plot(
            x[records.index(best)], results.value(best), "s", color=BEST, markersize=6, zorder=3, gid="winner"
        )
    ax.set_xlabel(name)


# ----------------------------------------------------------------------------------------- transfer


def transferred_pairs(results: Results) -> tuple[list[TrialRecord], np.ndarray, np.ndarray]:
    """Trials with both objectives, and these, (pairs,) each: in the search and in the second look."""
    few = {record.name: record for record in results.ranking}
    both = [r for r in results.transferred if r.state == "complete" and r.name in few]
    return (
        both,
        np.array([results.value(few[record.name]) for record in both]),
        np.array([results.value(record) for record in both]),
    )


def transfer_figure(results: Results) -> Figure:
    """The objective of the second look against that of the search (paper, Fig. 5), and the ranks."""
    transfer = results.tuning.transfer
    assert transfer is not None
    searched, again = results.tuning.training_examples, transfer.training_examples
    records, x, y = transferred_pairs(results)
    figure = _page(results, f"Does what is best with {searched:,} training examples stay so with {again:,}?")
    ax = _axes(figure, (1.25, 1.85, 4.4, 4.9))
    ax.plot(x, y, "o", color=TRIAL, markersize=4.5, alpha=0.8, label="Trial", gid="transfer")
    baseline = next((r for r in results.transferred if r.name == "baseline"), None)
    corner = _baseline_value(results) if baseline is not None and baseline.state == "complete" else []
    beside = [results.value(baseline)] if corner and baseline is not None else []
    if corner:
        ax.plot(corner, beside, "D", color=BASELINE, markersize=6, label=results.baseline_label())
    best = results.ranking[0].name
    for record, at, value in zip(records, x, y, strict=True):
        if record.name == best:
            ax.plot(at, value, "s", color=BEST, markersize=7, label=WINNER, zorder=3, gid="winner")
    _value_axis(ax, [*x, *corner], "x", most=5)
    _value_axis(ax, [*y, *beside], "y")
    ax.set_xlabel(f"{results.objective_label()}, {searched:,} training examples")
    ax.set_ylabel(f"{results.objective_label()}, {again:,} training examples")
    ax.grid(True)
    ax.legend(frameon=False, loc="best")
    _rank_panel(figure, results, x, y, best, records)
    _notes(figure, textwrap.wrap(_transfer_note(results, x, y), style.NOTE_WIDTH))
    return figure


def _rank_panel(
    figure: Figure, results: Results, x: np.ndarray, y: np.ndarray, best: str, records: Sequence[TrialRecord]
) -> None:
    assert results.tuning.transfer is not None
    searched, again = results.tuning.training_examples, results.tuning.transfer.training_examples
    ax = _axes(figure, (6.75, 1.85, 4.4, 4.9))
    sign = 1 if results.objective.direction == "minimize" else -1
    ranks = stats.rankdata(sign * x), stats.rankdata(sign * y)
    ax.plot(*ranks, "o", color=TRIAL, markersize=4.5, alpha=0.8, gid="ranks")
    for place, record in enumerate(records):
        if record.name == best:
            ax.plot(ranks[0][place], ranks[1][place], "s", color=BEST, markersize=7, zorder=3)
    count = max(len(x), 1)
    ax.plot([1, count], [1, count], color=style.RULE, linewidth=1, linestyle=DASHES, zorder=1)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlim(0, count + 1)
    ax.set_ylim(0, count + 1)
    ax.set_xlabel(f"Rank among these trials, {searched:,} training examples (1: best)")
    ax.set_ylabel(f"Rank, {again:,} training examples")
    ax.grid(True)


def correlations(x: np.ndarray, y: np.ndarray) -> tuple[float, float] | None:
    """Pearson's and Spearman's correlation; None for fewer than three points or constant values."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(stats.pearsonr(x, y).statistic), float(stats.spearmanr(x, y).statistic)


def _transfer_note(results: Results, x: np.ndarray, y: np.ndarray) -> str:
    found = correlations(x, y)
    numbers = (
        "Too few trials for a correlation."
        if found is None
        else f"{len(x)} trials: Pearson correlation {found[0]:.3f}, Spearman rank correlation {found[1]:.3f}."
    )
    lost = sum(record.state in ("failed", "pruned") for record in results.transferred)
    return (
        f"{numbers} The trials are spread evenly over the ranking of the complete ones, the best and the worst among "
        f"them; both sizes judged, and their ridge chosen, {judged_on(results.baseline)}."
        + (f" {lost} gave no value in the second look." if lost else "")
        + " (The paper's Fig. 5, between 100 and 2,000 examples of AAV: 0.918 and 0.700.)"
    )


# -------------------------------------------------------------------------------------------- pieces


def _page(results: Results, heading: str) -> Figure:
    figure = style.new_figure()
    width, height = figure.get_size_inches()
    left = style.MARGIN / width
    figure.text(left, 1 - 0.42 / height, results.title, size=style.TITLE, fontweight="bold", va="top")
    figure.text(left, 1 - 0.74 / height, heading, size=style.NORMAL + 1.5, va="top")
    return figure


def _axes(figure: Figure, inches: tuple[float, float, float, float]) -> Axes:
    width, height = figure.get_size_inches()
    left, bottom, wide, high = inches
    return figure.add_axes((left / width, bottom / height, wide / width, high / height))


def _baseline_value(results: Results) -> list[float]:
    """None or one value."""
    return [results.value(results.baseline)] if results.baseline.assessment is not None else []


def _baseline_line(ax: Axes, results: Results) -> None:
    for value in _baseline_value(results):
        ax.axhline(
            value,
            color=BASELINE,
            linewidth=1.2,
            linestyle=DASHES,
            label=results.baseline_label(),
            gid="baseline",
        )


def _value_axis(ax: Axes, values: Sequence[float], which: str, most: int = 6) -> None:
    """Limits with some room, logarithmic where the values span more than a factor of five."""
    if not values:
        return
    low, high = min(values), max(values)
    set_limits = ax.set_xlim if which == "x" else ax.set_ylim
    if low > 0 and high / low > 5:
        room = (high / low) ** 0.06
        (ax.set_xscale if which == "x" else ax.set_yscale)("log")
        set_limits(low / room, high * room)
        style.log_axis(ax, which, most=most)
        return
    room = 0.06 * (high - low or abs(high) or 1.0)
    set_limits(low - room, high + room)
    (ax.xaxis if which == "x" else ax.yaxis).set_major_locator(MaxNLocator(nbins=most))


def _notes(figure: Figure, lines: Sequence[str]) -> None:
    width, height = figure.get_size_inches()
    for line, note in enumerate(reversed(lines)):
        figure.text(
            style.MARGIN / width, (0.3 + 0.17 * line) / height, note, size=style.SMALL, color=style.MUTED
        )
