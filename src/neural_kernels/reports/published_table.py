"""What was run beside what is published (paper, Table 1), as a PDF and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from neural_kernels.errors import UserError
from neural_kernels.metrics import table as metrics_table
from neural_kernels.reports import style
from neural_kernels.reports.scaling_summary import kernel_labels
from neural_kernels.reports.table_pages import Table, table_pages
from neural_kernels.storage.files import write_atomically
from neural_kernels.study.published_table import OWN_METHODS, ComparisonTable, Group, Method, Published
from neural_kernels.study.study import Study

NOTHING_RUN = "not run"
FINITE = "Finite NN"
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True)
class Run:
    """One kernel of a study solved for one n.

    Attributes:
        factor: training examples for each image, 1 without augmentation.
        accuracy: test set to accuracy in percent, the mean over draws.
        tested: test set to the number of its examples that were predicted.
        converged: whether every solve behind the numbers did.
    """

    study: str
    label: str
    method: Method
    n: int
    factor: int
    engine: str
    precision: str
    accuracy: Mapping[str, float]
    tested: Mapping[str, int]
    converged: bool


@dataclass(frozen=True)
class Line:
    """A row of the table: a run, a published number, or neither where a method was not run."""

    group: str
    method: Method
    entry: Run | Published | None


# ------------------------------------------------------------------------------------ what was run


def runs_of(study: Study, kernel: str, metrics: pd.DataFrame) -> Iterator[Run]:
    """Every n of one kernel, from the study's metrics table.

    Raises:
        UserError: the table is of another version of the study: a kernel, an n or a test set that its config does
            not have; or the study's data is neither CIFAR-10 nor CIFAR-5m.
    """
    where = f"config/{study.name}.yaml"
    if kernel not in study.kernels:
        raise UserError(f"{where} has no kernel {kernel!r}, expected one of {', '.join(study.kernels)}")
    own = metrics.loc[metrics["kernel"] == kernel]
    if set(own["n"]) != set(study.training_sizes(kernel)):
        raise UserError(
            f"results/{study.name}/metrics.parquet has other training sizes of kernel {kernel} than {where}: "
            "run the study again"
        )
    label = kernel_labels(metrics, study)[kernel].removesuffix(", float32")
    sizes = study.evaluation_sizes(kernel)
    for n in study.training_sizes(kernel):
        part = own.loc[own["n"] == n]
        scores = part.loc[part["metric"] == "accuracy"]
        tests = [test for test in metrics_table.test_sets(scores) if test in sizes]
        if set(tests) != set(metrics_table.test_sets(scores)) or not tests:
            raise UserError(
                f"results/{study.name}/metrics.parquet has other test sets than {where}: run the study again"
            )
        first = part.iloc[0]
        yield Run(
            study.name,
            label,
            _method(study, n),
            n,
            math.ceil(n / study.images),
            ", ".join(sorted(part["engine"].unique())),
            str(first["precision"]),
            {test: 100 * float(scores.loc[scores["split"] == test, "value"].mean()) for test in tests},
            {test: sizes[test] for test in tests},
            bool(part["converged"].all()),
        )


def _method(study: Study, n: int) -> Method:
    data = study.data.name
    if data == "cifar5m":
        return "cifar5m"
    if data != "cifar10":
        raise UserError(
            f"config/{study.name}.yaml has data {data}, expected cifar10 or cifar5m in this table"
        )
    return "none" if n <= study.images else "flips" if n <= 2 * study.images else "augmentation"


def best_runs(runs: list[Run], test_sets: tuple[str, ...]) -> list[Run]:
    """For each test set the run of the largest n, then of the most test examples, then the first.

    A run keeps the test sets that it was chosen for, so that no number stands in the table twice; runs are in the
    order of the test sets.
    """
    chosen: dict[int, list[str]] = {}
    for test_set in test_sets:
        tested = [place for place, run in enumerate(runs) if test_set in run.accuracy]
        if tested:
            best = max(tested, key=lambda place: (runs[place].n, runs[place].tested[test_set], -place))
            chosen.setdefault(best, []).append(test_set)
    return [
        replace(runs[place], accuracy={test: runs[place].accuracy[test] for test in tests})
        for place, tests in chosen.items()
    ]


def lines(comparison: ComparisonTable, run: Mapping[str, tuple[Study, pd.DataFrame]]) -> list[Line]:
    """The rows of the table: for each architecture and method what was run, then what is published.

    Args:
        run: study to its config and metrics table, for those that have been run.

    Raises:
        UserError: see ``runs_of``.
    """
    found: list[Line] = []
    for group in comparison.groups:
        runs = [
            solved
            for study, kernel in group.runs
            if study in run
            for solved in runs_of(run[study][0], kernel, run[study][1])
        ]
        found += _lines(group, runs, comparison.test_sets)
    return found


def _lines(group: Group, runs: list[Run], test_sets: tuple[str, ...]) -> Iterator[Line]:
    for method in OWN_METHODS:
        own = best_runs([run for run in runs if run.method == method], test_sets)
        yield from (Line(group.name, method, entry) for entry in own)
        if not own:
            yield Line(group.name, method, None)
        yield from _published(group, method)
    yield from _published(group, "finite")


def _published(group: Group, method: Method) -> Iterator[Line]:
    yield from (Line(group.name, method, entry) for entry in group.published if entry.method == method)


# ------------------------------------------------------------------------------------------- table


def write_comparison(comparison: ComparisonTable, rows: list[Line], pdf: Path, markdown: Path) -> None:
    """The table as PDF pages and as Markdown; each file appears whole or not at all."""
    table = comparison_table(comparison, rows)
    with style.context():
        style.write_pdf(table_pages([table], comparison.title), pdf, comparison.title)
    text = as_markdown(table)
    write_atomically(markdown, lambda file: file.write(text.encode()))


def comparison_table(comparison: ComparisonTable, rows: list[Line]) -> Table:
    """The rows as text; published ones are quoted, and marked with the letter of their source."""
    sources = list(dict.fromkeys(row.entry.source for row in rows if isinstance(row.entry, Published)))
    letters = {source: chr(ord("a") + place) for place, source in enumerate(sources)}
    tests = comparison.test_sets
    header = ["Architecture", "Method", *map(style.test_set_name, tests), "n", "Factor"]
    header += ["Test\nimages", "Engine", "Study,\nkernel"]
    starts = [place for place in range(1, len(rows)) if rows[place].group != rows[place - 1].group]
    return Table(
        comparison.title,
        header,
        [[name, *_cells(row, tests, letters)] for name, row in zip(_names(rows), rows, strict=True)],
        numbers=frozenset(range(2, 5 + len(tests))),
        alerts=frozenset(
            place for place, row in enumerate(rows) if isinstance(row.entry, Run) and not row.entry.converged
        ),
        quoted=frozenset(place for place, row in enumerate(rows) if isinstance(row.entry, Published)),
        rules=frozenset(starts),
        notes=_notes(comparison, rows, letters),
    )


def _names(rows: list[Line]) -> list[str]:
    """The first column: each architecture once, and where its trained networks start."""
    names = [(row.group, FINITE if row.method == "finite" else row.group) for row in rows]
    return [
        shown if names[:place][-1:] != [(group, shown)] else "" for place, (group, shown) in enumerate(names)
    ]


def _cells(row: Line, tests: tuple[str, ...], letters: Mapping[str, str]) -> list[str]:
    """The columns after the first."""
    entry = row.entry
    if entry is None:
        return [_method_name(row.method, 0), *[""] * (len(tests) + 4), NOTHING_RUN]
    if isinstance(entry, Published):
        shown = [f"{entry.accuracy[test]:.1f}" if test in entry.accuracy else "" for test in tests]
        return [
            entry.label,
            *shown,
            entry.n or "",
            entry.factor or "",
            "",
            "",
            f"published [{letters[entry.source]}]",
        ]
    shown = [f"{entry.accuracy[test]:.1f}" if test in entry.accuracy else "" for test in tests]
    counts = [f"{entry.tested[test]:,}" for test in tests if test in entry.accuracy]
    return [
        _method_name(row.method, entry.factor),
        *shown,
        f"{entry.n:,}",
        str(entry.factor),
        " / ".join(counts if len(set(counts)) > 1 else counts[:1]),
        f"{entry.engine},\n{entry.precision}",
        f"{entry.study},\n{entry.label}",
    ]


def _method_name(method: Method, factor: int) -> str:
    match method:
        case "none":
            return "No augmentation"
        case "flips":
            return "Flips"
        case "augmentation":
            return f"Augmentation {factor}{TIMES}" if factor else "Augmentation"
        case _:
            return "CIFAR-5m"


def _notes(comparison: ComparisonTable, rows: list[Line], letters: Mapping[str, str]) -> list[str]:
    runs = [row.entry for row in rows if isinstance(row.entry, Run)]
    notes = [
        "Accuracy in %. Upright: run here, for each method at the largest n that was run; n counts augmented copies, "
        "factor is n divided by the number of images. A row without numbers was not run."
    ]
    if letters:
        named = "; ".join(f"[{letter}] {source}" for source, letter in letters.items())
        notes.append(
            f"Grey italics: published, not run here, as printed in {comparison.printed_in}, which names as sources "
            f"{named}. Their training sets are others than those of the rows above them."
        )
    if runs:
        few = min(run.tested[test] for run in runs for test in run.accuracy)
        notes.append(
            "Test images: the first so many of the test set, in the order of the columns where they differ. "
            f"One standard error of an accuracy on {few:,} images is at most {50 / math.sqrt(few):.1f} points."
        )
    if not all(run.converged for run in runs):
        notes.append("Bold red: a solve that did not converge.")
    return notes


def as_markdown(table: Table) -> str:
    """The table as GitHub's Markdown: quoted rows in italics, alerts in bold."""
    rows = []
    for place, row in enumerate(table.rows):
        mark = "*" if place in table.quoted else "**" if place in table.alerts else ""
        rows.append([f"{mark}{_escaped(cell)}{mark}" if cell else "" for cell in row])
    header = [_escaped(cell) for cell in table.header]
    ruler = ["---:" if column in table.numbers else "---" for column in range(len(table.header))]
    body = "\n".join(f"| {' | '.join(row)} |" for row in [header, ruler, *rows])
    notes = "\n\n".join(_escaped(note) for note in table.notes)
    return f"# {table.title}\n\n{body}\n\n{notes}\n"


def _escaped(text: str) -> str:
    """Text in which nothing is Markdown: kernels and studies have names with underscores."""
    text = text.replace("\n", " ")
    return "".join(f"\\{letter}" if letter in "\\`*_[]|<>" else letter for letter in text)
