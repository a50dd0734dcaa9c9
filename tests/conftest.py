"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent

# How long a test takes says how busy the machine is.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


# Files that take minutes, which would leave processes idle if they came last.
LONG = (
    "test_slurm.py",
    "test_extended_precision.py",
    "kills",
    "test_pbs.py",
    "test_workflow.py",
    "test_jax_engine.py",
    "test_graph_kernels.py",
    "test_memory_budgets.py",
    "workflow",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; the order within a file stays."""

    def place(item: pytest.Item) -> int:
        return next((k for k, part in enumerate(LONG) if part in item.path.parts), len(LONG))

    items.sort(key=place)


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """The path of a file of real data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("NEURAL_KERNELS_TEST_DATA", ROOT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        path = folder / name
        if not path.exists():
            pytest.skip(f"real data {name} is not in {folder} (set NEURAL_KERNELS_TEST_DATA)")
        return path

    return find
