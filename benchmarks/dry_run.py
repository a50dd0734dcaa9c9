"""What planning a study takes: a dry run of its report, beside Snakemake's own share, as a table in Markdown.

    python benchmarks/dry_run.py                              # config/cifar5m.yaml, the paper's size
    python benchmarks/dry_run.py --study demo

The peer is a workflow with the same jobs and the same files, which are read from a list: its rules have neither
parameters nor memory of their own. Both print a line a rule at most. Times are of the CPU, user and system together,
of one start of Snakemake each; the study's results must not be there, or what is planned is what is left of it.

The last table is what one folder with the files of the paper's largest kernel costs beside a folder a row of blocks.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from neural_kernels.planning.small_sizes import small_sizes
from neural_kernels.stages import inputs
from neural_kernels.study import folders
from neural_kernels.study.study import Study, load_study

ROOT = Path(__file__).parents[1]
REPORT = folders.report("scaling")
PATTERNS = (
    folders.DATA,
    folders.FEATURES,
    folders.KERNEL,
    folders.BLOCK,
    folders.SOLVED,
    folders.SMALL_SOLVED,
    folders.METRICS_OF_SIZE,
    folders.SMALL_EVALUATED,
    folders.LEARNING_CURVE,
    folders.METRICS,
    REPORT,
)

# The files by which a size is asked for.
ASKED = (inputs.solved_with, inputs.evaluated_with)

PEER = """
import json

FILES = json.load(open("files.json"))


def needed(pattern):
    return lambda wildcards: FILES[pattern.format(**wildcards)]


wildcard_constraints:
    study="[^/_]+", kernel="[^/]+", part="[^/]+", i=r"\\d+", j=r"\\d+", n=r"\\d+", method="[a-z_]+",

"""
PEER_RULE = """
rule:
    input: needed("results/{pattern}")
    output: "results/{pattern}"
    log: "results/logs/{pattern}.log"
    shell: "touch {{output}}"
"""

# Some 62,750 files are the blocks of n = 5,000,000 with an edge of 20,000, and the record beside each.
BLOCK_ROWS = 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--study", default="cifar5m", help="the name of its config")
    study = load_study(ROOT / "config" / f"{parser.parse_args().study}.yaml")
    target = f"results/{folders.filled(REPORT, study=study.name)}"
    print("| what | jobs | CPU (s) | peak memory (MB) |\n|---|---|---|---|")
    jobs = row("dry run", ["--profile", "slurm", target], ROOT)
    with tempfile.TemporaryDirectory() as folder:
        write_peer(study, target, Path(folder))
        row("Snakemake's own share", ["--quiet", "--", target], Path(folder), jobs)
    row("dry run that lists every job (`-p`)", ["--profile", "slurm", "-p", target], ROOT)
    print(
        "\n| files | folders | written (CPU s) | looked up (CPU s) | listed (CPU s) |\n|---|---|---|---|---|"
    )
    for shards in (1, BLOCK_ROWS):
        with tempfile.TemporaryDirectory(dir=ROOT) as folder:
            spent = " | ".join(f"{seconds:.2f}" for seconds in folder_seconds(Path(folder), shards))
            print(f"| {BLOCK_ROWS**2:,} | {shards} | {spent} |")


def row(name: str, arguments: list[str], folder: Path, jobs: str = "") -> str:
    """Print what one dry run took; gives the number of its jobs, which a quiet one does not say."""
    program = [sys.executable, "-m", "snakemake", "--dry-run", *arguments]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(program, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read()
    if process.returncode:
        sys.exit(said[-2000:])
    total = re.search(r"^total\s+(\d+)", said, re.M)
    jobs = total[1] if total else jobs
    print(f"| {name} | {int(jobs):,} | {used.ru_utime + used.ru_stime:.1f} | {used.ru_maxrss / 1000:.0f} |")
    sys.stdout.flush()
    return jobs


def write_peer(study: Study, target: str, folder: Path) -> None:
    (folder / "files.json").write_text(json.dumps(dict(edges(study, target))))
    rules = "".join(PEER_RULE.format(pattern=pattern) for pattern in PATTERNS)
    (folder / "Snakefile").write_text(PEER + rules)


def edges(study: Study, target: str) -> Iterator[tuple[str, list[str]]]:
    """Each file of the study, with those that it is made from."""
    yield inputs.data(study), []
    stores = set()
    for kernel in study.kernels:
        yield inputs.features(study, kernel), [inputs.data(study)]
        small = small_sizes(study, kernel)
        if small:
            solved, evaluated = (function(study, kernel, small[0]) for function in ASKED)
            yield solved, inputs.small_training_blocks(study, kernel)
            yield evaluated, [solved, *inputs.small_evaluation_blocks(study, kernel)]
        for n in study.training_sizes(kernel)[len(small) :]:
            solved, evaluated = (function(study, kernel, n) for function in ASKED)
            yield solved, inputs.training_blocks(study, kernel, n)
            yield evaluated, [solved, *inputs.evaluation_blocks(study, kernel, n)]
        for part in ("train", *study.evaluation_sizes(kernel)):
            described = str(folders.store_folder(study, inputs.RESULTS, kernel, part) / "kernel.json")
            stores.add(described)
            yield described, [inputs.features(study, kernel)]
        curve = folders.at(inputs.RESULTS, folders.LEARNING_CURVE, study=study.name, kernel=kernel)
        yield str(curve), inputs.learning_curve_blocks(study, kernel)
    for block in inputs.study_blocks(study):
        yield block, [str(Path(block).parents[1] / "kernel.json")]
    metrics = str(folders.at(inputs.RESULTS, folders.METRICS, study=study.name))
    yield metrics, inputs.metrics_files(study)
    yield target, [metrics, *inputs.learning_curves(study)]


def folder_seconds(folder: Path, shards: int) -> Iterator[float]:
    """CPU seconds that it takes to write empty files of all blocks, to look each of them up, and to list them."""
    places = [folder / str(shard) for shard in range(shards)]
    for place in places:
        place.mkdir()
    files = [
        os.fspath(places[i % shards] / f"{i}-{j}.npy") for i in range(BLOCK_ROWS) for j in range(BLOCK_ROWS)
    ]
    before = cpu_seconds()
    for file in files:
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY))
    yield cpu_seconds() - before
    before = cpu_seconds()
    assert all(map(os.path.exists, files))
    yield cpu_seconds() - before
    before = cpu_seconds()
    assert sum(len(os.listdir(place)) for place in places) == len(files)
    yield cpu_seconds() - before


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
