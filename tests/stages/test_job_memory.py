"""What the jobs of rules ask for follows from the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_studies import DIGITS

from neural_kernels.errors import UserError
from neural_kernels.stages import job_memory
from neural_kernels.study.study import Study, load_study

CONFIG = Path(__file__).parents[2] / "config"


def study(folder: Path, **changes: Any) -> Study:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(DIGITS | changes))
    return load_study(folder / "tiny.yaml")


def test_a_small_study_asks_for_little_and_blocks_and_budgets_add_what_they_take(tmp_path: Path) -> None:
    tiny = study(tmp_path)
    assert job_memory.prepare_data(tiny) == job_memory.PROGRAM + 1
    assert job_memory.preprocess_data(tiny, "plain") == job_memory.PROGRAM + 1
    assert job_memory.compute_block(tiny, "FC") == job_memory.PROGRAM + job_memory.ENGINE + 3
    assert job_memory.solve(tiny) == job_memory.PROGRAM // 2 + 8 * 1024
    assert job_memory.evaluate_predictions(tiny, "FC", 60) == job_memory.PROGRAM + 3 + 1
    assert job_memory.evaluate_small_sizes(tiny, "FC") == job_memory.PROGRAM + 3 + 1
    assert (
        job_memory.solve(study(tmp_path, solver={"memory_gib": 100})) == job_memory.PROGRAM // 2 + 100 * 1024
    )


def test_the_papers_study_is_planned_without_its_data() -> None:
    cifar5m = load_study(CONFIG / "cifar5m.yaml")
    assert job_memory.prepare_data(cifar5m) == job_memory.PROGRAM + job_memory.MOST_DATA
    preprocessing = cifar5m.kernels["CV8"].preprocessing
    assert job_memory.preprocess_data(cifar5m, preprocessing) == job_memory.PROGRAM + job_memory.MOST_FEATURES
    block = cifar5m.block_edge("CV8") ** 2 * 8 / 2**20
    assert job_memory.compute_block(cifar5m, "CV8") == pytest.approx(4000 + 3 * block, abs=3)


def test_attempts_ask_for_more_but_never_for_more_than_a_node_has() -> None:
    assert [job_memory.of_attempt(4000, attempt, None) for attempt in (1, 2, 3)] == [4000, 8000, 12000]
    assert [job_memory.of_attempt(4000, attempt, 10000) for attempt in (1, 2, 3)] == [4000, 8000, 10000]


def test_a_study_whose_jobs_fit_no_node_is_refused_with_the_key_to_lower(tmp_path: Path) -> None:
    tiny = study(tmp_path)
    job_memory.check_fits(tiny, None)
    job_memory.check_fits(tiny, 9192)
    sentence = "jobs of solve_iteratively need 9192 MiB, .*node_memory_mb is 9191: lower solver.memory_gib or ask for"
    with pytest.raises(UserError, match=sentence):
        job_memory.check_fits(tiny, 9191)
    with pytest.raises(
        UserError, match=r"jobs of compute_block need 4003 MiB, .* is 4000: lower blocks.edge"
    ):
        job_memory.check_fits(study(tmp_path, solver={"memory_gib": 1}), 4000)


@pytest.mark.parametrize("value", [0, -5, True, "much", 1.5])
def test_a_nodes_memory_is_a_whole_number(value: object) -> None:
    assert job_memory.node_memory(None) is None
    assert job_memory.node_memory(5) == 5
    with pytest.raises(UserError, match=r"node_memory_mb is .*, expected MiB of the largest node"):
        job_memory.node_memory(value)
