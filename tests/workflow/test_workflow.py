"""The workflow as a user runs it, on a tiny study; each test leaves the finished project complete."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from bit_flips import flip
from workflow_projects import ROOT, Project, jobs

from neural_kernels.storage.files import read_json, write_json

TARGET = "results/tiny_scaling.pdf"
BLOCK = "results/tiny/kernels/FC/train/blocks/0-1.npy"


def test_a_study_runs_to_its_report(finished: Project) -> None:
    files = finished.files()
    assert (finished.folder / TARGET).read_bytes().startswith(b"%PDF")
    blocks = [name for name in files if name.endswith(".npy") and "/blocks/" in name]
    # Training: two block rows, upper triangle; validation and test: one block row of two.
    assert len(blocks) == 3 + 2 + 2
    metrics = pd.read_parquet(finished.folder / "results/tiny/metrics.parquet")
    assert set(metrics["n"]) == {8, 16, 64}
    assert set(metrics[metrics["n"] == 8]["draw"]) == {0, 1}
    assert set(metrics["solver"]) == {"cholesky", "block_lanczos"}
    assert metrics["converged"].all()
    accuracy = metrics.query("metric == 'accuracy' and split == 'digits'").groupby("n")["value"].mean()
    assert accuracy[64] > accuracy[8] > 0.1
    predicted = pd.read_csv(finished.folder / "results/tiny/learning_curves.csv").set_index("n")
    assert predicted["deviation_percent"].notna().to_dict() == {8: True, 16: True, 64: False}


def test_a_second_run_does_nothing(finished: Project) -> None:
    before = finished.files()
    run = finished.snakemake(TARGET)
    assert "Nothing to be done" in run.stdout
    assert finished.files() == before


def test_a_deleted_block_is_computed_again_with_what_depends_on_it_and_nothing_else(
    finished: Project,
) -> None:
    before = finished.files()
    content = (finished.folder / BLOCK).read_bytes()
    (finished.folder / BLOCK).unlink()
    run = finished.snakemake(TARGET)
    assert run.returncode == 0, run.stdout
    # Only n = 64 reads block 0-1.
    expected = {"compute_block": 1, "solve_iteratively": 1, "evaluate_predictions": 1}
    assert jobs(run.stdout) == {**expected, "collect_metrics": 1, "report_scaling": 1}
    assert (finished.folder / BLOCK).read_bytes() == content
    after = finished.files()
    untouched = {name for name in before if before[name] == after[name]}
    assert {name for name in before if "/blocks/" in name and name.endswith(".npy")} - untouched == {
        "tiny/kernels/FC/train/blocks/0-1.npy"
    }
    assert "tiny/metrics/FC/n16.parquet" in untouched


def test_one_block_by_name(finished: Project) -> None:
    before = finished.files()
    run = finished.snakemake(BLOCK, "--force")
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout) == {"compute_block": 1}
    changed = {name for name, when in finished.files().items() if before.get(name) != when}
    # One file with two names, which is there still: it was deleted, found under its other name, and not computed.
    assert changed == {"tiny/kernels/FC/train/blocks/0-1.npy", "tiny/kernels/FC/train/kept/0-1.npy"}
    log = finished.folder / "results/tiny/logs/compute_block/FC/train/0-1.log"
    assert "there already, whole" in log.read_text()
    assert finished.snakemake(TARGET).returncode == 0


def test_a_finished_block_outlives_a_forced_run_whose_job_fails(finished: Project) -> None:
    content = (finished.folder / BLOCK).read_bytes()
    (finished.folder / "bin").mkdir()
    broken = finished.folder / "bin" / "neural-kernels"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    run = finished.snakemake(BLOCK, "--force", path=finished.folder / "bin")
    assert run.returncode != 0
    assert not (finished.folder / BLOCK).exists()  # Snakemake deleted it
    run = finished.snakemake(BLOCK)
    assert run.returncode == 0, run.stdout
    assert (finished.folder / BLOCK).read_bytes() == content
    assert finished.snakemake(TARGET).returncode == 0


def foreign(path: Path) -> None:
    np.save(path, 2 * np.load(path))
    record = path.with_suffix(".json")
    write_json(record, read_json(record) | {"fingerprint": "0"})


def a_flipped_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-777] ^= 2
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (foreign, "belongs to another kernel"),
        (a_flipped_bit, "is damaged"),
    ],
)
def test_a_bad_block_is_named_and_then_computed_again(
    finished: Project, damage: Callable[[Path], None], sentence: str
) -> None:
    path = finished.folder / BLOCK
    content = path.read_bytes()
    damage(path)
    run = finished.snakemake(TARGET)
    assert run.returncode != 0
    assert re.search(rf"error: .*0-1\.npy.*{sentence}", run.stdout)
    run = finished.snakemake(TARGET)
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout)["compute_block"] == 1
    assert path.read_bytes() == content
    path.with_name(path.name + ".rejected").unlink()


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("solutions/FC/direct/n8/draw1/coefficients.npy", "evaluate_small_sizes"),
        ("solutions/FC/direct/n16/solved.json", "solve_iteratively"),
        ("metrics/FC/n16.parquet", "collect_metrics"),
    ],
)
def test_a_damaged_result_is_named_by_the_stage_that_reads_it_and_then_made_again(
    finished: Project, name: str, stage: str
) -> None:
    table = finished.folder / "results/tiny/metrics.parquet"
    before = pd.read_parquet(table).query("metric != 'seconds'")
    path = finished.folder / "results/tiny" / name
    written = path.stat().st_mtime_ns
    flip(path, 0.6, 3)
    # A disk that loses bits leaves dates as they are; by its date alone a size would be solved again, and not be read.
    os.utime(path, ns=(written, written))
    run = finished.snakemake(TARGET, "--forcerun", stage)
    assert run.returncode != 0
    assert re.search(rf"error: .*{path.name}", run.stdout), run.stdout
    assert not path.exists()
    run = finished.snakemake(TARGET, "--forcerun", stage)
    assert run.returncode == 0, run.stdout
    assert path.exists()
    pd.testing.assert_frame_equal(pd.read_parquet(table).query("metric != 'seconds'"), before)


SMALL = ["results/tiny/solutions/FC/direct/small_sizes.json", "results/tiny/metrics/FC/small_sizes.json"]


def dates(project: Project) -> dict[str, int]:
    """The files of sizes that no job writes again where it takes over what is finished, and when they were written."""
    kept = ("record.json", "coefficients.npy", "n8.parquet", "n16.parquet")
    return {name: when for name, when in project.files().items() if name.endswith(kept)}


@pytest.mark.parametrize(
    ("name", "solved"), [("solutions/FC/direct/n8/solved.json", 1), ("metrics/FC/n16.parquet", 0)]
)
def test_a_small_size_that_is_missing_is_made_again_and_no_other(
    finished: Project, name: str, solved: int
) -> None:
    before = dates(finished)
    (finished.folder / "results/tiny" / name).unlink()
    run = finished.snakemake(TARGET)
    assert run.returncode == 0, run.stdout
    found = jobs(run.stdout)
    assert found["evaluate_small_sizes"] == 1
    assert found.get("solve_small_sizes", 0) == solved
    assert not found.keys() & {"compute_block", "solve_directly", "solve_iteratively", "evaluate_predictions"}
    assert {file for file, when in dates(finished).items() if before[file] != when} <= {f"tiny/{name}"}
    assert "Nothing to be done" in finished.snakemake(TARGET).stdout


def test_results_of_a_version_that_solved_each_size_alone_are_taken_over(finished: Project) -> None:
    before = dates(finished)
    for name in SMALL:
        (finished.folder / name).unlink()
    assert "Nothing to be done" in finished.snakemake(TARGET).stdout
    run = finished.snakemake(TARGET, "--forcerun", "collect_metrics")
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout)["solve_small_sizes"] == 1
    assert dates(finished) == before
    assert "Nothing to be done" in finished.snakemake(TARGET).stdout


def test_each_small_size_may_be_made_alone(finished: Project) -> None:
    before = dates(finished)
    path = "results/tiny/metrics/FC/n16.parquet"
    (finished.folder / path).unlink()
    run = finished.snakemake(path)
    assert jobs(run.stdout) == {"evaluate_predictions": 1}
    run = finished.snakemake(TARGET)
    assert run.returncode == 0, run.stdout
    changed = {name for name, when in dates(finished).items() if before[name] != when}
    assert changed == {"tiny/metrics/FC/n16.parquet"}
    assert "Nothing to be done" in finished.snakemake(TARGET).stdout


def test_another_ladder_takes_over_what_is_solved(finished: Project) -> None:
    text, before = (finished.folder / "config/tiny.yaml").read_text(), dates(finished)
    finished.write_study("tiny", text.replace("[8, 16, 64]", "[8, 12, 16, 64]"))
    run = finished.snakemake(TARGET)
    finished.write_study("tiny", text)
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout)["solve_small_sizes"] == 1
    assert not jobs(run.stdout).keys() & {"compute_block", "solve_directly"}
    after = dates(finished)
    assert {name: after[name] for name in before} == before
    assert (finished.folder / "results/tiny/metrics/FC/n12.parquet").exists()
    assert finished.snakemake(TARGET).returncode == 0


def test_the_html_report_has_captions_and_labels(finished: Project) -> None:
    run = finished.snakemake(TARGET, "--report", "report.html")
    assert run.returncode == 0, run.stdout
    html = (finished.folder / "report.html").read_text()
    for text in ("scaling laws", "exponents", "every number", "tiny"):
        assert text in html


def test_a_study_can_share_the_blocks_of_another(finished: Project) -> None:
    finished.write_study("guest", "title: Guest\nkernels_from: tiny\ntraining_sizes: {sizes: [16, 32]}\n")
    before = finished.files()
    run = finished.snakemake("results/guest_scaling.pdf")
    assert run.returncode == 0, run.stdout
    assert "compute_block" not in jobs(run.stdout)
    assert {name: when for name, when in finished.files().items() if name in before} == before


# ----------------------------------------------------------------------------------------- mistakes


def refused(project: Project, target: str, *sentence: str) -> None:
    """The run fails with the sentence and leaves no results behind."""
    run = project.snakemake(target)
    assert run.returncode != 0
    for part in sentence:
        assert part in run.stdout, run.stdout
    assert "Traceback" not in run.stdout
    assert not project.files() if (project.folder / "results").exists() else True


def test_an_unknown_key_stops_before_anything_starts(new_project: Callable[[], Project]) -> None:
    project = new_project()
    text = (project.folder / "config/tiny.yaml").read_text()
    project.write_study("tiny", text + "blok: 3\n")
    refused(project, TARGET, "tiny.yaml: unknown key 'blok'")


def test_a_missing_data_file_is_named_with_where_to_get_it(new_project: Callable[[], Project]) -> None:
    project = new_project()
    text = (project.folder / "config/tiny.yaml").read_text()
    text = text.replace("name: digits", "name: cifar5m\n  path: nowhere").replace("{digits:", "{cifar5m:")
    project.write_study("tiny", text)
    refused(project, TARGET, "error: nowhere/cifar5m_part0.npz: no such file", "cifar5m")


def test_a_training_size_above_the_data_is_refused(new_project: Callable[[], Project]) -> None:
    project = new_project()
    text = (project.folder / "config/tiny.yaml").read_text()
    project.write_study("tiny", text.replace("[8, 16, 64]", "[8, 16, 65]"))
    refused(project, TARGET, "training_sizes asks for n = 65, but data.train_examples gives 64")


def test_more_examples_than_the_data_has_are_refused(new_project: Callable[[], Project]) -> None:
    project = new_project()
    text = (project.folder / "config/tiny.yaml").read_text()
    project.write_study("tiny", text.replace("train_examples: 64", "train_examples: 6400"))
    refused(project, TARGET, "error: ", "train_examples is 6400")


def test_pooling_that_does_not_divide_is_refused(new_project: Callable[[], Project]) -> None:
    project = new_project()
    text = (project.folder / "config/tiny.yaml").read_text()
    project.write_study(
        "tiny", text.replace("{name: FC, depth: 1}", "{name: Myrtle, convs_per_pool: [1, 1, 1, 1, 1]}")
    )
    refused(project, TARGET, "AvgPool of window 2 does not divide its input of 1x1 positions")


def test_a_changed_architecture_does_not_throw_blocks_away(finished: Project) -> None:
    text = (finished.folder / "config/tiny.yaml").read_text()
    before = finished.files()
    finished.write_study("tiny", text.replace("depth: 1", "depth: 2"))
    run = finished.snakemake(TARGET)
    finished.write_study("tiny", text)
    assert run.returncode != 0
    assert "holds blocks of another kernel" in run.stdout
    blocks = {name: when for name, when in before.items() if "/blocks/" in name}
    assert {name: when for name, when in finished.files().items() if "/blocks/" in name} == blocks
    assert finished.snakemake(TARGET).returncode == 0


# By its name alone, as README says it. Blocks have the threads of the profile that was asked for, although Snakemake
# adds the default one to each.
@pytest.mark.parametrize(("profile", "threads"), [("default", 64), ("slurm", 8), ("pbs", 8)])
def test_a_run_is_planned(new_project: Callable[[], Project], profile: str, threads: int) -> None:
    run = new_project().snakemake(TARGET, "--dry-run", "--verbose", "--cores", "64", profile=profile)
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout)["compute_block"] == 7
    planned = re.findall(r"^rule compute_block:(?:\n    .*)*\n    threads: (\d+)$", run.stdout, re.M)
    assert planned == 7 * [str(threads)]


@pytest.mark.parametrize("profile", ["slurm", "pbs"])
def test_jobs_ask_for_the_memory_that_follows_from_the_study(
    new_project: Callable[[], Project], profile: str
) -> None:
    project = new_project()
    run = project.snakemake(
        TARGET, "--dry-run", "--verbose", "--config", "node_memory_mb=9500", profile=profile
    )
    assert run.returncode == 0, run.stdout
    asked = {
        rule: int(memory)
        for rule, memory in re.findall(
            r"^rule (\w+):(?:\n    .*)*\n    resources: .*?\bmem_mb=(\d+)", run.stdout, re.M
        )
    }
    small = {
        "prepare_data": 2001,
        "preprocess_data": 2001,
        "compute_block": 4003,
        "evaluate_predictions": 2004,
        "evaluate_small_sizes": 2004,
    }
    assert small.items() <= asked.items()
    assert asked["solve_iteratively"] == asked["solve_small_sizes"] == 9192
    run = project.snakemake(TARGET, "--dry-run", "--config", "node_memory_mb=9000", profile=profile)
    assert run.returncode != 0
    assert "error: config/tiny.yaml: jobs of solve_iteratively need 9192 MiB, but" in run.stdout
    assert "Traceback" not in run.stdout
    assert not (project.folder / "results").exists()


def test_each_profile_is_found_by_its_name_in_a_fresh_clone() -> None:
    for profile in (ROOT / "profiles").iterdir():
        assert (ROOT / profile.name).readlink() == Path("profiles") / profile.name


def test_the_profiles_of_clusters_give_every_job_that_is_submitted_the_same() -> None:
    slurm, pbs = (
        yaml.safe_load((ROOT / f"profiles/{name}/config.v8+.yaml").read_text()) for name in ("slurm", "pbs")
    )
    rules = "".join(file.read_text() for file in (ROOT / "workflow/rules").glob("*.smk"))
    submitted = {
        rule.partition(":")[0]
        for rule in re.split(r"^rule ", rules, flags=re.M)[1:]
        if "localrule: True" not in rule
    }
    # Of a kernel's declaration the default is enough.
    assert set(slurm["set-resources"]) == submitted - {"declare_kernel"}
    for key in ("set-threads", "set-resources"):
        assert slurm[key] == pbs[key]


def test_the_profile_of_gpus_differs_from_that_of_slurm_by_its_gpus_alone() -> None:
    slurm, gpus = (
        yaml.safe_load((ROOT / f"profiles/{name}/config.v8+.yaml").read_text())
        for name in ("slurm", "slurm-gpu")
    )
    assert gpus.pop("config") == {"accelerator": "required"}
    for rule in ("compute_block", "run_trial", "transfer_trial", "test_tuned"):
        assert gpus["set-resources"][rule].pop("gpu") == 1
    assert gpus == slurm


def test_a_training_set_of_images_and_flips_copies_half_its_blocks(
    new_project: Callable[[], Project],
) -> None:
    project = new_project()
    text = (project.folder / "config/tiny.yaml").read_text()
    text = text.replace("train_examples: 64", "train_examples: 32\n  augmentation: {factor: 2}").replace(
        "edge: 32", "edge: 16"
    )
    project.write_study("tiny", text)
    run = project.snakemake("results/tiny/metrics/FC/n64.parquet")
    assert run.returncode == 0, run.stdout
    blocks = project.folder / "results/tiny/kernels/FC/train/blocks"
    records = {path.stem: json.loads(path.read_text()) for path in blocks.glob("*.json")}
    assert len(records) == 10
    copies = {block: record["copy_of"] for block, record in records.items() if "copy_of" in record}
    assert copies == {"1-2": "0-3", "2-2": "0-0", "2-3": "0-1", "3-3": "1-1"}
    np.testing.assert_array_equal(np.load(blocks / "1-2.npy"), np.load(blocks / "0-3.npy").T)


def test_a_study_that_trains_on_everything_takes_the_one_ridge_that_it_gives(
    new_project: Callable[[], Project],
) -> None:
    project = new_project()
    text = (project.folder / "config/tiny.yaml").read_text()
    text = text.replace("validation_examples: 20", "validation_examples: 0")
    project.write_study("tiny", text)
    refused(project, TARGET, "data.validation_examples is 0", "one number in ridge.candidates")
    given = text.replace("{log10_smallest: -6, log10_largest: 0, count: 4}", "{candidates: [0.01]}")
    project.write_study("tiny", given)
    solutions = [f"results/tiny/solutions/FC/{size}/solved.json" for size in ("direct/n16", "iterative/n64")]
    run = project.snakemake(*solutions)
    assert run.returncode == 0, run.stdout
    for solution in solutions:
        solved = json.loads((project.folder / solution).read_text())
        assert solved["ridge_source"] == "config"
        assert {draw["ridge"] for draw in solved["draws"]} == {0.01}
    assert not (project.folder / "results/tiny/kernels/FC/validation").exists()
