# What Snakemake itself needs: which names wildcards may be, and functions of wildcards. Which files and settings a job
# needs is said in neural_kernels.stages.inputs, which paths there are in neural_kernels.study.folders.

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from neural_kernels.errors import UserError
from neural_kernels.names import PATTERN
from neural_kernels.stages import inputs
from neural_kernels.stages.targets import check_target, short_names
from neural_kernels.study import folders
from neural_kernels.study.config_files import COMPARISONS, TABLES, names
from neural_kernels.study.published_table import load_table
from neural_kernels.study.split_comparison import load_comparison
from neural_kernels.study.study import load_study

# Of the working directory, wherever the workflow lies: beside a clone, in a deployment or in a module.
CONFIG = Path("config")


def one_of(names) -> str:
    """Wildcard constraint: these names and no other; never the empty one, which fits everything."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    study=one_of(names(CONFIG)),
    comparison=one_of(names(CONFIG / COMPARISONS)),
    table=one_of(names(CONFIG / TABLES)),
    reported=one_of(short_names(CONFIG)),
    kernel=PATTERN,
    preprocessing=PATTERN,
    part=PATTERN,
    i=r"\d+",
    j=r"\d+",
    n=r"\d+",
    method=r"[a-z_]+",
    size=r"\d+",
    trial=r"\d+",
    place=r"\d+|baseline",
    candidate="tuned|baseline",


def stop(error: UserError) -> NoReturn:
    """End the run with one sentence, as the command line does.

    Of an exception in a function of a rule Snakemake would make a list of rules and calls, and look for another rule.
    """
    print(f"error: {error}", file=sys.stderr, flush=True)
    raise SystemExit(2)


# Words of the command line that are targets are checked here, before Snakemake looks for rules: a study that there
# is not has none, of which Snakemake says no more. Those of a workflow that has this one as a module may be its own.
for word in sys.argv[1:]:
    if "results/" in word and workflow.modifier.is_main_snakefile():
        try:
            check_target(word, CONFIG)
        except UserError as error:
            stop(error)


@functools.cache
def study(name: str):
    found = load_study(CONFIG / f"{name}.yaml")
    job_memory.check_fits(found, NODE_MEMORY)
    return found


@functools.cache
def comparison(name: str):
    return load_comparison(CONFIG / COMPARISONS / f"{name}.yaml")


# What a wildcard stands for; the others stand for themselves.
VALUES = {
    "study": study,
    "comparison": comparison,
    "table": lambda name: load_table(CONFIG / TABLES / f"{name}.yaml"),
    "reported": lambda name: (
        study(name) if name in names(CONFIG) else comparison(name)
    ),
    **dict.fromkeys(("i", "j", "n", "size", "trial"), int),
}


def of_wildcards(function: Callable, forced: Callable | None = None) -> Callable:
    """The input or params function that gives ``function`` what the wildcards called as its parameters stand for.

    Mistakes of the user's end the run before anything has started.

    Args:
        forced: gives files that are made again, as with --forcerun, where whatever needs them is asked for.
    """
    parameters = list(inspect.signature(function).parameters)

    def called(wildcards):
        try:
            if forced is not None:
                workflow.dag.forcefiles.update(of_wildcards(forced)(wildcards))
            values = (VALUES.get(name, str)(wildcards[name]) for name in parameters)
            return function(*values)
        except UserError as error:
            stop(error)

    return called


def at(pattern: str, **names: str) -> str:
    """The path of a pattern of ``folders``, whose other wildcards stay."""
    return str(folders.at(inputs.RESULTS, pattern, **names))
