"""A tiny tuning study, stage by stage in one process."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from bit_flips import BIT, POSITION, flip_one
from file_faults import Killed, killed_after
from hypothesis import HealthCheck, given, settings
from resealing import rewrite
from tuning_studies import CONFIG, prepared

from neural_kernels.architectures import build
from neural_kernels.engines import kernel_matrix, rate
from neural_kernels.errors import DamagedFile, UserError
from neural_kernels.preprocessing import features as preprocessing
from neural_kernels.preprocessing.features import preprocess
from neural_kernels.preprocessing.options import parse_preprocessing
from neural_kernels.stages import tune as tuning_stages
from neural_kernels.storage.files import read_json
from neural_kernels.study.study import Study, load_study
from neural_kernels.tuning.journal import Journal

TRIALS = CONFIG["tuning"]["trials"]


def started(folder: Path, **tuning: Any) -> tuple[Study, Path]:
    study, results = prepared(folder, **tuning)
    tuning_stages.start_tuning(study, results)
    return study, results


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A study whose stages are all done, and its results."""
    study, results = started(tmp_path_factory.mktemp("study"))
    for trial in range(TRIALS):
        tuning_stages.run_trial(study, results, trial, threads=1)
    tuning_stages.select_tuned(study, results)
    for which in ("tuned", "baseline"):
        tuning_stages.test_tuned(study, results, which, threads=1)
    for which in ("baseline", "0", "1", "2"):
        tuning_stages.transfer_trial(study, results, which, threads=1)
    tuning_stages.report_tuning(study, results)
    return study, results


def folder_of(results: Path) -> Path:
    return results / "tiny" / "tuning"


def trial(results: Path, number: int | str) -> Any:
    return read_json(folder_of(results) / "trials" / f"{number}.json")


def directly(
    results: Path, tmp_path: Path, candidate: dict[str, Any], n: int, m: int, part: str, ridge: float
) -> np.ndarray:
    """Predictions for ``part``, with the preprocessing of the workflow and dense NumPy."""
    preprocess(parse_preprocessing("", candidate["preprocessing"]), results / "tiny" / "data", tmp_path)
    architecture = build(**candidate["architecture"])
    x = np.load(tmp_path / "train.npy")[:n]
    kernel = kernel_matrix(architecture, x, kind=candidate["kind"])
    kernel += ridge * np.mean(np.diag(kernel)) * np.eye(n)
    rows = kernel_matrix(architecture, np.load(tmp_path / f"{part}.npy")[:m], x, kind=candidate["kind"])
    return rows @ np.linalg.solve(kernel, np.load(tmp_path / "train_targets.npy")[:n])


@pytest.mark.parametrize("number", range(2))
def test_a_trial_is_what_the_stages_of_a_study_give(
    run: tuple[Study, Path], tmp_path: Path, number: int
) -> None:
    _, results = run
    record = trial(results, number)
    assert record["state"] == "complete"
    found = record["assessment"]
    predictions = directly(results, tmp_path, record["candidate"], 20, 30, "validation", found["ridge"])
    targets = np.load(tmp_path / "validation_targets.npy")[:30]
    assert found["value"] == pytest.approx(np.mean((predictions - targets) ** 2), rel=1e-6)
    labels = np.load(tmp_path / "validation_labels.npy")[:30]
    assert found["scores"]["validation"]["accuracy"] == np.mean(predictions.argmax(1) == labels)
    # Trials don't see the test set.
    assert set(found["scores"]) == {"validation"}


def test_the_winner_is_tested_as_it_was_judged(run: tuple[Study, Path], tmp_path: Path) -> None:
    _, results = run
    best = read_json(folder_of(results) / "selected.json")["best"]
    values = [trial(results, number)["assessment"]["value"] for number in range(TRIALS)]
    assert best == int(np.argmin(values))
    tested = read_json(folder_of(results) / "test" / "tuned.json")
    assert tested["assessment"]["value"] == pytest.approx(min(values), rel=1e-12)
    ridge = tested["assessment"]["ridge"]
    predictions = directly(results, tmp_path, tested["candidate"], 20, 50, "digits", ridge)
    labels = np.load(tmp_path / "digits_labels.npy")
    assert tested["assessment"]["scores"]["digits"]["accuracy"] == np.mean(predictions.argmax(1) == labels)


def test_the_baseline_is_the_kernel_of_the_study(run: tuple[Study, Path], tmp_path: Path) -> None:
    study, results = run
    tested = read_json(folder_of(results) / "test" / "baseline.json")
    assert build(**tested["candidate"]["architecture"]) == study.kernels["CV1"].architecture
    again = read_json(folder_of(results) / "transfer" / "baseline.json")
    assert again["training_examples"] == 40
    predictions = directly(
        results, tmp_path, again["candidate"], 40, 30, "validation", again["assessment"]["ridge"]
    )
    targets = np.load(tmp_path / "validation_targets.npy")[:30]
    assert again["assessment"]["value"] == pytest.approx(np.mean((predictions - targets) ** 2), rel=1e-6)


def test_the_second_look_has_the_best_and_the_worst(run: tuple[Study, Path]) -> None:
    _, results = run
    chosen = read_json(folder_of(results) / "selected.json")["transfer"]
    values = {number: trial(results, number)["assessment"]["value"] for number in range(TRIALS)}
    assert (chosen[0], chosen[-1]) == (
        min(values, key=lambda n: values[n]),
        max(values, key=lambda n: values[n]),
    )
    for place, number in enumerate(chosen):
        again = read_json(folder_of(results) / "transfer" / f"{place}.json")
        assert again["hyperparameters"] == trial(results, number)["hyperparameters"]


def test_the_table_has_every_trial(run: tuple[Study, Path]) -> None:
    _, results = run
    table = pd.read_csv(folder_of(results) / "trials.csv")
    assert list(table["trial"]) == list(range(TRIALS))
    for number in range(TRIALS):
        row, record = table.loc[number], trial(results, number)
        assert row["value"] == record["assessment"]["value"]
        for name, value in record["hyperparameters"].items():
            assert row[name] == value


def test_the_report_is_a_pdf(run: tuple[Study, Path]) -> None:
    _, results = run
    assert (results / "tiny_tuning.pdf").read_bytes().startswith(b"%PDF")
    assert (results / "tiny" / "tuning.png").exists()


def test_another_study_can_name_the_winner(run: tuple[Study, Path], tmp_path: Path) -> None:
    _, results = run
    tuned = str(results / "tiny" / "tuned.yaml")
    plain = {"plain": {"method": "none"}}
    kernels = {
        "Tuned": {"tuned": tuned, "largest_training_size": 30},
        "Layers": {"architecture": {"file": tuned}, "preprocessing": "plain", "kind": "nngp"},
    }
    changes = {"kernels": kernels, "preprocessing": plain}
    config = {key: value for key, value in {**CONFIG, **changes}.items() if key != "tuning"}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(config))
    study = load_study(tmp_path / "other.yaml")
    best = trial(results, read_json(folder_of(results) / "selected.json")["best"])["candidate"]
    kernel = study.kernels["Tuned"]
    assert kernel.architecture.fingerprint() == build(**best["architecture"]).fingerprint()
    assert study.kernels["Layers"].architecture == kernel.architecture
    assert (kernel.kind, study.kernels["Layers"].kind) == (best["kind"], "nngp")
    assert study.preprocessing[kernel.preprocessing].plain() == best["preprocessing"]
    assert study.training_sizes("Tuned")[-1] <= 30


def test_a_trial_is_recomputed_from_its_record(run: tuple[Study, Path]) -> None:
    study, results = run
    before = (folder_of(results) / "trials" / "1.json").read_bytes()
    sentence = tuning_stages.recompute_trial(study, results, 1, threads=1)
    value = f"loss {trial(results, 1)['assessment']['value']:.6g}"
    assert sentence.count(value) == 2
    assert (folder_of(results) / "trials" / "1.json").read_bytes() == before


def test_a_deleted_record_is_made_again_with_the_same_hyperparameters(run: tuple[Study, Path]) -> None:
    study, results = run
    path = folder_of(results) / "trials" / "2.json"
    before = read_json(path)
    path.unlink()
    with pytest.raises(UserError, match=r"2\.json is missing"):
        tuning_stages.select_tuned(study, results)
    tuning_stages.run_trial(study, results, 2, threads=1)
    after = read_json(path)
    assert after["hyperparameters"] == before["hyperparameters"]
    assert after["assessment"]["value"] == pytest.approx(before["assessment"]["value"], rel=1e-12)


# ------------------------------------------------------------------------------------ damage and kills


def stages_of(study: Study, results: Path) -> Iterator[tuple[list[Path], Callable[[], object]]]:
    """Every stage with the files that the workflow knows of it, in order."""
    folder = folder_of(results)
    yield [folder / "started.json"], lambda: tuning_stages.start_tuning(study, results, threads=1)
    assert study.tuning is not None
    for number in range(study.tuning.trials):
        yield (
            [folder / "trials" / f"{number}.json"],
            partial(tuning_stages.run_trial, study, results, number, threads=1),
        )
    outputs = [folder / "selected.json", folder / "trials.csv", results / "tiny" / "tuned.yaml"]
    yield outputs, lambda: tuning_stages.select_tuned(study, results)
    for which in ("tuned", "baseline"):
        yield (
            [folder / "test" / f"{which}.json"],
            partial(tuning_stages.test_tuned, study, results, which, threads=1),
        )
    for which in ("baseline", "0", "1", "2"):
        yield (
            [folder / "transfer" / f"{which}.json"],
            partial(tuning_stages.transfer_trial, study, results, which, threads=1),
        )
    yield [results / "tiny_tuning.pdf"], lambda: tuning_stages.report_tuning(study, results)


def make_what_is_missing(study: Study, results: Path, attempts: int = 6) -> list[str]:
    """As the workflow does, until nothing is refused; the sentences."""
    sentences = []
    for _ in range(attempts):
        try:
            for outputs, stage in stages_of(study, results):
                if not all(output.exists() for output in outputs):
                    stage()
            tuning_stages.report_tuning(study, results)
        except DamagedFile as error:
            sentences.append(str(error))
        else:
            return sentences
    raise AssertionError(sentences)


def values(results: Path) -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    for path in sorted(folder_of(results).rglob("*.json")):
        record = read_json(path)
        record = record.get("assessment") or record
        found[path.name, path.parent.name] = {k: v for k, v in record.items() if k != "seconds"}
    return found


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=POSITION, position=POSITION, bit=BIT)
def test_no_flipped_bit_of_a_record_goes_unnoticed_by_the_stages_that_read_it(
    run: tuple[Study, Path], which: float, position: float, bit: int
) -> None:
    study, results = run
    before, folder = values(results), folder_of(results)
    paths = [*folder.rglob("*.json"), folder / "whitening.npz"]
    path = flip_one(paths, which, position, bit)
    if path.name in ("started.json", "whitening.npz"):
        # Whoever needs the spectrum reads both.
        (folder / "test" / "baseline.json").unlink()
    if path.name == "selected.json":
        (folder / "test" / "tuned.json").unlink()
    sentences = make_what_is_missing(study, results)
    assert path.name in sentences[0]
    assert values(results) == before
    for rejected in folder.rglob("*.rejected"):
        rejected.unlink()


OPERATIONS = [(os, "replace"), (os, "open"), (Path, "unlink"), (Path, "mkdir"), (np, "savez")]


@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
def test_a_kill_at_any_file_operation_leads_to_the_same_records(
    run: tuple[Study, Path], tmp_path: Path, share: float
) -> None:
    expected = values(run[1])
    survived = int(share * 400 + np.random.default_rng().integers(-40, 40))
    with pytest.MonkeyPatch.context() as patch:
        study, results = prepared(tmp_path)
        patch.setattr(os, "fsync", lambda descriptor: None)
        killed_after(survived, OPERATIONS, patch)
        with contextlib.suppress(Killed):
            for _, stage in stages_of(study, results):
                stage()
    # As Snakemake does with a job that was killed, also one whose file is there.
    stage()
    make_what_is_missing(study, results)
    found = values(results)
    for key, value in expected.items():
        assert found[key].keys() == value.keys()
        if "value" in value:
            assert found[key]["value"] == pytest.approx(value["value"], rel=1e-9)
    assert not [path for path in results.rglob("*") if path.suffix in (".lock", ".flock")]


def test_a_finished_trial_and_a_finished_start_are_taken_over(
    run: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    study, results = run
    caplog.set_level("INFO")
    monkeypatch.setattr(tuning_stages, "assess", None)
    monkeypatch.setattr(preprocessing, "spectrum_of", None)
    tuning_stages.run_trial(study, results, 1, threads=1)
    tuning_stages.start_tuning(study, results, threads=1)
    assert "trial 1 is there already" in caplog.text
    assert "nothing to fit" in caplog.text


# ----------------------------------------------------------------------------- trials without a value


# Five stages are one pooling too many for the digits.
POOLED = {
    "architecture": {
        "name": "Myrtle",
        "convs_per_pool": {"choices": [[1], [1, 1, 1, 1, 1]]},
        "W_std": {"low": 1.0, "high": 2.0},
    },
    "preprocessing": {"method": "standardize"},
}


def test_failed_and_pruned_trials_are_recorded_and_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results = started(tmp_path, space=POOLED, largest_seconds=100.0, trials=8, transfer=None)
    rates = itertools.chain([1.0], itertools.repeat(1e9))
    monkeypatch.setattr(rate, "measure_rate", lambda *_: next(rates))
    for number in range(8):
        tuning_stages.run_trial(study, results, number, threads=1)
    found = [trial(results, number) for number in range(8)]
    states = [record["state"] for record in found]
    assert set(states) == {"complete", "pruned", "failed"}
    for record in found:
        too_deep = len(record["hyperparameters"]["convs_per_pool"]) == 5
        assert (record["state"] == "failed") == too_deep
    assert "would take 810 s" in found[states.index("pruned")]["reason"]
    assert "AvgPool of window 2 does not divide" in found[states.index("failed")]["reason"]
    assert tuning_stages.select_tuned(study, results).state == "complete"
    for which in ("tuned", "baseline"):
        tuning_stages.test_tuned(study, results, which, threads=1)
    tuning_stages.report_tuning(study, results)
    table = pd.read_csv(folder_of(results) / "trials.csv")
    assert list(table["state"]) == states
    assert list(table["value"].notna()) == [state == "complete" for state in states]


def test_without_any_value_there_is_no_winner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, results = started(tmp_path, trials=1, largest_seconds=1e-9)
    tuning_stages.run_trial(study, results, 0, threads=1)
    with pytest.raises(
        UserError, match="none of the 1 trials of study tiny is complete; the first: its kernel"
    ):
        tuning_stages.select_tuned(study, results)
    assert not (results / "tiny" / "tuned.yaml").exists()


def test_a_trial_that_always_breaks_off_ends_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results = started(tmp_path, trials=1, attempts=2)

    def no_memory(*_: object) -> None:
        raise MemoryError("no room for the kernel")

    monkeypatch.setattr(tuning_stages, "assess", no_memory)
    for _ in range(2):
        with pytest.raises(MemoryError):
            tuning_stages.run_trial(study, results, 0, threads=1)
        assert not (folder_of(results) / "trials" / "0.json").exists()
    tuning_stages.run_trial(study, results, 0, threads=1)
    record = trial(results, 0)
    assert record["state"] == "failed"
    assert "begun 2 times and never ended: the last error was MemoryError: no room" in record["reason"]


def test_a_trial_that_was_killed_between_journal_and_record_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, results = started(tmp_path, trials=1)
    monkeypatch.setattr(tuning_stages, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        tuning_stages.run_trial(study, results, 0, threads=1)
    monkeypatch.undo()
    told = []
    monkeypatch.setattr(Journal, "tell", lambda self, claim, record: told.append(claim.finished))
    tuning_stages.run_trial(study, results, 0, threads=1)
    assert told == [True]
    assert trial(results, 0)["state"] == "complete"


# ---------------------------------------------------------------------------------------- mistakes


def test_settings_that_changed_are_refused(run: tuple[Study, Path], tmp_path: Path) -> None:
    _, results = run
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "tuning": {**CONFIG["tuning"], "objective": "accuracy"}}))
    changed = load_study(path)
    for stage in (tuning_stages.start_tuning, tuning_stages.select_tuned):
        with pytest.raises(UserError, match=r"tuning\.objective was 'loss' and is 'accuracy'"):
            stage(changed, results)


def test_other_examples_are_refused(run: tuple[Study, Path], tmp_path: Path) -> None:
    study, results = run
    path = results / "tiny" / "data" / "validation_y.npy"
    labels = np.load(path)
    rewrite(path, labels[::-1].copy())
    with pytest.raises(UserError, match=r"trials/0\.json was made with other settings: examples was"):
        tuning_stages.select_tuned(study, results)
    with pytest.raises(UserError, match=r"journal\.log was made with other settings: examples was"):
        tuning_stages.run_trial(study, results, 0)
    rewrite(path, labels)
    tuning_stages.select_tuned(study, results)


def test_the_objective_has_to_fit_the_data(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"objective is 'mse', but the data is a classification"):
        prepared(tmp_path, objective="mse")
    assert not (tmp_path / "results").exists()


def test_what_does_not_exist_is_named(run: tuple[Study, Path]) -> None:
    study, results = run
    with pytest.raises(UserError, match="study tiny has no trial 5, expected 0 to 4"):
        tuning_stages.run_trial(study, results, 5)
    other = load_study_without_tuning(results)
    with pytest.raises(UserError, match="has no section tuning"):
        tuning_stages.start_tuning(other, results)


def load_study_without_tuning(results: Path) -> Study:
    path = results / "plain.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in CONFIG.items() if key != "tuning"}))
    return load_study(path)
