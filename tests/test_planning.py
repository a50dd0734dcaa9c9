import shutil
from pathlib import Path

import pytest
import yaml

from neural_kernels import planning
from neural_kernels.errors import UserError
from neural_kernels.study import load_study

DEMO = load_study(Path(__file__).parent.parent / "config" / "demo.yaml")
CIFAR5M = load_study(Path(__file__).parent.parent / "config" / "cifar5m.yaml")


def test_the_plan_names_every_block_once_and_its_bytes():
    planned = list(planning.planned_blocks(DEMO))
    assert len({block[:4] for block in planned}) == len(planned)
    train = [block for block in planned if block[:2] == ("FC3", "train")]
    # 1,024 examples in blocks of 512 rows: two block rows, upper triangle.
    assert sorted(block[2:4] for block in train) == [(0, 0), (0, 1), (1, 1)]
    assert all(size == 512 * 512 * 8 for *_, size in train)


def test_five_million_examples_take_the_papers_hundred_terabytes():
    size = sum(block[4] for block in planning.planned_blocks(CIFAR5M) if block[:2] == ("CV8", "train"))
    assert 99e12 < size < 102e12


def test_a_disk_that_is_too_small_is_refused_before_the_first_block(tmp_path, monkeypatch):
    needed = sum(block[4] for block in planning.planned_blocks(DEMO))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, needed - 1))
    with pytest.raises(UserError, match=r"needs .* for its kernel blocks, but .* free"):
        planning.check_disk(DEMO, tmp_path / "results")
    assert not (tmp_path / "results").exists()
    # Blocks that are there already need no further room.
    block = tmp_path / "results" / "demo" / "kernels" / "FC3" / "train" / "blocks" / "0-0.npy"
    block.parent.mkdir(parents=True)
    block.touch()
    planning.check_disk(DEMO, tmp_path / "results")


def test_pairs_are_the_upper_triangle_and_the_rectangles():
    plan = planning.plan_kernel(DEMO, DEMO.kernels["FC3"], None, 1e6, 10)
    # Blocks 0-0, 0-1 and 1-1 of 512 rows; 200 validation and 397 test rows against 1,024 columns.
    assert plan.pairs == 2 * 512 * 513 // 2 + 512**2 + (200 + 397) * 1024
    assert plan.blocks == 3 + 2 + 2
    assert plan.hours == pytest.approx(plan.pairs / 1e6 / 3600)
    assert plan.bytes == sum(size for kernel, *_, size in planning.planned_blocks(DEMO) if kernel == "FC3")


def test_flips_halve_the_training_kernel(tmp_path):
    config = {
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
    plans = {}
    for flips in (False, True):
        config["data"] |= {"train_examples": 64 if flips else 128}
        if flips:
            config["data"]["augmentation"] = {"factor": 2}
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
        study = load_study(tmp_path / "tiny.yaml")
        assert study.training_examples == 128
        rows = sum(study.evaluation_sizes("FC").values())
        plans[flips] = planning.plan_kernel(study, study.kernels["FC"], None, None, 10).pairs - rows * 128
    # Of 128 * 129 / 2 pairs, the triangles of two quarters of 64 remain.
    assert plans == {False: 128 * 129 // 2, True: 2 * (64 * 65 // 2)}


def test_a_plan_says_what_it_knows_and_warns():
    kernels = [planning.plan_kernel(CIFAR5M, k, None, 1000.0, 10) for k in CIFAR5M.kernels.values()]
    text = planning.describe(CIFAR5M, kernels, Path("results"), node_memory=2**38)
    assert "WARNING: the blocks take 118.7 TiB" in text
    assert "WARNING: a block of CV8 takes" in text
    assert planning.recommended_edge(CIFAR5M, kernels) <= CIFAR5M.config["blocks"]["edge"]
    demo = [planning.plan_kernel(DEMO, k, None, None, 10) for k in DEMO.kernels.values()]
    text = planning.describe(DEMO, demo, Path("results"))
    assert "WARNING" not in text
    assert "unknown" in text


def test_the_calibration_measures_an_engine():
    engine, rate = planning.calibrate(DEMO, DEMO.kernels["FC3"], (8, 8, 1), seconds=0.05)
    assert engine in ("native", "jax", "neural_tangents")
    assert rate > 0
