"""The rooms of the package, its folders and single modules: imports between them run one way."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import neural_kernels
from neural_kernels import datasets

PACKAGE = Path(neural_kernels.__file__).parent


def room(module: str) -> str:
    """The folder or the module right below the package."""
    return module.split(".")[1] if "." in module else "neural_kernels"


def imports(file: Path) -> set[str]:
    """Modules of the package that a file imports, those inside functions and for types too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("neural_kernels.") and room(name) != "__version__"}


def rooms() -> dict[str, set[str]]:
    """Of each room, those that it imports from."""
    graph: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        module = ".".join(["neural_kernels", *file.relative_to(PACKAGE).with_suffix("").parts])
        own = room(module.removesuffix(".__init__"))
        graph.setdefault(own, set()).update(room(name) for name in imports(file))
    return {name: others - {name} for name, others in graph.items()}


def test_no_import_between_rooms_runs_back_up() -> None:
    try:
        list(TopologicalSorter(rooms()).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_imports_run_down_the_table_of_rooms_in_the_documentation() -> None:
    text = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text()
    table = text.split("| room of", 1)[1].split("\n\n", 1)[0]
    listed = [
        name
        for line in table.splitlines()
        for name in re.findall(r"`([a-z_]+)(?:/|\.py)`", line.split("|")[1])
    ]
    graph = rooms()
    assert set(listed) == graph.keys() - {"neural_kernels"}
    place = {name: number for number, name in enumerate(listed)}
    up = [
        (name, other)
        for name in listed
        for other in graph[name]
        if place.get(other, len(place)) < place[name]
    ]
    assert not up


def test_a_block_job_loads_no_solvers_no_tables_and_no_data_set_but_its_own() -> None:
    config = Path(__file__).parents[1] / "config" / "demo.yaml"
    program = (
        "import sys, pathlib, neural_kernels.cli, neural_kernels.stages.kernels; "
        "from neural_kernels.study.study import load_study; "
        f"load_study(pathlib.Path({str(config)!r})); print(*sys.modules, sep='\\n')"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in ("pandas", "scipy", "sklearn", "matplotlib", "jax", "optuna", "tarfile"):
        assert name not in loaded, name
    ours = ("solvers", "baselines", "reports", "datasets.augmentation", "datasets.writing", "tuning.settings")
    for name in (*ours, *(f"datasets.{other}" for other in datasets.DATASETS if other != "digits")):
        assert f"neural_kernels.{name}" not in loaded, name
    assert "neural_kernels.datasets.digits" in loaded
