"""The stages of a tuning study, one function each, after ``prepare`` of ``stages``.

tuning/started.json           what was checked before the first trial
tuning/whitening.npz          what every strength of ZCA shares, where the space has ZCA
tuning/journal.log            what the jobs share; only appended to
tuning/trials/<k>.json        one record a trial
tuning/trials.csv             all of them
tuning/selected.json          the winner's number, and those of the trials to look at again
tuned.yaml                    the winner, for other studies to name
tuning/transfer/<which>.json  some trials and the baseline with another number of training examples
tuning/test/<which>.json      the winner and the baseline on the test sets
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neural_kernels import engines, sealed_arrays
from neural_kernels.datasets.pools import Task
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.graphs import Graphs
from neural_kernels.machine.threads import thread_limit
from neural_kernels.metrics.objectives import Objective, objective_named
from neural_kernels.preprocessing import features as preprocessing
from neural_kernels.preprocessing import zca
from neural_kernels.preprocessing.features import Part
from neural_kernels.preprocessing.options import Preprocessing, Zca
from neural_kernels.storage import checksums, locks
from neural_kernels.storage.files import damaged, read_json, read_json_if_sound, write_json
from neural_kernels.study import folders
from neural_kernels.study.folders import data_folder
from neural_kernels.study.study import Study
from neural_kernels.tuning.assessment import Assessment, Computation, TooCostly, Unusable, assess
from neural_kernels.tuning.candidate import Candidate, write_candidate
from neural_kernels.tuning.records import State, TrialRecord, check_identity, ranked, read_record, spread
from neural_kernels.tuning.settings import Tuning

if TYPE_CHECKING:
    import pandas as pd

    from neural_kernels.tuning.journal import Journal

log = logging.getLogger(__name__)

BASELINE, TUNED = "baseline", "tuned"


@dataclass(frozen=True)
class _Run:
    """A tuning study under way: where its files are and what its numbers are made with.

    ``identity`` is that of the section tuning, and a hash of the examples: what makes values comparable.
    """

    study: Study
    tuning: Tuning
    objective: Objective
    results: Path
    data: Path
    validation_examples: int
    identity: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.path(folders.TUNING_STARTED).parent

    def path(self, pattern: str, **names: object) -> Path:
        return folders.at(self.results, pattern, study=self.study.name, **names)

    def record_path(self, trial: int) -> Path:
        return self.path(folders.TRIAL, trial=trial)

    def read(self, path: Path) -> TrialRecord:
        return read_record(path, self.identity)

    def finished(self, trial: int, values: Mapping[str, Any]) -> TrialRecord | None:
        """The whole record of a trial with these hyperparameters, None where there is none."""
        path = self.record_path(trial)
        if not path.exists():
            return None
        try:
            record = self.read(path)
        except DamagedFile as error:
            log.warning("%s", error)
            return None
        return record if record.hyperparameters == json.loads(json.dumps(values)) else None

    def records(self) -> list[TrialRecord]:
        """Of all trials, by number."""
        return [self.read(self.record_path(trial)) for trial in range(self.tuning.trials)]

    def record(
        self,
        name: str,
        candidate: Candidate | None,
        values: Mapping[str, Any],
        n: int,
        state: State,
        reason: str | None = None,
        assessment: Assessment | None = None,
    ) -> TrialRecord:
        return TrialRecord(
            name=name,
            state=state,
            reason=reason,
            hyperparameters=dict(values),
            candidate=candidate,
            assessment=assessment,
            objective=self.objective.name,
            training_examples=n,
            validation_examples=self.validation_examples,
            precision=self.study.precision,
            identity=self.identity,
            judged_by=self.tuning.judge_by,
        )

    def parts(self, candidate: Candidate, n: int, tests: Mapping[str, int] | None = None) -> dict[str, Part]:
        """Features of ``n`` training examples, the validation examples, and so many of each of ``tests``."""
        sizes = {"train": n, "validation": self.validation_examples, **(tests or {})}
        spectrum = self._spectrum(candidate.options())
        return preprocessing.leading_parts(candidate.options(), self.data, sizes, spectrum)

    def assess(
        self,
        name: str,
        candidate: Candidate,
        values: Mapping[str, Any],
        parts: Mapping[str, Part],
        largest_seconds: float | None = None,
    ) -> TrialRecord:
        """The record of ``candidate``, trained, judged and tested on ``parts``."""
        study, n = self.study, len(parts["train"].features)
        computation = Computation(study.engine, study.precision, study.ridge_candidates(), largest_seconds)
        try:
            assessment = assess(candidate, parts, self.objective, computation, self.tuning.judge_by)
        except Unusable as error:
            state: State = "pruned" if isinstance(error, TooCostly) else "failed"
            record = self.record(name, candidate, values, n, state, str(error))
        else:
            record = self.record(name, candidate, values, n, "complete", assessment=assessment)
        log.info("%s with n = %d: %s", name, n, _outcome(record))
        return record

    def _spectrum(self, options: Preprocessing) -> zca.Spectrum | None:
        """What ``start_tuning`` fitted, where it was for the same images and the same normalisation."""
        path = self.path(folders.TUNING_STARTED)
        started = read_json(path)
        check_identity(path, started["identity"], self.identity)
        if not isinstance(options, Zca) or _fit_options(options) != started["whitening"]:
            return None
        spectrum = self.folder / "whitening.npz"
        if not _is_spectrum(spectrum, started):
            raise damaged(spectrum, "is missing or damaged: its checksum is not that in started.json", path)
        return zca.load_spectrum(spectrum)


def _is_spectrum(path: Path, started: Mapping[str, Any]) -> bool:
    """Whether the file is the spectrum that was fitted when ``started`` was written."""
    return path.exists() and checksums.of_file(path) == started.get("spectrum_checksum")


def _open(study: Study, results: Path) -> _Run:
    if study.tuning is None:
        raise UserError(f"config/{study.name}.yaml has no section tuning")
    data = data_folder(study, results)
    task: Task = read_json(data / "data.json")["task"]
    objective = objective_named(study.tuning.objective, task)
    validation = study.tuning.validation_examples or study.part_sizes["validation"]
    sizes = {"train": study.tuning.training_examples, "validation": validation}
    identity = study.tuning.identity | {"examples": _examples_hash(data, sizes)}
    return _Run(study, study.tuning, objective, results, data, validation, identity)


def _examples_hash(data: Path, sizes: Mapping[str, int]) -> str:
    digest, raw = hashlib.sha256(), sealed_arrays.open_folder(data / "data.json")
    for part, size in sizes.items():
        examples = raw.examples(f"{part}_x.npy", (0, size))[:size]
        labels = raw.load(f"{part}_y.npy", size)
        named = {"x": examples.nodes if isinstance(examples, Graphs) else examples, "y": labels}
        if isinstance(examples, Graphs):
            named |= {name: getattr(examples, name) for name in ("node_offsets", "edges", "edge_offsets")}
        for what, array in named.items():
            digest.update(f"{part} {what} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _journal(run: _Run, job: int) -> Journal:
    # Optuna takes a second to load, and a stage that only reads records does not need it.
    if importlib.util.find_spec("optuna") is None:
        raise UserError("tuning needs the package optuna: install neural-kernels with the extra tuning")
    from neural_kernels.tuning.journal import make_sampler, open_journal

    sampler = make_sampler(run.tuning, run.study.seed, job)
    path = run.folder / "journal.log"
    return open_journal(path, run.study.name, run.objective.direction, run.identity, sampler)


# ------------------------------------------------------------------------------------------- trials


def start_tuning(study: Study, results: Path, threads: int | None = None) -> None:
    """Check what can be known before the first trial, and fit what all trials share.

    Raises:
        UserError: an objective that does not fit the data, or a journal of other settings.
    """
    run = _open(study, results)
    with locks.alone(run.folder / "started.lock", f"the start of tuning in {run.folder}"):
        _start(run, threads)


def _start(run: _Run, threads: int | None) -> None:
    study, path, spectrum = run.study, run.path(folders.TUNING_STARTED), run.folder / "whitening.npz"
    shape = tuple(read_json(run.data / "data.json")["input_shape"])
    engines.select(study.engine, run.tuning.baseline.build(), shape)
    _journal(run, job=0)
    options = run.tuning.space.candidate(next(run.tuning.space.corners())).options()
    started: dict[str, Any] = {"identity": run.identity, "whitening": _fit_options(options)}
    if _is_started(path, spectrum, started):
        log.info("%s is there already, whole: nothing to fit", path)
        return
    path.unlink(missing_ok=True)
    if isinstance(options, Zca):
        with thread_limit(threads):
            found = preprocessing.spectrum_of(options, run.data)
        zca.save_spectrum(spectrum, found)
        started["spectrum_checksum"] = checksums.of_file(spectrum)
    write_json(path, started)


def _is_started(path: Path, spectrum: Path, started: Mapping[str, Any]) -> bool:
    found = read_json_if_sound(path)
    if found is None:
        return False
    same = all(found.get(key) == value for key, value in started.items())
    return same and (started["whitening"]["method"] != "zca" or _is_spectrum(spectrum, found))


def _fit_options(options: Preprocessing) -> dict[str, Any]:
    """What of a preprocessing decides the spectrum of the covariance."""
    plain = options.plain()
    return {key: plain.get(key) for key in ("method", "per_image_normalization", "fit_examples")}


def run_trial(study: Study, results: Path, number: int, threads: int | None = None) -> TrialRecord:
    """Trial ``number``: draw hyperparameters, or take up those of an earlier run that was killed; record it.

    A trial that is too costly, or that cannot be computed, is recorded with its reason; so is one that was
    begun ``tuning.attempts`` times and never ended. Any other error is the job's, which can be run again.
    """
    run = _open(study, results)
    tuning = run.tuning
    if number >= tuning.trials:
        raise UserError(f"study {study.name} has no trial {number}, expected 0 to {tuning.trials - 1}")
    with locks.alone(run.record_path(number).with_suffix(".lock"), f"trial {number} in {run.folder}"):
        return _run_trial(run, number, threads)


def _run_trial(run: _Run, number: int, threads: int | None) -> TrialRecord:
    tuning = run.tuning
    journal = _journal(run, number)
    claim = journal.claim(number, list(map(tuning.space.stored, tuning.first_trials)))
    values = tuning.space.draw(claim.trial)
    there = run.finished(number, values) if claim.finished else None
    if there is not None:
        log.info("trial %d is there already, whole: nothing to compute", number)
        return there
    candidate, n = tuning.space.candidate(values), tuning.training_examples
    log.info("trial %d: %s", number, ", ".join(f"{name} {value}" for name, value in values.items()))
    with thread_limit(threads):
        parts = run.parts(candidate, n)
        reason = journal.begin(claim, tuning.attempts)
        if reason is None:
            with journal.noting_errors(claim):
                record = run.assess(str(number), candidate, values, parts, tuning.largest_seconds)
        else:
            log.warning("trial %d: %s", number, reason)
            record = run.record(str(number), candidate, values, n, "failed", reason)
    journal.tell(claim, record)
    write_json(run.record_path(number), record.as_json())
    return record


def recompute_trial(study: Study, results: Path, number: int, threads: int | None = None) -> str:
    """Trial ``number`` once more from the hyperparameters in its record; nothing is written.

    Returns:
        A sentence with what came out and what was recorded.
    """
    run = _open(study, results)
    old = run.read(run.record_path(number))
    with thread_limit(threads):
        parts = run.parts(_candidate(old), old.training_examples)
        new = run.assess(old.name, _candidate(old), old.hyperparameters, parts)
    return f"trial {number}: {_outcome(new)}; recorded: {_outcome(old)}"


def select_tuned(study: Study, results: Path) -> TrialRecord:
    """The best trial of all records: ``tuned.yaml``, the table of trials, and which ones to look at again.

    Raises:
        UserError: a record is missing or of other settings, or no trial is complete.
    """
    from neural_kernels.stages.report import write_table

    run = _open(study, results)
    records = run.records()
    ranking = ranked(records, run.objective)
    if not ranking:
        raise UserError(
            f"none of the {len(records)} trials of study {study.name} is complete; the first: {records[0].reason}"
        )
    best = ranking[0]
    assert best.assessment is not None
    found = {
        "study": study.name,
        "trial": best.number,
        "trials": len(records),
        "objective": run.objective.name,
        "value": best.assessment.value,
        "training_examples": best.training_examples,
        "validation_examples": best.validation_examples,
    }
    transfer = run.tuning.transfer
    again = [] if transfer is None else [record.number for record in spread(ranking, transfer.trials)]
    # What vouches for the others is there only while they are.
    selected = run.path(folders.SELECTED)
    selected.unlink(missing_ok=True)
    write_table(run.path(folders.TRIALS), _table(records))
    write_candidate(run.path(folders.TUNED), _candidate(best), best.assessment.ridge, found)
    write_json(selected, {"best": best.number, "transfer": again})
    log.info("trial %d is the best: %s", best.number, _outcome(best))
    return best


# ----------------------------------------------------------------------------------- after the trials


def transfer_trial(study: Study, results: Path, which: str, threads: int | None = None) -> None:
    """The objective of one candidate with the second number of training examples.

    Args:
        which: a place among the trials that ``select_tuned`` chose, as text, or "baseline".
    """
    run = _open(study, results)
    settings = run.tuning.transfer
    if settings is None:
        raise UserError(f"config/{study.name}.yaml has no section tuning.transfer")
    n = settings.training_examples
    chosen = read_json(run.path(folders.SELECTED))["transfer"]
    if which != BASELINE and int(which) >= len(chosen):
        record = run.record(which, None, {}, n, "skipped", f"only {len(chosen)} trials are complete")
    else:
        name, candidate, values = BASELINE, run.tuning.baseline, {}
        if which != BASELINE:
            old = run.read(run.record_path(chosen[int(which)]))
            name, candidate, values = old.name, _candidate(old), old.hyperparameters
        with thread_limit(threads):
            record = run.assess(name, candidate, values, run.parts(candidate, n))
    write_json(run.path(folders.TRANSFER, place=which), record.as_json())


def test_tuned(study: Study, results: Path, which: str, threads: int | None = None) -> None:  # noqa: PT028
    """The winner, "tuned", or the "baseline" on every test set, the ridge chosen on the validation set."""
    run = _open(study, results)
    candidate, values = run.tuning.baseline, {}
    if which == TUNED:
        best = run.read(run.record_path(read_json(run.path(folders.SELECTED))["best"]))
        candidate, values = _candidate(best), best.hyperparameters
    tests = {part: n for part, n in study.part_sizes.items() if part not in ("train", "validation")}
    with thread_limit(threads):
        parts = run.parts(candidate, run.tuning.training_examples, tests)
        record = run.assess(which, candidate, values, parts)
    write_json(run.path(folders.TUNED_TEST, candidate=which), record.as_json())


def report_tuning(study: Study, results: Path) -> None:
    """The PDF and the figure of a tuning study, drawn from its records."""
    from neural_kernels.reports import one_sentence
    from neural_kernels.reports.tuning import write_tuning_figure, write_tuning_report
    from neural_kernels.reports.tuning_summary import Results
    from neural_kernels.stages import findings
    from neural_kernels.tuning.importance import importances

    run = _open(study, results)
    tuning = run.tuning
    places = [] if tuning.transfer is None else [BASELINE, *map(str, range(tuning.transfer.trials))]
    trials = run.records()
    found = Results(
        study=study.name,
        title=study.title,
        tuning=tuning,
        objective=run.objective,
        trials=trials,
        importances=importances(tuning.space, trials, run.objective),
        tested={
            which: run.read(run.path(folders.TUNED_TEST, candidate=which)) for which in (TUNED, BASELINE)
        },
        transferred=[run.read(run.path(folders.TRANSFER, place=which)) for which in places],
        test_examples={p: n for p, n in study.part_sizes.items() if p not in ("train", "validation")},
    )
    pdf = run.path(folders.report("tuning"))
    write_tuning_figure(found, run.path(folders.figure("tuning")))
    write_tuning_report(found, pdf)
    findings.keep(pdf, "tuning", study.name, one_sentence.of_tuning(found))


def _candidate(record: TrialRecord) -> Candidate:
    if record.candidate is None:
        raise UserError(f"trial {record.name} has no candidate: {record.reason}")
    return record.candidate


def _outcome(record: TrialRecord) -> str:
    if record.assessment is None:
        return f"{record.state}, {record.reason}"
    found = record.assessment
    edge = " (an end of the sweep)" if found.ridge_at_edge else ""
    solved = "" if found.converged else f", NOT converged (residual {found.residual:.1e})"
    return (
        f"{record.objective} {found.value:.6g}, ridge {found.ridge:.1e}{edge}{solved}, {found.seconds:.1f} s"
    )


def _table(records: list[TrialRecord]) -> pd.DataFrame:
    """A row for each trial: what was drawn and what came of it; a list is JSON text."""
    import pandas as pd

    rows = []
    for record in records:
        found = record.assessment
        scores = {} if found is None else found.scores["validation"]
        drawn = {
            name: json.dumps(value) if isinstance(value, list) else value
            for name, value in record.hyperparameters.items()
        }
        facts = {
            "trial": record.number,
            "state": record.state,
            "reason": record.reason,
            "value": None if found is None else found.value,
            **{f"validation_{metric}": value for metric, value in scores.items()},
            "ridge": None if found is None else found.ridge,
            "engine": None if found is None else found.engine,
            "seconds": None if found is None else found.seconds,
            "converged": None if found is None else found.converged,
            "ridges_passed_over": None if found is None else found.ridges_passed_over,
        }
        rows.append(facts | drawn)
    return pd.DataFrame(rows)
