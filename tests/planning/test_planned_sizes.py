"""Which training sizes of a kernel are one job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_studies import DIGITS

from neural_kernels import datasets
from neural_kernels.errors import UserError
from neural_kernels.planning.small_sizes import MANY_OUTPUTS, SECONDS, small_sizes, some_small_sizes
from neural_kernels.planning.small_work import LOGIN
from neural_kernels.planning.solve_seconds import Pace, of_kernel, of_size
from neural_kernels.study.config_files import names
from neural_kernels.study.study import Study, load_study

CONFIG = Path(__file__).parents[2] / "config"


def study(folder: Path, **changes: Any) -> Study:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(DIGITS | changes))
    return load_study(folder / "tiny.yaml")


def test_the_demo_solves_all_its_direct_sizes_together() -> None:
    demo = load_study(CONFIG / "demo.yaml")
    assert small_sizes(demo, "FC3") == [16, 32, 64, 128, 256, 512]


def test_it_is_decided_without_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: Any) -> None:
        raise UserError("no such file")

    monkeypatch.setattr(datasets, "check_data", missing)
    assert small_sizes(load_study(CONFIG / "cifar5m.yaml"), "CV8") == [16, 32, 64, 128, 256, 512, 1024]


@pytest.mark.parametrize("name", list(names(CONFIG)))
def test_of_what_ships_they_take_seconds_and_the_next_would_take_more(name: str) -> None:
    found = load_study(CONFIG / f"{name}.yaml")
    if found.tuning is not None:
        pytest.skip("a search has no ladder")
    for kernel in found.kernels:
        sizes, small = found.training_sizes(kernel), small_sizes(found, kernel)
        assert small == sizes[: len(small)]
        assert len(small) != 1
        assert sum(of_size(found, kernel, n, MANY_OUTPUTS, LOGIN) for n in small) <= SECONDS
        assert all(found.method(n) == "direct" for n in small)
        assert max(small, default=0) < 5000


def test_a_single_size_is_a_job_as_any_other(tmp_path: Path) -> None:
    assert small_sizes(study(tmp_path, training_sizes={"sizes": [8, 16]}), "FC") == [8, 16]
    assert small_sizes(study(tmp_path, training_sizes={"sizes": [8]}), "FC") == []
    direct = {"sizes": [8, 16]}
    assert small_sizes(study(tmp_path, training_sizes=direct, solver={"direct_up_to": 8}), "FC") == []
    with pytest.raises(UserError, match=r"config/tiny.yaml: kernel FC has no two training sizes"):
        some_small_sizes(study(tmp_path, training_sizes={"sizes": [8]}), "FC")


def test_a_slower_machine_has_fewer_and_so_have_tasks_of_their_own(tmp_path: Path) -> None:
    tiny = study(tmp_path, training_sizes={"sizes": [8, 16, 32, 60]})
    slow = Pace(flops=1e5, bytes=1e8)
    assert len(small_sizes(tiny, "FC", slow)) < len(small_sizes(tiny, "FC")) == 4
    paced = Pace(flops=3e6, bytes=1e8)
    tasks = study(tmp_path, training_sizes={"sizes": [8, 16, 32, 60]}, tasks={})
    assert len(small_sizes(tasks, "FC", paced)) < len(small_sizes(tiny, "FC", paced))


def test_a_ladder_takes_the_seconds_of_its_sizes(tmp_path: Path) -> None:
    tiny = study(tmp_path, training_sizes={"sizes": [8, 16, 60]}, draws=3, solver={"direct_up_to": 16})
    each = [of_size(tiny, "FC", n, 10, LOGIN) for n in (8, 16, 60)]
    assert of_kernel(tiny, "FC", 10, LOGIN) == pytest.approx(sum(each))
    assert each == sorted(each)
