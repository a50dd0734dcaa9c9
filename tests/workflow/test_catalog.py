"""What Snakemake's workflow catalog and its tools expect: the workflow elsewhere than its configs, and as a module."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml
from workflow_projects import ROOT, Project, jobs

# As `snakedeploy deploy-workflow` writes it, but for where the module comes from.
DEPLOYED = """
from snakemake.utils import min_version

min_version("6.10.0")

configfile: "config/config.yaml"

module neural_kernels:
    snakefile:
        "{root}/workflow/Snakefile"
    config:
        config

use rule * from neural_kernels
"""
# Without the environment's own neural_kernels: Snakemake's process has its dependencies alone.
UNINSTALLED = """
import sys
sys.path = [entry for entry in sys.path if not (entry and __import__("os").path.isdir(entry + "/neural_kernels"))]
try:
    import neural_kernels
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("neural_kernels is installed all the same")
from snakemake.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The folder .test after its default target has been made, by the workflow of the clone."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / ".test", folder, dirs_exist_ok=True)
    project = Project(folder)
    run = project.snakemake("--snakefile", f"{ROOT}/workflow/Snakefile", profile=f"{ROOT}/profiles/default")
    assert run.returncode == 0, run.stdout
    return project


def test_the_study_of_the_folder_test_is_made_without_a_target(tested: Project) -> None:
    assert (tested.folder / "results/small_scaling.pdf").read_bytes().startswith(b"%PDF")


def test_the_report_as_a_zip_sorts_every_result_by_what_it_is(tested: Project) -> None:
    arguments = ("--snakefile", f"{ROOT}/workflow/Snakefile", "--report", "report.zip")
    run = tested.snakemake(*arguments, profile=f"{ROOT}/profiles/default")
    assert run.returncode == 0, run.stdout
    with zipfile.ZipFile(tested.folder / "report.zip") as archive:
        assert archive.testzip() is None
        html = archive.read("report/report.html").decode()
        assert "report/data/raw" in " ".join(archive.namelist())
    found = re.search(r'<script id="categories">\s*var categories = (.*?);?\s*</script>', html, re.DOTALL)
    assert found is not None
    categories = json.loads(found[1])
    assert set(categories) == {"small"}
    assert set(categories["small"]) == {"every number", "scaling laws"}


def test_every_result_of_a_report_has_a_category_and_a_subcategory() -> None:
    for file in (ROOT / "workflow/rules").glob("*.smk"):
        text = file.read_text()
        assert (
            text.count(" report(") + text.count("=report(")
            == text.count("category=") - text.count("subcategory=")
            == text.count("subcategory=")
        )


def test_as_a_module_the_workflow_reads_the_configs_of_the_working_directory(tested: Project) -> None:
    (tested.folder / "Snakefile").write_text(DEPLOYED.format(root=ROOT))
    profile = f"{ROOT}/profiles/default"
    run = tested.snakemake("--dry-run", profile=profile)
    assert run.returncode == 0, run.stdout
    assert "Nothing to be done" in run.stdout
    run = tested.snakemake("--dry-run", "--forceall", profile=profile)
    assert jobs(run.stdout)["compute_block"] == 3
    (tested.folder / "Snakefile").unlink()


def test_without_the_package_planning_takes_that_of_the_clone(tested: Project) -> None:
    if (Path(sysconfig.get_path("purelib")) / "neural_kernels").exists():
        pytest.skip("the package lies beside Snakemake itself, and cannot be hidden from it")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, "-c", UNINSTALLED, "--snakefile", f"{ROOT}/workflow/Snakefile", "--dry-run",
         "--profile", f"{ROOT}/profiles/default"],
        cwd=tested.folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Nothing to be done" in run.stdout + run.stderr


def test_a_study_may_not_have_the_name_of_snakemakes_own_config(tested: Project) -> None:
    run = tested.snakemake(
        "--snakefile", f"{ROOT}/workflow/Snakefile", "results/config_scaling.pdf", profile=f"{ROOT}/profiles/default"
    )  # fmt: skip
    assert run.returncode != 0
    assert "error: config/config.yaml is what Snakemake is told of all studies" in run.stdout


def test_the_catalog_finds_what_it_looks_for() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    for file in ("workflow/Snakefile", "config/README.md", "config/config.yaml", "LICENSE", "README.md"):
        assert (ROOT / file).is_file(), file


# ------------------------------------------------------------------------------------ environments


def installed_by(script: Path, folder: Path) -> str:
    """What the script asks pip for, by a ``python`` that only writes that down."""
    said = folder / "said"
    program = folder / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\necho "$@" >> {said}\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["sh", script], check=True, env={**os.environ, "PATH": path}, cwd=folder)
    return said.read_text().strip()


def test_the_environment_of_the_jobs_gets_the_package_from_the_clone_or_from_the_index(
    tmp_path: Path,
) -> None:
    script = ROOT / "workflow/envs/neural-kernels.post-deploy.sh"
    here = installed_by(script, tmp_path / "clone")
    assert here == f"-m pip install --no-deps --no-build-isolation {ROOT}"
    # Of a remote repository Snakemake has the script alone, in a temporary folder.
    (tmp_path / "remote" / "a").mkdir(parents=True)
    alone = shutil.copy(script, tmp_path / "remote" / "a" / script.name)
    assert installed_by(Path(alone), tmp_path / "index") == "-m pip install --no-deps neural-kernels"


def test_every_rule_runs_in_the_environment_that_the_script_completes() -> None:
    environments = {
        found
        for file in (ROOT / "workflow/rules").glob("*.smk")
        for found in re.findall(r'conda:\s+"([^"]+)"', file.read_text())
    }
    assert environments == {"../envs/neural-kernels.yaml"}


def test_both_recipes_of_containers_install_alike() -> None:
    docker, apptainer = (
        (ROOT / "containers" / name).read_text() for name in ("Dockerfile", "neural-kernels.def")
    )

    def pip(text: str) -> list[str]:
        return re.findall(r"/opt/neural-kernels/bin/pip [^\n\\]+", text)

    assert [line.strip() for line in pip(docker)] == [line.strip() for line in pip(apptainer)]
    assert len(pip(docker)) == 2
    images = set(re.findall(r"(?:FROM|From:) (\S+)", docker + apptainer))
    assert images == {"python:3.11-slim"}
