from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from comparisons import write_metrics, write_study, write_table
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_kernels.cli import main
from neural_kernels.errors import UserError
from neural_kernels.metrics import table as metrics_table
from neural_kernels.reports.published_table import (
    NOTHING_RUN,
    Line,
    Run,
    as_markdown,
    best_runs,
    comparison_table,
    lines,
)
from neural_kernels.reports.table_pages import Table
from neural_kernels.study.published_table import ComparisonTable, Published, load_table

TESTS = ("cifar10", "cifar10_1", "cifar5m")


def fill(folder: Path, **changes: object) -> tuple[ComparisonTable, list[Line]]:
    comparison = load_table(write_table(folder, **changes))
    files = comparison.metrics_files(folder / "results")
    run = {name: (comparison.study(name), metrics_table.read(file)) for name, file in files.items()}
    return comparison, lines(comparison, run)


def own(rows: list[Line], group: str = "FC") -> dict[str, list[Run]]:
    """Method to what was run of it."""
    found: dict[str, list[Run]] = {}
    for row in rows:
        if row.group == group and not isinstance(row.entry, Published):
            found.setdefault(row.method, []).extend([row.entry] if row.entry else [])
    return found


def cells(table: Table, method: str) -> list[str]:
    """The first row of the method, which is that of the first architecture."""
    return list(next(row for row in table.rows if row[1] == method))


def test_a_table_without_runs_shows_what_is_published(tmp_path: Path) -> None:
    comparison, rows = fill(tmp_path)
    table = comparison_table(comparison, rows)
    assert own(rows) == {"none": [], "flips": [], "augmentation": [], "cifar5m": []}
    assert [row[1] for row in table.rows[:7]] == [
        "No augmentation", "Flips", "Augmentation", "DA CG", "CIFAR-5m", "CG", "Small LR",
    ]  # fmt: skip
    assert cells(table, "DA CG")[2:] == ["64.1", "", "", "", "20", "", "", "published [a]"]
    assert cells(table, "CG")[2:] == ["", "", "78.6", "2M", "", "", "", "published [a]"]
    assert [row[0] for row in table.rows] == ["FC", *[""] * 5, "Finite NN", "CNN-Vec", "", "", ""]
    # What is not run has no number at all, and what has one is marked.
    for place, row in enumerate(table.rows):
        assert any(row[2:-1]) == (place in table.quoted)
        assert row[-1].startswith("published [") if place in table.quoted else row[-1] == NOTHING_RUN
    assert "[a] A, 2023; [b] B, 2020" in table.notes[1]


def test_the_largest_n_fills_a_row_with_how_it_was_run(tmp_path: Path) -> None:
    write_study(tmp_path, "small", [10, 100], {"cifar10": 500, "cifar10_1": 200}, images=100)
    write_metrics(
        tmp_path, "small", {10: {"cifar10": 0.9, "cifar10_1": 0.8}, 100: {"cifar10": 0.5, "cifar10_1": 0.4}}
    )
    comparison, rows = fill(tmp_path)
    table = comparison_table(comparison, rows)
    assert cells(table, "No augmentation")[2:] == [
        "50.0", "40.0", "", "100", "1", "500 / 200", "native,\nfloat64", "small,\nFC3 NTK",
    ]  # fmt: skip


def test_factors_of_one_study_are_rows_of_their_methods(tmp_path: Path) -> None:
    write_study(tmp_path, "copies", [50, 100, 150, 400], {"cifar10": 200}, images=50, factor=8)
    accuracies = {50: 0.30, 100: 0.40, 150: 0.45, 400: 0.55}
    write_metrics(
        tmp_path, "copies", {n: {"cifar10": value} for n, value in accuracies.items()}, precision="float32"
    )
    comparison, rows = fill(tmp_path)
    found = own(rows)
    assert {method: [(run.n, run.factor) for run in runs] for method, runs in found.items()} == {
        "none": [(50, 1)], "flips": [(100, 2)], "augmentation": [(400, 8)], "cifar5m": [],
    }  # fmt: skip
    row = cells(comparison_table(comparison, rows), "Augmentation 8\N{MULTIPLICATION SIGN}")
    assert row[2:] == ["55.0", "", "", "400", "8", "200", "native,\nfloat32", "copies,\nFC3 NTK"]


def test_a_run_on_fewer_test_images_says_so(tmp_path: Path) -> None:
    write_study(tmp_path, "small", [10], {"cifar10": 10000}, test_examples=1000)
    write_metrics(tmp_path, "small", {10: {"cifar10": 0.5}})
    comparison, rows = fill(tmp_path)
    table = comparison_table(comparison, rows)
    assert cells(table, "No augmentation")[7] == "1,000"
    assert "on 1,000 images is at most 1.6 points" in table.notes[-1]


def test_of_equal_n_the_larger_test_set_is_shown(tmp_path: Path) -> None:
    write_study(tmp_path, "small", [10], {"cifar10": 1000})
    write_study(tmp_path, "large", [10], {"cifar10": 2000})
    write_metrics(tmp_path, "small", {10: {"cifar10": 0.9}})
    write_metrics(tmp_path, "large", {10: {"cifar10": 0.5}})
    (run,) = own(fill(tmp_path)[1])["none"]
    assert (run.study, run.accuracy, run.tested) == ("large", {"cifar10": 50.0}, {"cifar10": 2000})


def test_test_sets_of_different_runs_are_different_rows(tmp_path: Path) -> None:
    write_study(tmp_path, "small", [10], {"cifar10": 100, "cifar10_1": 100})
    write_study(tmp_path, "large", [20], {"cifar10": 100})
    write_metrics(tmp_path, "small", {10: {"cifar10": 0.4, "cifar10_1": 0.3}})
    write_metrics(tmp_path, "large", {20: {"cifar10": 0.5}})
    found = [(run.study, dict(run.accuracy)) for run in own(fill(tmp_path)[1])["none"]]
    assert found == [("large", {"cifar10": 50.0}), ("small", {"cifar10_1": 30.0})]


def test_cifar5m_is_a_method_of_its_own_and_draws_are_averaged(tmp_path: Path) -> None:
    write_study(tmp_path, "many", [10], {"cifar5m": 100}, data="cifar5m")
    write_metrics(tmp_path, "many", {10: {"cifar5m": 0.6}}, draws=2)
    found = own(fill(tmp_path)[1])
    assert [run.accuracy["cifar5m"] for run in found["cifar5m"]] == [pytest.approx(61.0)]
    assert found["none"] == []


def test_kernels_go_to_their_own_architectures(tmp_path: Path) -> None:
    write_study(tmp_path, "both", [10], {"cifar10": 100}, kernels=("FC3", "CV8"))
    first = write_metrics(tmp_path, "both", {10: {"cifar10": 0.4}}, kernels=("FC3",))
    table = pd.read_parquet(first)
    other = table.assign(kernel="CV8", architecture="CV8")
    other.loc[other["metric"] == "accuracy", "value"] = 0.6
    metrics_table.write(pd.concat([table, other]), first)
    rows = fill(tmp_path)[1]
    assert [run.accuracy["cifar10"] for run in own(rows, "FC")["none"]] == [40.0]
    assert [run.accuracy["cifar10"] for run in own(rows, "CNN-Vec")["none"]] == [60.0]


def test_a_solve_that_did_not_converge_is_red_and_said(tmp_path: Path) -> None:
    write_study(tmp_path, "small", [10], {"cifar10": 100})
    write_metrics(tmp_path, "small", {10: {"cifar10": 0.5}}, converged=False)
    comparison, rows = fill(tmp_path)
    table = comparison_table(comparison, rows)
    assert table.alerts == {0}
    assert "did not converge" in table.notes[-1]
    assert "| **50.0** |" in as_markdown(table)


@pytest.mark.parametrize(
    ("study", "sentence"),
    [
        ({"sizes": [10, 20]}, "other training sizes of kernel FC3"),
        ({"tests": {"cifar10_1": 100}}, "other test sets"),
        ({"kernels": ("CV8",)}, "has no kernel 'FC3', expected one of CV8"),
        ({"data": "tiny_imagenet"}, "has data tiny_imagenet, expected cifar10 or cifar5m"),
    ],
)
def test_metrics_of_another_config_are_refused(tmp_path: Path, study: dict[str, Any], sentence: str) -> None:
    write_study(tmp_path, "small", **({"sizes": [10], "tests": {"cifar10": 100}} | study))
    write_metrics(tmp_path, "small", {10: {"cifar10": 0.5}})
    with pytest.raises(UserError, match="small") as error:
        fill(tmp_path)
    assert sentence in str(error.value)


def run(place: int, n: int, tested: dict[str, int]) -> Run:
    accuracy = {test: float(100 * place + column) for column, test in enumerate(tested)}
    return Run(f"s{place}", "FC3", "none", n, 1, "native", "float64", accuracy, tested, True)


RUNS = st.lists(
    st.tuples(
        st.sampled_from([8, 16, 32]),
        st.dictionaries(st.sampled_from(TESTS), st.sampled_from([100, 200]), min_size=1),
    ),
    max_size=5,
)


@given(RUNS)
@settings(max_examples=60, deadline=None)
def test_every_test_set_is_shown_once_from_the_largest_n(drawn: list[tuple[int, dict[str, int]]]) -> None:
    runs = [run(place, n, tested) for place, (n, tested) in enumerate(drawn)]
    best = best_runs(runs, TESTS)
    shown = [test for one in best for test in one.accuracy]
    assert sorted(shown) == sorted({test for one in runs for test in one.accuracy})
    for one in best:
        for test, value in one.accuracy.items():
            rivals = [(other.n, other.tested[test]) for other in runs if test in other.accuracy]
            assert (one.n, one.tested[test]) == max(rivals)
            assert value in [other.accuracy[test] for other in runs if other.study == one.study]


def test_the_verb_writes_both_files_and_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    write_study(tmp_path, "small", [10], {"cifar10": 100})
    write_metrics(tmp_path, "small", {10: {"cifar10": 0.5}})
    path, results = write_table(tmp_path), tmp_path / "results"
    contents = []
    for _ in range(2):
        assert main(["report-comparison", str(path), "--results", str(results)]) == 0
        contents.append([(results / name).read_bytes() for name in ("mine.pdf", "mine.md")])
    assert contents[0] == contents[1]
    assert contents[0][0].startswith(b"%PDF")
    text = contents[0][1].decode()
    assert "| FC | No augmentation | 50.0 |  |  | 10 | 1 | 100 | native, float64 | small, FC3 NTK |" in text
    assert "|  | *DA CG* | *64.1* |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {len(TESTS) + 8}


def test_a_faulty_metrics_table_is_one_sentence_and_nothing_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_study(tmp_path, "small", [10], {"cifar10": 100})
    write_metrics(tmp_path, "small", {10: {"cifar10": 0.5}}).write_bytes(b"damaged")
    results = tmp_path / "results"
    with caplog.at_level(logging.ERROR):
        assert main(["report-comparison", str(write_table(tmp_path)), "--results", str(results)]) == 2
    assert not list(results.glob("mine.*"))


def test_text_is_no_markdown() -> None:
    table = Table("T", ["a"], [["x_y|z"], ["1\n2"]], quoted=frozenset({1}))
    assert "| x\\_y\\|z |\n| *1 2* |" in as_markdown(table)
