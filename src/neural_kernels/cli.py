"""``neural-kernels <verb>``: what each rule of the workflow calls, and what a person can call."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from neural_kernels import __version__, command_line
from neural_kernels.command_line import OneSentenceParser, check_folder, one_line, whole
from neural_kernels.errors import UserError
from neural_kernels.machine import exhaustion
from neural_kernels.machine.interruption import Ended, signals_raised
from neural_kernels.stages.augmentation import report_augmentation
from neural_kernels.stages.check import check_study
from neural_kernels.stages.compare import report_comparison
from neural_kernels.stages.data import prepare_data, preprocess_data
from neural_kernels.stages.evaluate import evaluate_predictions
from neural_kernels.stages.kernels import compute_block, declare_kernel, verify_blocks
from neural_kernels.stages.plan import plan_study
from neural_kernels.stages.report import collect_metrics, report_scaling
from neural_kernels.stages.solve import solve
from neural_kernels.stages.tasks import report_tasks
from neural_kernels.storage import disk
from neural_kernels.study import config_files, split_comparison
from neural_kernels.study import published_table as comparison
from neural_kernels.study.study import kernel_named, load_study

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit status: 0; 2 after a mistake of the user's or a limit of the machine, said in one sentence; 128 and
        the number of the signal that ended the program.
    """
    options = _parser().parse_args(arguments)
    try:
        with signals_raised():
            _start_logging(options)
            check_folder("--results", options.results, options.writes)
            options.run(options)
    except UserError as error:
        log.error("error: %s", one_line(error))
        return 2
    except KeyboardInterrupt:
        log.error("ended by SIGINT; the same command goes on")
        return 128 + signal.SIGINT
    except Ended as end:
        log.error("%s; the same command goes on", end)
        return end.status
    except Exception as error:
        said = exhaustion.sentence(error, options.verb, options.results)
        if said is None and isinstance(error, OSError) and error.filename is not None:
            said = f"{error.filename}: {error.strerror or error}"
        if said is None:
            raise
        log.error("error: %s", one_line(said))
        return 2
    return 0


class _LogFile(logging.FileHandler):
    """A log that a full disk ends, and with it nothing else: standard error has the messages as well."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if error is None or not disk.is_of_the_disk(error):
            super().handleError(record)


def _start_logging(options: argparse.Namespace) -> None:
    path: Path | None = options.log
    # What cannot be opened is said, too.
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    # Of the processes that MPI starts together, the first one keeps the log.
    ranks = (os.environ.get(name) for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID"))
    if path is not None and next(filter(None, ranks), "0") == "0":
        if path.resolve() == options.config.resolve():
            raise UserError(f"--log is {path}, the config itself, expected another file")
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_LogFile(path, mode="w", encoding="utf-8", errors="backslashreplace"))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=handlers, force=True)
    # JAX reports every backend that it does not find.
    logging.getLogger("jax").setLevel(logging.WARNING)
    # And this one every glyph of a PDF.
    logging.getLogger("fontTools").setLevel(logging.WARNING)


def _parser() -> argparse.ArgumentParser:
    parser = OneSentenceParser(prog="neural-kernels", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument("--log", type=command_line.path, help="also write messages to this file")
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="<verb>", dest="verb")

    def verb(
        name: str,
        run: Callable[[argparse.Namespace], object],
        text: str,
        config: str = "the study, config/<study>.yaml",
        writes: bool = True,
    ) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.add_argument("config", type=command_line.path, help=config)
        sub.add_argument(
            "--results", type=command_line.path, default=Path("results"), help="default: results"
        )
        sub.set_defaults(run=run, writes=writes)
        return sub

    def kernel(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--kernel", required=True, type=command_line.name, help="name of a kernel in the config"
        )

    def part(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--part",
            required=True,
            type=command_line.name,
            help="train, validation or the name of a test set",
        )

    def size(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--size", required=True, type=command_line.positive, help="training size n")

    def trial(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--trial", required=True, type=command_line.count, help="number of the trial, from 0"
        )

    def threads(sub: argparse.ArgumentParser) -> None:
        threads = whole(1, command_line.MOST_THREADS)
        sub.add_argument("--threads", type=threads, help="default: every core that this process may use")

    verb(
        "check",
        _check,
        "check the config, the data files, the engines and the disk; write nothing",
        "the study, config/<study>.yaml, or a comparison or table in its folder",
        writes=False,
    )
    sub = verb(
        "plan",
        _plan,
        "say what a study will cost: pairs, hours, blocks, disk, memory; write nothing",
        writes=False,
    )
    sub.add_argument(
        "--input-shape",
        type=command_line.shape,
        help="shape of an example, as 32x32x3, without the data at hand",
    )
    sub.add_argument(
        "--outputs",
        type=whole(1, command_line.MOST_OUTPUTS),
        default=10,
        help="with --input-shape: classes or tasks, default %(default)s",
    )
    sub.add_argument(
        "--rate",
        type=command_line.rate_of_kernel,
        action="append",
        default=[],
        metavar="[KERNEL=]PAIRS",
        help="pairs per second of one node, of one kernel or of all; default: measured on this machine",
    )
    sub.add_argument(
        "--node-memory",
        type=command_line.positive_number,
        metavar="GIB",
        help="memory of one node; default: this machine's",
    )
    verb(
        "prepare-data",
        lambda o: prepare_data(load_study(o.config), o.results),
        "read raw files, split them and write the examples in their fixed order",
    )
    sub = verb(
        "preprocess-data",
        lambda o: preprocess_data(load_study(o.config), o.results, o.preprocessing),
        "turn raw examples into features and targets",
    )
    sub.add_argument(
        "--preprocessing", required=True, type=command_line.name, help="name of a preprocessing in the config"
    )
    sub = verb(
        "declare-kernel",
        lambda o: declare_kernel(load_study(o.config), o.results, o.kernel, o.part),
        "write kernel.json: what one kernel matrix is",
    )
    kernel(sub)
    part(sub)
    sub = verb(
        "compute-block",
        lambda o: compute_block(
            load_study(o.config), o.results, o.kernel, o.part, o.block, o.threads, o.force
        ),
        "compute one block of a kernel, resuming where an earlier run was killed",
    )
    kernel(sub)
    part(sub)
    threads(sub)
    sub.add_argument(
        "--force",
        action="store_true",
        help="compute a block that is there again, and replace it once it is whole",
    )
    sub.add_argument(
        "--block", required=True, type=command_line.block, metavar="I-J", help="block row and column, as 3-7"
    )
    sub = verb(
        "verify-blocks",
        lambda o: verify_blocks(load_study(o.config), o.results, o.kernel, o.part, o.seal),
        "read every stored block of a kernel, and the features and targets behind it; set faulty ones aside, name them",
    )
    kernel(sub)
    part(sub)
    sub.add_argument(
        "--seal",
        action="store_true",
        help="write checksums for blocks of a version that wrote none, as they are now",
    )
    sub = verb("solve", _solve, "choose the ridge on the validation set and solve for one training size")
    kernel(sub)
    size(sub)
    threads(sub)
    sub.add_argument(
        "--tasks",
        type=whole(1, command_line.MOST_THREADS),
        default=1,
        help="processes that MPI started to solve together",
    )
    sub = verb("evaluate", _evaluate, "predict every test set from one training size's solution")
    kernel(sub)
    size(sub)
    sub = verb("predict", _predict, "predict new inputs without labels and write a table, CSV or Parquet")
    kernel(sub)
    sub.add_argument(
        "--inputs", required=True, type=command_line.path, help="file of examples in the data set's form"
    )
    sub.add_argument(
        "--output", required=True, type=command_line.path, help="table to write, .csv or .parquet"
    )
    sub.add_argument(
        "--size", type=command_line.positive, help="training size n; default: the kernel's largest"
    )
    sub.add_argument("--variance", action="store_true", help="add posterior variances")
    samples, seed = whole(0, command_line.MOST_SAMPLES), whole(0, command_line.LARGEST_SEED)
    sub.add_argument(
        "--samples", type=samples, default=0, help="add so many samples from the joint posterior"
    )
    sub.add_argument("--seed", type=seed, default=0, help="of the samples, default %(default)s")
    threads(sub)
    verb(
        "collect-metrics",
        _collect_metrics,
        "gather the numbers of every kernel and size in one tidy table",
    )
    verb(
        "report-scaling",
        _report_scaling,
        "fit power laws and draw the report",
    )
    verb(
        "report-augmentation",
        _report_augmentation,
        "draw the report of accuracy against the augmentation factor",
    )
    verb(
        "report-comparison",
        _report_comparison,
        "write a table of what was run beside what is published, from the studies that have been run",
        "the table, config/tables/<table>.yaml",
    )
    sub = verb(
        "predict-tests", _predict_tests, "keep what one training size's solution predicts for test sets"
    )
    kernel(sub)
    size(sub)
    verb(
        "report-splits",
        _report_splits,
        "draw the report of a comparison of splits",
        "the comparison, config/comparisons/<comparison>.yaml",
    )
    verb("report-tasks", _report_tasks, "draw the report of each task's scores, beside published ones")
    sub = verb("approximate", _approximate, "approximate the full solution by one method of one size")
    kernel(sub)
    sub.add_argument(
        "--method", required=True, type=command_line.name, help="one of the study's section approximations"
    )
    sub.add_argument(
        "--size", required=True, type=command_line.positive, help="rank, examples of a part, or iterations"
    )
    threads(sub)
    verb(
        "collect-approximations",
        _collect_approximations,
        "gather the numbers of every approximation, and of the full solution, in one tidy table",
    )
    verb("report-approximations", _report_approximations, "draw the report of the approximations")
    sub = verb(
        "start-tuning", _tuning("start", "threads"), "check a tuning study, and fit what its trials share"
    )
    threads(sub)
    sub = verb(
        "run-trial",
        _tuning("run_trial", "trial", "threads"),
        "draw the hyperparameters of one trial, or take up those of a killed one, and record what they give",
    )
    trial(sub)
    threads(sub)
    sub = verb(
        "recompute-trial",
        _tuning("recompute_trial", "trial", "threads"),
        "compute one trial again from its record; write nothing",
        writes=False,
    )
    trial(sub)
    threads(sub)
    verb("select-tuned", _tuning("select"), "write the best trial as tuned.yaml, for other studies to name")
    sub = verb(
        "transfer-trial",
        _tuning("transfer", "which", "threads"),
        "judge one of the selected trials, or the baseline, with another number of training examples",
    )
    sub.add_argument(
        "--which", required=True, type=command_line.place, help="0, 1, ... in the selection, or baseline"
    )
    threads(sub)
    sub = verb(
        "test-tuned", _tuning("score_candidate", "which", "threads"), "test the best trial, or the baseline"
    )
    sub.add_argument("--which", required=True, choices=["tuned", "baseline"])
    threads(sub)
    verb("report-tuning", _tuning("report"), "draw the report of a tuning study")
    return parser


def _check(options: argparse.Namespace) -> None:
    if config_files.kind(options.config) == "comparison":
        compared = split_comparison.load_comparison(options.config)
        for study in compared.run.values():
            split_comparison.check_comparable(study, check_study(study, options.results))
        log.info("comparison %s: its studies are in order", compared.name)
    elif config_files.kind(options.config) == "table":
        table = comparison.load_table(options.config)
        table.check_runs()
        log.info("table %s: its studies have the kernels that it names", table.name)
    else:
        check_study(load_study(options.config), options.results)


def _plan(options: argparse.Namespace) -> None:
    memory = None if options.node_memory is None else options.node_memory * 2**30
    study = load_study(options.config)
    rates = dict(options.rate)
    for kernel in rates.keys() - {None}:
        kernel_named(study, kernel)
    print(plan_study(study, options.results, options.input_shape, rates, memory, options.outputs))


def _solve(options: argparse.Namespace) -> None:

    study = load_study(options.config)
    solve(study, options.results, options.kernel, options.size, options.threads, options.tasks)


def _evaluate(options: argparse.Namespace) -> None:

    evaluate_predictions(load_study(options.config), options.results, options.kernel, options.size)


def _predict(options: argparse.Namespace) -> None:
    from neural_kernels.stages import predict as predict_stages

    check_folder("--output", options.output.parent, writes=True)
    predict_stages.predict_inputs(
        load_study(options.config),
        options.results,
        options.kernel,
        options.inputs,
        options.output,
        options.size,
        predict_stages.Wanted(options.variance, options.samples, options.seed),
        options.threads,
    )


# The stages of approximations load pandas and the solvers, which no other verb should wait for.
def _collect_metrics(options: argparse.Namespace) -> None:

    collect_metrics(load_study(options.config), options.results)


def _report_scaling(options: argparse.Namespace) -> None:

    report_scaling(load_study(options.config), options.results)


def _report_augmentation(options: argparse.Namespace) -> None:

    report_augmentation(load_study(options.config), options.results)


def _report_comparison(options: argparse.Namespace) -> None:

    report_comparison(options.config, options.results)


def _predict_tests(options: argparse.Namespace) -> None:
    from neural_kernels.stages import splits as split_stages

    study = load_study(options.config)
    split_stages.predict_tests(study, options.results, options.kernel, options.size)


def _report_splits(options: argparse.Namespace) -> None:
    from neural_kernels.stages import splits as split_stages

    split_stages.report_splits(split_comparison.load_comparison(options.config), options.results)


def _report_tasks(options: argparse.Namespace) -> None:

    report_tasks(load_study(options.config), options.results)


def _approximate(options: argparse.Namespace) -> None:
    from neural_kernels.stages import approximations as approximation_stages

    study = load_study(options.config)
    approximation_stages.approximate(
        study, options.results, options.kernel, options.method, options.size, options.threads
    )


def _collect_approximations(options: argparse.Namespace) -> None:
    from neural_kernels.stages import approximations as approximation_stages

    approximation_stages.collect_approximations(load_study(options.config), options.results)


def _report_approximations(options: argparse.Namespace) -> None:
    from neural_kernels.stages import approximations as approximation_stages

    approximation_stages.report_approximations(load_study(options.config), options.results)


def _tuning(stage: str, *names: str) -> Callable[[argparse.Namespace], None]:
    """The stage of that name with the options ``names``; what it returns as text is printed."""

    def run(options: argparse.Namespace) -> None:
        from neural_kernels.stages import tune as tuning_stages

        arguments = [getattr(options, name) for name in names]
        found = getattr(tuning_stages, stage)(load_study(options.config), options.results, *arguments)
        if isinstance(found, str):
            print(found)

    return run


if __name__ == "__main__":
    sys.exit(main())
