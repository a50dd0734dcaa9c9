"""Programs in the documentation run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def programs(path: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / path).read_text(), re.DOTALL | re.MULTILINE)


GUIDE = "docs/how-to/estimators.md"


@pytest.mark.parametrize(("path", "place"), [("README.md", 0), *((GUIDE, place) for place in range(3))])
def test_a_program_runs(path: str, place: int) -> None:
    exec(compile(programs(path)[place], f"{path}, program {place}", "exec"), {})
