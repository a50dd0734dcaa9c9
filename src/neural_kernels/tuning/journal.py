"""The journal by which the jobs of a tuning study share what their trials drew and gave.

An Optuna journal storage: a file of JSON lines, each with a checksum, that is only ever appended to, under a lock.
Trial k of the study is the job k of the workflow, whatever number Optuna gives it. The
sampler learns from what the journal holds when a trial draws, so that with several jobs at once what is drawn
depends on who was first.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from neural_kernels.machine.interruption import Ended
from neural_kernels.storage import checksums, locks
from neural_kernels.storage.files import SEAL, set_aside
from neural_kernels.tuning.records import TrialRecord, check_identity
from neural_kernels.tuning.settings import Tuning

log = logging.getLogger(__name__)

# Attributes of a trial.
STARTS, ERROR = "starts", "error"
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class Claim:
    """A trial that a job works on.

    Attributes:
        trial: draws hyperparameters; those that an earlier run of the job drew stay.
        finished: the journal knows its outcome already; only its record is to be made again.
    """

    number: int
    trial: optuna.Trial | optuna.trial.FixedTrial
    finished: bool


@dataclass(frozen=True)
class Journal:
    """An open journal of one study."""

    storage: JournalStorage
    study: optuna.Study

    def claim(self, job: int, given: Sequence[Mapping[str, Any]] = ()) -> Claim:
        """The trial of ``job``: a new one, or that of an earlier run of the same job, drawn as it was.

        Args:
            given: what the first trials of the journal, whichever jobs these are, take in place of drawing it, as
                ``SearchSpace.stored`` has it.
        """
        found = self._of_job(job)
        if found is None:
            # One line of the journal: a kill leaves a trial that knows its job, or none.
            self.study.add_trial(
                optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs={"job": job, STARTS: 0})
            )
            found = self._of_job(job)
            assert found is not None
        if found.state.is_finished():
            return Claim(found.number, optuna.trial.FixedTrial(found.params), finished=True)
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, found.number)
        if found.number < len(given):
            # Optuna's own name for what enqueue_trial gives a trial.
            self.storage.set_trial_system_attr(trial_id, "fixed_params", dict(given[found.number]))
        return Claim(found.number, optuna.Trial(self.study, trial_id), finished=False)

    def begin(self, claim: Claim, attempts: int) -> str | None:
        """Count a start of a claimed trial. Returns why it is not to be started again, or None."""
        if claim.finished:
            return None
        before = claim.trial.user_attrs[STARTS]
        claim.trial.set_user_attr(STARTS, before + 1)
        if before < attempts:
            return None
        error = claim.trial.user_attrs.get(ERROR)
        cause = "killed, or out of memory or time" if error is None else f"the last error was {error}"
        return f"was begun {before} times and never ended: {cause}"

    @contextmanager
    def noting_errors(self, claim: Claim) -> Iterator[None]:
        """Keep the text of an error that passes through, for the reason that ``begin`` gives in the end.

        A start that somebody interrupted does not count.
        """
        try:
            yield
        except (KeyboardInterrupt, Ended):
            if not claim.finished:
                claim.trial.set_user_attr(STARTS, claim.trial.user_attrs[STARTS] - 1)
            raise
        except Exception as error:
            if not claim.finished:
                claim.trial.set_user_attr(ERROR, f"{type(error).__name__}: {error}")
            raise

    def tell(self, claim: Claim, record: TrialRecord) -> None:
        """What came of a claimed trial, for the sampler."""
        if claim.finished:
            return
        value = None if record.assessment is None else record.assessment.value
        self.study.tell(claim.number, value, state=STATES[record.state], skip_if_finished=True)

    def _of_job(self, job: int) -> FrozenTrial | None:
        trials = self.study.get_trials(deepcopy=False)
        return next((trial for trial in trials if trial.user_attrs.get("job") == job), None)


def open_journal(
    path: Path,
    name: str,
    direction: Literal["minimize", "maximize"],
    identity: dict[str, Any],
    sampler: optuna.samplers.BaseSampler,
) -> Journal:
    """The journal in ``path`` of the study ``name``, begun where there is none.

    Args:
        identity: what makes values comparable; it is kept in the journal.

    Raises:
        UserError: the journal has another identity.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _FileLock(path)
    _check(path, lock)
    with _quiet():
        storage = JournalStorage(_SealedLines(str(path), lock_obj=lock))
        if name in optuna.get_all_study_names(storage):
            study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
        else:
            # Another process may be faster.
            study = optuna.create_study(
                study_name=name, storage=storage, sampler=sampler, direction=direction, load_if_exists=True
            )
        if "identity" not in study.user_attrs:
            study.set_user_attr("identity", identity)
    check_identity(path, study.user_attrs["identity"], identity)
    return Journal(storage, study)


def make_sampler(tuning: Tuning, seed: int, job: int) -> optuna.samplers.BaseSampler:
    """The sampler of one job, whose draws are independent of other jobs' with the same ``seed``."""

    def of_name(name: str) -> optuna.samplers.BaseSampler:
        own = int(np.random.SeedSequence([seed, job, *name.encode()]).generate_state(1)[0])
        if tuning.sampler == "random":
            return optuna.samplers.RandomSampler(seed=own)
        with _quiet():
            # Trials that are running count as bad ones, so that jobs side by side do not draw the same.
            return optuna.samplers.TPESampler(
                seed=own, n_startup_trials=tuning.startup_trials, multivariate=True, constant_liar=True
            )

    return _StreamOfEachName(of_name)


class _StreamOfEachName(optuna.samplers.BaseSampler):
    """Each hyperparameter has random numbers of its own: a trial that was killed while it drew goes on to draw what it
    would have drawn.
    """

    def __init__(self, of_name: Callable[[str], optuna.samplers.BaseSampler]) -> None:
        self._of_name = of_name

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
        return self._of_name("").infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        return self._of_name("").sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        return self._of_name(param_name).sample_independent(study, trial, param_name, param_distribution)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna's own messages are for notebooks: the logs have the trial's."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


class _FileLock(JournalFileOpenLock):
    """A lock that a killed process loses; Optuna's own, which it leaves behind, where the file system has none."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path.with_name(path.name + ".flock")
        self._file: int | None = None

    def acquire(self) -> bool:
        try:
            self._file = locks.acquire(self._path)
        except locks.NoLocks:
            return super().acquire()
        return True

    def release(self) -> None:
        if self._file is None:
            super().release()
            return
        file, self._file = self._file, None
        locks.release(self._path, file)


class _SealedLines(JournalFileBackend):
    """Optuna's file of JSON lines, each with a checksum, which Optuna passes over."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        super().append_logs([log | {SEAL: _seal(log)} for log in logs])


def _check(path: Path, lock: JournalFileOpenLock) -> None:
    """Every line of the journal is whole: a line that a kill or a full disk cut short is taken back.

    Optuna would append to it, and could not read the journal ever after. A damaged journal is set aside: the sampler
    begins anew, which changes no result that is there.
    """
    lock.acquire()
    try:
        if not path.exists():
            return
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            log.warning("%s: its last line was cut short by a kill or a full disk, and is taken back", path)
            with path.open("r+b") as file:
                file.truncate(whole)
        lines = content[:whole].splitlines()
        broken = next((number for number, line in enumerate(lines, start=1) if not _is_operation(line)), None)
        if broken is not None:
            log.warning(
                "%s: line %d is damaged, or of a version that wrote no checksums; the journal is set aside and the "
                "sampler begins anew (the records of finished trials stay)",
                path,
                broken,
            )
            set_aside(path)
    finally:
        lock.release()


def _is_operation(line: bytes) -> bool:
    try:
        operation: Any = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(operation, dict) or not isinstance(operation.get("op_code"), int):
        return False
    return operation.pop(SEAL, None) == _seal(operation)


def _seal(operation: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(operation))
    return checksums.of_bytes(json.dumps(plain, sort_keys=True).encode())
