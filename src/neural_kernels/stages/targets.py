"""Targets of the workflow: what is wrong with one, or with the study that it is of, before anything is planned."""

from __future__ import annotations

import os
import re
from pathlib import Path

from neural_kernels.blocks import Grid
from neural_kernels.errors import UserError
from neural_kernels.study import config_files
from neural_kernels.study.published_table import load_table
from neural_kernels.study.split_comparison import load_comparison
from neural_kernels.study.study import Study, load_study, report_kind

# Below results/<study>, folders with one of each kernel.
_OF_A_KERNEL = ("kernels", "solutions", "metrics", "test_predictions", "approximations")


def check_target(target: str, config: Path) -> None:
    """Refuse a target that the studies in the folder ``config`` do not have; a word that is none passes.

    Args:
        target: a path as a person gives it to Snakemake, below results in the working directory.

    Raises:
        UserError: the sentence that the command line says of the same mistake.
    """
    folder, *parts = Path(os.path.relpath(target)).parts
    if folder != "results" or not parts or parts[0] == "logs":
        return
    if len(parts) == 1:
        _check_report(parts[0], config)
    else:
        _check_below(parts[0], "/".join(parts[1:]), config)


def check_reported(study: Study, config: Path) -> None:
    """Refuse a study that has no report results/<study>.pdf, or one of factors that its sizes are not of."""
    kind = report_kind(config / f"{study.name}.yaml")
    if kind is None:
        raise UserError(
            f"config/{study.name}.yaml has no section approximations or tasks and no data.augmentation of factor 2 or "
            f"more, one of which results/{study.name}.pdf would report: expected one, or the target "
            f"results/{study.name}_scaling.pdf"
        )
    if kind == "augmentation":
        for kernel in study.kernels:
            study.augmentation_factors(kernel)


def check_tuned(study: Study) -> None:
    """Refuse a study that tunes nothing."""
    if study.tuning is None:
        raise UserError(
            f"config/{study.name}.yaml has no section tuning, which results/{study.name}_tuning.pdf would report"
        )


def _check_report(file: str, config: Path) -> None:
    name, suffix = os.path.splitext(file)
    if suffix not in (".pdf", ".md"):
        return
    table, path = config / "tables" / f"{name}.yaml", config / f"{name}.yaml"
    makers = [table] if table.is_file() else []
    makers += [path] if path.is_file() and report_kind(path) is not None else []
    for ending in ("_scaling", "_tuning"):
        if name.endswith(ending) and (other := config / f"{name.removesuffix(ending)}.yaml").is_file():
            makers.append(other)
    if len(makers) > 1:
        raise UserError(
            f"results/{file} would be the report of {' and of '.join(map(str, makers))}: rename one"
        )
    if table.is_file() or suffix == ".md":
        load_table(table)
        return
    for ending in ("_scaling", "_tuning"):
        if name.endswith(ending) and not path.exists():
            study = load_study(config / f"{name.removesuffix(ending)}.yaml")
            if ending == "_tuning":
                check_tuned(study)
            return
    if config_files.is_comparison(path):
        load_comparison(path)
    else:
        check_reported(load_study(path), config)


def _check_below(name: str, file: str, config: Path) -> None:
    path = config / f"{name}.yaml"
    if config_files.is_comparison(path):
        load_comparison(path)
        return
    study = load_study(path)
    section, _, rest = file.partition("/")
    named = rest.split("/")[0]
    if section == "features" and named not in study.preprocessing:
        known = ", ".join(study.preprocessing)
        raise UserError(f"study {name} has no preprocessing {named!r}, expected one of {known}")
    if section == "tuning":
        check_tuned(study)
        _check_trial(study, rest)
    if section not in _OF_A_KERNEL:
        return
    if named not in study.kernels:
        raise UserError(f"study {name} has no kernel {named!r}, expected one of {', '.join(study.kernels)}")
    if section == "kernels":
        _check_block(study, named, rest)
    elif size := re.search(r"/n(\d+)(?:/|\.|$)", file):
        sizes = study.training_sizes(named)
        if size[1] not in map(str, sizes):
            known = ", ".join(map(str, sizes))
            raise UserError(
                f"training size {size[1][:20]} is not on the ladder of kernel {named}, expected one of {known}"
            )


def _check_trial(study: Study, rest: str) -> None:
    trial = re.fullmatch(r"trials/(\d+)\.json", rest)
    if trial and study.tuning and trial[1] not in map(str, range(study.tuning.trials)):
        raise UserError(
            f"study {study.name} has no trial {trial[1][:20]}, expected 0 to {study.tuning.trials - 1}"
        )


def _check_block(study: Study, kernel: str, rest: str) -> None:
    part = rest.split("/")[1] if "/" in rest else ""
    sizes = study.part_sizes
    if part not in sizes:
        raise UserError(f"study {study.name} has no part {part!r}, expected one of {', '.join(sizes)}")
    block = re.fullmatch(r".*/blocks/(\d+)-(\d+)\.npy", rest)
    if block is None:
        return
    i, j = block.groups()
    grid = Grid(sizes[part], sizes["train"], study.block_edge(kernel), symmetric=part == "train")
    # As text: 00-1 is no file of ours, and a number may be too long to be one.
    if i not in map(str, range(grid.block_rows)) or j not in map(str, range(grid.block_columns)):
        raise UserError(
            f"block {i[:20]}-{j[:20]} is outside the {grid.block_rows} x {grid.block_columns} blocks of kernel "
            f"{kernel}, {part}"
        )
    if grid.symmetric and int(i) > int(j):
        raise UserError(f"block {i}-{j} is below the diagonal of a symmetric kernel: ask for {j}-{i}")
