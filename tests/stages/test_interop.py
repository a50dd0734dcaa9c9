"""Kernels of other programs as studies, and ours for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from foreign_kernels import fc1, kernel_and_labels, write_blocks
from tiny_studies import DIGITS, study_with_blocks

from neural_kernels.blocks.importing import check_kernel
from neural_kernels.blocks.kernel_files import open_kernel
from neural_kernels.cli import main
from neural_kernels.errors import UserError
from neural_kernels.metrics import table as metrics_table
from neural_kernels.stages.approximations import approximate
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.interop import compare_kernels, export_kernel, import_blocks
from neural_kernels.stages.kernels import compute_block, verify_blocks
from neural_kernels.stages.plan import plan_study
from neural_kernels.stages.report import collect_metrics
from neural_kernels.stages.solve import solve
from neural_kernels.study.study import Study, load_study

CONFIG = DIGITS | {
    "kernels": {"FC": {"architecture": {"name": "FC", "depth": 1}, "preprocessing": "plain"}},
    "training_sizes": {"smallest": 16},
}
TRAIN, VALIDATION, TEST = 60, 25, 40
Own = tuple[Study, Path, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Own:
    """A study of our own and its results; the same kernel by other means, and the labels."""
    study, results = study_with_blocks(tmp_path_factory.mktemp("own"), CONFIG)
    return study, results, *kernel_and_labels(study, results)


@pytest.fixture
def source(own: Own, tmp_path: Path) -> Path:
    """The kernel in blocks of 25, which do not end where the training set does."""
    folder = tmp_path / "theirs"
    write_blocks(folder, own[2], own[3], 25, TRAIN)
    return folder


def run_import(
    folder: Path, source: Path, labels: Path | None = None, test: int = TEST
) -> tuple[Study, Path]:
    path, results = folder / "config" / "imported.yaml", folder / "results"
    import_blocks(path, results, "Theirs", source, labels, "ntk", VALIDATION, test)
    return load_study(path), results


def metrics(study: Study, results: Path, kernel: str) -> np.ndarray:
    """Every number of every size, in the order of the table."""
    for n in study.training_sizes(kernel):
        solve(study, results, kernel, n, threads=1)
        evaluate_predictions(study, results, kernel, n)
    collect_metrics(study, results)
    table = metrics_table.read(results / study.name / "metrics.parquet")
    chosen = table[~table.metric.str.contains("second|residual")]
    return chosen.sort_values(
        ["n", "draw", "split", "metric"], key=lambda c: c.replace("digits", "test")
    ).value.to_numpy()


def test_an_imported_kernel_gives_the_numbers_of_a_study_of_our_own(
    own: Own, source: Path, tmp_path: Path
) -> None:
    study, results = run_import(tmp_path, source)
    assert study.training_sizes("Theirs") == own[0].training_sizes("FC") == [16, 32, 60]
    for part in ("train", "validation", "test"):
        verify_blocks(study, results, "Theirs", part)
    theirs, ours = metrics(study, results, "Theirs"), metrics(own[0], own[1], "FC")
    assert len(theirs) == 18
    np.testing.assert_allclose(theirs, ours, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("columns", [TRAIN, TRAIN + VALIDATION + TEST])
def test_one_array_is_the_same_kernel_as_its_blocks(own: Own, tmp_path: Path, columns: int) -> None:
    _, _, kernel, labels = own
    np.save(tmp_path / "K.npy", np.asfortranarray(kernel[:, :columns].astype(">f4")))
    np.save(tmp_path / "labels.npy", labels)
    study, results = run_import(tmp_path, tmp_path / "K.npy")
    assert study.precision == "float32"
    assert study.block_edge("Theirs") == len(kernel)
    train = np.load(results / "imported/kernels/Theirs/train/blocks/0-0.npy")
    np.testing.assert_array_equal(train, np.triu(train) + np.triu(train, 1).T)
    np.testing.assert_array_equal(np.triu(train), np.triu(kernel[:TRAIN, :TRAIN].astype(np.float32)))
    test = np.load(results / "imported/kernels/Theirs/test/blocks/0-0.npy")
    np.testing.assert_array_equal(test, kernel[TRAIN + VALIDATION :, :TRAIN].astype(np.float32))


def test_a_deleted_block_comes_from_the_source_and_from_no_engine(source: Path, tmp_path: Path) -> None:
    study, results = run_import(tmp_path, source)
    folder = results / "imported/kernels/Theirs/test"
    before = (folder / "blocks/0-1.npy").read_bytes()
    for name in ("blocks", "kept"):
        (folder / name / "0-1.npy").unlink()
    compute_block(study, results, "Theirs", "test", (0, 1), threads=1)
    assert (folder / "blocks/0-1.npy").read_bytes() == before
    for name in ("blocks", "kept"):
        (folder / name / "0-1.npy").unlink()
    for file in source.glob("ntk-0-*"):
        with file.open("r+b") as opened:
            array = 0.5 * np.load(opened)
            opened.seek(0)
            np.save(opened, array)
    with pytest.raises(UserError, match="holds another kernel than"):
        compute_block(study, results, "Theirs", "test", (0, 1), threads=1)
    source.rename(tmp_path / "away")
    with pytest.raises(UserError, match="theirs: no such file or folder, expected a kernel"):
        compute_block(study, results, "Theirs", "test", (0, 1), threads=1)


def edit(file: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    array = change(np.load(file))
    with file.open("wb") as opened:
        np.save(opened, array)


def put(place: tuple[int, int], value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[place] = value
        return array

    return change


def also_below(folder: Path) -> None:
    """The block that is the transpose of another, with an entry that is not."""
    array = np.load(folder / "ntk-0-1.npy").T.copy()
    array[3, 4] += 1e-2
    np.save(folder / "ntk-1-0.npy", array)


def both(folder: Path) -> None:
    (folder / "ntk-1-2.npy").write_bytes((folder / "ntk-1-2").read_bytes())


MISTAKES: list[tuple[Callable[[Path], object], str]] = [
    (lambda d: (d / "ntk-1-2").unlink(), "found no block 1-2, expected the kernel of all 125 examples with the 60"),
    (lambda d: (d / "ntk-0-0.npy").unlink(), "there is no block 0-0"),
    (lambda d: edit(d / "ntk-0-2.npy", lambda a: a[:, :20]), r"found an array \(25, 20\), expected \(25, 25\)"),
    (lambda d: edit(d / "ntk-0-2.npy", lambda a: a.ravel()), r"found an array \(625,\) of float64, expected a matrix"),
    (lambda d: edit(d / "ntk-0-2.npy", lambda a: a.astype(int)), "of int64, expected a matrix of float64, float32"),
    (lambda d: (d / "ntk-0-2.npy").write_bytes(b"x"), "ntk-0-2.npy: damaged or not an .npy file"),
    (lambda d: edit(d / "ntk-0-0.npy", put((3, 4), 0.5)), r"3 and 4 \(block 0-0\) is 0.5, expected the same as on the"),
    (also_below, r"\(block 1-0\) is .*, expected the same as on the other side of the diagonal"),
    (lambda d: edit(d / "ntk-0-3.npy", put((3, 4), np.nan)), r"79 and 3 \(block 3-0\) is nan, expected a finite"),
    (lambda d: edit(d / "ntk-0-0.npy", put((3, 3), -1.0)), "example 3 with itself is -1.0, expected a positive number"),
    (lambda d: edit(d / "ntk-0-1.npy", put((3, 4), 99.0)), r"29 and 3 \(block 1-0\) is 99.0, expected at most"),
    (lambda d: edit(d / "ntk-0-1.npy", lambda a: -a), "has the eigenvalue -.*, expected none below"),
    (both, "found ntk-1-2 and ntk-1-2.npy, expected one file of block 1-2"),
    (lambda d: edit(d / "labels.npy", lambda a: a[:-1]), "found 124 labels, expected one for each of the 125 rows"),
    (lambda d: edit(d / "labels.npy", lambda a: a - 1), "the label of example .* is -1, expected an integer"),
    (lambda d: edit(d / "labels.npy", lambda a: np.where(a == 7, 6, a)), "no training example has the label 7"),
    (lambda d: edit(d / "labels.npy", lambda a: a[:, None]), r"found an array \(125, 1\) of int64, expected labels"),
    (lambda d: (d / "labels.npy").unlink(), r"labels.npy: no such file, expected the labels of the 125 rows"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "sentence"), MISTAKES)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    source: Path, tmp_path: Path, mistake: Callable[[Path], object], sentence: str
) -> None:
    mistake(source)
    with pytest.raises(UserError, match=sentence):
        run_import(tmp_path, source)
    assert list(tmp_path.iterdir()) == [source]


def test_sizes_and_names_that_do_not_fit_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="--validation 25 and --test 100 leave 0 training examples of the 125"
    ):
        run_import(tmp_path, source, test=100)
    with pytest.raises(UserError, match="nowhere: no such file or folder"):
        run_import(tmp_path, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UserError, match="found no blocks of the ntk kernel, expected files called <kind>-<i>-<j>"
    ):
        run_import(tmp_path, tmp_path / "empty")
    (tmp_path / "results/imported").mkdir(parents=True)
    with pytest.raises(
        UserError, match=r"results/imported is there already, expected the name of a study without"
    ):
        run_import(tmp_path, source)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/imported.yaml").write_text("title: mine\n")
    with pytest.raises(
        UserError, match=r"imported.yaml is there already, expected the name of a study that is not"
    ):
        run_import(tmp_path, source)
    assert (tmp_path / "config/imported.yaml").read_text() == "title: mine\n"


def test_the_same_command_completes_an_import_that_was_killed(source: Path, tmp_path: Path) -> None:
    run_import(tmp_path, source)
    folder = tmp_path / "results/imported/kernels/Theirs/train"
    for name in ("blocks", "kept"):
        (folder / name / "0-2.npy").unlink()
    run_import(tmp_path, source)
    assert (folder / "blocks/0-2.npy").exists()


def test_the_diagonal_may_differ_by_the_rounding_of_a_gpu(own: Own, tmp_path: Path) -> None:
    kernel = own[2].astype(np.float32) * (1 + 1e-6 * np.random.default_rng(0).uniform(-1, 1, own[2].shape))
    np.save(tmp_path / "K.npy", kernel.astype(np.float32))
    assert 0 < check_kernel(open_kernel(tmp_path / "K.npy"), TRAIN) < 1e-5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"data": CONFIG["data"]}, "is imported, but data.name is digits: expected labels"),
        (
            {"kernels": CONFIG["kernels"]},
            "kernels.FC has an architecture, but data.name is labels: expected imported",
        ),
        (
            {"preprocessing": {"rows": {"method": "standardize"}}},
            "is imported, but preprocessing.rows is not none",
        ),
        (
            {"approximations": {"methods": ["bayesian_committee_machine"], "sizes": [10]}},
            "needs the kernel among test examples, and kernel Theirs is imported",
        ),
    ],
)
def test_what_a_kernel_of_labels_lacks_is_refused_before_any_work(
    source: Path, tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    run_import(tmp_path, source)
    path = tmp_path / "config/imported.yaml"
    config = yaml.safe_load(path.read_text()) | {
        "preprocessing": {"rows": {"method": "none"}, "plain": {"method": "none"}}
    }
    path.write_text(yaml.safe_dump(config | change))
    with pytest.raises(UserError, match=sentence):
        load_study(path)


def test_approximations_of_an_imported_kernel_need_no_engine(source: Path, tmp_path: Path) -> None:
    _, results = run_import(tmp_path, source)
    path = tmp_path / "config/imported.yaml"
    more = {"approximations": {"methods": ["nystrom", "block_diagonal"], "sizes": [10]}}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | more))
    study = load_study(path)
    for method in ("nystrom", "block_diagonal"):
        approximate(study, results, "Theirs", method, 10, threads=1)
        assert (results / f"imported/approximations/Theirs/{method}/size10.parquet").exists()


# --------------------------------------------------------------------------------------- export


def test_an_exported_kernel_is_the_matrix_in_both_forms(own: Own, tmp_path: Path) -> None:
    study, results, kernel, _ = own
    export_kernel(study, results, "FC", "train", tmp_path / "K.npy")
    np.testing.assert_allclose(np.load(tmp_path / "K.npy"), kernel[:TRAIN, :TRAIN], rtol=1e-9)
    export_kernel(study, results, "FC", "train", tmp_path / "folder")
    names = sorted(path.name for path in (tmp_path / "folder").iterdir())
    assert names == sorted(f"ntk-{i}-{j}.npy" for i in range(4) for j in range(i, 4))
    export_kernel(study, results, "FC", "digits", tmp_path / "test")
    assert len(list((tmp_path / "test").iterdir())) == 3 * 4
    store = results / "tiny/kernels/FC"
    assert "difference: 0\n" in compare_kernels(store / "train", results, tmp_path / "K.npy")
    assert "3,600 entries compared" in compare_kernels(store / "train", results, tmp_path / "folder")
    assert "40 x 60, 2,400 entries compared" in compare_kernels(store / "digits", results, tmp_path / "test")


def test_an_export_replaces_nothing_and_needs_every_block(own: Own, tmp_path: Path) -> None:
    study, results = own[:2]
    (tmp_path / "K.npy").write_text("mine")
    with pytest.raises(UserError, match=r"K.npy is there already, expected a place where nothing is"):
        export_kernel(study, results, "FC", "train", tmp_path / "K.npy")
    with pytest.raises(UserError, match="has no part 'tests', expected one of train, validation, digits"):
        export_kernel(study, results, "FC", "tests", tmp_path / "other")
    shutil.copytree(results, tmp_path / "results")
    (tmp_path / "results/tiny/kernels/FC/train/blocks/1-2.npy").unlink()
    with pytest.raises(UserError, match=r"1-2.npy is missing; run the same command again"):
        export_kernel(study, tmp_path / "results", "FC", "train", tmp_path / "other")
    assert (tmp_path / "K.npy").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"K.npy", "results"}


# ------------------------------------------------------------------------------------ comparison


def test_a_comparison_says_how_far_two_kernels_are_apart_and_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = fc1(np.random.default_rng(0).normal(size=(30, 4)))
    other = one.copy()
    other[7, 21] += 0.25
    small = np.unravel_index(np.argmin(np.abs(one)), one.shape)
    other[small] *= 2
    np.save(tmp_path / "one.npy", one)
    np.save(tmp_path / "other.npy", other)
    assert main(["compare-kernels", str(tmp_path / "one.npy"), str(tmp_path / "other.npy")]) == 0
    said = capsys.readouterr().out
    assert "30 x 30, 900 entries compared" in said
    assert f"largest absolute difference: 0.25, at (7, 21): {one[7, 21]:.9g} and {other[7, 21]:.9g}" in said
    assert f"largest relative difference: 0.5, at ({small[0]}, {small[1]})" in said
    assert f"{np.corrcoef(one.ravel(), other.ravel())[0, 1]:.12f}" in said


def test_kernels_that_cannot_be_compared_are_said(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.eye(3))
    np.save(tmp_path / "other.npy", np.eye(4))
    np.save(tmp_path / "broken.npy", np.full((3, 3), np.nan))
    with pytest.raises(UserError, match=r"other.npy: found a kernel of 4 x 4, expected 3 x 3 as .*one.npy"):
        compare_kernels(tmp_path / "one.npy", tmp_path, tmp_path / "other.npy")
    with pytest.raises(UserError, match=r"broken.npy: rows 0 to 2 have entries that are not finite"):
        compare_kernels(tmp_path / "one.npy", tmp_path, tmp_path / "broken.npy")


def test_a_plan_of_an_imported_kernel_measures_no_engine(source: Path, tmp_path: Path) -> None:
    study, results = run_import(tmp_path, source)
    (row,) = [
        line.split() for line in plan_study(study, results).splitlines() if line.split()[:1] == ["Theirs"]
    ]
    assert row[1:2] == ["imported"]
    assert "unknown" in row
