"""Programs and studies in the documentation run as they stand."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
from user_files import write_arrays, write_molecules, write_sequences

from neural_kernels.cli import main

ROOT = Path(__file__).parent.parent


def programs(path: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / path).read_text(), re.DOTALL | re.MULTILINE)


GUIDE = "docs/how-to/estimators.md"


@pytest.mark.parametrize(("path", "place"), [("README.md", 0), *((GUIDE, place) for place in range(3))])
def test_a_program_runs(path: str, place: int) -> None:
    exec(compile(programs(path)[place], f"{path}, program {place}", "exec"), {})


# ----------------------------------------------------------------------------- tutorials

TUTORIALS = ("digits", "larger-than-memory", "molecules", "new-architecture", "proteins")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_prints_what_it_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "molecules":
        pytest.importorskip("rdkit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEURAL_KERNELS_THREADS", "2")  # which goes back to what it was after the page
    page = (ROOT / "docs" / "tutorials" / f"{name}.md").read_text()
    names: dict[str, object] = {"__name__": name}
    checked = 0
    for language, text in re.findall(r"^```(python|sh|text)\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        if language == "python":
            exec(compile(text, f"{name}.md", "exec"), names)
        elif language == "sh":
            for line in text.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "neural-kernels"
                assert main(arguments) == 0
        else:
            assert_alike(capsys.readouterr().out, text)
            checked += 1
    assert checked


def assert_alike(printed: str, said: str) -> None:
    """The same words, and numbers that differ by rounding on another machine at most."""
    assert NUMBER.sub("#", printed).split() == NUMBER.sub("#", said).split(), printed
    for found, expected in zip(NUMBER.findall(printed), NUMBER.findall(said), strict=True):
        last = 10.0 ** -len(expected.partition(".")[2])
        assert float(found) == pytest.approx(float(expected), rel=0.02, abs=2 * last), printed


def test_every_tutorial_is_run_or_says_that_it_is_not() -> None:
    pages = {path.stem: path.read_text() for path in (ROOT / "docs" / "tutorials").glob("*.md")}
    unrun = {
        name for name, text in pages.items() if "this page itself is not executed" in " ".join(text.split())
    }
    assert set(TUTORIALS) == pages.keys() - unrun
    assert not any("```python" in pages[name] for name in unrun)


# ----------------------------------------------------------------------------- troubleshooting


def said_by_the_package() -> list[str]:
    """Every text in the code, those between the values of an f-string too."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "src" / "neural_kernels").rglob("*.py")]
    constants = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [node.value for node in constants if isinstance(node.value, str)]


def test_every_sentence_in_troubleshooting_is_one_that_the_code_says() -> None:
    page = (
        (ROOT / "docs" / "how-to" / "troubleshooting.md").read_text().partition("## What no sentence says")[0]
    )
    sentences = re.findall(r"^\| ([^|]*) \|", page, re.MULTILINE)
    quoted = [
        part.strip().replace("\\>", ">")
        for text in sentences
        if text != "it says"
        for part in text.split("…")
    ]
    said = said_by_the_package()
    assert len(sentences) > 20
    assert [part for part in quoted if not any(part in text for text in said)] == []


# ----------------------------------------------------------------------------- studies in the how-tos


def study_of(path: str) -> str:
    return str(
        re.findall(r"^```yaml\n(title:.*?)^```", (ROOT / path).read_text(), re.DOTALL | re.MULTILINE)[0]
    )


HOW_TOS = {
    "docs/how-to/own-data.md": ("mine.npz", write_arrays),
    "docs/how-to/proteins.md": ("mine.csv", write_sequences),
    "docs/how-to/molecules.md": ("assays.csv", write_molecules),
}


@pytest.mark.parametrize(
    ("page", "count"), [*((page, 300) for page in HOW_TOS), ("docs/how-to/own-data.md", 300_000)]
)
def test_a_study_that_is_copied_from_a_page_passes_its_check(
    page: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, write = HOW_TOS[page]
    for folder in ("config", "data"):
        Path(folder).mkdir()
    write(Path("data") / name, count)
    Path("config/mine.yaml").write_text(study_of(page))
    assert main(["check", "config/mine.yaml"]) == 0
