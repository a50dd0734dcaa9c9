"""The report of one fitted model: what its left-out predictions say of it, beside simple baselines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from neural_kernels.reports import style
from neural_kernels.reports.mutation_pages import mutation_page, mutation_table
from neural_kernels.reports.prediction_panels import (
    calibration_said,
    confusion,
    draw_values,
    reliability,
    scores,
    short,
)
from neural_kernels.reports.table_pages import Table, table_pages
from neural_kernels.reports.test_scores import RANKING_NOTE, SCORES, ranked

FOLDS = 5
FEWEST = 2 * FOLDS
"""Examples of a target, or of a class, without which baselines have nothing to learn from in a fold."""
MOST_FOR_BASELINES = 5000
"""Examples beyond which baselines are judged on so many of them."""
TREES = 100
"""Of a forest."""
WORST = 12
"""Examples that are listed."""


def write_report(
    out: Path,
    title: str,
    targets: Sequence[str],
    model: Any,
    flat: np.ndarray,
    y: np.ndarray,
    names: Sequence[str],
    further: Sequence[Table] = (),
    inputs: str = "table",
    mutations: tuple[np.ndarray, str] | None = None,
) -> str:
    """Write the PDF, and return what it found in a sentence.

    Args:
        model: a fitted ``NeuralKernelRegressor`` or ``NeuralKernelClassifier`` whose kernel was solved in memory.
        flat: (n, features) what baselines are fitted to.
        y: as it was fitted to.
        names: of the examples, (n,).
        further: tables that stand before those of left-out predictions.
        inputs: what examples are, "molecules", "strings" or "table".
        mutations: of sequences, the positions that differ from a reference (n,), and this in words.
    """
    with style.context():
        if hasattr(model, "classes_"):
            pages, tables, said = _classification(title, model, flat, y, names, inputs)
        else:
            pages, tables, said = _regression(title, targets, model, flat, y, names, inputs, mutations)
        foot, warned = _how(model), warnings_of(model)
        if warned:
            rows = [(sentence,) for sentence in warned]
            tables.insert(0, Table("Warnings", ("What",), rows, alerts=frozenset(range(len(rows)))))
        pages += table_pages([*further, *tables], foot, len(pages) + 1)
        style.write_pdf(pages, out, title)
    return said


def _how(model: Any) -> str:
    return (
        f"{len(model.dual_coef_):,} examples; kernel {model.architecture_.name}; ridge {model.ridge_:.3g} of the mean "
        "diagonal, by leave-one-out."
    )


def warnings_of(model: Any) -> list[str]:
    """What a reader has to know before the numbers, a sentence each."""
    found, solve = [], model.solve_
    if not solve.converged:
        found.append(f"The solve has not converged: residual {solve.residual:.1e}.")
    if solve.details.get("ridge_choice", {}).get("ridge_at_edge"):
        found.append(f"The best ridge, {model.ridge_:.3g}, is at an end of those that were tried.")
    if passed := len(solve.ridges_passed_over):
        found.append(f"{passed} ridges were passed over: the kernel is singular to rounding there.")
    return found


# ----------------------------------------------------------------------------- regression


def _regression(
    title: str,
    targets: Sequence[str],
    model: Any,
    flat: np.ndarray,
    y: np.ndarray,
    names: Sequence[str],
    inputs: str,
    mutations: tuple[np.ndarray, str] | None,
) -> tuple[list[Figure], list[Table], str]:
    pages, tables, said = [], [], []
    columns = [
        np.asarray(array).reshape(len(y), -1) for array in (y, model.loo_predictions_, model.loo_spread())
    ]
    for k, target in enumerate(targets):
        known = ~np.isnan(columns[0][:, k])
        truth, found, spread = (array[known, k] for array in columns)
        errors = truth - found
        page = style.new_figure()
        style.draw_title(page, title, f"{target}: each example predicted by all others")
        judged = baselines(flat[known], truth, inputs) if len(truth) >= FEWEST else {}
        errors_of = {name: scores(*pair)[0] for name, pair in judged.items()}
        draw_values(page, truth, found, spread, target, ", left out", errors_of)
        lines = f" Grey lines, by {FOLDS} folds: {style.dashes_said(judged)}." if judged else ""
        style.draw_notes(page, _how(model) + lines, " ".join(warnings_of(model)))
        pages.append(page)
        rmse, _, explained, _ = scores(truth, found)
        rows = [("Neural kernel, leave-one-out", *ranked(truth, found))]
        rows += [(f"{name}, {FOLDS} folds", *ranked(*pair)) for name, pair in judged.items()]
        tables.append(
            Table(
                f"{target}: scores",
                ("Method", *SCORES),
                rows,
                numbers=frozenset(range(1, 1 + len(SCORES))),
                quoted=frozenset(range(1, len(rows))),
                notes=(f"Left-out intervals hold {calibration_said(errors, spread)}", RANKING_NOTE),
            )
        )
        if mutations is not None:
            counts, reference = mutations
            pairs = {"Neural kernel, leave-one-out": (truth, found)}
            own, ours = f"{target}: left-out, by number of mutations", counts[known]
            tables += mutation_table(own, ours, pairs, reference)
            pages += mutation_page(title, own, ours, pairs, {}, reference, _how(model))
        tables.append(_worst(model, target, np.flatnonzero(known), truth, found, spread, names))
        said.append(f"{target}: left-out RMSE {rmse:.4g}, R\N{SUPERSCRIPT TWO} {explained:.3f}")
    return pages, tables, "; ".join(said)


def _sampled(flat: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.random.default_rng(0).permutation(len(truth))[:MOST_FOR_BASELINES]
    return flat[chosen], truth[chosen]


def _bits(x: np.ndarray) -> np.ndarray:
    return np.asarray(x) != 0


def _alike(kind: Any, inputs: str) -> dict[str, Any]:
    """Nearest neighbours; of molecules by Tanimoto's similarity, which is one less Jaccard's distance."""
    if inputs != "molecules":
        return {"Five nearest neighbours": kind()}
    by_bits = make_pipeline(FunctionTransformer(_bits), kind(metric="jaccard"))
    return {"Five nearest neighbours, Tanimoto": by_bits}


def baselines(
    flat: np.ndarray, truth: np.ndarray, inputs: str = "table"
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Values and predictions of simple methods by cross-validation, of at most ``MOST_FOR_BASELINES`` examples."""
    x, y = _sampled(flat, truth)
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    methods = {
        "Mean": DummyRegressor(),
        "Ridge regression": RidgeCV(np.logspace(-2, 5, 15)),
        **_alike(KNeighborsRegressor, inputs),
        "Random forest": RandomForestRegressor(TREES, random_state=0, n_jobs=-1),
    }
    return {name: (y, cross_val_predict(method, x, y, cv=folds)) for name, method in methods.items()}


def _worst(
    model: Any,
    target: str,
    places: np.ndarray,
    truth: np.ndarray,
    found: np.ndarray,
    spread: np.ndarray,
    names: Sequence[str],
) -> Table:
    worst = np.argsort(-np.abs(truth - found))[:WORST]
    alike = model.neighbours(places[worst])
    rows = [
        (
            short(names[places[place]]),
            f"{truth[place]:.4g}",
            f"{found[place]:.4g}",
            f"{spread[place]:.2g}",
            short(names[near]),
            f"{likeness:.3f}",
        )
        for place, near, likeness in zip(worst, *alike, strict=True)
    ]
    header = ("Example", "Measured", "Predicted", "Spread", "Nearest other example", "Likeness")
    return Table(f"{target}: the worst predictions", header, rows, numbers=frozenset({1, 2, 3, 5}))


# ----------------------------------------------------------------------------- classification


def _classification(
    title: str, model: Any, flat: np.ndarray, y: np.ndarray, names: Sequence[str], inputs: str
) -> tuple[list[Figure], list[Table], str]:
    classes, scores = model.classes_, model.loo_predictions_
    truth = np.searchsorted(classes, y)
    found = scores.argmax(axis=1)
    probabilities = model.loo_probabilities()
    page = style.new_figure()
    style.draw_title(page, title, "Each example predicted by all others")
    left, right = page.subplots(1, 2)
    page.subplots_adjust(left=0.1, right=0.97, top=0.84, bottom=0.2, wspace=0.25)
    confusion(left, truth, found, classes)
    reliability(right, probabilities.max(axis=1), found == truth)
    style.draw_notes(page, _how(model), " ".join(warnings_of(model)))
    accuracy = float((found == truth).mean())
    surprise = -float(np.log(np.maximum(probabilities[np.arange(len(y)), truth], 1e-300)).mean())
    rows = [("Neural kernel, leave-one-out", f"{accuracy:.2%}", f"{surprise:.4g}")]
    notes = []
    if np.bincount(truth).min() < FOLDS:
        notes.append(f"No baselines: a class has fewer than {FOLDS} examples.")
    else:
        rows += [
            (f"{name}, {FOLDS} folds", f"{share:.2%}", "") for name, share in _baselines(flat, truth, inputs)
        ]
    table = Table(
        "Scores", ("Method", "Accuracy", "Log loss (nats)"), rows, numbers=frozenset({1, 2}), notes=notes
    )
    worst = _least_expected(model, truth, probabilities, names)
    return [page], [table, worst], f"left-out accuracy {accuracy:.1%}, log loss {surprise:.3f}"


def _least_expected(model: Any, truth: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> Table:
    own = probabilities[np.arange(len(truth)), truth]
    worst = np.argsort(own, kind="stable")[:WORST]
    rows = [
        (
            short(names[place]),
            str(model.classes_[truth[place]]),
            str(model.classes_[probabilities[place].argmax()]),
            f"{own[place]:.2g}",
            short(names[near]),
            str(model.classes_[truth[near]]),
            f"{likeness:.3f}",
        )
        for place, near, likeness in zip(worst, *model.neighbours(worst), strict=True)
    ]
    header = (
        "Example",
        "Class",
        "Predicted",
        "Probability of its class",
        "Nearest other example",
        "Its class",
    )
    return Table("The least expected", (*header, "Likeness"), rows, numbers=frozenset({3, 6}))


def _baselines(flat: np.ndarray, truth: np.ndarray, inputs: str) -> Iterator[tuple[str, float]]:
    """Accuracies of simple methods by cross-validation, of at most ``MOST_FOR_BASELINES`` examples."""
    x, y = _sampled(flat, truth)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    methods = {
        "Most frequent class": DummyClassifier(),
        "Logistic regression": LogisticRegression(max_iter=1000),
        **_alike(KNeighborsClassifier, inputs),
        "Random forest": RandomForestClassifier(TREES, random_state=0, n_jobs=-1),
    }
    for name, method in methods.items():
        yield name, float((cross_val_predict(method, x, y, cv=folds) == y).mean())
