"""The CUDA engine around its kernel: cards, failures, blocks that resume, records, and when `auto` takes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cuda_stub
import numpy as np
import pytest
from networks import Kernel

from neural_kernels import architectures as arch
from neural_kernels import engines
from neural_kernels.blocks import Grid, KernelStore, declare_store, read_block
from neural_kernels.blocks.computation import compute_block
from neural_kernels.engines import cuda_engine, kernel_matrix, native_engine
from neural_kernels.engines.cuda import driver, nvrtc, programs
from neural_kernels.engines.cuda.driver import OutOfDeviceMemory
from neural_kernels.errors import UserError

NETWORK = arch.build("Myrtle", convs_per_pool=[1, 1])
X = np.random.default_rng(0).standard_normal((12, 4, 4, 2))
TILES = 6  # of a block of 12 in tiles of 4


@pytest.fixture
def stub() -> Iterator[Any]:
    with cuda_stub.installed() as library:
        yield library


def store_in(directory: Path) -> KernelStore:
    return declare_store(
        directory, Grid(12, 12, 12, symmetric=True), "float64", {"architecture": NETWORK.describe()}
    )


def block(store: KernelStore) -> None:
    compute_block(store, 0, 0, NETWORK, X, X, kind="ntk", engine="cuda", tile=4)


# ------------------------------------------------------------------------------------------ what is here


@pytest.fixture
def no_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(driver.LIBRARY_VARIABLE, "libcuda-that-is-not.so")
    driver._library.cache_clear()
    yield
    driver._library.cache_clear()


@pytest.mark.usefixtures("no_card")
def test_without_a_driver_there_is_a_sentence_and_auto_goes_elsewhere() -> None:
    assert engines.select("auto", NETWORK, (4, 4, 2))[0] in engines.ON_PROCESSORS
    with pytest.raises(UserError, match="no NVIDIA driver here"):
        kernel_matrix(NETWORK, X, engine="cuda")


def test_without_a_compiler_there_is_a_sentence_and_auto_says_it(
    stub: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nvrtc, "unavailable", lambda: "NVRTC is not installed")
    engines._say_once.cache_clear()
    with caplog.at_level("INFO"):
        assert engines.select("auto", NETWORK, (4, 4, 2))[0] in engines.ON_PROCESSORS
    assert "cuda: NVRTC is not installed" in caplog.text
    with pytest.raises(UserError, match="NVRTC is not installed"):
        kernel_matrix(NETWORK, X, engine="cuda")


def test_a_missing_compiler_is_said_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "_library", lambda: None)
    assert "pip install neural-kernels[cuda]" in str(nvrtc.unavailable())
    with pytest.raises(UserError, match=r"cannot compile.*neural-kernels\[cuda\]"):
        nvrtc.compile_cubin("", {}, 90)


def test_a_driver_that_shows_no_card_is_said(stub: Any) -> None:
    stub.stub_fail(b"cuInit", cuda_stub.NO_DEVICE, 0)
    driver._library.cache_clear()
    assert "shows no card" in str(cuda_engine.unavailable())
    stub.stub_reset(0, 2**33)
    driver._library.cache_clear()
    assert "shows no card" in str(cuda_engine.unavailable())


def test_auto_prefers_the_card_and_leaves_to_others_what_it_does_not_cover(stub: Any) -> None:
    assert engines.select("auto", NETWORK, (4, 4, 2))[0] == "cuda"
    graphs = arch.build("SimpleGNN")
    shape: Any = (None, 5)
    assert engines.select("auto", graphs, shape)[0] in engines.ON_PROCESSORS
    with pytest.raises(UserError, match="cuda: graphs"):
        engines.select("cuda", graphs, shape)


def test_the_mixed_recipe_makes_float64_only(stub: Any) -> None:
    with pytest.raises(UserError, match="cuda_mixed makes float64 entries, precision is float32"):
        kernel_matrix(NETWORK, X, engine="cuda_mixed", precision="float32")


# ------------------------------------------------------------------------------------------------ cards


def test_all_cards_work_and_give_back_what_they_took() -> None:
    with cuda_stub.installed(cards=3) as stub:
        found = kernel_matrix(NETWORK, X, engine="cuda")
        assert all(stub.stub_launches(card) >= 2 for card in range(3))
        assert stub.stub_allocations() == 0
    np.testing.assert_allclose(found, kernel_matrix(NETWORK, X, engine="native"), rtol=1e-13)


@pytest.mark.parametrize("after", range(7))
def test_an_allocation_that_fails_is_one_sentence_and_nothing_is_kept(stub: Any, after: int) -> None:
    stub.stub_fail(b"cuMemAlloc_v2", cuda_stub.OUT_OF_MEMORY, after)
    if after == 6:  # two of prepare, four of kernel
        kernel_matrix(NETWORK, X, engine="cuda")
    else:
        with pytest.raises(OutOfDeviceMemory, match=r"card 0 \(Stub\) has no memory for [\d,]+ MiB"):
            kernel_matrix(NETWORK, X, engine="cuda")
    assert stub.stub_allocations() == 0


def test_a_card_without_memory_is_said() -> None:
    with (
        cuda_stub.installed(free=1000),
        pytest.raises(OutOfDeviceMemory, match=r"has 0 MiB of memory free, expected at least"),
    ):
        kernel_matrix(NETWORK, X, engine="cuda")


def test_scratch_is_what_a_small_card_has_room_for(compute: Kernel) -> None:
    with cuda_stub.installed() as stub:
        expected = compute(cuda_engine, NETWORK, "ntk", X)
        stub.stub_reset(1, 70_000)
        np.testing.assert_array_equal(compute(cuda_engine, NETWORK, "ntk", X), expected)


@pytest.mark.parametrize("function", ["cuLaunchKernel", "cuCtxSynchronize"])
@pytest.mark.parametrize("cards", [1, 2])
def test_a_lost_card_ends_the_call_with_its_name(function: str, cards: int) -> None:
    with cuda_stub.installed(cards) as stub:
        left = cuda_engine.prepare(NETWORK, X, "float64")
        stub.stub_fail(function.encode(), cuda_stub.LOST, 1)
        with pytest.raises(
            UserError, match=rf"card [01] \(Stub\) failed in {function}: unknown error \(error 999\)"
        ):
            cuda_engine.kernel(NETWORK, "ntk", left, None, "float64")
        assert stub.stub_allocations() == 0


def test_code_that_the_driver_refuses_is_said(stub: Any) -> None:
    stub.stub_fail(b"cuModuleLoadData", 209, 0)
    with pytest.raises(UserError, match="failed in cuModuleLoadData"):
        kernel_matrix(NETWORK, X, engine="cuda")


# ----------------------------------------------------------------------------------------------- blocks


def test_the_record_of_a_block_names_cards_driver_and_compiler(tmp_path: Path) -> None:
    with cuda_stub.installed(cards=2):
        store = store_in(tmp_path)
        block(store)
        record = store.read_record(0, 0)
    assert record["engine"] == "cuda"
    assert record["cards"] == "2 x Stub"
    assert record["driver"] == "13.0"
    assert record["compiler"] == "NVRTC stub"
    np.testing.assert_allclose(
        read_block(store, 0, 0), kernel_matrix(NETWORK, X, engine="native"), rtol=1e-13
    )


def test_a_block_whose_card_was_lost_goes_on_at_its_tile(tmp_path: Path) -> None:
    whole, broken = store_in(tmp_path / "whole"), store_in(tmp_path / "broken")
    with cuda_stub.installed() as stub:
        block(whole)
        launches = stub.stub_launches(0)
        stub.stub_reset(1, 2**33)
        stub.stub_fail(b"cuLaunchKernel", cuda_stub.LOST, 13)
        with pytest.raises(UserError, match="unknown error"):
            block(broken)
        done = len((tmp_path / "broken" / "partial" / "0-0.tiles").read_text().splitlines()) - 1
        assert 0 < done < TILES
    with cuda_stub.installed() as stub:
        block(broken)
        assert stub.stub_launches(0) < launches
    np.testing.assert_array_equal(read_block(broken, 0, 0), read_block(whole, 0, 0))


KILLED = """
import os, signal, sys
from pathlib import Path
import cuda_stub
import test_cuda_engine as tests
from neural_kernels.blocks import open_store
from neural_kernels.engines import cuda_engine

computed, kernel = 0, cuda_engine.kernel

def counted(*arguments):
    global computed
    computed += 1
    if computed > int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return kernel(*arguments)

cuda_engine.kernel = counted
with cuda_stub.installed(cards=2):
    tests.block(open_store(Path(sys.argv[1])))
"""


def test_a_block_killed_between_tiles_is_bit_identical_in_the_end(tmp_path: Path) -> None:
    whole, killed = store_in(tmp_path / "whole"), store_in(tmp_path / "killed")
    folders = [str(Path(__file__).parent), str(Path(cuda_stub.__file__).parent)]
    paths = os.pathsep.join([*folders, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", KILLED, str(killed.directory), "3"]
    ended = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": paths, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len((killed.directory / "partial" / "0-0.tiles").read_text().splitlines()) == 1 + 3
    with cuda_stub.installed():
        block(whole)
        block(killed)
    np.testing.assert_array_equal(read_block(killed, 0, 0), read_block(whole, 0, 0))


# ---------------------------------------------------------------------------------------- compiled code


def test_compiled_code_is_kept_and_made_again_where_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(nvrtc, "version", lambda: "1.0")
    monkeypatch.setattr(nvrtc, "compile_cubin", lambda *given: compiled.append(given) or b"code")
    assert [programs.cubin("a", 90) for _ in range(2)] == [b"code"] * 2
    assert len(compiled) == 1
    programs.cubin("b", 90)
    programs.cubin("a", 80)
    monkeypatch.setattr(nvrtc, "version", lambda: "1.1")
    programs.cubin("a", 90)
    assert len(compiled) == 4
    kept = sorted((tmp_path / "neural_kernels" / "cuda").iterdir())
    assert len(kept) == 4
    for path in kept:
        path.write_bytes(path.read_bytes()[:-1])
    assert programs.cubin("a", 90) == b"code"
    assert len(compiled) == 5


def test_a_cache_that_cannot_be_written_costs_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "neural_kernels").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(nvrtc, "version", lambda: "1.0")
    monkeypatch.setattr(nvrtc, "compile_cubin", lambda *_: b"code")
    assert programs.cubin("a", 90) == b"code"
    assert "not kept" in caplog.text


def test_the_native_engine_shares_the_formulas() -> None:
    native = Path(native_engine.__file__).with_name("native")
    assert programs.headers()["activations.h"] == (native / "activations.h").read_text()
