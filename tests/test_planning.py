import shutil
from pathlib import Path

import pytest

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
