"""An imported kernel through Snakemake to its report."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from foreign_kernels import fc1, write_blocks
from sklearn.datasets import load_digits
from workflow_projects import Project, jobs


def test_an_imported_kernel_goes_to_its_report_and_is_never_computed(
    new_project: Callable[[], Project],
) -> None:
    project = new_project()
    x, y = load_digits(return_X_y=True)
    write_blocks(project.folder / "theirs", fc1(x[:120] / 16), y[:120], edge=32, train=70)
    command = ["import-blocks", "config/imported.yaml", "--kernel", "FC1", "--blocks", "theirs"]
    sizes = ["--validation", "20", "--test", "30"]
    run = subprocess.run(
        [sys.executable, "-m", "neural_kernels.cli", *command, *sizes],
        cwd=project.folder, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    before = project.files()
    result = project.snakemake("results/imported_scaling.pdf")
    assert result.returncode == 0, result.stdout
    made = {"prepare_data", "preprocess_data", "declare_kernel", "compute_block"}
    assert not made & jobs(result.stdout).keys()
    assert before.items() <= project.files().items()
    assert (project.folder / "results/imported_scaling.pdf").read_bytes().startswith(b"%PDF")

    # A block that is gone comes from where it came from, and without that there is a sentence.
    store = project.folder / "results/imported/kernels/FC1/train"
    for again in (True, False):
        for name in ("blocks", "kept"):
            (store / name / "0-1.npy").unlink()
        if not again:
            (project.folder / "theirs").rename(project.folder / "away")
        result = project.snakemake("results/imported_scaling.pdf")
        assert (result.returncode == 0) == again, result.stdout
        assert jobs(result.stdout)["compute_block"] == 1
    assert "theirs: no such file or folder, expected a kernel" in result.stdout
