"""From training examples to the scores of simple methods: the stage of the rule fit_baselines.

<study>/baselines.parquet            a row a method, part and metric, as the tidy table has them of kernels
<study>/baseline_examples.parquet    what each method predicts for each test example
<study>/names.parquet                what each example is called, and of sequences how many positions it differs in
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from neural_kernels import sealed_arrays
from neural_kernels.baselines import methods
from neural_kernels.blocks import fingerprints
from neural_kernels.datasets import flip, variants
from neural_kernels.datasets import rows as known_rows
from neural_kernels.errors import UserError
from neural_kernels.graphs import Examples, is_graphs
from neural_kernels.machine.threads import thread_limit
from neural_kernels.metrics import table as metrics_table
from neural_kernels.metrics import task_scores
from neural_kernels.metrics.evaluation import evaluate
from neural_kernels.prediction import example_table
from neural_kernels.sealed_arrays import SealedFolder
from neural_kernels.stages.baseline_sizes import predicted_parts, trained_on
from neural_kernels.storage import locks, sealed_parquet
from neural_kernels.study import folders
from neural_kernels.study.folders import at, data_folder, open_features_folder
from neural_kernels.study.study import Study

log = logging.getLogger(__name__)

MOST_NAMED = 1_000_000
"""Examples beyond which reports call them by their places."""

MOST_OUTPUTS = 256
"""Tasks beyond which each would be fitted for hours where labels are missing."""


def fit_baselines(study: Study, results: Path, threads: int | None = None) -> None:
    """Fit the simple methods to the first training examples, and score them on the validation and test sets.

    Raises:
        UserError: the study asks for none, or files that are missing or damaged.
    """
    if not study.sections.baselines.examples:
        raise UserError(f"config/{study.name}.yaml: baselines.examples is 0, expected some to fit them to")
    path = at(results, folders.BASELINES, study=study.name)
    with locks.alone(path.with_suffix(".lock"), str(path)), thread_limit(threads):
        _fit(study, results, path, threads or 1)


def _fit(study: Study, results: Path, path: Path, threads: int) -> None:
    count, parts = trained_on(study), predicted_parts(study)
    features = open_features_folder(study, results, next(iter(study.kernels.values())))
    data = sealed_arrays.open_folder(data_folder(study, results) / "data.json")
    described, task = features.summary, features.summary["task"]
    targets = features.load("train_targets.npy", count)
    truth = {
        part: (features.load(f"{part}_targets.npy", size), features.load(f"{part}_labels.npy", size))
        for part, size in parts.items()
    }
    inputs = [data.summary[sealed_arrays.KEY][f"{part}_x.npy"] for part in ("train", *parts)]
    facts = ["baselines", count, parts, task, described["target_scaling"], inputs]
    if known_rows.FILE in data.names():
        # Others, of a version that wrote no rows, have the fingerprint that they had.
        facts.append(data.summary[sealed_arrays.KEY][known_rows.FILE])
    problem = fingerprints.problem(facts, targets, *(array for pair in truth.values() for array in pair))
    examples_path = at(results, folders.BASELINE_EXAMPLES, study=study.name)
    names_path = at(results, folders.NAMES, study=study.name)
    if all(sealed_parquet.has_problem(file, problem) for file in (path, examples_path, names_path)):
        log.info("%s is there already, whole: nothing to fit", path)
        return
    train = data.examples("train_x.npy", (0, count))[:count]
    tests = {part: data.examples(f"{part}_x.npy", (0, size))[:size] for part, size in parts.items()}
    kind = _kind(study, train) if targets.shape[1] <= MOST_OUTPUTS or task == "classification" else None
    scores, rows = [], []
    for fitted in methods.fit_all(kind, train, targets, tests, task == "classification", threads):
        own = {"method": fitted.name, "settings": fitted.settings, "examples": count}
        log.info("%s: %s", fitted.name, fitted.settings or "fitted")
        for part, prediction in fitted.predictions.items():
            values = evaluate(prediction, *truth[part], task)
            if study.has_tasks and task == "regression":
                named = {"kernel": fitted.name, "n": count, "draw": 0, "split": part}
                each = task_scores.rows(
                    named,
                    described["class_names"],
                    prediction,
                    truth[part][1],
                    task,
                    described["target_scaling"],
                )
                values["rmse"] = float(each["rmse"].mean())
            scores += [own | {"split": part, "metric": key, "value": value} for key, value in values.items()]
            if part != metrics_table.VALIDATION and task != "multilabel":
                found = example_table.rows(part, prediction, truth[part][1], described)
                rows.append(found.assign(method=fitted.name))
    largest = max(study.training_sizes(kernel)[-1] for kernel in study.kernels)
    sizes = {"train": min(largest, study.images)} | parts
    if kind == "letters":
        names = _names(study, data, sizes)
    else:
        names = _rows(data_folder(study, results), sizes) if sum(sizes.values()) <= MOST_NAMED else []
    unnamed = pd.DataFrame(columns=["split", "example", "name", "mutations"])
    sealed_parquet.write(names_path, pd.concat(names, ignore_index=True) if names else unnamed, problem)
    empty = pd.DataFrame(columns=["method", "split", "example", "output", "predicted", "measured"])
    sealed_parquet.write(examples_path, pd.concat(rows, ignore_index=True) if rows else empty, problem)
    sealed_parquet.write(path, pd.DataFrame(scores), problem)


def _names(study: Study, data: SealedFolder, sizes: Mapping[str, int]) -> list[pd.DataFrame]:
    """Names and numbers of mutations of sequences, against the commonest letters of the training set."""
    assert isinstance(study.data, flip.Options)
    reference, tables = None, []
    for part, size in sizes.items():
        x = data.examples(f"{part}_x.npy", (0, size))[:size]
        assert isinstance(x, np.ndarray)
        reference = variants.commonest(x) if reference is None else reference
        found = {
            "split": np.full(size, part, dtype=object),
            "example": np.arange(size),
            "name": np.array(variants.named(x, reference, study.data.letters), dtype=object),
            "mutations": variants.differences(x, reference),
        }
        tables.append(pd.DataFrame(found))
    return tables


def _rows(data: Path, sizes: Mapping[str, int]) -> list[pd.DataFrame]:
    """Names of other examples, by their places in the user's files; none where these are not known."""
    known = known_rows.of_parts(data)
    tables = []
    for part in filter(known.__contains__, sizes):
        names = known_rows.names(known[part])[: sizes[part]]
        tables.append(pd.DataFrame({"split": part, "example": np.arange(len(names)), "name": names}))
    return tables


def _kind(study: Study, examples: Examples) -> methods.Kind | None:
    """What examples are, None where they are numbers of rows in an imported kernel."""
    if study.data.name == "labels":
        return None
    if study.data.name == "flip":
        return "letters"
    return "graphs" if is_graphs(examples.shape[1:]) else "numbers"
