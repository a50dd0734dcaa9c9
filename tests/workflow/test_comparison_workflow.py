"""A table of what was run, as a user asks for it: it never starts a study."""

from __future__ import annotations

import pytest
from comparisons import TABLE, write_metrics, write_study, write_table
from workflow_projects import Project, jobs, make_project

TARGET = "results/mine.pdf"


def jobs_if_any(output: str) -> dict[str, int]:
    return jobs(output) if "Job stats:" in output else {}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = make_project(tmp_path_factory.mktemp("project"))
    write_table(project.folder)
    write_study(project.folder, "small", [10], {"cifar10": 100})
    write_metrics(project.folder, "small", {10: {"cifar10": 0.5}})
    run = project.snakemake(TARGET)
    assert run.returncode == 0, run.stdout
    return project


def test_the_table_is_written_and_no_study_is_started(written: Project) -> None:
    # Neither the data nor the blocks of the study are there: it could not be brought up to date.
    assert (written.folder / TARGET).read_bytes().startswith(b"%PDF")
    assert "50.0" in (written.folder / "results/mine.md").read_text()
    assert [path.name for path in (written.folder / "results/small").iterdir()] == ["metrics.parquet"]
    assert "Nothing to be done" in written.snakemake(TARGET, "--dry-run").stdout


def test_it_is_made_again_when_metrics_change_come_or_go(written: Project) -> None:
    metrics = written.folder / "results/small/metrics.parquet"
    kept = metrics.read_bytes()
    write_metrics(written.folder, "small", {10: {"cifar10": 0.7}})
    assert jobs_if_any(written.snakemake(TARGET, "--dry-run").stdout) == {"report_comparison": 1}
    metrics.unlink()
    assert jobs_if_any(written.snakemake(TARGET, "--dry-run").stdout) == {"report_comparison": 1}
    metrics.write_bytes(kept)
    assert jobs_if_any(written.snakemake(TARGET, "--dry-run").stdout) == {}
    write_study(written.folder, "large", [20], {"cifar10": 100})
    write_metrics(written.folder, "large", {20: {"cifar10": 0.6}})
    assert jobs_if_any(written.snakemake(TARGET, "--dry-run").stdout) == {"report_comparison": 1}


def test_a_mistake_in_the_table_stops_before_anything_starts(written: Project) -> None:
    write_table(written.folder, test_sets=["cifar10"])
    run = written.snakemake(TARGET)
    write_table(written.folder, **TABLE)
    assert run.returncode != 0
    assert "'CG' has an accuracy on 'cifar5m', expected one of cifar10" in run.stdout, run.stdout
    assert "Traceback" not in run.stdout
