"""The verbs of the command line, in one table: what each runs, on what, with which options.

A verb names its stage and loads it once it is asked for: a block job must not wait for pandas and plots.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from neural_kernels.command_line import options
from neural_kernels.command_line.options import OneSentenceParser, whole
from neural_kernels.stages.report_kinds import REPORT_KINDS

CONFIG = "the study, config/<study>.yaml"


@dataclass(frozen=True)
class Option:
    """One option of a verb, with what ``argparse`` is told of it."""

    flag: str
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The attribute that holds its value."""
        return self.flag.removeprefix("--").replace("-", "_")


def _option(flag: str, **settings: Any) -> Option:
    return Option(flag, settings)


KERNEL = _option("--kernel", required=True, type=options.name, help="name of a kernel in the config")
PART = _option("--part", required=True, type=options.name, help="train, validation or the name of a test set")
SIZE = _option("--size", required=True, type=options.positive, help="training size n")
TRIAL = _option("--trial", required=True, type=options.count, help="number of the trial, from 0")
THREADS = _option(
    "--threads",
    type=whole(1, options.MOST_THREADS),
    help="default: every core that this process may use",
)


@dataclass(frozen=True)
class Verb:
    """One verb.

    Attributes:
        stage: module and function, which takes what ``reads`` says, the results folder, and the options in their
            order; text that it returns is printed.
        reads: what the config file is read as, or its path alone.
        writes: whether it writes below the results folder.
        called: the first argument, in the verb's help.
    """

    name: str
    stage: str
    text: str
    options: Sequence[Option] = ()
    reads: Literal["study", "comparison", "path"] = "study"
    config: str = CONFIG
    writes: bool = field(default=True, kw_only=True)
    called: str = field(default="config", kw_only=True)

    def run(self, chosen: argparse.Namespace) -> None:
        """Run its stage with the values that ``argparse`` found."""
        module, function = self.stage.split(":")
        stage = getattr(importlib.import_module(f"neural_kernels.stages.{module}"), function)
        values = [getattr(chosen, option.name) for option in self.options]
        found = stage(_read(self.reads, chosen.config), chosen.results, *values)
        if isinstance(found, str):
            print(found)


def _read(kind: str, config: Path) -> Any:
    if kind == "study":
        from neural_kernels.study.study import load_study

        return load_study(config)
    if kind == "comparison":
        from neural_kernels.study.split_comparison import load_comparison

        return load_comparison(config)
    return config


FOR_PEOPLE = (
    Verb(
        "fit",
        "fit:fit_table",
        "fit a model to a table, without a study: a folder with the model and its report",
        (
            _option("--smiles", metavar="COLUMN", help="the column of molecules"),
            _option("--sequence", metavar="COLUMN", help="the column of sequences of letters"),
            _option(
                "--mutations", metavar="COLUMN", help="the column of mutations, as A123V:G45D, of --wild-type"
            ),
            _option("--wild-type", metavar="SEQUENCE", help="a sequence, or a FASTA file"),
            _option(
                "--features",
                nargs="+",
                metavar="COLUMN",
                help="columns of numbers; default without those above: every such column but the targets",
            ),
            _option(
                "--target",
                nargs="+",
                required=True,
                metavar="COLUMN",
                help="columns to learn, blank where a value is missing",
            ),
            _option("--output", type=options.path, help="folder of the model"),
            _option(
                "--write-config",
                type=options.path,
                metavar="CONFIG",
                help="in place of --output: fit nothing, and write the study that fits the same on a cluster, "
                "config/<study>.yaml",
            ),
            _option("--architecture", help="name of one, as FC3 or Conv1D; default: what suits the inputs"),
            _option(
                "--task",
                choices=["regression", "classification"],
                help="default: classification of texts, or of 0 and 1 alone",
            ),
            _option(
                "--folds",
                metavar="COLUMN",
                help="each row's fold, as fold_random_5: each is predicted from the others as well",
            ),
            THREADS,
        ),
        reads="path",
        config="the table, .csv or .csv.gz",
        writes=False,
    ),
    Verb(
        "init",
        "init:write_config",
        "write the config of a new study, with comments, that fits a file of data",
        (
            _option(
                "--data",
                required=True,
                type=options.path,
                help="an .npz of arrays, a table of sequences in FLIP's form, or a table of molecules",
            ),
            _option("--smiles", metavar="COLUMN", help="the column of molecules"),
            _option("--target", nargs="+", metavar="COLUMN", help="columns to learn; default: all others"),
        ),
        reads="path",
        config="the new file, config/<study>.yaml",
        writes=False,
    ),
    Verb(
        "check",
        "check:check_config",
        "check the config, the data files, the engines and the disk; write nothing",
        reads="path",
        config="the study, config/<study>.yaml, or a comparison or table in its folder",
        writes=False,
    ),
    Verb(
        "plan",
        "plan:plan_study",
        "say what a study will cost: pairs, hours, blocks, disk, memory; write nothing",
        (
            _option(
                "--input-shape",
                type=options.shape,
                help="shape of an example, as 32x32x3, without the data at hand",
            ),
            _option(
                "--outputs",
                type=whole(1, options.MOST_OUTPUTS),
                default=10,
                help="with --input-shape: classes or tasks, default %(default)s",
            ),
            _option(
                "--rate",
                type=options.rate_of_kernel,
                action="append",
                default=[],
                metavar="[KERNEL=]PAIRS",
                help="pairs per second of one node, of one kernel or of all; default: measured on this machine",
            ),
            _option(
                "--node-memory",
                type=options.positive_number,
                metavar="GIB",
                help="memory of one node; default: this machine's",
            ),
        ),
        writes=False,
    ),
    Verb(
        "status",
        "status:study_status",
        "say how far a study is: blocks, their rate, what is left, what failed, why jobs wait in Slurm's queue",
        writes=False,
    ),
    Verb(
        "predict",
        "predict_anything:predict",
        "predict new inputs without labels, by a study or by a model of fit, and write a table, CSV or Parquet",
        (
            _option("new", nargs="?", type=options.path, help="the inputs, in place of --inputs"),
            _option("--kernel", type=options.name, help="name of a kernel in the config; a model has one"),
            _option("--inputs", type=options.path, help="file of examples in the data set's form"),
            _option(
                "--output",
                type=options.path,
                help="table to write, .csv or .parquet; of a model, default: <inputs>_predictions.csv",
            ),
            _option("--size", type=options.positive, help="training size n; default: the kernel's largest"),
            _option(
                "--variance",
                action="store_true",
                help="add posterior variances and, of a regression, what they say of which input to measure next",
            ),
            _option(
                "--samples",
                type=whole(0, options.MOST_SAMPLES),
                default=0,
                help="add so many samples from the joint posterior",
            ),
            _option(
                "--seed",
                type=whole(0, options.LARGEST_SEED),
                default=0,
                help="of the samples, default %(default)s",
            ),
            _option(
                "--each-variance",
                action="store_true",
                help="add posterior variances, of many inputs too by an iterative solve for each",
            ),
            THREADS,
        ),
        reads="path",
        config="the study, config/<study>.yaml, or the folder of a model",
    ),
    Verb(
        "verify-blocks",
        "kernels:verify_blocks",
        "read every stored block of a kernel, and the features and targets behind it; set faulty ones aside, name them",
        (
            KERNEL,
            PART,
            _option(
                "--seal",
                action="store_true",
                help="write checksums for blocks of a version that wrote none, as they are now",
            ),
        ),
    ),
    Verb(
        "import-blocks",
        "interop:import_blocks",
        "make a study of a kernel that another program computed: check it, write config/<study>.yaml and its blocks",
        (
            _option(
                "--kernel", required=True, type=options.name, help="name that the kernel gets in the study"
            ),
            _option(
                "--blocks",
                required=True,
                type=options.path,
                help="folder of .npy blocks, or one .npy array; training, then validation, then test examples",
            ),
            _option(
                "--labels",
                type=options.path,
                help="their labels, an .npy file; default: labels.npy beside the blocks",
            ),
            _option("--kind", choices=["ntk", "nngp"], default="ntk", help="default: %(default)s"),
            _option(
                "--validation",
                type=options.count,
                default=1000,
                help="examples of the validation set, before the test set, default %(default)s",
            ),
            _option(
                "--test", required=True, type=options.positive, help="examples of the test set, the last ones"
            ),
        ),
        reads="path",
        config="the study to write, config/<study>.yaml",
    ),
    Verb(
        "export",
        "interop:export_kernel",
        "write a kernel matrix for another program, as .npy blocks or one array",
        (
            KERNEL,
            PART,
            _option(
                "--output",
                required=True,
                type=options.path,
                help="one array where it ends in .npy, else a new folder of blocks",
            ),
        ),
        writes=False,
    ),
    Verb(
        "compare-kernels",
        "interop:compare_kernels",
        "compare two kernels entry by entry: stores, folders of blocks or arrays; no config; write nothing",
        (_option("other", type=options.path, help="the other kernel"),),
        reads="path",
        config="a kernel: results/<study>/kernels/<kernel>/<part>, a folder of .npy blocks, or one .npy array",
        writes=False,
        called="kernel",
    ),
    Verb(
        "recompute-trial",
        "tune:recompute_trial",
        "compute one trial again from its record; write nothing",
        (TRIAL, THREADS),
        writes=False,
    ),
)

OF_RULES = (
    Verb(
        "prepare-data",
        "data:prepare_data",
        "read raw files, split them and write the examples in their fixed order",
    ),
    Verb(
        "preprocess-data",
        "data:preprocess_data",
        "turn raw examples into features and targets",
        (
            _option(
                "--preprocessing",
                required=True,
                type=options.name,
                help="name of a preprocessing in the config",
            ),
        ),
    ),
    Verb(
        "declare-kernel",
        "kernels:declare_kernel",
        "write kernel.json: what one kernel matrix is",
        (KERNEL, PART),
    ),
    Verb(
        "compute-block",
        "kernels:compute_block",
        "compute one block of a kernel, resuming where an earlier run was killed",
        (
            KERNEL,
            PART,
            _option(
                "--block",
                required=True,
                type=options.block,
                metavar="I-J",
                help="block row and column, as 3-7",
            ),
            THREADS,
            _option(
                "--force",
                action="store_true",
                help="compute a block that is there again, and replace it once it is whole",
            ),
            _option(
                "--require-accelerator",
                action="store_true",
                help="refuse to compute on the processor where no GPU or TPU was started",
            ),
        ),
    ),
    Verb(
        "solve",
        "solve:solve",
        "choose the ridge on the validation set and solve for one training size",
        (
            KERNEL,
            SIZE,
            THREADS,
            _option(
                "--tasks",
                type=whole(1, options.MOST_THREADS),
                default=1,
                help="processes that MPI started to solve together",
            ),
        ),
    ),
    Verb(
        "evaluate",
        "evaluate:evaluate_predictions",
        "predict every test set from one training size's solution",
        (KERNEL, SIZE),
    ),
    Verb(
        "solve-small-sizes",
        "small_sizes:solve_small_sizes",
        "solve for all training sizes of a kernel that take seconds, one after the other",
        (KERNEL, THREADS),
    ),
    Verb(
        "evaluate-small-sizes",
        "small_sizes:evaluate_small_sizes",
        "predict every test set from the solutions of all training sizes that take seconds",
        (KERNEL,),
    ),
    Verb(
        "predict-learning-curve",
        "learning_curve:predict_learning_curve",
        "predict the test loss of every training size from one kernel matrix",
        (KERNEL, THREADS),
    ),
    Verb(
        "predict-tests",
        "splits:predict_tests",
        "keep what one training size's solution predicts for test sets",
        (KERNEL, SIZE),
    ),
    Verb(
        "fit-baselines",
        "baselines:fit_baselines",
        "fit simple methods to the study's training examples, and score them on its test sets",
        (THREADS,),
    ),
    Verb(
        "collect-metrics",
        "report:collect_metrics",
        "gather the numbers of every kernel and size in one tidy table",
    ),
    *(Verb(f"report-{kind.name}", kind.stage, kind.text) for kind in REPORT_KINDS.values()),
    Verb(
        "report-splits",
        "splits:report_splits",
        "draw the report of a comparison of splits",
        reads="comparison",
        config="the comparison, config/comparisons/<comparison>.yaml",
    ),
    Verb(
        "report-comparison",
        "compare:report_comparison",
        "write a table of what was run beside what is published, from the studies that have been run",
        reads="path",
        config="the table, config/tables/<table>.yaml",
    ),
    Verb(
        "approximate",
        "approximations:approximate",
        "approximate the full solution by one method of one size",
        (
            KERNEL,
            _option(
                "--method", required=True, type=options.name, help="one of the study's section approximations"
            ),
            _option(
                "--size",
                required=True,
                type=options.positive,
                help="rank, examples of a part, or iterations",
            ),
            THREADS,
        ),
    ),
    Verb(
        "collect-approximations",
        "approximations:collect_approximations",
        "gather the numbers of every approximation, and of the full solution, in one tidy table",
    ),
    Verb(
        "start-tuning",
        "tune:start_tuning",
        "check a tuning study, and fit what its trials share",
        (THREADS,),
    ),
    Verb(
        "run-trial",
        "tune:run_trial",
        "draw the hyperparameters of one trial, or take up those of a killed one, and record what they give",
        (TRIAL, THREADS),
    ),
    Verb(
        "select-tuned", "tune:select_tuned", "write the best trial as tuned.yaml, for other studies to name"
    ),
    Verb(
        "transfer-trial",
        "tune:transfer_trial",
        "judge one of the selected trials, or the baseline, with another number of training examples",
        (
            _option(
                "--which",
                required=True,
                type=options.place,
                help="0, 1, ... in the selection, or baseline",
            ),
            THREADS,
        ),
    ),
    Verb(
        "test-tuned",
        "tune:test_tuned",
        "test the best trial, or the baseline",
        (_option("--which", required=True, choices=["tuned", "baseline"]), THREADS),
    ),
)


def make_parser(arguments: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of all verbs; what it gives has the chosen ``Verb`` under ``chosen``.

    Args:
        arguments: what will be parsed. Where they name verbs, others are left out, since a block job must not wait
            for thirty parsers.
    """
    every = (*FOR_PEOPLE, *OF_RULES)
    parser = OneSentenceParser(
        prog="neural-kernels",
        description="Exact kernel regression with infinite-width neural networks. The workflow calls most verbs: "
        "snakemake --profile default results/<study>_scaling.pdf",
        epilog=f"verbs for people:\n{_listed(FOR_PEOPLE)}\n\nverbs that the rules of the workflow call:\n"
        f"{_listed(OF_RULES)}\n\nneural-kernels <verb> --help says what a verb takes",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
    parser.add_argument("--log", type=options.path, help="also write messages to this file")
    verbs = parser.add_subparsers(required=True, metavar="<verb>", dest="verb", help="one of those below")
    for verb in [verb for verb in every if verb.name in arguments] or every:
        # Without ``help`` the verb is not listed twice.
        sub = verbs.add_parser(verb.name, description=verb.text)
        sub.add_argument("config", metavar=verb.called, type=options.path, help=verb.config)
        sub.add_argument("--results", type=options.path, default=Path("results"), help="default: results")
        for option in verb.options:
            sub.add_argument(option.flag, **option.settings)
        sub.set_defaults(chosen=verb)
    return parser


class _ShowVersion(argparse.Action):
    """Looked up when it is asked for: that takes as long as loading the rest."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import neural_kernels

        print(neural_kernels.__version__)
        parser.exit()


def _listed(verbs: Sequence[Verb]) -> str:
    width = max(len(verb.name) for verb in (*FOR_PEOPLE, *OF_RULES)) + 2
    return "\n".join(f"  {verb.name:{width}}{verb.text}" for verb in verbs)
