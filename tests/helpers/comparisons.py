"""A made-up table of what was run beside what is published, its studies and their metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from neural_kernels.metrics import table as metrics_table

PUBLISHED = [
    {"method": "augmentation", "label": "DA CG", "source": "A, 2023", "factor": "20", "accuracy": {"cifar10": 64.1}},
    {"method": "cifar5m", "label": "CG", "source": "A, 2023", "n": "2M", "accuracy": {"cifar5m": 78.6}},
    {"method": "finite", "label": "Small LR", "source": "B, 2020", "accuracy": {"cifar10": 65.3}},
]  # fmt: skip
TABLE: dict[str, Any] = {
    "title": "A title",
    "test_sets": ["cifar10", "cifar10_1", "cifar5m"],
    "printed_in": "Table 1 of a paper",
    "architectures": [
        {
            "name": "FC",
            "runs": ["small/FC3", "large/FC3", "copies/FC3", "many/FC3", "both/FC3"],
            "published": PUBLISHED,
        },
        {"name": "CNN-Vec", "runs": ["both/CV8"], "published": []},
    ],
}


def write_table(folder: Path, **changes: Any) -> Path:
    """The table with keys replaced, where a project has it."""
    path = folder / "config" / "tables" / "mine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**TABLE, **changes}))
    return path


def write_study(
    folder: Path,
    name: str,
    sizes: Sequence[int],
    tests: Mapping[str, int],
    *,
    kernels: Sequence[str] = ("FC3",),
    data: str = "cifar10",
    images: int = 1000,
    factor: int = 1,
    test_examples: int | None = None,
) -> None:
    """A config whose data needs not be there: every size is given."""
    limit = {} if test_examples is None else {"test_examples": test_examples}
    config = {
        "title": name,
        "data": {
            "name": data,
            "path": "nowhere",
            "train_examples": images,
            "validation_examples": 100,
            "test_sets": {test: {"examples": count} for test, count in tests.items()},
            **({"augmentation": {"factor": factor}} if factor > 1 else {}),
        },
        "preprocessing": {"plain": {"method": "standardize"}},
        "kernels": {
            kernel: {"architecture": {"name": kernel}, "preprocessing": "plain", **limit}
            for kernel in kernels
        },
        "training_sizes": {"sizes": list(sizes)},
    }
    path = folder / "config" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(config))


def write_metrics(
    folder: Path,
    name: str,
    accuracies: Mapping[int, Mapping[str, float]],
    *,
    kernels: Sequence[str] = ("FC3",),
    draws: int = 1,
    precision: str = "float64",
    converged: bool = True,
) -> Path:
    """A metrics table with the accuracies in [0, 1] of each n; a later draw is 0.02 better."""
    records = []
    for kernel in kernels:
        for n, values in accuracies.items():
            for draw in range(draws):
                facts = {
                    "study": name,
                    "kernel": kernel,
                    "architecture": kernel,
                    "kind": "ntk",
                    "precision": precision,
                    "engine": "native",
                    "preprocessing": "plain",
                    "solver": "cholesky",
                    "n": n,
                    "size": 0,
                    "draw": draw,
                    "ridge": 1e-4,
                    "stopped_by": "direct" if converged else "max_iterations",
                    "converged": converged,
                }
                numbers = [("train", "seconds", 1.0), ("validation", "accuracy", 0.999)]
                for test, value in values.items():
                    numbers += [(test, "loss", 0.07), (test, "accuracy", value + 0.02 * draw)]
                records += [{**facts, "split": s, "metric": m, "value": v} for s, m, v in numbers]
    path = folder / "results" / name / "metrics.parquet"
    metrics_table.write(pd.DataFrame(records), path)
    return path
