"""Snakemake is killed, its jobs go on, and it is started again."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable

from workflow_projects import Project, jobs

SLOW = """
title: "Slow"
data: {name: digits, train_examples: 32, validation_examples: 8, test_sets: {digits: {examples: 8}}}
preprocessing: {plain: {method: standardize}}
kernels: {Slow: {architecture: {name: Myrtle5}, preprocessing: plain}}
engine: neural_tangents
blocks: {edge: 32, tile: 2}
training_sizes: {sizes: [32]}
"""
BLOCK = "results/slow/kernels/Slow/train/blocks/0-0.npy"


def test_a_job_that_outlives_snakemake_is_waited_for_and_its_block_kept(
    new_project: Callable[[], Project],
) -> None:
    project = new_project()
    project.write_study("slow", SLOW)
    partial = project.folder / "results/slow/kernels/Slow/train/partial"
    tiles, log = partial / "0-0.tiles", project.folder / "results/slow/logs/compute_block/Slow/train/0-0.log"
    first = project.start_snakemake(BLOCK)
    while not tiles.exists() or len(tiles.read_text().splitlines()) < 3:
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    (process,) = re.findall(r"process (\d+) on", partial.joinpath("0-0.lock").read_text())
    orphan = int(process)
    os.kill(orphan, signal.SIGSTOP)
    assert project.snakemake(BLOCK, "--unlock").returncode == 0
    again = project.start_snakemake(BLOCK)
    # Snakemake removes the first job's log before it starts the second.
    while not (log.exists() and "waiting" in log.read_text()):
        assert again.poll() is None, again.communicate()[0]
        time.sleep(0.05)
    assert f"is being made by process {orphan} on" in log.read_text()
    os.kill(orphan, signal.SIGCONT)
    output, _ = again.communicate()
    assert again.returncode == 0, output
    assert jobs(output)["compute_block"] == 1
    assert "there already, whole" in log.read_text()
    assert (project.folder / BLOCK).exists()
    assert not list(partial.iterdir())
