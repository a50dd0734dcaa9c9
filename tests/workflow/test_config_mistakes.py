"""A mistake in a config, asked for through the workflow: the same sentence as by hand, once, and nothing is run."""

from __future__ import annotations

import pytest
from workflow_projects import TINY, Project, make_project

from neural_kernels.cli import main

BROKEN = TINY + "blok: 3\n"
EVIL = "x`touch pwned`"
TABLE = "title: T\ntest_sets: [digits]\nprinted_in: p\narchitectures: [{name: A, runs: [], published: [], x: 1}]\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One sound study among files of every kind of mistake."""
    project = make_project(tmp_path_factory.mktemp("mistakes"))
    config = project.folder / "config"
    project.write_study("broken", BROKEN)
    project.write_study(EVIL, TINY)
    project.write_study("torn", "title: [")
    (config / "folder.yaml").mkdir()
    (config / "latin.yaml").write_bytes("title: Größe".encode("latin-1"))
    project.write_study(
        "endless", TINY.replace("[8, 16, 64]", "[8]").replace("sizes: [8]", "factor: 1.0000000001")
    )
    project.write_study("guest", "title: Guest\nkernels_from: broken\n")
    for kind in ("comparisons", "tables"):
        (config / kind).mkdir()
    project.write_study("comparisons/several", "title: Several\nsplits: {one: tiny, two: gone}\n")
    (config / "tables" / "mine.yaml").write_text(TABLE)
    return project


def files(project: Project) -> list[str]:
    """Every file of the project but Snakemake's own."""
    paths = (path for path in project.folder.rglob("*") if ".snakemake" not in path.parts)
    return sorted(str(path) for path in paths)


def by_hand(
    project: Project,
    verb: str,
    config: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.chdir(project.folder)
    assert main([verb, config]) == 2
    return capsys.readouterr().err.splitlines()[-1]


# What is checked of a target is in tests/test_targets.py; here, what Snakemake makes of it.
@pytest.mark.parametrize(
    ("target", "verb", "config"),
    [
        ("results/broken_scaling.pdf", "check", "config/broken.yaml"),
        ("results/guest/kernels/FC/train/blocks/0-0.npy", "check", "config/guest.yaml"),
        (f"results/{EVIL}_scaling.pdf", "check", f"config/{EVIL}.yaml"),
        ("results/tiyn_scaling.pdf", "check", "config/tiyn.yaml"),
        ("results/several_splits.pdf", "report-splits", "config/comparisons/several.yaml"),
        ("results/mine.pdf", "report-comparison", "config/tables/mine.yaml"),
        # Found by the input function of a rule.
        (
            "results/tiny/approximations/FC/nystrom/size8.parquet",
            None,
            "config/tiny.yaml has no section approx",
        ),
    ],
)
def test_a_mistake_is_the_same_sentence_as_by_hand_and_nothing_is_run(
    project: Project,
    target: str,
    verb: str | None,
    config: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = files(project)
    sentence = f"error: {config}" if verb is None else by_hand(project, verb, config, capsys, monkeypatch)
    run = project.snakemake(target)
    assert run.returncode == 2
    assert run.stdout.count(sentence) == 1, run.stdout
    for word in ("Traceback", "Exception", "MissingRule", "WorkflowError"):
        assert word not in run.stdout
    assert files(project) == before


def test_files_with_mistakes_stop_no_other_study_and_no_name_reaches_a_shell(project: Project) -> None:
    run = project.snakemake("results/tiny/features/plain/features.json")
    assert run.returncode == 0, run.stdout
    assert (project.folder / "results/tiny/features/plain/features.json").exists()
    assert not list(project.folder.rglob("pwned*"))
    run = project.snakemake("--dry-run", "results/tiny_scaling.pdf")
    assert run.returncode == 0, run.stdout


def test_every_word_of_a_shell_command_is_quoted(project: Project) -> None:
    for rules in (project.folder / "workflow/rules").glob("*.smk"):
        for command in rules.read_text().split("    shell:\n")[1:]:
            lines = command.split("\n\n")[0]
            fields = [part.split("}")[0] for part in lines.replace("{{", "").split("{")[1:]]
            assert fields, rules
            assert all(field.endswith(":q") for field in fields), (rules, fields)
