from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from studies import a_study, exponent, metrics

from neural_kernels.metrics import table as metrics_table
from neural_kernels.reports.scaling_summary import (
    final_table,
    fits_table,
    kernel_labels,
    solves_table,
    task_of,
)

SIZES = [2**k for k in range(5, 13)]


def test_fits_have_the_exponents_of_the_data() -> None:
    fits = fits_table(metrics(["FC3", "CV8"], ["a", "b"], SIZES), a_study(fit={"bootstrap": 100}))
    assert list(zip(fits["kernel"], fits["test_set"], strict=True)) == [
        ("FC3", "a"),
        ("FC3", "b"),
        ("CV8", "a"),
        ("CV8", "b"),
    ]
    expected = [exponent(kernel, test_set) for kernel in range(2) for test_set in range(2)]
    np.testing.assert_allclose(fits["alpha"], expected, rtol=1e-10)
    assert (fits["points"] == 8).all()
    assert (fits["reason"] == "").all()


def test_the_range_of_the_config_is_the_range_of_the_fit() -> None:
    fits = fits_table(
        metrics(["FC3"], ["a"], SIZES), a_study(fit={"n_min": 64, "n_max": 1024, "confidence": 0.9})
    )
    assert list(fits[["n_min", "n_max", "points", "confidence"]].iloc[0]) == [64, 1024, 5, 0.9]


def test_unconverged_solves_are_left_out_and_counted() -> None:
    table = metrics(["FC3"], ["a"], SIZES, unconverged=(("FC3", 4096),))
    table.loc[(table["n"] == 4096) & (table["metric"] == "loss"), "value"] = 5.0
    fit = fits_table(table, a_study()).iloc[0]
    assert fit["alpha"] == pytest.approx(exponent(0, 0), rel=1e-10)
    assert (fit["n_max"], fit["left_out"]) == (2048, 1)


def test_a_missing_fit_has_a_reason_and_no_numbers() -> None:
    table = metrics(["FC3"], ["a"], [64, 128, 256, 2048], unconverged=(("FC3", 2048),))
    fit = fits_table(table, a_study()).iloc[0]
    assert "its range has 3" in fit["reason"]
    assert "1 solves that did not converge" in fit["reason"]
    assert pd.isna(fit[["alpha", "alpha_low", "n_min", "points"]]).all()


def test_final_results_are_means_over_draws_at_each_kernels_largest_n() -> None:
    table = metrics(["FC3", "CV8"], ["a"], [64, 128], draws=2)
    short = table.loc[(table["kernel"] == "FC3") | (table["n"] == 64)]
    final = final_table(short, a_study())
    assert final.loc[final["kernel"] == "FC3", "n"].tolist() == [128, 128]
    assert final.loc[final["kernel"] == "CV8", "n"].tolist() == [64, 64]
    row = final.loc[(final["kernel"] == "CV8") & (final["metric"] == "loss")].iloc[0]
    wanted = (short["kernel"] == "CV8") & (short["split"] == "a") & (short["metric"] == "loss")
    values = short.loc[wanted, "value"]
    assert (row["mean"], row["sd"], row["draws"]) == (
        pytest.approx(values.mean()),
        pytest.approx(values.std()),
        2,
    )
    assert np.isnan(final.loc[final["kernel"] == "FC3", "sd"]).all()


def test_solves_take_draws_together_and_keep_failures_apart() -> None:
    table = metrics(["FC3"], ["a"], [512, 2048, 8192], draws=4)
    failed = (table["n"] == 2048) & (table["draw"] == 3)
    table.loc[failed, "stopped_by"] = "max_iterations"
    table.loc[failed, "converged"] = False
    solves = solves_table(table, a_study()).set_index(["n", "converged"])
    assert solves["draws"].to_dict() == {(512, True): 4, (2048, False): 1, (2048, True): 3, (8192, True): 1}
    good: Any = solves.loc[(2048, True)]
    assert (good["ridge_low"], good["ridge_high"]) == (pytest.approx(1e-6), pytest.approx(1e-4))
    assert good["iterations"] == 42
    assert np.isnan(solves["iterations"].loc[(512, True)])


def test_labels_follow_the_config_and_name_kind_and_precision() -> None:
    table = metrics(["b", "FC3_NNGP", "CV8"], ["a"], [64], single_precision=("CV8",))
    labels = kernel_labels(table, a_study(dict.fromkeys(("CV8", "FC3_NNGP", "absent"))))
    assert labels == {"CV8": "CV8 NTK, float32", "FC3_NNGP": "FC3 NNGP", "b": "b NTK"}


def test_labels_stay_apart_where_the_names_differ_in_the_kind_alone() -> None:
    labels = kernel_labels(metrics(["FC3", "FC3_NTK"], ["a"], [64]), a_study())
    assert labels == {"FC3": "FC3", "FC3_NTK": "FC3_NTK"}


def test_the_task_is_read_from_the_metrics() -> None:
    assert task_of(metrics(["FC3"], ["a"], [64])) == "classification"
    assert task_of(metrics(["FC3"], ["a"], [64], regression=True)) == "regression"
    table = metrics(["FC3"], ["a"], [64])
    with pytest.raises(ValueError, match="expected loss or mse"):
        task_of(table.loc[table["split"] == metrics_table.TRAIN])
