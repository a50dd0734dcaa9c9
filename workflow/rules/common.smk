# Functions that turn a study's config into the files that it needs. They run while the workflow is
# planned, so they read configs and nothing else.

import functools
import os
import re
import sys
from pathlib import Path
from typing import NoReturn

from neural_kernels.blocks import Grid
from neural_kernels.study.published_table import ComparisonTable, load_table
from neural_kernels.errors import UserError
from neural_kernels.blocks.flip_symmetry import same_block
from neural_kernels.study.config_files import names
from neural_kernels.names import PATTERN
from neural_kernels.planning.costs import planned_blocks
from neural_kernels.study.split_comparison import Comparison, load_comparison
from neural_kernels.study.study import Study, load_study, report_kind, studies
from neural_kernels.stages.targets import check_target, check_tuned
from neural_kernels.tuning.settings import Tuning

# As a person in the project's folder writes it, for the same sentences.
CONFIG = Path(os.path.relpath(Path(workflow.basedir) / "config"))


def one_of(names) -> str:
    """Wildcard constraint: these names and no other; never the empty one, which fits everything."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    study=one_of(names(CONFIG)),
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
    table=one_of(studies(CONFIG / "tables")),


def stop(error: UserError | str) -> NoReturn:
    """End the run with one sentence, as the command line does.

    Of an exception in a function of a rule Snakemake would make a list of rules and calls, and look for another rule.
    """
    print(f"error: {error}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def stops(function):
    """``function``, whose mistakes of the user's end the run before anything has started."""

    @functools.wraps(function)
    def stopping(*arguments):
        try:
            return function(*arguments)
        except UserError as error:
            stop(error)

    return stopping


@functools.cache
@stops
def study(name: str) -> Study:
    """The validated study."""
    return load_study(CONFIG / f"{name}.yaml")


def approximated_study(name: str) -> Study:
    """The validated study, which is one of approximations."""
    this = study(name)
    if not this.approximations():
        stop(f"config/{name}.yaml has no section approximations")
    return this


@stops
def augmented_study(name: str) -> Study:
    """The validated study, of whose training sizes each is all images times an augmentation factor."""
    this = study(name)
    for kernel in this.kernels:
        this.augmentation_factors(kernel)
    return this


def reported_as(kind: str) -> str:
    """Wildcard constraint: the studies whose results/<study>.pdf is of this kind."""
    return one_of(
        name for name in names(CONFIG) if report_kind(CONFIG / f"{name}.yaml") == kind
    )


@functools.cache
@stops
def comparison(name: str) -> Comparison:
    """The validated comparison of splits, with its studies."""
    return load_comparison(CONFIG / f"{name}.yaml")


def without_tasks() -> str:
    """Wildcard constraint: the studies whose tasks are not reported one by one."""
    return one_of(
        name
        for name in studies(CONFIG)
        if report_kind(CONFIG / f"{name}.yaml") != "tasks"
    )


@stops
def tuning(name: str) -> Tuning:
    """What a study tunes; it is one that does."""
    this = study(name)
    check_tuned(this)
    return this.tuning


@stops
def comparison_table(name: str) -> ComparisonTable:
    """The validated table config/tables/<name>.yaml."""
    return load_table(CONFIG / "tables" / f"{name}.yaml")


# Words of the command line that are targets are checked here, before Snakemake looks for rules: a study that there
# is not has none, of which Snakemake says no more.
for word in sys.argv[1:]:
    if "results/" in word:
        stops(check_target)(word, CONFIG)


def compared_metrics(wildcards) -> list[str]:
    """Metrics tables of a comparison's studies, those that are there.

    By their whole paths, which are no rule's output: a table shows what was run, and asking for it must not bring
    studies up to date, which may take days.
    """
    files = comparison_table(wildcards.table).metrics_files(Path("results").absolute())
    return list(map(str, files.values()))


def kernel_of(wildcards):
    kernels = study(wildcards.study).kernels
    if wildcards.kernel not in kernels:
        known = ", ".join(kernels)
        stop(
            f"config/{wildcards.study}.yaml has no kernel {wildcards.kernel!r}, expected one of {known}"
        )
    return kernels[wildcards.kernel]


def config_file(wildcards):
    return f"config/{wildcards.study}.yaml"


def section(*keys):
    """Params function: the parts of the config that a rule's output depends on."""
    return lambda wildcards: study(wildcards.study).plain(*keys)


def kernel_section(wildcards):
    this, name = study(wildcards.study), kernel_of(wildcards).name
    options = this.sections.kernels[name].plain()
    # How far a kernel is used does not change what it is.
    for limit in ("largest_training_size", "validation_examples", "test_examples"):
        options.pop(limit, None)
    return options


def features(wildcards):
    """Features that the kernel is computed on."""
    owner, kernel = study(wildcards.study).owner, kernel_of(wildcards)
    return f"results/{owner}/features/{kernel.preprocessing}/features.json"


def store(owner: str, kernel: str, part: str) -> str:
    return f"results/{owner}/kernels/{kernel}/{part}"


def block_files(wildcards, part: str, rows: int, columns: int) -> list[str]:
    """Blocks of the leading rows x columns of one part's kernel."""
    this = study(wildcards.study)
    edge = this.block_edge(wildcards.kernel)
    grid = Grid(rows, columns, edge, symmetric=part == "train")
    folder = store(this.owner, wildcards.kernel, part)
    return [f"{folder}/blocks/{i}-{j}.npy" for i, j in grid.blocks()]


def declaration(owner: str, kernel: str, part: str) -> str:
    return f"{store(owner, kernel, part)}/kernel.json"


def what_a_new_block_needs(wildcards):
    """Features, kernel.json, and a block with the same entries where there is one; a block that is there, if only
    by its other name, needs nothing.

    So no date of a file can throw finished blocks away: whether they belong to the data and the architecture
    is decided by their fingerprint, when kernel.json is written and when they are used. (ancient() would say
    it more plainly, but hides from Snakemake 9.27 that what lies behind an ancient file has to be made.)
    """
    folder = store(wildcards.study, wildcards.kernel, wildcards.part)
    block = f"{wildcards.i}-{wildcards.j}.npy"
    if any(Path(f"{folder}/{name}/{block}").exists() for name in ("blocks", "kept")):
        return []
    described = declaration(wildcards.study, wildcards.kernel, wildcards.part)
    return [features(wildcards), described, *same_block_of(wildcards)]


def same_block_of(wildcards) -> list[str]:
    """The block of images and flips that has the same entries, if there is one."""
    this = study(wildcards.study)
    if wildcards.part != "train" or not this.flipped_images:
        return []
    size = this.part_sizes["train"]
    grid = Grid(size, size, this.block_edge(wildcards.kernel), symmetric=True)
    block = int(wildcards.i), int(wildcards.j)
    *first, _ = same_block(grid, *block, this.flipped_images)
    if tuple(first) == block:
        return []
    folder = store(this.owner, wildcards.kernel, "train")
    return [f"{folder}/blocks/{first[0]}-{first[1]}.npy"]


def reach(wildcards) -> int:
    """Examples of the training set that the draws of size n take."""
    return study(wildcards.study).windows(int(wildcards.n), wildcards.kernel)[-1][1]


def training_blocks(wildcards):
    """Diagonal windows of the training kernel, one a draw, the validation rows, what both are, and the targets.

    The targets' features.json, as that of other rules, is made again with them once a faulty file has been set aside.
    """
    this = study(wildcards.study)
    size = this.part_sizes["train"]
    grid = Grid(size, size, this.block_edge(wildcards.kernel), symmetric=True)
    windows = this.windows(int(wildcards.n), wildcards.kernel)
    touched = sorted(
        {block for window in windows for block in grid.window_blocks(*window)}
    )
    folder = store(this.owner, wildcards.kernel, "train")
    windows_blocks = [f"{folder}/blocks/{i}-{j}.npy" for i, j in touched]
    described = [
        declaration(this.owner, wildcards.kernel, "train"),
        features(wildcards),
    ]
    rows = this.evaluation_sizes(wildcards.kernel).get("validation")
    if rows is None:
        return windows_blocks + described
    validation = block_files(wildcards, "validation", rows, reach(wildcards))
    described.append(declaration(this.owner, wildcards.kernel, "validation"))
    return windows_blocks + validation + described


def solution(wildcards, n=None):
    this = study(wildcards.study)
    n = int(wildcards.n) if n is None else n
    return f"results/{this.name}/solutions/{wildcards.kernel}/{this.method(n)}/n{n}/solved.json"


def ridge_source(wildcards):
    """The solution that the ridge is taken over from, where this size does not choose its own."""
    below = study(wildcards.study).ridge_source(int(wildcards.n), wildcards.kernel)
    return [] if below is None else solution(wildcards, below)


def evaluation_blocks(wildcards):
    this = study(wildcards.study)
    sizes = this.evaluation_sizes(wildcards.kernel)
    blocks = [
        block
        for part, size in sizes.items()
        for block in block_files(wildcards, part, size, reach(wildcards))
    ]
    described = [declaration(this.owner, wildcards.kernel, part) for part in sizes]
    return blocks + described + [features(wildcards)]


def metrics_files(wildcards):
    """Metrics of every kernel and size, after asking for the blocks that are not there any more.

    Snakemake looks for a missing file only where something that needs it has to be made. A block that was
    deleted, or set aside because it is faulty, would not be missed behind a finished report: it is forced,
    as --forcerun would.
    """
    this = study(wildcards.study)
    force_missing(study_blocks(this))
    return [
        f"results/{this.name}/metrics/{kernel}/n{n}.parquet"
        for kernel in this.kernels
        for n in this.training_sizes(kernel)
    ]


def augmentation_files(wildcards):
    """Metrics of every factor and the study's images, after a look at the sizes that were asked for."""
    this = augmented_study(wildcards.study)
    return [
        f"results/{this.name}/metrics.parquet",
        f"results/{this.name}/convergence.parquet",
        f"results/{this.owner}/data/data.json",
    ]


def split_files(wildcards):
    """Of every study that is compared, its metrics and what each kernel predicts at its largest n."""
    files = []
    for this in comparison(wildcards.study).run.values():
        files.append(f"results/{this.name}/metrics.parquet")
        files += [
            f"results/{this.name}/test_predictions/{kernel}/n{this.training_sizes(kernel)[-1]}.parquet"
            for kernel in this.kernels
        ]
    return files


def published(wildcards):
    """What a comparison's report shows that no study has computed."""
    this = comparison(wildcards.study)
    columns = [
        [column.name, column.source, dict(column.values)] for column in this.published
    ]
    return [this.title, this.note, list(this.studies), columns]


def tasks_files(wildcards):
    """The tables of a study whose tasks are reported one by one, after asking for deleted ones as for blocks."""
    this = study(wildcards.study)
    tasks = [
        file.replace(".parquet", ".tasks.parquet") for file in metrics_files(wildcards)
    ]
    force_missing(tasks)
    tables = [
        f"results/{this.name}/{name}.parquet" for name in ("metrics", "convergence")
    ]
    return tables + tasks


def force_missing(files: list[str]) -> None:
    workflow.dag.forcefiles.update(file for file in files if not Path(file).exists())


def study_blocks(this: Study, kernel: str | None = None) -> list[str]:
    """Every block that a study reads, or that it reads of one kernel."""
    return [
        f"{store(this.owner, name, part)}/blocks/{i}-{j}.npy"
        for name, part, i, j, _ in planned_blocks(this)
        if kernel in (None, name)
    ]


def approximation_blocks(wildcards):
    """Blocks of the largest training size and of every part that is predicted, after a look at what was asked."""
    this = approximated_study(wildcards.study)
    asked = this.approximations()
    if (wildcards.method, int(wildcards.size)) not in asked:
        stop(
            f"config/{this.name}.yaml has no approximation {wildcards.method} of size {wildcards.size}"
        )
    kernel = kernel_of(wildcards).name
    parts = ("train", *this.evaluation_sizes(kernel))
    described = [declaration(this.owner, kernel, part) for part in parts]
    return study_blocks(this, kernel) + described + [features(wildcards)]


def approximation_files(wildcards):
    """Metrics of every approximation and of the full solutions, after asking for deleted blocks as above."""
    this = approximated_study(wildcards.study)
    force_missing(study_blocks(this))
    full = [
        f"results/{this.name}/metrics/{kernel}/n{this.training_sizes(kernel)[-1]}.parquet"
        for kernel in this.kernels
    ]
    return full + [
        f"results/{this.name}/approximations/{kernel}/{method}/size{size}.parquet"
        for kernel in this.kernels
        for method, size in this.approximations()
    ]


def tuning_data(wildcards):
    return f"results/{study(wildcards.study).owner}/data/data.json"


def what_a_new_trial_needs(wildcards):
    """A trial that is there needs nothing, as a block: its record says what it was made with."""
    folder = f"results/{wildcards.study}/tuning"
    there = Path(f"{folder}/trials/{wildcards.trial}.json").exists()
    return [] if there else [f"{folder}/started.json", tuning_data(wildcards)]


def trial_files(wildcards):
    """The record of every trial, after asking for deleted ones as for blocks."""
    files = [
        f"results/{wildcards.study}/tuning/trials/{trial}.json"
        for trial in range(tuning(wildcards.study).trials)
    ]
    force_missing(files)
    return files


def transfer_examples(wildcards) -> int:
    found = tuning(wildcards.study).transfer
    if found is None:
        stop(f"config/{wildcards.study}.yaml has no section tuning.transfer")
    return found.training_examples


def tuning_results(wildcards):
    """The records of all trials, and what was computed once they had ended."""
    folder = f"results/{wildcards.study}/tuning"
    transfer = tuning(wildcards.study).transfer
    places = [] if transfer is None else ["baseline", *range(transfer.trials)]
    return (
        trial_files(wildcards)
        + [f"{folder}/test/{candidate}.json" for candidate in ("tuned", "baseline")]
        + [f"{folder}/transfer/{place}.json" for place in places]
    )
