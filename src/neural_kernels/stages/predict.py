"""From a study's solution to predictions for new inputs: the verb ``predict``.

It reads what the study has under ``results`` and writes one table; no rule of the workflow calls it.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from neural_kernels import blocks, datasets, solvers
from neural_kernels.datasets import rows as known_rows
from neural_kernels.datasets.inputs import Inputs
from neural_kernels.errors import UserError
from neural_kernels.graphs import TYPICAL_NODES, open_examples
from neural_kernels.machine.threads import blas_threads, thread_limit
from neural_kernels.metrics.calibration import conformal_quantile
from neural_kernels.planning import costs as planning
from neural_kernels.prediction import job as prediction_job
from neural_kernels.prediction import left_out, many_variances, posterior
from neural_kernels.prediction import table as predictions_table
from neural_kernels.prediction.example_table import LEFT_OUT
from neural_kernels.prediction.job import CrossKernel, Group, Predicted
from neural_kernels.prediction.model import Model, load_model
from neural_kernels.prediction.table import Outputs, Uncertainty
from neural_kernels.preprocessing.features import are_of, preprocess_inputs
from neural_kernels.solvers import cholesky, inverse
from neural_kernels.solvers.quadratic_forms import MOST_SOLVED, Forms
from neural_kernels.stages import test_examples
from neural_kernels.stages.solve import solver_settings
from neural_kernels.storage import disk, locks, sealed_parquet
from neural_kernels.storage.files import read_json, write_atomically
from neural_kernels.study.folders import data_folder, open_features_folder
from neural_kernels.study.study import Study

log = logging.getLogger(__name__)


CONFORMAL = 0.95
"""Of new measurements, what the interval of a table is to hold."""


SUFFIXES = (".csv", ".parquet")


MOST_SAMPLED = 20_000
"""Inputs that samples are drawn at: their joint covariance is dense."""


CHUNK_ROWS, ITERATIVE_CHUNK_ROWS = 2048, 256
"""Inputs between two savings, at most; fewer where each takes an iterative solve."""


RIGHT_HAND_SIDES = 64
"""Inputs that share an iterative solve: with more of them, arithmetic and not reading sets the pace."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for beside predictions: posterior variances, and a number of samples from a seed.

    Attributes:
        each_variance: whether each variance takes a solve of its own, however many there are.
    """

    variance: bool = False
    samples: int = 0
    seed: int = 0
    each_variance: bool = False

    @property
    def covariance(self) -> bool:
        """Whether anything of the posterior covariance is needed."""
        return self.variance or self.samples > 0


def predict_inputs(
    study: Study,
    results: Path,
    kernel_name: str,
    path: Path,
    output: Path,
    size: int | None = None,
    variance: bool = False,
    samples: int = 0,
    seed: int = 0,
    each_variance: bool = False,
    threads: int | None = None,
) -> None:
    """Predict the examples in the user's file ``path`` and write the table ``output``, CSV or Parquet.

    Args:
        size: training size whose solution predicts (its first draw); the kernel's largest where None.
        variance: whether posterior variances are added.
        samples: how many samples from the joint posterior are added, drawn from ``seed``.
        each_variance: solve for each input's variance, also where there are more than ``MOST_SOLVED`` and the solve is
            iterative.

    Raises:
        UserError: something of the study is not there yet, a bad file, or more than memory allows.
    """
    wanted = Wanted(variance or each_variance, samples, seed, each_variance)
    disk.check_folder("--output", output.parent, writes=True)
    if output.suffix not in SUFFIXES:
        raise UserError(f"{output}: found the ending {output.suffix!r}, expected {' or '.join(SUFFIXES)}")
    if output.is_dir() or output.resolve() == path.resolve():
        raise UserError(
            f"{output} is a folder or the file of inputs, expected another place for the predictions"
        )
    listed = left_out.listed_in(output, path)
    model = load_model(study, results, kernel_name, size)
    outputs = predictions_table.outputs_of(model.described)
    inputs = datasets.read_inputs(
        study.data, path, tuple(model.described["input_shape"]), model.transform.kind
    )
    training = _training_rows(model, results)
    settings = solver_settings(study, [model.solution.record.ridge], threads)
    masks = cholesky.tasks_by_mask(~np.isnan(model.targets))
    _check_feasible(model, inputs, wanted, settings, masks)
    left_out.say(inputs.source, inputs.left_out)
    if not model.solution.record.converged:
        record = model.solution.record
        log.warning(
            "the solution of n = %d did not converge (%s, residual %.1e)",
            model.n,
            record.stopped_by,
            record.residual,
        )

    folder = output.with_name(output.name + ".partial")
    many = _from_one_space(model, wanted, len(inputs.examples))
    rows = _rows_begun_with(folder, _chunk_rows(model, wanted, settings, len(masks), many))
    identity, asked = _identity(model, path, wanted, rows, many), asdict(wanted) | {"suffix": output.suffix}
    before, running = _mark(output), prediction_job.under_way(folder)
    with locks.alone(output.with_name(output.name + ".lock"), str(output)):
        same = running == prediction_job.fingerprint({"identity": identity, "asked": asked})
        if same and not folder.exists() and _mark(output) not in (None, before):
            log.info("%s: another process has made the same predictions meanwhile", output)
            return
        groups = _groups(model, settings, [known for known, _ in masks]) if wanted.covariance else []
        _check_disk(model, inputs, wanted, folder, rows, len(groups), many)
        job = prediction_job.open_job(folder, identity, asked)
        with thread_limit(threads), blas_threads(settings.threads):
            kernel = _cross_kernel(model, results, folder, inputs)
            if many:
                groups = [_with_forms(group, folder, job, kernel, model, settings) for group in groups]
            predicted = prediction_job.compute(
                folder, job, kernel, model.solution.coefficients, groups, rows, keep=wanted.samples > 0
            )
            del groups  # and the factor that they hold: samples need the memory
            uncertainty = _uncertainty(model, predicted, masks, many) if wanted.covariance else None
            drawn = (
                _samples(model, kernel, folder, predicted, masks, rows, settings.memory_budget, wanted)
                if wanted.samples
                else None
            )
        table = predictions_table.build(
            inputs.identifiers,
            outputs,
            predicted.mean,
            uncertainty if wanted.variance else None,
            drawn,
            _reach(model, results, outputs) if wanted.variance else None,
            _largest(model.targets) if model.described["task"] == "regression" else None,
            _named(predicted, training),
        )
        said = left_out.write(listed, inputs.left_out)
        write_atomically(output, partial(predictions_table.write, table, output.suffix))
        prediction_job.close_job(folder)
    log.info("%s: %d predictions by kernel %s and n = %d, %s", output, len(table), kernel_name, model.n, said)


def _training_rows(model: Model, results: Path) -> Mapping[str, np.ndarray]:
    """What is known of each training image (``datasets.rows``); nothing where the data are not the features' own."""
    data = data_folder(model.study, results)
    known = known_rows.of_parts(data).get("train", {})
    if known and not are_of(model.described, read_json(data / "data.json")):
        log.warning(
            "%s is of other data than the features: the nearest training examples have no names", data
        )
        return {}
    return known


def _largest(targets: np.ndarray) -> np.ndarray:
    """The largest target of each task, (C,); NaN of one without any."""
    largest = np.where(np.isnan(targets), -np.inf, targets).max(axis=0)
    return np.where(np.isfinite(largest), largest, np.nan)


def _named(predicted: Predicted, training: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns on the nearest training examples: place in ``train_x.npy``, what is known of each image, correlation."""
    found = {"nearest_training_example": predicted.nearest}
    for what, known in training.items():
        # Copies follow the images, factor by factor.
        found[f"nearest_training_{what}"] = known[predicted.nearest % len(known)]
    return found | {"nearest_similarity": predicted.likeness}


def _mark(path: Path) -> tuple[int, int] | None:
    """What tells a file from one that replaces it, None where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _from_one_space(model: Model, wanted: Wanted, count: int) -> bool:
    """Whether variances come from one Krylov space. Samples need what single solves give."""
    return (
        wanted.variance
        and not wanted.each_variance
        and not wanted.samples
        and _iterative(model)
        and count > MOST_SOLVED
    )


def _with_forms(
    group: Group, folder: Path, job: str, kernel: CrossKernel, model: Model, settings: solvers.Settings
) -> Group:
    """The group of all tasks, with what its variances come from, made when the first chunk needs it."""

    @functools.cache
    def forms() -> Callable[[np.ndarray], Forms]:
        return many_variances.forms(
            folder, job, kernel, model.store, model.solution.record, settings, group.solve
        )

    return replace(group, forms=lambda rows: forms()(rows))


def _identity(model: Model, path: Path, wanted: Wanted, rows: int, many: bool) -> dict[str, Any]:
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "inputs": content,
        "kernel": model.store.fingerprint,
        "n": model.n,
        "coefficients": hashlib.sha256(model.solution.coefficients.tobytes()).hexdigest(),
        "shift": model.solution.record.shift,
        "covariance": wanted.covariance,
        "samples": wanted.samples > 0,
        "one_space": many,
        "chunk": rows,
    }


def _cross_kernel(model: Model, results: Path, folder: Path, inputs: Inputs) -> CrossKernel:
    path = folder / "inputs.npy"
    inputs_hash = preprocess_inputs(model.transform, inputs.examples, path)
    features = open_features_folder(model.study, results, model.kernel)
    study = model.study
    shape = tuple(model.described["input_shape"])
    return CrossKernel(
        architecture=model.kernel.architecture,
        kind=model.kernel.kind,
        engine=study.engine,
        precision=study.precision,
        tile=study.blocks.tile,
        description=model.store.description,
        stored=model.store,
        train=features.examples("train.npy", (0, model.n))[: model.n],
        inputs=open_examples(path, shape),
        inputs_hash=inputs_hash,
    )


def _check_feasible(
    model: Model,
    inputs: Inputs,
    wanted: Wanted,
    settings: solvers.Settings,
    masks: Sequence[tuple[np.ndarray, np.ndarray]],
) -> None:
    """Raise UserError for what cannot be computed: missing blocks, tasks, memory."""
    if not wanted.covariance:
        return
    missing = [
        path
        for block in model.store.grid.window_blocks(0, model.n)
        if not (path := model.store.block_path(*block)).exists()
    ]
    if missing:
        raise UserError(
            f"{missing[0]} is missing, with {len(missing) - 1} more blocks that the posterior variance needs: make "
            "them with snakemake first"
        )
    if _iterative(model) and (len(masks) > 1 or not masks[0][0].all()):
        raise UserError(
            f"labels are missing and n = {model.n} is above solver.direct_up_to, {settings.direct_up_to}: the "
            "posterior variance would take a solve for each task and input; expected a --size that is solved directly"
        )
    count = len(inputs.examples)
    if not wanted.samples:
        return
    if count > MOST_SAMPLED:
        raise UserError(
            f"{inputs.source}: samples were asked for at {count} inputs, expected at most {MOST_SAMPLED}: their joint "
            "covariance is dense"
        )
    # The covariance, its factor and a copy; the samples, as an array and as a table that is written.
    needed = 8 * count * (3 * count + 3 * wanted.samples * model.targets.shape[1])
    if needed > settings.memory_budget:
        raise UserError(
            f"{inputs.source}: samples at {count} inputs take {needed / 2**30:.1f} GiB, solver.memory_gib is "
            f"{settings.memory_budget / 2**30:.1f}: raise it, or give fewer inputs"
        )


def _check_disk(
    model: Model, inputs: Inputs, wanted: Wanted, folder: Path, rows: int, groups: int, many: bool
) -> None:
    """Raise UserError where the disk lacks what the unfinished job takes when it is fullest, and the table."""
    count, outputs = len(inputs.examples), model.targets.shape[1]
    example = math.prod(TYPICAL_NODES if length is None else length for length in inputs.examples.shape[1:])
    kept = count if wanted.samples else min(rows, count)
    kernel_rows = kept * model.n * (model.store.dtype.itemsize + 8 * groups * (wanted.samples > 0))
    own = count**2 // 2 * model.store.dtype.itemsize if wanted.samples else 0
    given = int(inputs.identifiers.memory_usage(index=False, deep=True).sum())
    table = 8 * count * (outputs * (1 + 11 * wanted.variance + wanted.samples) + 4) + given
    there = sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())
    space = inverse.bytes_of_space(model.n) if many else 0
    needed = 8 * count * example + kernel_rows + own + space + 2 * table - there
    planning.check_room(folder, needed, f"the predictions of {count} inputs, while they are made,")


def _iterative(model: Model) -> bool:
    return model.study.method(model.n) == "iterative"


def _chunk_rows(model: Model, wanted: Wanted, settings: solvers.Settings, masks: int, many: bool) -> int:
    """Inputs in a chunk: as many as the memory holds the kernel rows of a few times.

    The share of one input is kept for what is known of each training example, by which the nearest are found and named.
    """
    budget, most = settings.memory_budget, CHUNK_ROWS
    if wanted.covariance and _iterative(model):
        # The other half is the solver's.
        budget, most = budget // 2, CHUNK_ROWS if many else ITERATIVE_CHUNK_ROWS
    elif wanted.covariance:
        budget -= cholesky.working_bytes(
            model.n, 0, labels_missing=masks > 1 or bool(np.isnan(model.targets).any())
        )
    rows = budget // (6 * 8 * model.n) - 1
    if rows < 1:
        raise UserError(
            f"{'the posterior variance' if wanted.covariance else 'a prediction'} with n = {model.n} takes more than "
            f"solver.memory_gib, "
            f"{settings.memory_budget / 2**30:.1f} GiB: raise it, or choose a smaller --size"
        )
    return min(rows, most)


def _rows_begun_with(folder: Path, rows: int) -> int:
    """Inputs in a chunk of the job begun in ``folder``, if about ``rows``: the memory that is left varies a bit."""
    begun = (prediction_job.read_job(folder) or {}).get("identity", {}).get("chunk")
    return begun if isinstance(begun, int) and rows <= 2 * begun <= 4 * rows else rows


def _groups(model: Model, settings: solvers.Settings, masks: list[np.ndarray]) -> list[Group]:
    """How the rows of new inputs are solved with, for each mask of labels.

    Blocks and memory are checked at once; factors are made when the first chunk needs them.
    """
    window, record = (0, model.n), model.solution.record
    if not _iterative(model):
        blocks.set_aside_faulty(model.store, model.store.grid.window_blocks(*window))

        @functools.cache
        def inverses() -> Callable[[int], inverse.Inverse]:
            kernel = blocks.read_submatrix(model.store, window, window, np.float64)
            return inverse.direct_inverses(kernel, record.shift, record.ridge, masks, model.store.dtype)

        def solve(mask: int, right: np.ndarray) -> tuple[np.ndarray, None]:
            return inverses()(mask)(right), None

        return [Group(known, partial(solve, number)) for number, known in enumerate(masks)]
    return [Group(masks[0], inverse.inverse_of_store(model.store, record, settings, RIGHT_HAND_SIDES))]


def _uncertainty(
    model: Model, predicted: Predicted, masks: Sequence[tuple[np.ndarray, np.ndarray]], many: bool
) -> Uncertainty:
    """Posterior variances of all tasks in the units of the targets, and those of the noise."""
    amplitude = posterior.amplitudes(model.targets, model.solution.coefficients)
    # The more is explained, the less is left.
    variance, least, most = np.empty((3, *predicted.mean.shape))
    for group, (_, tasks) in enumerate(masks):
        for task in tasks:
            for found, explained in (
                (variance, predicted.explained),
                (least, predicted.most),
                (most, predicted.least),
            ):
                found[:, task] = posterior.variances(predicted.prior, explained[:, group], amplitude[task])
    if many:
        return Uncertainty(variance, amplitude * model.solution.record.shift, None, (least, most))
    residuals = predicted.residuals if _iterative(model) else None
    tolerance = model.study.solver.tolerance
    if residuals is not None and (residuals > tolerance).any():
        log.warning(
            "%d of %d posterior variances: the solve did not converge, largest residual %.1e, and the variance is "
            "too large",
            int((residuals > tolerance).sum()),
            len(residuals),
            residuals.max(),
        )
    return Uncertainty(variance, amplitude * model.solution.record.shift, residuals)


def _reach(model: Model, results: Path, outputs: Outputs) -> np.ndarray | None:
    """How many standard deviations a conformal interval of 95 % reaches, (C,), from what evaluation left out.

    None of another size than the largest, of classes, and where no example was left out (``stages.test_examples``).
    """
    path = test_examples.path_of(model.study, results, model.kernel.name, model.n)
    if outputs.classes or path is None or not path.exists():
        return None
    table = sealed_parquet.read(path)
    own = table[(table["split"] == LEFT_OUT) & table["measured"].notna()]
    found = []
    for name in outputs.names:
        rows = own[own["output"] == name]
        scores = (rows["measured"] - rows["predicted"]).abs() / rows["spread"]
        found.append(conformal_quantile(scores.to_numpy(float), CONFORMAL))
    return np.array(found)


def _samples(
    model: Model,
    kernel: CrossKernel,
    folder: Path,
    predicted: Predicted,
    masks: Sequence[tuple[np.ndarray, np.ndarray]],
    rows: int,
    memory_budget: int,
    wanted: Wanted,
) -> np.ndarray:
    """Functions from the joint posterior, (m, C, samples) in the units of the targets."""
    amplitude = posterior.amplitudes(model.targets, model.solution.coefficients)
    samples = np.empty((*predicted.mean.shape, wanted.samples))
    # The covariance, its factor and a copy have their place in ``_check_feasible``.
    left = max(memory_budget - 3 * 8 * len(samples) ** 2, 0)
    for group, (known, tasks) in enumerate(masks):
        if not known.any():
            # Nor has such a task an amplitude, and so a variance.
            samples[:, tasks] = np.nan
            continue
        covariance = prediction_job.joint_covariance(folder, kernel, group, known, rows, left)
        root = posterior.root(covariance, float(predicted.prior.mean()))
        log.info("samples: %.1e was added to the diagonal of the joint covariance, whose mean before data is %.1e",
                 root.jitter, predicted.prior.mean())  # fmt: skip
        for task in cast(Sequence[int], tasks.tolist()):
            # Tasks are independent, and one's draws don't depend on which others there are.
            random = np.random.default_rng([wanted.seed, task])
            mean = predicted.mean[:, task]
            samples[:, task] = posterior.draws(mean, root, float(amplitude[task]), wanted.samples, random)
    return samples
