"""Sums of kernels of the same examples, as an architecture of their own: by every engine, in blocks, and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_studies import DIGITS, study_with_blocks

from neural_kernels import blocks, engines
from neural_kernels.architectures import build, covariance_entries, is_flip_symmetric, output_shape
from neural_kernels.engines import common_windows, kernel_matrix, variances
from neural_kernels.errors import UserError
from neural_kernels.stages.solve import solve
from neural_kernels.study.folders import store_folder

TERMS = [
    {"weight": 0.7, "name": "CNNVec", "depth": 2},
    {"weight": 2, "name": "FC", "depth": 1, "activation": "erf"},
]
SUM = build("Sum", terms=TERMS)
CNN, FC = build("CNNVec", depth=2), build("FC", depth=1, activation="erf")
X = np.random.default_rng(0).normal(size=(9, 4, 4, 2))


@pytest.mark.parametrize("engine", engines.ON_PROCESSORS)
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_entries_are_the_weighted_sum(engine: str, kind: Any, precision: Any) -> None:
    given: dict[str, Any] = {"kind": kind, "engine": engine, "precision": precision}
    for other in (None, X[:4] + 1):
        expected = 0.7 * kernel_matrix(CNN, X, other, **given) + 2 * kernel_matrix(FC, X, other, **given)
        found, atol = kernel_matrix(SUM, X, other, **given), 1e-6 if precision == "float32" else 0.0
        assert found.dtype == precision
        np.testing.assert_allclose(found, expected, rtol=1e-6 if precision == "float32" else 1e-14, atol=atol)
    own = kernel_matrix(SUM, X, **given)
    np.testing.assert_array_equal(own, own.T)
    np.testing.assert_allclose(variances(SUM, X, **given), np.diag(own), rtol=1e-6)


def test_each_term_has_the_engine_that_covers_it() -> None:
    both = build(
        "Sum", terms=[{"weight": 1, "name": "FC3"}, {"weight": 1, "name": "Myrtle5", "activation": "gelu"}]
    )
    name, _ = engines.select("auto", both, (8, 8, 3))
    assert name == engines.select("auto", build("FC3"), (8, 8, 3))[0]
    with pytest.raises(UserError, match="needs positions"):
        engines.select("auto", SUM, (5,))


def test_sequences_are_computed_in_the_windows_in_which_they_differ() -> None:
    x = np.tile(np.random.default_rng(1).normal(size=(1, 90, 3)), (12, 1, 1))
    x[:, 40:43] += np.random.default_rng(2).normal(size=(12, 3, 3))
    both = build("Sum", terms=[{"weight": 1, "name": "Conv1D"}, {"weight": 0.5, "name": "FC", "depth": 1}])
    name, engine = engines.select("auto", both, (90, 3))
    windowed = common_windows.cheapest(engine, both, "ntk", "float64", [x], 10**6)
    assert "positions" in common_windows.description(windowed)
    plain = kernel_matrix(build("Conv1D"), x) + 0.5 * kernel_matrix(build("FC", depth=1), x)
    left = windowed.prepare(both, x, "float64")
    np.testing.assert_allclose(windowed.kernel(both, "ntk", left, None, "float64"), plain, rtol=1e-10)
    assert name


def test_what_follows_from_a_sum_follows_from_its_terms() -> None:
    pooled = build("Sum", terms=[{"weight": 1, "name": "FC"}, {"weight": 1, "name": "Myrtle5"}])
    assert covariance_entries(pooled, (8, 8, 3)) == covariance_entries(build("Myrtle5"), (8, 8, 3))
    assert is_flip_symmetric(pooled)
    assert output_shape(SUM, (4, 4, 2)) == ()
    assert SUM.fingerprint() != build("Sum", terms=TERMS[:1]).fingerprint()
    heavier = [TERMS[0] | {"weight": 0.8}, TERMS[1]]
    assert SUM.fingerprint() != build("Sum", terms=heavier).fingerprint()


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        (None, "lacks its parameter terms"),
        ([], "expected a list of 1 to 20 architectures"),
        ("FC", "expected a list of 1 to 20 architectures"),
        ([{"name": "FC"}], r"terms\.0 is .*expected weight, name"),
        ([{"name": "FC", "weight": -1}], r"terms\.0\.weight is -1, expected a positive number"),
        ([{"name": "FC", "weight": True}], r"terms\.0\.weight is"),
        ([{"name": "Sum", "weight": 1, "terms": []}], "expected an architecture that is no sum"),
        ([{"name": "FC9", "weight": 1}], "architecture is 'FC9'"),
        ([{"name": "FC", "weight": 1, "width": 3}], "has no parameter 'width'"),
    ],
)
def test_a_sum_that_cannot_be_is_refused(terms: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        build("Sum", terms=terms)


def test_a_study_of_a_sum_has_the_blocks_of_the_sum(tmp_path: Path) -> None:
    terms = [{"weight": 0.5, "name": "FC", "depth": 1}, {"weight": 0.25, "name": "FC", "depth": 3}]
    kernels = {"FC": DIGITS["kernels"]["FC"] | {"architecture": {"name": "Sum", "terms": terms}}}
    config = DIGITS | {"kernels": kernels, "training_sizes": {"sizes": [60]}, "ridge": {"candidates": [1e-3]}}
    study, results = study_with_blocks(tmp_path, config)
    solve(study, results, "FC", 60)
    store = blocks.open_store(store_folder(study, results, "FC", "train"))
    features = np.load(results / "tiny/features/plain/train.npy")
    expected = sum(
        term["weight"] * kernel_matrix(build("FC", depth=term["depth"]), features) for term in terms
    )
    np.testing.assert_allclose(blocks.read_submatrix(store, (0, 60), (0, 60)), expected, rtol=1e-13)
    assert store.read_record(0, 0)["engine"] == engines.select("auto", build("FC3"), features.shape[1:])[0]
