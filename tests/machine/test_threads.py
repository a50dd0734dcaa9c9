"""How many threads compute, in every engine and solver."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from neural_kernels import architectures, engines, solvers
from neural_kernels.engines import jax_engine, native_engine
from neural_kernels.machine import threads

XLA_THREADS = """
import os
from pathlib import Path
import numpy as np
from neural_kernels import architectures, engines
from neural_kernels.machine.threads import thread_limit

with thread_limit({limit}):
    engines.kernel_matrix(architectures.build("FC3"), np.ones((2, 3)), engine="jax")
names = [Path(f"/proc/self/task/{{task}}/comm").read_text() for task in os.listdir("/proc/self/task")]
print(sum(name.startswith("tf_XLA") for name in names), os.environ.get("NPROC"))
"""


def test_a_limit_is_what_is_counted_and_ends_with_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(threads.THREADS_VARIABLE, raising=False)
    with threads.thread_limit(3):
        assert threads.thread_count() == 3
        with threads.thread_limit(1):
            assert threads.thread_count() == 1
        with threads.thread_limit(None):
            assert threads.thread_count() == 3
        assert threads.thread_count() == 3
    assert threads.thread_count() == threads.available_threads() >= 1


def test_processors_that_this_process_may_not_use_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert threads.available_threads() == 1
    monkeypatch.delattr(os, "sched_getaffinity")
    assert threads.available_threads() == os.cpu_count()


@pytest.mark.parametrize("module", [native_engine, jax_engine], ids=["native", "jax"])
def test_an_engine_has_no_more_threads_of_its_own_than_the_limit(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    if module.unavailable() is not None:
        pytest.skip(module.unavailable())
    asked: list[int] = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers: int) -> None:
            asked.append(workers)
            super().__init__(workers)

    monkeypatch.setattr(module, "ThreadPoolExecutor", Pool)
    x = np.random.default_rng(0).standard_normal((40, 8, 8, 1))
    network, name = architectures.build("Myrtle5"), module.__name__.split(".")[-1].removesuffix("_engine")
    with threads.thread_limit(1):
        one = engines.kernel_matrix(network, x, engine=name)
    assert asked
    assert set(asked) == {1}
    with threads.thread_limit(2):
        two = engines.kernel_matrix(network, x, engine=name)
    assert max(asked) <= 2
    np.testing.assert_array_equal(one, two)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads have no names here")
@pytest.mark.parametrize("limit", [1, 3])
def test_xla_has_as_many_threads_as_the_limit(limit: int) -> None:
    if jax_engine.unavailable() is not None:
        pytest.skip(str(jax_engine.unavailable()))
    environment = {key: value for key, value in os.environ.items() if key != threads.XLA_THREADS_VARIABLE}
    ran = subprocess.run(
        [sys.executable, "-c", XLA_THREADS.format(limit=limit)],
        env=environment | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split() == [str(limit), "None"]


def test_solvers_have_as_many_threads_as_the_limit_unless_they_are_told() -> None:
    with threads.thread_limit(1):
        assert solvers.Settings(ridges=[1.0]).threads == 1
    with threads.thread_limit(3):
        assert solvers.Settings(ridges=[1.0]).threads == 3
