"""The config of a new study, with comments, that fits the data it is for: the verb ``init``."""

from __future__ import annotations

import logging
from pathlib import Path

import yaml

from neural_kernels.datasets import user_tables
from neural_kernels.datasets.flip import TARGET
from neural_kernels.errors import UserError
from neural_kernels.names import EXPECTED, is_name
from neural_kernels.stages.check import check_config
from neural_kernels.storage.files import write_atomically

log = logging.getLogger(__name__)

LARGEST_SIZE = 16384
"""Of a first study: the time and the disk go by its square."""


def write_config(path: Path, results: Path, data: Path, smiles: str | None, targets: list[str] | None) -> str:
    """Write a study's config, check it as ``check`` does, and return what to run next.

    Args:
        path: config/<study>.yaml, which must not be there yet.
        data: an .npz with x_train, y_train and so on; a .csv with the columns sequence, target and set; a .csv with a
            column of SMILES.
        smiles: that column.
        targets: columns to learn.

    Raises:
        UserError: a name that is taken or none, or data of no such form.
    """
    check_new(path)
    if smiles:
        text = _molecules(path.stem, data, smiles, targets)
    elif data.suffix == ".npz":
        if targets:
            raise UserError("--target names columns of a table, but an .npz has its targets under y_train")
        text = _arrays(path.stem, data)
    else:
        text = _sequences(path.stem, data, targets)
    write_checked(path, results, text)
    report = "tasks" if smiles else "scaling"
    return f"{path} is written. Next: snakemake --profile default {results}/{path.stem}_{report}.pdf"


def check_new(path: Path) -> None:
    """Refuse what cannot be the config of a new study."""
    if path.suffix != ".yaml" or not is_name(path.stem):
        raise UserError(
            f"{path}: expected the name of a new study, config/<study>.yaml, where <study> is {EXPECTED}"
        )
    if path.exists():
        raise UserError(f"{path} is there already, expected a new name")


def write_checked(path: Path, results: Path, text: str) -> None:
    """Write a study's config and check it as ``check`` does; one that does not pass is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(text.encode()))
    try:
        check_config(path, results)
    except UserError:
        path.unlink()
        raise


def quoted(value: object) -> str:
    """As YAML has it, on one line."""
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
        .strip()
        .removesuffix("...")
        .strip()
    )


HEAD = """# {what}
#
#     neural-kernels check config/{name}.yaml
#     neural-kernels plan config/{name}.yaml
#     snakemake --profile default results/{name}_{report}.pdf
#
# Every key: docs/configuration.md.
title: {title}
seed: 0

"""

TAIL = """
# Blocks of the kernel matrix, a job each, and the sizes of which each is trained and tested: powers of two.
blocks: {{edge: 2000}}
training_sizes: {{smallest: {smallest}, largest: {largest}}}
draws: 2                          # disjoint training sets of each size, where there is room

# {choice}
ridge: {{{ridge}log10_smallest: -8, log10_largest: 1, count: 10}}
solver: {{direct_up_to: 8192, memory_gib: 4}}
"""

BY_LOO = "Chosen by leave-one-out: no example is held out for it."
BY_VALIDATION = "Chosen on the validation part of the split."


def head(name: str, what: str, report: str) -> str:
    """How a study begins: what it is, and what to run."""
    return HEAD.format(what=what, name=name, report=report, title=quoted(name))


def _tail(smallest: int, loo: bool) -> str:
    return TAIL.format(
        smallest=smallest,
        largest=LARGEST_SIZE,
        choice=BY_LOO if loo else BY_VALIDATION,
        ridge="choose_by: loo, " if loo else "",
    )


def _arrays(name: str, data: Path) -> str:
    from neural_kernels.datasets import npz

    shape = npz.open_member(data, "x_train").shape
    architecture, comment = {
        2: ("FC3", "three hidden layers"),
        3: ("Conv1D", "convolutions along the length"),
        4: ("CV8", "eight convolutions; Myrtle5, Myrtle7 and Myrtle10 pool as well, and cost far more"),
    }.get(len(shape), ("", ""))
    if not architecture:
        raise UserError(
            f"{data}: x_train has shape {shape}, expected (n, features), (n, length, channels) or (n, height, width, "
            "channels)"
        )
    method = "{method: zca, regularization: 0.1}" if len(shape) == 4 else "{method: standardize}"
    return (
        head(name, f"A study of {data.name}", "scaling")
        + f"""data:
  name: arrays
  path: {quoted(str(data))}
  validation_examples: 0          # every example trains

preprocessing:
  prepared: {method}

kernels:
  {architecture}:
    architecture: {{name: {architecture}}}    # {comment}
    preprocessing: prepared
"""
        + _tail(smallest_size(shape[0]), loo=True)
    )


def _sequences(name: str, data: Path, targets: list[str] | None) -> str:
    table = user_tables.read(data)
    wanted = targets or [TARGET]
    for column in ("sequence", "set", *wanted):
        table.texts(column)
    train = sum(part.strip() == "train" for part in table.texts("set"))
    named = "" if wanted == [TARGET] else f"  targets: {quoted(wanted)}\n"
    return (
        head(name, f"A study of the sequences in {data.name}", "scaling")
        + f"""data:
  name: flip
  path: {quoted(str(data))}
{named}  validation_examples: 0          # every training row trains

preprocessing:
  standardized: {{method: standardize}}

kernels:
  Conv1D:
    architecture: {{name: Conv1D, depth: 3, filter_size: 9}}    # convolutions along the sequence
    preprocessing: standardized
  FC2:
    architecture: {{name: FC, depth: 2}}
    preprocessing: standardized
"""
        + _tail(smallest_size(train), loo=True)
    )


def _molecules(name: str, data: Path, smiles: str, targets: list[str] | None) -> str:
    table = user_tables.read(data)
    table.texts(smiles)
    numbers = [column for column in table.header if column != smiles and table.is_numeric(column)]
    wanted = targets or numbers
    table.numbers(wanted)
    if not wanted:
        raise UserError(f"{data} has no column of numbers beside {smiles}, expected one to learn")
    return (
        head(name, f"A study of the molecules in {data.name}", "tasks")
        + f"""data:
  name: smiles
  path: {quoted(str(data))}
  smiles_column: {quoted(smiles)}
  task_columns: {quoted(wanted)}
  invalid: drop                   # rows that are no molecules to RDKit are left out, and said
  split: {{method: scaffold, fractions: [0.8, 0.1, 0.1]}}
  validation_examples: null       # all of the split's

preprocessing:
  plain: {{method: none}}

kernels:
  SimpleGNN:
    architecture: {{name: SimpleGNN, depth: 3, pooling: average}}
    preprocessing: plain
"""
        + _tail(smallest_size(len(table.rows)), loo=False)
        + "\ntasks: {}                         # the report of each task\n"
    )


def smallest_size(count: int) -> int:
    """The first size of a ladder of some rungs."""
    return max(2, min(64, count // 16))
