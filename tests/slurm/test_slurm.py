"""A whole small study on a real Slurm, with what goes wrong on one: failure, cancellation, preemption."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from slurm_cluster import Cluster
from workflow_projects import Project

from neural_kernels.stages.data import prepare_data, preprocess_data
from neural_kernels.stages.kernels import compute_block, declare_kernel
from neural_kernels.study.study import load_study

# The profile's sizes are a site's; these fit the test's nodes. A block starts with 1000 MB and gets as much
# again with each attempt. What takes more is killed.
SMALL_NODES = [
    *(
        "--set-threads",
        "compute_block=1",
        "solve_directly=1",
        "solve_small_sizes=1",
        "solve_iteratively=1",
        "predict_learning_curve=1",
    ),
    *("--default-resources", "mem_mb=1000", "runtime=10"),
    *("--set-resources", "compute_block:mem_mb=attempt*1000", "compute_block:runtime=10"),
    *("solve_directly:mem_mb=1500", "solve_iteratively:mem_mb=1500", "evaluate_predictions:mem_mb=1000"),
    *("solve_small_sizes:mem_mb=1500", "evaluate_small_sizes:mem_mb=1000"),
    *("prepare_data:mem_mb=1000", "preprocess_data:mem_mb=1000", "predict_learning_curve:mem_mb=1500"),
    *("--latency-wait", "10", "--seconds-between-status-checks", "1"),
    *("--slurm-init-seconds-before-status-checks", "1"),
]
# Small as the studies are, most tests are about jobs that are submitted.
EVERY_JOB = [*SMALL_NODES, "--config", "local_seconds=0"]

TARGET = "results/tiny_scaling.pdf"

# Tests of minutes run where somebody asks for them.
LONG = pytest.mark.skipif(
    os.environ.get("NEURAL_KERNELS_SLURM_TESTS") != "long", reason="set NEURAL_KERNELS_SLURM_TESTS=long"
)


def command(*arguments: str, sizes: Sequence[str] = EVERY_JOB) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--profile", "slurm", *arguments, *sizes]


def environment(project: Project) -> dict[str, str]:
    path = os.pathsep.join([str(project.folder / "bin"), Project.search_path()])
    return {**os.environ, "PATH": path}


def snakemake(
    project: Project, *arguments: str, sizes: Sequence[str] = EVERY_JOB
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, sizes=sizes), cwd=project.folder, env=environment(project), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=400,
    )  # fmt: skip


def start(project: Project, *arguments: str, sizes: Sequence[str] = EVERY_JOB) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments, sizes=sizes), cwd=project.folder, env=environment(project), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def wait_for(condition: Callable[[], Any], what: str, seconds: int = 300) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"timed out waiting for {what}")


def running_job(rule: str, wildcards: str) -> str | None:
    """Slurm's number of the running job of a rule, or None. The plugin puts rule and wildcards in the comment."""
    lines = subprocess.run(
        ["squeue", "--noheader", "--states=RUNNING", "--format=%i %k"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return next((line.split()[0] for line in lines if rule in line and wildcards in line), None)


def waits_again(job: str) -> bool:
    """Whether Slurm has taken a job's nodes away and put it back into the queue."""
    shown = subprocess.run(
        ["scontrol", "show", "job", job], capture_output=True, text=True, check=True
    ).stdout
    return "JobState=PENDING" in shown and "Restarts=1" in shown


def jobs(output: str) -> dict[str, int]:
    table = output.split("Job stats:")[1].split("total")[0]
    return {rule: int(count) for rule, count in re.findall(r"^(\w+)\s+(\d+)\s*$", table, re.M)}


def test_a_study_runs_and_a_block_that_fails_is_tried_again_with_more_memory(project: Project) -> None:
    # The first attempt of one block takes more than it was given, in its job step: Slurm kills it.
    (project.folder / "before").write_text(
        f"""
if [[ "$*" == *"compute-block"*"--part train --block 0-1"* ]]; then
    memory=$(scontrol show job "$SLURM_JOB_ID" | grep -oP 'MinMemoryNode=\\K[0-9]+')
    echo "$memory" >>{project.folder}/attempts
    [ "$memory" -ge 2000 ] || {sys.executable} -c 'import time; x = bytearray(2000 << 20); time.sleep(60)'
fi
"""
    )
    run = snakemake(project, TARGET)
    assert run.returncode == 0, run.stdout
    assert (project.folder / TARGET).read_bytes().startswith(b"%PDF")
    assert (project.folder / "attempts").read_text().split() == ["1000", "2000"]
    assert jobs(run.stdout)["compute_block"] == 7
    submitted = re.findall(r"has been submitted with SLURM jobid (\d+)", run.stdout)
    # Seven blocks and the one that failed; every rule that is not local is a job.
    assert len(set(submitted)) == len(submitted) >= 7 + 1 + 3 + 2
    folder = project.folder / ".snakemake/slurm_logs/rule_compute_block/tiny_FC_train_0_1"
    (kept,) = folder.glob("*.log")
    assert "memory limit" in kept.read_text()


def blocks_of(project: Project) -> dict[str, bytes]:
    """Content of all blocks of the tiny study, by their paths."""
    folder = project.folder / "results/tiny/kernels"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*/blocks/*.npy")}


def test_a_refused_submission_costs_no_block_and_is_no_end(project: Project) -> None:
    """The partition gives no job so much time; Snakemake has deleted the block before it asks."""
    (project.folder / "before").write_text("")
    before = blocks_of(project)
    block = "results/tiny/kernels/FC/train/blocks/0-1.npy"
    refused = [*EVERY_JOB, "--default-resources", "slurm_partition=short", "mem_mb=1000", "runtime=10"]
    place = refused.index("compute_block:runtime=10")
    refused[place] = "compute_block:runtime=20"
    run = snakemake(project, block, "--force", "--retries", "0", sizes=refused)
    assert run.returncode != 0
    assert "SLURM sbatch failed" in run.stdout
    assert "time limit" in run.stdout
    run = snakemake(project, block)
    assert run.returncode == 0, run.stdout
    assert blocks_of(project) == before
    log = (project.folder / "results/tiny/logs/compute_block/FC/train/0-1.log").read_text()
    assert "there already, whole" in log


def without_a_block(project: Project, go: Path) -> dict[str, bytes]:
    """Delete block 0-1 under both its names, have its job wait for the file ``go``; all blocks as they were."""
    before = blocks_of(project)
    folder = project.folder / "results/tiny/kernels/FC/train"
    for name in ("blocks", "kept"):
        (folder / name / "0-1.npy").unlink()
    (project.folder / "before").write_text(
        f'if [[ "$*" == *"compute-block"* ]]; then touch {go}.began; until [ -e {go} ]; do sleep 0.1; done; fi\n'
    )
    return before


def test_a_run_goes_on_after_snakemake_was_killed(project: Project) -> None:
    """Its job lives on; the next run's job for the same block waits for it and takes over what it finished."""
    go = project.folder / "go"
    before = without_a_block(project, go)
    first = start(project, TARGET, sizes=SMALL_NODES)
    orphan = wait_for(lambda: running_job("compute_block", "FC_train_0_1"), "the block's job")
    first.kill()
    first.communicate()
    assert snakemake(project, "--unlock", TARGET).returncode == 0
    second = start(project, TARGET, sizes=SMALL_NODES)
    wait_for(lambda: waiting_or_running("FC_train_0_1") == 2, "a second job for the block")
    go.touch()
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    assert orphan not in re.findall(r"SLURM jobid (\d+)", output)
    assert jobs(output)["compute_block"] == 1
    assert blocks_of(project) == before


@LONG
def test_a_controller_that_is_away_while_snakemake_asks_costs_a_second_run_and_no_block(
    project: Project, slurm: Cluster
) -> None:
    """The job ends without the controller. The executor's plugin 2.8 forgets jobs of which it heard nothing in all of
    its attempts, and waits for ever: what helps is to end Snakemake and to give the same command again."""
    go = project.folder / "back"
    before = without_a_block(project, go)
    said = project.folder / "said"
    with said.open("w") as file:
        first = subprocess.Popen(
            command(TARGET, sizes=SMALL_NODES), cwd=project.folder, env=environment(project), text=True,
            stdout=file, stderr=subprocess.STDOUT, preexec_fn=heed_interrupts,
        )  # fmt: skip
    # Not only the job but its step, which takes a controller to begin.
    wait_for(go.with_name("back.began").exists, "the block's program")
    slurm.do("controller", "stop").check_returncode()
    go.touch()
    time.sleep(70)
    slurm.do("controller", "start").check_returncode()
    assert (project.folder / "results/tiny/kernels/FC/train/kept/0-1.npy").exists()
    try:
        first.wait(timeout=60)
    except subprocess.TimeoutExpired:
        first.send_signal(signal.SIGINT)
        first.wait(timeout=60)
    run = snakemake(project, TARGET, sizes=SMALL_NODES)
    assert run.returncode == 0, run.stdout
    assert blocks_of(project) == before


@LONG
def test_snakemake_may_run_in_a_job_whose_end_ends_what_it_submitted(project: Project) -> None:
    block = "results/tiny/kernels/FC/train/blocks/0-1.npy"
    go = project.folder / "went"
    before = without_a_block(project, go)

    def submit() -> str:
        wrapped = f"--wrap=exec {shlex.join(command(block))}"
        said = subprocess.run(
            ["sbatch", "--parsable", "--mem=1000", "--output=master-%j.log", wrapped],
            cwd=project.folder, env=environment(project), check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        return said.strip()

    master = submit()
    wait_for(lambda: running_job("compute_block", "FC_train_0_1"), "the block's job")
    # As --signal=B:INT@300 does before the time limit. SIGTERM would have Snakemake wait for its jobs, and a plain
    # scancel ends it before it has ended them.
    subprocess.run(["scancel", "--batch", "--signal=INT", master], check=True)
    wait_for(lambda: waiting_or_running("FC_train_0_1") == 0, "the end of the block's job", seconds=60)
    go.touch()
    snakemake(project, "--unlock", block)
    master = submit()
    wait_for(lambda: blocks_of(project) == before, "the block", seconds=120)


def heed_interrupts() -> None:
    # Where a shell runs the tests in the background, interrupts are ignored, and by all children too.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def waiting_or_running(wildcards: str) -> int:
    """How many jobs of these wildcards Slurm has that have not ended."""
    states = "--states=PENDING,RUNNING"
    command = ["squeue", "--noheader", states, "--format=%k"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return sum(line.endswith(wildcards) for line in said.splitlines())


def test_two_studies_that_share_kernels_may_be_started_together(project: Project) -> None:
    """The second run is refused as long as the first one has its lock; without locks, both finish."""
    project.write_study("guest", "title: Guest\nkernels_from: tiny\ntraining_sizes: {sizes: [32]}\n")
    (project.folder / "before").write_text("")
    before = blocks_of(project)
    folder = project.folder / "results/tiny/kernels/FC/train"
    for name in ("blocks", "kept"):
        (folder / name / "0-0.npy").unlink()
    both = [
        start(project, "--nolock", f"results/{solution}/solved.json", sizes=SMALL_NODES)
        for solution in ("tiny/solutions/FC/iterative/n64", "guest/solutions/FC/direct/n32")
    ]
    for process in both:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    assert blocks_of(project) == before


def test_a_cancelled_block_is_computed_again_alone(project: Project) -> None:
    (project.folder / "results/tiny/kernels/FC/train/blocks/0-1.npy").unlink()
    (project.folder / "before").write_text('[[ "$*" != *"compute-block"* ]] || sleep 30\n')
    process = start(project, TARGET, "--retries", "0", sizes=SMALL_NODES)
    job = wait_for(lambda: running_job("compute_block", "FC_train_0_1"), "the block's job")
    subprocess.run(["scancel", job], check=True)
    output, _ = process.communicate()
    assert process.returncode != 0, output
    (project.folder / "before").write_text("")
    before = project.files()
    run = snakemake(project, TARGET, sizes=SMALL_NODES)
    assert run.returncode == 0, run.stdout
    assert jobs(run.stdout)["compute_block"] == 1
    blocks = {name for name in project.files() if "/blocks/" in name and name.endswith(".npy")}
    assert {name for name in blocks if before.get(name) != project.files()[name]} == {
        "tiny/kernels/FC/train/blocks/0-1.npy"
    }


SLOW = """
title: "Slow"
engine: neural_tangents
data:
  name: digits
  train_examples: 96
  validation_examples: 10
  test_sets: {digits: {examples: 10}}
preprocessing:
  plain: {method: standardize}
kernels:
  Myrtle5:
    architecture: {name: Myrtle5}
    preprocessing: plain
blocks: {edge: 96, tile: 4}
training_sizes: {sizes: [96]}
"""
# Of the upper triangle of 24 x 24.
TILES = 300


def test_a_preempted_block_resumes_at_its_tile(project: Project) -> None:
    project.write_study("slow", SLOW)
    (project.folder / "before").write_text("")
    block = "results/slow/kernels/Myrtle5/train/blocks/0-0.npy"
    record = project.folder / "results/slow/kernels/Myrtle5/train/partial/0-0.tiles"

    def tiles() -> list[str]:
        return record.read_text().splitlines()[1:] if record.exists() else []

    process = start(project, block)
    wait_for(lambda: len(tiles()) >= 3, "three tiles")
    # Stopped, it cannot end before Slurm has preempted it, however fast the machine is.
    subprocess.run(["pkill", "-STOP", "-f", "neural-kernels.*compute-block.*slow"], check=True)
    before = len(tiles())
    assert 3 <= before < TILES
    job = running_job("compute_block", "Myrtle5")
    assert job is not None
    subprocess.run(
        ["sbatch", "--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"],
        check=True, capture_output=True,
    )  # fmt: skip
    wait_for(lambda: waits_again(job), "the preemption")
    # Slurm holds a requeued job back for two minutes.
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)
    output, _ = process.communicate(timeout=400)
    assert process.returncode == 0, output
    log = (project.folder / "results/slow/logs/compute_block/Myrtle5/train/0-0.log").read_text()
    resumed = re.search(r"block 0-0 resumes with (\d+) of (\d+) tiles done", log)
    assert resumed is not None, log
    # The tile in flight when it was stopped may have got its line before the end.
    assert int(resumed[1]) in (before, before + 1)
    assert int(resumed[2]) == TILES
    # Requeued by Slurm under its own number, not submitted again by Snakemake.
    submitted = re.findall(
        r"has been submitted with SLURM jobid (\d+)", output.split("rule compute_block")[-1]
    )
    assert len(submitted) == 1


DISTRIBUTED = """
title: "Distributed"
data:
  name: digits
  train_examples: 1200
  validation_examples: 10
  test_sets: {digits: {examples: 10}}
preprocessing:
  plain: {method: standardize}
kernels:
  FC:
    architecture: {name: FC, depth: 1}
    preprocessing: plain
blocks: {edge: 100}
training_sizes: {sizes: [1200]}
ridge: {candidates: [1.0e-9]}
solver:
  direct_up_to: 0
  tolerance: 1.0e-13
  max_iterations: 20000
  preconditioner: {method: none}
  # Long enough, and saved often enough, that a shell that looks now and then sees a checkpoint.
  block: false
  checkpoint_minutes: 0.0001
"""
# More than half of a node's memory for each process, so that they go to different nodes.
TWO_NODES = [
    "solve_iteratively:mpi=profiles/slurm/launch-mpi",
    "solve_iteratively:tasks=2",
    "solve_iteratively:mem_mb_per_cpu=4500",
]


def compute_blocks(project: Project, name: str) -> None:
    """Everything before the solve, in this process: many small blocks, which the solve reads in every pass."""
    study, results = load_study(project.folder / "config" / f"{name}.yaml"), project.folder / "results"
    prepare_data(study, results)
    preprocess_data(study, results, "plain")
    for part in ("train", "validation"):
        store = declare_kernel(study, results, "FC", part)
        for block in store.grid.blocks():
            compute_block(study, results, "FC", part, block, threads=1)


def test_a_solve_over_two_nodes_that_is_killed_resumes_from_its_checkpoint(project: Project) -> None:
    project.write_study("distributed", DISTRIBUTED)
    compute_blocks(project, "distributed")
    solved = "results/distributed/solutions/FC/iterative/n1200/solved.json"
    checkpoints = project.folder / Path(solved).parent / "draw0" / "checkpoint"
    # Whichever process sees the first checkpoint dies at once, as with a node that is lost.
    (project.folder / "before").write_text(
        f"""
if [[ "$*" == *"--tasks 2"* ]] && [ ! -e {project.folder}/killed ]; then
    echo "$SLURMD_NODENAME" >>{project.folder}/nodes
    (
        until compgen -G '{checkpoints}/*/*/checkpoint.json' >/dev/null; do sleep 0.01; done
        touch {project.folder}/killed
        kill -KILL $$
    ) &
fi
"""
    )
    sizes = [size for size in EVERY_JOB if not size.startswith("solve_iteratively:mem")]
    place = sizes.index("solve_directly:mem_mb=1500")
    sizes[place:place] = TWO_NODES
    run = snakemake(project, solved, sizes=sizes)
    assert run.returncode == 0, run.stdout
    assert (project.folder / "killed").exists()
    nodes = (project.folder / "nodes").read_text().split()
    assert len(nodes) == len(set(nodes)) == 2
    log = (project.folder / "results/distributed/logs/solve_iteratively/FC/n1200.log").read_text()
    assert re.search(r"resuming at iteration \d+", log), log
    record = json.loads((project.folder / solved).read_text())["draws"][0]
    assert record["residual"] <= 1e-12
    assert not list(checkpoints.rglob("*.npz"))
