"""Programs and studies in the documentation run as they stand."""

from __future__ import annotations

import re
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
