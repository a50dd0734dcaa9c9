"""Targets of the workflow: what is wrong with one, or with the study that it is of, before anything is planned."""

from __future__ import annotations

import os
import re
from pathlib import Path

from neural_kernels.blocks import Grid
from neural_kernels.errors import UserError
from neural_kernels.stages.report_kinds import REPORT_KINDS, short_report
from neural_kernels.study import config_files, folders
from neural_kernels.study.config_files import COMPARISONS, TABLES
from neural_kernels.study.published_table import load_table
from neural_kernels.study.split_comparison import load_comparison
from neural_kernels.study.study import Study, load_study

# Below results/<study>, folders with one of each kernel.
_OF_A_KERNEL = ("kernels", "solutions", "metrics", "test_predictions", "approximations")

# The kind of report that is of a comparison, where the others are of a study.
SPLITS = "splits"


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


def studies_of_target(target: str, config: Path) -> list[str]:
    """Names of the studies whose results a target is made from; none of a word that is no target, or of a table, which
    starts no study."""
    folder, *parts = Path(os.path.relpath(target)).parts
    if folder != "results" or not parts:
        return []
    name = parts[0] if len(parts) > 1 else os.path.splitext(parts[0])[0]
    whole = by_suffix(parts[0], config) if len(parts) == 1 else None
    makers = [whole[1]] if whole is not None else []
    makers += [config / f"{name}.yaml", config / COMPARISONS / f"{name}.yaml"]
    path = next((maker for maker in makers if maker.is_file()), None)
    if path is None:
        return []
    if config_files.kind(path) == "comparison":
        return [study.name for study in load_comparison(path).run.values()]
    return [path.stem]


def short_names(config: Path) -> list[str]:
    """Studies and comparisons whose report may be asked for as results/<name>.pdf.

    That is neither a table's name then, nor the whole name of another study's report.
    """
    named = (*config_files.names(config), *config_files.names(config / COMPARISONS))
    tables = set(config_files.names(config / TABLES))

    def is_another(name: str) -> bool:
        whole = by_suffix(f"{name}.pdf", config)
        return name in tables or (whole is not None and whole[1].is_file())

    return [name for name in named if not is_another(name)]


def by_suffix(file: str, config: Path) -> tuple[str, Path] | None:
    """The kind of report that a file below results is by its suffix, if it is one, and the config that it is of."""
    reports = {kind: (folders.report(kind), config) for kind in REPORT_KINDS}
    reports[SPLITS] = folders.SPLITS_REPORT, config / COMPARISONS
    for kind, (report, folder) in reports.items():
        suffix = report.partition("}")[2]
        if file.endswith(suffix) and file != suffix:
            return kind, folder / f"{file.removesuffix(suffix)}.yaml"
    return None


def _check_report(file: str, config: Path) -> None:
    name, ending = os.path.splitext(file)
    if ending not in (".pdf", ".md"):
        return
    study, comparison, table = (config / folder / f"{name}.yaml" for folder in ("", COMPARISONS, TABLES))
    whole = by_suffix(file, config)
    makers = [path for path in (table, comparison) if path.is_file()]
    makers += [study] if _has_short_report(study) else []
    makers += [whole[1]] if whole is not None and whole[1].is_file() else []
    if ending == ".md" or makers == [table]:
        load_table(table)
    elif len(makers) > 1:
        raise UserError(
            f"results/{file} would be the report of {' and of '.join(map(str, makers))}: rename one"
        )
    elif makers == [comparison]:
        load_comparison(comparison)
    elif whole is not None and (makers == [whole[1]] or not study.exists()):
        _check_by_suffix(*whole)
    else:
        found = load_study(study)
        short_report(found).check(found)


def _check_by_suffix(kind: str, path: Path) -> None:
    if kind == SPLITS:
        load_comparison(path)
    else:
        _check_no_comparison(path)
        REPORT_KINDS[kind].check(load_study(path))


def _has_short_report(path: Path) -> bool:
    """Whether the file is a study that has one; one that is damaged has none."""
    try:
        return path.is_file() and short_report(load_study(path)) is not None
    except UserError:
        return False


def _check_no_comparison(path: Path) -> None:
    """Refuse a comparison that is taken for a study."""
    comparison = path.parent / COMPARISONS / path.name
    if comparison.is_file() and not path.exists():
        raise UserError(f"{comparison} compares studies, expected one of those that it names")


def _check_below(name: str, file: str, config: Path) -> None:
    path, comparison = config / f"{name}.yaml", config / COMPARISONS / f"{name}.yaml"
    if comparison.is_file() and f"{{comparison}}/{file}" in (folders.SPLITS_FIGURE, folders.SPLITS_TABLE):
        load_comparison(comparison)
        return
    _check_no_comparison(path)
    study = load_study(path)
    section, _, rest = file.partition("/")
    named = rest.split("/")[0]
    if section == "features" and named not in study.preprocessing:
        known = ", ".join(study.preprocessing)
        raise UserError(f"study {name} has no preprocessing {named!r}, expected one of {known}")
    if section == "tuning":
        REPORT_KINDS["tuning"].check(study)
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
