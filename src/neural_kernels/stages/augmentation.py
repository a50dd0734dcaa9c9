"""The stage of the rule report_augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from neural_kernels import sealed_arrays
from neural_kernels.datasets.writing import COPIES_FILE
from neural_kernels.metrics import table as metrics_table
from neural_kernels.reports import augmentation, one_sentence
from neural_kernels.reports.contact_sheet import MOST_COPIES, ContactSheet
from neural_kernels.stages import findings
from neural_kernels.storage import sealed_parquet
from neural_kernels.study import folders
from neural_kernels.study.folders import at, data_folder
from neural_kernels.study.study import Study

SHEET_IMAGES = 20
"""Images that a contact sheet may show, of which it takes as many as a page holds."""


def report_augmentation(study: Study, results: Path) -> None:
    """Figure and PDF of accuracy against the augmentation factor, drawn from ``metrics.parquet`` and the images.

    Raises:
        UserError: a training size is not a whole number of copies of all images.
    """
    for kernel in study.kernels:
        study.augmentation_factors(kernel)
    histories = sealed_parquet.read(at(results, folders.CONVERGENCE, study=study.name))
    table = metrics_table.read(at(results, folders.METRICS, study=study.name))
    tested = {kernel: study.evaluation_sizes(kernel) for kernel in study.kernels}
    augmented = augmentation.Augmented(study.images, tested, _contact_sheet(study, results))
    figure = at(results, folders.figure("augmentation"), study=study.name)
    pdf = at(results, folders.report("augmentation"), study=study.name)
    augmentation.write_augmentation_figure(table, study, augmented, figure)
    ridges = sealed_parquet.read(at(results, folders.RIDGES, study=study.name))
    augmentation.write_augmentation_report(table, study, augmented, pdf, histories, ridges)
    sentence = one_sentence.of_augmentation(table, study, study.images)
    findings.keep(pdf, "augmentation", study.name, sentence)


def _contact_sheet(study: Study, results: Path) -> ContactSheet | None:
    """The first training images and their copies, None where they are no pictures of 8 bits."""
    raw = sealed_arrays.open_folder(data_folder(study, results) / "data.json")
    data = raw.summary
    x, y, copies = (raw.array(name) for name in ("train_x.npy", "train_y.npy", COPIES_FILE))
    if x.array.dtype != np.uint8 or x.array.shape[-1] not in (1, 3):
        return None
    count, factor = min(study.images, SHEET_IMAGES), data["augmentation_factor"]
    places = np.arange(count)[:, np.newaxis] + study.images * np.arange(min(factor, MOST_COPIES))
    for place in places.flat:
        x.check(place, place + 1)
        copies.check(place, place + 1)
    labels = [str(label) for label in y.rows(0, count)] if data["task"] == "classification" else [""] * count
    names = [data["class_names"][int(label)] for label in labels] if data["class_names"] else labels
    operations = [[data["copies"][copies.array[place]] for place in row] for row in places]
    return ContactSheet(np.asarray(x.array[places]), operations, names, factor)
