"""Jobs that share a journal: claims, kills, damage, and two processes at once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from bit_flips import BIT, POSITION, flip
from hypothesis import example, given, settings
from tuning_studies import CONFIG, config

from neural_kernels.errors import UserError
from neural_kernels.machine.interruption import Ended
from neural_kernels.study.study import load_study
from neural_kernels.tuning.assessment import Assessment
from neural_kernels.tuning.journal import Journal, make_sampler, open_journal
from neural_kernels.tuning.records import State, TrialRecord
from neural_kernels.tuning.settings import Tuning


def tuning_of(folder: Path, **changes: Any) -> Tuning:
    (folder / "s.yaml").write_text(yaml.safe_dump(config(**changes)))
    tuning = load_study(folder / "s.yaml").tuning
    assert tuning is not None
    return tuning


def opened(folder: Path, job: int = 0, **changes: Any) -> Journal:
    tuning = tuning_of(folder, **changes)
    sampler = make_sampler(tuning, 5, job)
    return open_journal(folder / "journal.log", "s", "minimize", tuning.identity, sampler)


def record(state: State = "complete", value: float = 0.5) -> TrialRecord:
    assessment = Assessment(value, 1.0, False, {"validation": {"loss": value}}, "native", 0.1)
    reason = None if state == "complete" else "why"
    found = assessment if state == "complete" else None
    return TrialRecord("0", state, reason, {}, None, found, "loss", 20, 30, "float64", {})


def states(folder: Path) -> list[str]:
    return [trial.state.name for trial in opened(folder).study.trials]


def test_a_job_has_one_trial_whatever_their_order(tmp_path: Path) -> None:
    space = tuning_of(tmp_path).space
    for job, value in ((3, 0.3), (0, 0.1)):
        journal = opened(tmp_path, job)
        claim = journal.claim(job)
        space.draw(claim.trial)
        assert journal.begin(claim, 3) is None
        journal.tell(claim, record(value=value))
    trials = opened(tmp_path).study.trials
    assert [(trial.user_attrs["job"], trial.value) for trial in trials] == [(3, 0.3), (0, 0.1)]


def test_pruned_and_failed_trials_are_told(tmp_path: Path) -> None:
    ends: tuple[State, ...] = ("pruned", "failed")
    for job, state in enumerate(ends):
        journal = opened(tmp_path, job)
        journal.tell(journal.claim(job), record(state))
    assert states(tmp_path) == ["PRUNED", "FAIL"]


def test_a_killed_trial_is_taken_up_with_what_it_drew(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    claim = journal.claim(0)
    # Killed between two hyperparameters.
    first = tuning_of(tmp_path).space.hyperparameters[0]
    depth = first.draw(claim.trial)
    journal = opened(tmp_path)
    again = journal.claim(0)
    values = tuning_of(tmp_path).space.draw(again.trial)
    assert (again.number, values[first.name]) == (claim.number, depth)
    assert tuning_of(tmp_path).space.draw(opened(tmp_path).claim(0).trial) == values
    journal.tell(again, record())
    assert states(tmp_path) == ["COMPLETE"]


def test_a_finished_trial_gives_its_hyperparameters_again_and_is_not_told_twice(tmp_path: Path) -> None:
    space = tuning_of(tmp_path).space
    journal = opened(tmp_path)
    claim = journal.claim(0)
    values = space.draw(claim.trial)
    journal.tell(claim, record(value=0.5))
    journal = opened(tmp_path)
    again = journal.claim(0)
    assert again.finished
    assert space.draw(again.trial) == values
    assert journal.begin(again, 1) is None
    journal.tell(again, record(value=0.7))
    assert [trial.value for trial in opened(tmp_path).study.trials] == [0.5]


def test_a_trial_that_never_ends_is_not_begun_for_ever(tmp_path: Path) -> None:
    for _ in range(2):
        journal = opened(tmp_path)
        assert journal.begin(journal.claim(0), 2) is None
    journal = opened(tmp_path)
    assert "begun 2 times and never ended: killed" in (journal.begin(journal.claim(0), 2) or "")


def test_the_reason_has_the_last_error(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    claim = journal.claim(0)
    assert journal.begin(claim, 1) is None
    with pytest.raises(MemoryError), journal.noting_errors(claim):
        raise MemoryError("no room")
    journal = opened(tmp_path)
    assert "the last error was MemoryError: no room" in (journal.begin(journal.claim(0), 1) or "")


def test_jobs_draw_independently_and_again_the_same(tmp_path: Path) -> None:
    def draws(folder: Path, jobs: Sequence[int]) -> dict[int, Any]:
        folder.mkdir()
        return {job: tuning_of(folder).space.draw(opened(folder, job).claim(job).trial) for job in jobs}

    first, other_order = draws(tmp_path / "a", (0, 1, 2)), draws(tmp_path / "b", (2, 0, 1))
    assert first == other_order
    assert len({str(values) for values in first.values()}) == 3


def test_random_search_does_not_go_by_what_was_seen(tmp_path: Path) -> None:
    def draws(name: str, value: Any) -> list[dict[str, Any]]:
        (tmp_path / name).mkdir()
        for job in range(6):
            journal = opened(tmp_path / name, job, sampler="random", startup_trials=1)
            claim = journal.claim(job)
            tuning_of(tmp_path / name).space.draw(claim.trial)
            journal.tell(claim, record(value=value * job))
        return [trial.params for trial in opened(tmp_path / name, sampler="random").study.trials]

    assert draws("rising", 1.0) == draws("falling", -1.0)


# ------------------------------------------------------------------------------------------ damage


def test_a_line_that_was_cut_short_is_taken_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = opened(tmp_path)
    journal.tell(journal.claim(0), record())
    path = tmp_path / "journal.log"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":5,"trial')
    assert states(tmp_path) == ["COMPLETE"]
    assert "cut short" in caplog.text
    assert path.read_bytes() == whole
    journal = opened(tmp_path, 1)
    journal.tell(journal.claim(1), record())
    assert states(tmp_path) == ["COMPLETE", "COMPLETE"]


@pytest.mark.parametrize(
    "line", [b"{broken\n", b"[1]\n", b'{"op": 3}\n', b'{"op_code": 3}\n', b"\x80\x04pickle\n"]
)
def test_a_damaged_line_costs_the_sampler_its_memory_and_stops_nothing(
    tmp_path: Path, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    opened(tmp_path)
    path = tmp_path / "journal.log"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], line, *lines[1:]]))
    journal = opened(tmp_path)
    assert "line 2 is damaged" in caplog.text
    assert (tmp_path / "journal.log.rejected").exists()
    journal.tell(journal.claim(0), record())
    assert states(tmp_path) == ["COMPLETE"]


@settings(max_examples=40)
@given(position=POSITION, bit=BIT)
# The end of the last line: it then looks as if it had been cut short.
@example(position=0.99999, bit=0)
def test_no_flipped_bit_of_the_journal_makes_the_sampler_believe_something_else(
    tmp_path_factory: pytest.TempPathFactory, position: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = opened(folder)
    claim = journal.claim(0)
    tuning_of(folder).space.draw(claim.trial)
    journal.tell(claim, record(value=0.5))
    drawn = journal.study.trials[0].params
    flip(folder / "journal.log", position, bit)
    trials = opened(folder).study.trials
    # Nothing, what was before a line that looks cut short, or, where the bit means nothing in JSON, all.
    assert [trial.value for trial in trials if trial.value is not None] in ([], [0.5])
    assert all(trial.params.items() <= drawn.items() for trial in trials)


def test_the_lock_of_a_killed_job_holds_up_nobody(tmp_path: Path) -> None:
    opened(tmp_path)
    (tmp_path / "journal.log.flock").write_text("")
    (tmp_path / "journal.log.lock").write_text("")
    journal = opened(tmp_path)
    journal.tell(journal.claim(0), record())
    assert states(tmp_path) == ["COMPLETE"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Ended(15)])
def test_a_start_that_somebody_interrupted_does_not_count(tmp_path: Path, error: BaseException) -> None:
    for _ in range(3):
        journal = opened(tmp_path)
        claim = journal.claim(0)
        assert journal.begin(claim, 1) is None
        with pytest.raises(type(error)), journal.noting_errors(claim):
            raise error


def test_a_journal_of_other_settings_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    opened(tmp_path, trials=50)
    with pytest.raises(UserError, match=r"tuning\.objective was 'loss' and is 'accuracy'"):
        opened(tmp_path, objective="accuracy")
    with pytest.raises(UserError, match=r"tuning\.space was"):
        opened(tmp_path, space={**CONFIG["tuning"]["space"], "kind": "ntk"})


# -------------------------------------------------------------------------------------- processes


def _work(folder: Path, jobs: Sequence[int]) -> None:
    for job in jobs:
        tuning = load_study(folder / "s.yaml").tuning
        assert tuning is not None
        sampler = make_sampler(tuning, 5, job)
        journal = open_journal(folder / "journal.log", "s", "minimize", tuning.identity, sampler)
        claim = journal.claim(job)
        tuning.space.draw(claim.trial)
        assert journal.begin(claim, 3) is None
        journal.tell(claim, record(value=float(job)))


def test_processes_share_a_journal_at_once(tmp_path: Path) -> None:
    tuning_of(tmp_path)
    context = multiprocessing.get_context("spawn")
    jobs = [range(first, 8, 2) for first in range(2)]
    processes = [context.Process(target=_work, args=(tmp_path, own)) for own in jobs]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    trials = opened(tmp_path).study.trials
    assert sorted(trial.user_attrs["job"] for trial in trials) == list(range(8))
    assert all(trial.value == trial.user_attrs["job"] for trial in trials)
    assert {trial.state for trial in trials} == {optuna.trial.TrialState.COMPLETE}


def test_the_first_trial_whichever_job_it_is_takes_what_is_given_and_draws_the_rest(tmp_path: Path) -> None:
    space = tuning_of(tmp_path).space
    given = {"depth": 3, "activation": "erf", "W_std": 0.625}
    first = space.draw(opened(tmp_path, 4).claim(4, [space.stored(given)]).trial)
    assert first | given == first
    assert first.keys() > given.keys()
    other = space.draw(opened(tmp_path, 0).claim(0, [space.stored(given)]).trial)
    assert other | given != other
    # Taken up again, after a kill.
    assert space.draw(opened(tmp_path, 4).claim(4, [space.stored(given)]).trial) == first
