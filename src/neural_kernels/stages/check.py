"""Everything about a study that can be known before work starts."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from neural_kernels import datasets
from neural_kernels.errors import UserError
from neural_kernels.planning import costs as planning
from neural_kernels.preprocessing import features as preprocessing
from neural_kernels.stages.data_fit import check_fit
from neural_kernels.study import config_files, published_table, split_comparison
from neural_kernels.study.folders import data_folder
from neural_kernels.study.study import Study, load_study

log = logging.getLogger(__name__)


def check_config(path: Path, results: Path) -> None:
    """``check_study`` of the study in ``path``; of all that a comparison compares; of the runs that a table names."""
    if config_files.kind(path) == "comparison":
        compared = split_comparison.load_comparison(path)
        for study in compared.run.values():
            split_comparison.check_comparable(study, check_study(study, results))
        log.info("comparison %s: its studies are in order", compared.name)
    elif config_files.kind(path) == "table":
        table = published_table.load_table(path)
        table.check_runs()
        log.info("table %s: its studies have the kernels that it names", table.name)
    else:
        check_study(load_study(path), results)


def check_study(study: Study, results: Path) -> datasets.DataSummary:
    """Everything that can be known before work starts: files and all that is in them, architectures, engines,
    disk.

    Returns:
        What the data will be.

    Raises:
        UserError: the first thing that would stop the study.
    """
    summary = datasets.check_data(study.data)
    for part, count in study.part_sizes.items():
        if summary.parts[part] < count:
            raise UserError(
                f"config/{study.name}.yaml asks for {count} examples of {part}, but there are {summary.parts[part]}"
            )
    check_fit(study, summary)
    prepared = (data_folder(study, results) / "data.json").exists()
    data = 0 if prepared else datasets.stored_bytes(study.data)
    planning.check_disk(study, summary.input_shape, summary.outputs, results, data)
    # Last, since it may take minutes: the files are read whole.
    labels = datasets.examine_data(study.data, study.seed)
    if study.owner == study.name:  # another study's seed chose its training set
        used = {name: study.preprocessing[name] for name in _preprocessings(study)}
        source = study.data.source
        preprocessing.check_training_set(used, asdict(summary), labels, source)
    log.info("study %s: config, data, engines and disk are in order", study.name)
    return summary


def _preprocessings(study: Study) -> list[str]:
    return sorted({kernel.preprocessing for kernel in study.kernels.values()})
