"""Records, their ranking, and the file that a winner becomes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from neural_kernels.errors import UserError
from neural_kernels.metrics.objectives import OBJECTIVES
from neural_kernels.storage.files import write_json
from neural_kernels.tuning.assessment import Assessment
from neural_kernels.tuning.candidate import Candidate, read_candidate, write_candidate
from neural_kernels.tuning.records import State, TrialRecord, ranked, read_record, spread

CANDIDATE = Candidate({"name": "Myrtle", "convs_per_pool": [1, 1]}, "ntk", {"method": "none"})


def record(number: int = 0, value: float = 0.5, loss: float = 0.1, state: State = "complete") -> TrialRecord:
    scores = {"validation": {"loss": loss, "accuracy": value}}
    found = Assessment(value, 1e-3, False, scores, "native", 1.5) if state == "complete" else None
    return TrialRecord(
        str(number), state, None if found else "why", {"W_std": 1.5}, CANDIDATE, found, "accuracy", 20, 30,
        "float64", {"seed": 1},
    )  # fmt: skip


@pytest.mark.parametrize("state", ["complete", "pruned", "failed"])
def test_a_record_is_read_as_it_was_written(tmp_path: Path, state: State) -> None:
    write_json(tmp_path / "0.json", record(state=state).as_json())
    assert read_record(tmp_path / "0.json", {"seed": 1}) == record(state=state)


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.json"
    with pytest.raises(UserError, match="is missing"):
        read_record(path, {})
    good = record().as_json()
    for damage in ({"state": "done"}, {"state": "pruned"}, {"assessment": {"value": 3}}, {"surplus": 1}):
        write_json(path, good | damage)
        with pytest.raises(UserError, match=r"0\.json is not the record of a trial"):
            read_record(path, {"seed": 1})


def test_a_record_of_other_settings_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "0.json", record().as_json())
    with pytest.raises(UserError, match=r"0\.json was made with other settings: seed was 1 and is 2"):
        read_record(tmp_path / "0.json", {"seed": 2})


def test_the_best_comes_first_and_ties_are_broken_by_the_loss_and_then_by_number() -> None:
    records = [record(0, 0.4), record(1, 0.6, 0.2), record(2, 0.6, 0.1), record(3, 0.6, 0.1)]
    records.append(record(4, state="failed"))
    assert [r.number for r in ranked(records, OBJECTIVES["accuracy"])] == [2, 3, 1, 0]
    assert [r.number for r in ranked(records, OBJECTIVES["loss"])] == [0, 2, 3, 1]


@given(st.integers(1, 40), st.integers(1, 50))
def test_a_spread_has_both_ends_and_no_trial_twice(trials: int, count: int) -> None:
    ranking = [record(number) for number in range(trials)]
    numbers = [r.number for r in spread(ranking, count)]
    assert len(set(numbers)) == len(numbers) == min(trials, count)
    assert numbers == sorted(numbers)
    assert numbers[0] == 0
    if count > 1:
        assert numbers[-1] == trials - 1


# --------------------------------------------------------------------------------------- tuned.yaml


def test_a_candidate_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "tuned.yaml"
    write_candidate(path, CANDIDATE, 1e-3, {"study": "s", "trial": 4})
    content = read_candidate(path)
    assert Candidate(**{key: content[key] for key in ("architecture", "kind", "preprocessing")}) == CANDIDATE
    assert (content["ridge"], content["found"]["trial"]) == (1e-3, 4)


@given(st.floats(1e-8, 1e8), st.booleans())
def test_numbers_and_switches_survive_yaml(number: float, switch: bool) -> None:
    # YAML reads 1e-05, as Python writes it, as text.
    text = yaml.safe_dump({"ridge": number, "layer_norm": switch})
    assert yaml.safe_load(text) == {"ridge": number, "layer_norm": switch}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [1,", "is not valid YAML"),
        ("just text", "has no section architecture"),
        ("architecture: Myrtle", "has no section architecture"),
        ("architecture: {depth: 3}", "architecture lacks the key 'name'"),
        (
            "a: !!python/object/apply:os.system ['true']",
            "the tag !!python/object/apply:os.system is not allowed",
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "tuned.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"tuned\.yaml.*{sentence}|tuned\.yaml: {sentence}"):
        read_candidate(tmp_path / "tuned.yaml")
    with pytest.raises(UserError, match=r"nowhere\.yaml is missing"):
        read_candidate(tmp_path / "nowhere.yaml")


def test_a_record_is_plain_json() -> None:
    assert json.loads(json.dumps(record().as_json()))["candidate"]["kind"] == "ntk"
    assert replace(record(), name="7").number == 7
