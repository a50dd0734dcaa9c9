from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_kernels.errors import UserError
from neural_kernels.planning import costs as planning
from neural_kernels.study.study import load_study

ROOT = Path(__file__).parents[2]
DEMO = load_study(ROOT / "config" / "demo.yaml")
CIFAR5M = load_study(ROOT / "config" / "cifar5m.yaml")


def test_the_plan_names_every_block_once_and_its_bytes() -> None:
    planned = list(planning.planned_blocks(DEMO))
    assert len({block[:4] for block in planned}) == len(planned)
    train = [block for block in planned if block[:2] == ("FC3", "train")]
    # 1,024 examples in blocks of 512 rows: two block rows, upper triangle.
    assert sorted(block[2:4] for block in train) == [(0, 0), (0, 1), (1, 1)]
    assert all(size == 512 * 512 * 8 for *_, size in train)


def test_five_million_examples_take_the_papers_hundred_terabytes() -> None:
    size = sum(block[4] for block in planning.planned_blocks(CIFAR5M) if block[:2] == ("CV8", "train"))
    assert 99e12 < size < 102e12


def test_a_disk_that_is_too_small_is_refused_before_the_first_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    blocks = sum(block[4] for block in planning.planned_blocks(DEMO))
    # Two preprocessings of 1,200 training, 200 validation and 397 test images of 8x8 pixels in 10 classes; one whitens.
    whitening = 8 * 64**2
    features = 2 * 8 * (1200 + 200 + 397) * (64 + 10) + whitening
    free = blocks + features + planning.solution_bytes(DEMO, 10)

    def check() -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, free))
        planning.check_disk(DEMO, (8, 8, 1), 10, results)

    check()
    free -= 1
    with pytest.raises(
        UserError,
        match=r"needs .* for its kernel blocks and .* for its features, .* for its solutions, but .* free",
    ):
        check()
    assert not results.exists()
    # What is there already needs no further room.
    block = results / "demo" / "kernels" / "FC3" / "train" / "blocks" / "0-0.npy"
    block.parent.mkdir(parents=True)
    block.touch()
    free -= 512 * 512 * 8 - 1
    check()
    described = results / "demo" / "features" / "whitened" / "features.json"
    described.parent.mkdir(parents=True)
    described.touch()
    free -= (features - whitening) // 2 + whitening
    check()
    free -= 1
    with pytest.raises(UserError):
        check()


def test_pairs_are_the_upper_triangle_and_the_rectangles() -> None:
    plan = planning.plan_kernel(planning.kernel_sizes(DEMO, "FC3", outputs=10), None, 1e6)
    # Blocks 0-0, 0-1 and 1-1 of 512 rows; 200 validation and 397 test rows against 1,024 columns.
    assert plan.pairs == 2 * 512 * 513 // 2 + 512**2 + (200 + 397) * 1024
    assert plan.blocks == 3 + 2 + 2 == plan.sizes.count_blocks(512)
    assert plan.hours == pytest.approx(plan.pairs / 1e6 / 3600)
    assert plan.bytes == sum(size for kernel, *_, size in planning.planned_blocks(DEMO) if kernel == "FC3")
    assert plan.training_bytes == 3 * 512**2 * 8


@pytest.mark.parametrize(
    ("changed", "share"),
    [
        ({"panels": "float32", "direct_up_to": 100}, 2),
        ({"panels": "auto", "direct_up_to": 100}, 1),
        ({"panels": "float32", "direct_up_to": 2000}, 1),
    ],
)
def test_panels_in_float32_take_half_of_the_memory(
    tmp_path: Path, changed: dict[str, Any], share: int
) -> None:
    config = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())
    config["ridge"] = {"candidates": [1e-3]}
    config["solver"] = config.get("solver", {}) | changed
    path = tmp_path / "demo.yaml"
    path.write_text(yaml.safe_dump(config))
    study = load_study(path)
    plan = planning.plan_kernel(planning.kernel_sizes(study, "FC3", outputs=10), None, 1e6)
    assert plan.kept_bytes == plan.training_bytes // share


def test_flips_halve_the_training_kernel(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "title": "t",
        "data": {
            "name": "digits",
            "train_examples": 64,
            "test_sets": {"digits": {"examples": 10}},
        },
        "preprocessing": {"plain": {"method": "none"}},
        "kernels": {"FC": {"architecture": {"name": "FC"}, "preprocessing": "plain"}},
        "blocks": {"edge": 16},
    }
    pairs = {}
    for flips in (False, True):
        config["data"] |= {"train_examples": 64 if flips else 128}
        if flips:
            config["data"]["augmentation"] = {"factor": 2}
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
        study = load_study(tmp_path / "tiny.yaml")
        assert study.training_examples == 128
        rows = sum(study.evaluation_sizes("FC").values())
        pairs[flips] = planning.kernel_sizes(study, "FC", 10).pairs() - rows * 128
    # Of 128 * 129 / 2 pairs, the triangles of two quarters of 64 remain.
    assert pairs == {False: 128 * 129 // 2, True: 2 * (64 * 65 // 2)}


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 10**7),
    evaluated=st.integers(0, 10**5),
    log_rate=st.one_of(st.none(), st.floats(0, 9)),
)
def test_the_advised_edge_keeps_to_practical_jobs_of_about_an_hour(
    n: int, evaluated: int, log_rate: float
) -> None:
    rate = None if log_rate is None else 10.0**log_rate
    rows = {"train": n, "test": evaluated}
    sizes = planning.KernelSizes("K", rows, rows, 10**7, 8, 0, 10, 100, 0)
    plan = planning.plan_kernel(sizes, None, rate)
    edge = planning.recommended_edges([plan])["K"]
    assert sizes.count_blocks(edge) <= planning.MOST_BLOCKS
    hours = 0.0 if rate is None else edge**2 / rate / 3600
    if edge > planning.LARGEST_EDGE or hours > 1 or edge > n:
        # Only where the next smaller edge would be too many jobs, or there is none.
        smaller = max((e for e in itertools.takewhile(lambda e: e < edge, planning.round_edges())), default=0)
        assert smaller == 0 or sizes.count_blocks(smaller) > planning.MOST_BLOCKS


def test_the_papers_table_has_the_papers_sizes() -> None:
    run = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "paper_studies.py", "--rate", "CV8=1e6"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in run.stdout.splitlines()]
    cv8 = dict(
        zip(rows[0], next(row for row in rows if row[:2] == ["CIFAR-5m", "CNN-Vec (CV8)"]), strict=True)
    )
    assert float(cv8["pairs"]) == pytest.approx(5e6 * 5e6 / 2 + 22_000 * 5e6, rel=1e-2)
    assert float(cv8["hours, two cores"].replace(",", "")) == pytest.approx(12.61e12 / 1e6 / 3600, rel=1e-3)
    assert 100 < float(cv8["disk (TB)"]) < 102


def test_the_calibration_measures_an_engine() -> None:
    engine, rate = planning.calibrate(DEMO, DEMO.kernels["FC3"], (8, 8, 1), seconds=0.05)
    assert engine in ("native", "jax", "neural_tangents")
    assert rate > 0
