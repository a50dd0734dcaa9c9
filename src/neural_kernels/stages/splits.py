"""The stages of a comparison of splits, after those of its studies.

<study>/test_predictions/<kernel>/n<n>.parquet    predicted and measured values of every test example
<comparison>/splits.csv, splits.png               the table and the figure of the report <comparison>_splits.pdf
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from neural_kernels import blocks
from neural_kernels.blocks.cross_product import predict
from neural_kernels.errors import UserError
from neural_kernels.metrics import table as metrics_table
from neural_kernels.reports import one_sentence, splits
from neural_kernels.solvers import solved_size
from neural_kernels.stages import findings
from neural_kernels.stages.report import read_baselines, write_table
from neural_kernels.storage import sealed_parquet
from neural_kernels.study import folders
from neural_kernels.study.folders import (
    at,
    open_features_folder,
    predictions_file,
    solution_folder,
    store_folder,
)
from neural_kernels.study.split_comparison import Comparison
from neural_kernels.study.study import Study, kernel_named


def predict_tests(study: Study, results: Path, kernel_name: str, n: int) -> None:
    """Predicted and measured values of the test sets of a regression, from the first draw of size ``n``.

    A row for each example and output: test_set, example (its place in the test set), output, predicted and
    measured (float64, in the units of the data; NaN where no value was measured).

    Raises:
        UserError: a study that is no regression, or blocks or solutions that are missing or faulty.
    """
    kernel = kernel_named(study, kernel_name)
    if n not in study.training_sizes(kernel_name):
        raise UserError(f"study {study.name} has no training size {n} of kernel {kernel_name}")
    features = open_features_folder(study, results, kernel)
    description = features.summary
    if description["task"] != "regression":
        raise UserError(f"study {study.name} is a {description['task']}, expected a regression")
    scaling = {key: np.array(values) for key, values in description["target_scaling"].items()}
    (solution,) = solved_size.load(solution_folder(study, results, kernel_name, n), 1)
    window = study.windows(n, kernel_name)[0]
    tables = []
    for part, size in study.evaluation_sizes(kernel_name).items():
        if part == metrics_table.VALIDATION:
            continue
        store = blocks.open_store(store_folder(study, results, kernel_name, part))
        (predicted,) = predict(store, size, [window], [solution.coefficients])
        measured = features.load(f"{part}_labels.npy", size)
        example, output = np.indices(measured.shape)
        columns = {
            "test_set": np.full(measured.size, part, dtype=object),
            "example": example.ravel(),
            "output": output.ravel(),
            "predicted": (scaling["mean"] + scaling["scale"] * predicted).ravel(),
            "measured": measured.ravel(),
        }
        tables.append(pd.DataFrame(columns))
    path = predictions_file(study, results, kernel_name, n)
    sealed_parquet.write(path, pd.concat(tables, ignore_index=True))


def report_splits(comparison: Comparison, results: Path) -> None:
    """Table, figure and PDF of a comparison, drawn from the metrics and test predictions of its studies.

    Raises:
        UserError: a study's metrics or predictions are missing, or it is no regression.
    """
    runs = {}
    for split, study in comparison.run.items():
        metrics = metrics_table.read(at(results, folders.METRICS, study=study.name))
        if "spearman" not in set(metrics["metric"]):
            raise UserError(f"study {study.name} has no Spearman correlation, expected a regression")
        kernels = {
            name: predictions_file(study, results, name, study.training_sizes(name)[-1])
            for name in study.kernels
        }
        predictions = {name: sealed_parquet.read(path) for name, path in kernels.items()}
        if any(table["output"].any() for table in predictions.values()):
            raise UserError(f"study {study.name} predicts several targets, expected one to compare by")
        ridges = sealed_parquet.read(at(results, folders.RIDGES, study=study.name))
        runs[split] = splits.Run(study, metrics, predictions, read_baselines(study, results), ridges)
    table, figure, pdf = (
        at(results, pattern, comparison=comparison.name)
        for pattern in (folders.SPLITS_TABLE, folders.SPLITS_FIGURE, folders.SPLITS_REPORT)
    )
    summary = splits.summary(comparison, runs)
    write_table(table, summary)
    splits.write_splits_figure(comparison, runs, figure)
    splits.write_splits_report(comparison, runs, pdf)
    findings.keep(pdf, "splits", comparison.name, one_sentence.of_splits(summary))
