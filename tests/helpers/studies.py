"""Studies, and metrics tables with known power laws, for the tests of the reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from neural_kernels import architectures
from neural_kernels.metrics import table as metrics_table
from neural_kernels.sections import parse
from neural_kernels.study.sections import Sections
from neural_kernels.study.study import Kernel, Study


def a_study(kernels: Mapping[str, int | None] | None = None, **sections: Any) -> Study:
    """The study ``demo`` with some sections as its file would have them.

    Args:
        kernels: by name the number of examples of each test set that they are evaluated on, None for all.
    """
    own = {name: {"architecture": {"name": "FC"}, "preprocessing": "plain"} for name in kernels or ["FC"]}
    config = {
        "title": "demo",
        "data": {"name": "digits"},
        "preprocessing": {"plain": {"method": "none"}},
        "kernels": own,
        **sections,
    }
    architecture = architectures.build("FC")
    used = {
        name: Kernel(name, architecture, "ntk", "plain", None, None, tested, None)
        for name, tested in (kernels or {}).items()
    }
    return Study("demo", "demo", parse("demo.yaml", Sections, config), used)


def exponent(kernel: int, test_set: int) -> float:
    """The exponent that ``metrics`` gives to the kernel and test set at these places."""
    return (0.1 + 0.08 * kernel) * (1 - 0.2 * test_set)


def metrics(
    kernels: list[str],
    test_sets: list[str],
    sizes: list[int],
    *,
    draws: int = 1,
    regression: bool = False,
    top5: bool = False,
    single_precision: tuple[str, ...] = (),
    unconverged: tuple[tuple[str, int], ...] = (),
) -> pd.DataFrame:
    """A table as the workflow makes it: disjoint draws, as many as the largest size holds."""
    rng = np.random.default_rng(0)
    records: list[dict[str, Any]] = []

    def add(facts: dict[str, Any], split: str, values: dict[str, float]) -> None:
        records.extend({**facts, "split": split, "metric": m, "value": v} for m, v in values.items())

    for place, kernel in enumerate(kernels):
        for n in sizes:
            for draw in range(min(draws, max(sizes) // n)):
                converged = (kernel, n) not in unconverged
                facts = {
                    "study": "demo",
                    "kernel": kernel,
                    "architecture": "FC3",
                    "kind": "nngp" if "nngp" in kernel.lower() else "ntk",
                    "precision": "float32" if kernel in single_precision else "float64",
                    "engine": "native",
                    "preprocessing": "zca",
                    "solver": "pcg" if n > 1000 else "cholesky",
                    "n": n,
                    "size": 0,
                    "draw": draw,
                    "ridge": 10.0 ** -(4 + draw),
                    "stopped_by": "direct" if n <= 1000 else "tolerance" if converged else "max_iterations",
                    "converged": converged,
                }
                solve = {"residual": 2e-7 if converged else 3e-3, "seconds": n / 100.0}
                if n > 1000:
                    solve["iterations"] = 40.0 + draw
                add(facts, "train", solve)
                add(facts, "validation", {"mse" if regression else "loss": 0.05})
                for column, test_set in enumerate(test_sets):
                    noise = np.exp(0.002 * rng.standard_normal()) if draws > 1 else 1.0
                    loss = 0.2 * n ** -exponent(place, column) * noise
                    score = min(1.0, 0.2 + 0.05 * np.log(n))
                    names = ("mse", "spearman") if regression else ("loss", "accuracy")
                    add(facts, test_set, dict(zip(names, (loss, score), strict=True)))
                    if top5:
                        add(facts, test_set, {"top5_accuracy": min(1.0, 1.5 * score)})
    return metrics_table.check(pd.DataFrame(records))
