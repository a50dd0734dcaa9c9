"""The text of a plan: what it knows, and what it warns of."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from neural_kernels.planning import costs as planning
from neural_kernels.planning.text import describe
from neural_kernels.study.study import Study, load_study

CONFIG = Path(__file__).parent.parent.parent / "config"
DEMO, CIFAR5M = load_study(CONFIG / "demo.yaml"), load_study(CONFIG / "cifar5m.yaml")


def plans(study: Study, rate: float | None) -> list[Any]:
    sizes = [planning.kernel_sizes(study, kernel, outputs=10) for kernel in study.kernels]
    return [planning.plan_kernel(each, None, rate) for each in sizes]


def test_a_plan_says_what_it_knows_and_warns() -> None:
    text = describe(CIFAR5M, plans(CIFAR5M, 1000.0), 2**38, Path("results"), node_memory=2**38)
    assert "WARNING: blocks and features take 118.9 TiB" in text
    assert "WARNING: a block of CV8 takes 111 hours of one node: smaller ones would be more jobs" in text
    assert "WARNING: the largest solve" not in text
    assert "118.7 TiB for 41,920 blocks and 256.0 GiB for features" in text
    solver = CIFAR5M.solver.model_copy(update={"memory_gib": 50})
    small = dataclasses.replace(CIFAR5M, sections=CIFAR5M.sections.model_copy(update={"solver": solver}))
    text = describe(small, plans(small, 1000.0), 2**38, Path("results"), node_memory=2**38)
    assert "WARNING: the largest solve of CV8 takes 80.4 GiB besides kernel blocks" in text
    text = describe(DEMO, plans(DEMO, None), 10**6, Path("results"))
    assert "WARNING" not in text
    assert "unknown" in text
    assert "one job solves n = 16 to 512 of CV8, and one evaluates them" in text


def test_a_plan_warns_of_more_jobs_than_are_practical() -> None:
    smaller = dataclasses.replace(planning.kernel_sizes(CIFAR5M, "CV8", 10), edge=8000)
    (plan,) = [planning.plan_kernel(smaller, None, None)]
    # 625 block rows of the training kernel, and 2 + 2 + 2 + 1 of validation and test sets.
    assert plan.blocks == 625 * 626 // 2 + 7 * 625
    text = describe(CIFAR5M, [plan], 0, Path("results"))
    assert "WARNING: 200,000 jobs are more than the 50,000 that are practical: raise blocks.edge" in text
