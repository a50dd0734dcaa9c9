from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from extended_precision import conv1d_ntk
from hypothesis import given, settings
from hypothesis import strategies as st

from neural_kernels import architectures as arch
from neural_kernels import engines
from neural_kernels.blocks import Grid, KernelStore, declare_store, read_block
from neural_kernels.blocks.computation import compute_block
from neural_kernels.engines import Engine, Kind, Precision, common_windows, native_engine
from neural_kernels.engines.rate import default_tile
from neural_kernels.errors import UserError
from neural_kernels.metrics.objectives import OBJECTIVES
from neural_kernels.planning import costs as planning
from neural_kernels.preprocessing import channels
from neural_kernels.preprocessing.features import Part
from neural_kernels.tuning.assessment import Computation, assess
from neural_kernels.tuning.candidate import Candidate

needs_library = pytest.mark.skipif(
    native_engine.unavailable() is not None, reason=f"native engine: {native_engine.unavailable()}"
)
LETTERS = "ACDEFGHIKLMNPQRSTVWY"
LENGTH, CHANNELS = 90, 3


def variants(count: int, first: int, end: int, length: int = LENGTH, seed: int = 0) -> np.ndarray:
    """Sequences (count, length, CHANNELS) that differ from one another at positions first to end."""
    random = np.random.default_rng(seed)
    x = np.repeat(random.standard_normal((1, length, CHANNELS)), count, axis=0)
    x[:, first:end] = random.standard_normal((count, end - first, CHANNELS))
    return x


def windowed(
    architecture: arch.Architecture,
    kind: Kind,
    *sets: Any,
    precision: Precision = "float64",
    engine: Engine = native_engine,
    pairs: int = 10**6,
) -> common_windows.WindowedEngine:
    chosen = common_windows.cheapest(engine, architecture, kind, precision, sets, pairs)
    assert isinstance(chosen, common_windows.WindowedEngine)
    return chosen


def full(
    architecture: arch.Architecture,
    kind: Kind,
    x: np.ndarray,
    y: np.ndarray | None = None,
    precision: Precision = "float64",
    engine: Engine = native_engine,
) -> np.ndarray:
    left = engine.prepare(architecture, x, precision)
    right = None if y is None else engine.prepare(architecture, y, precision)
    return engine.kernel(architecture, kind, left, right, precision)


def through(chosen: common_windows.WindowedEngine, x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
    left = chosen.prepare(chosen.architecture, x, chosen.precision)
    right = None if y is None else chosen.prepare(chosen.architecture, y, chosen.precision)
    return chosen.kernel(chosen.architecture, chosen.kind, left, right, chosen.precision)


def agree(found: np.ndarray, expected: np.ndarray, own_left: np.ndarray, own_right: np.ndarray) -> None:
    """To 1e-12 of the entry, or of the scale of its terms where these cancel."""
    scale = np.maximum(np.abs(expected), 1e-2 * np.sqrt(np.outer(own_left, own_right)))
    assert (np.abs(found - expected) <= 1e-12 * scale).all(), np.max(np.abs(found - expected) / scale)


# ------------------------------------------------------------------------------------- the numbers

ENDS = [arch.Flatten(), arch.GlobalAvgPool(), arch.GlobalSumPool()]
ACTIVATIONS = (arch.Relu(), arch.Gelu(), arch.Erf(), arch.ExpNormalized(1.3, -0.5), arch.Identity())


@st.composite
def networks(draw: st.DrawFn) -> arch.Architecture:
    layers: list[arch.Layer] = []
    for _ in range(draw(st.integers(1, 4))):
        bias = draw(st.sampled_from([0.0, 0.3]))
        layers.append(arch.Conv(draw(st.sampled_from([1, 3, 5])), draw(st.floats(0.7, 1.6)), bias))
        if draw(st.booleans()):
            layers.append(arch.LayerNorm())
        layers.append(draw(st.sampled_from(ACTIVATIONS)))
    layers.append(draw(st.sampled_from(ENDS)))
    layers += [arch.Dense(draw(st.floats(0.5, 2.0)), draw(st.sampled_from([0.0, 0.4])))] * draw(
        st.integers(0, 2)
    )
    return arch.Architecture("random", tuple(layers))


@needs_library
@settings(max_examples=25, deadline=None)
@given(
    network=networks(),
    kind=st.sampled_from(["nngp", "ntk"]),
    first=st.integers(0, LENGTH - 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_a_window_changes_nothing_but_rounding(
    network: arch.Architecture, kind: Kind, first: int, width: int, seed: int
) -> None:
    x, y = np.split(variants(7, first, first + width, seed=seed), [4])
    chosen = windowed(network, kind, x, y)
    own_x, own_y = (np.diag(full(network, kind, z)) for z in (x, y))
    agree(through(chosen, x, y), full(network, kind, x, y), own_x, own_y)
    symmetric = through(chosen, x)
    assert (symmetric == symmetric.T).all()
    agree(symmetric, full(network, kind, x), own_x, own_x)


@needs_library
@pytest.mark.parametrize("pooling", ["flatten", "average", "sum"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "erf", "exp_normalized"])
def test_deep_networks_agree_to_1e_12_of_every_entry(pooling: str, activation: str) -> None:
    network = arch.build("Conv1D", depth=6, filter_size=5, activation=activation, pooling=pooling)
    for first, end in ((0, 5), (70, 76), (135, 140)):
        x, y = np.split(variants(6, first, end, length=140), [3])
        for kind in ("nngp", "ntk"):
            found = through(windowed(network, kind, x, y), x, y)
            np.testing.assert_allclose(found, full(network, kind, x, y), rtol=1e-12)


@needs_library
@pytest.mark.parametrize("pooling", ["flatten", "average"])
def test_sequences_with_insertions_go_with_a_wider_window_or_at_full_length(pooling: str) -> None:
    network = arch.build("Conv1D", pooling=pooling)
    x = variants(60, 60, 64)
    rest = variants(3, 60, LENGTH, seed=5)
    for tail_first, crops in ((60, 2), (0, 2)):
        few = x.copy()
        few[[7, 30, 31], tail_first:] = rest[:, tail_first:] if tail_first else rest
        chosen = windowed(network, "ntk", few)
        assert len(chosen.crops) == crops
        assert chosen.crops[-1].is_whole == (tail_first == 0)
        found = through(chosen, few)
        np.testing.assert_allclose(found, full(network, "ntk", few), rtol=1e-12)
        assert (found == found.T).all()
        np.testing.assert_allclose(
            through(chosen, few[5:9], few[20:40]), full(network, "ntk", few[5:9], few[20:40]), rtol=1e-12
        )


@needs_library
def test_examples_that_it_was_not_chosen_for_are_right_too() -> None:
    network = arch.build("Conv1D", pooling="sum")
    chosen = windowed(network, "ntk", variants(9, 40, 44))
    others = variants(4, 3, 80, seed=1)
    np.testing.assert_allclose(through(chosen, others), full(network, "ntk", others), rtol=1e-12)


@needs_library
@pytest.mark.parametrize("pooling", ["flatten", "average"])
def test_sequences_that_are_all_the_same(pooling: str) -> None:
    network = arch.build("Conv1D", pooling=pooling)
    x = variants(5, 0, 0)
    found = through(windowed(network, "ntk", x), x)
    np.testing.assert_allclose(found, full(network, "ntk", x), rtol=1e-12)


@needs_library
def test_float32_is_as_good_as_float32() -> None:
    network = arch.build("Conv1D", pooling="average")
    x = variants(9, 40, 44)
    found = through(windowed(network, "ntk", x, precision="float32"), x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, full(network, "ntk", x), rtol=1e-5)


@pytest.mark.parametrize("name", engines.ENGINES)
def test_every_engine_computes_windows(name: str) -> None:
    engine = engines.load(name)
    if engine.unavailable() is not None:
        pytest.skip(f"{name}: {engine.unavailable()}")
    network = arch.build("Conv1D", pooling="average")
    x, y = np.split(variants(5, 8, 10, length=40), [3])
    found = through(windowed(network, "ntk", x, y, engine=engine), x, y)
    # Neural Tangents knows the angle between equal positions to 1e-8 only, by the rounding of their correlation.
    tolerance = 1e-9 if name == "neural_tangents" else 1e-12
    np.testing.assert_allclose(found, full(network, "ntk", x, y, engine=engine), rtol=tolerance)


# ------------------------------------------------------------------------------ where it is used

LAYERS = {
    "an activation after the pooling": (arch.Conv(), arch.Flatten(), arch.Dense(), arch.Relu(), arch.Dense()),
    "pooling before the last": (arch.Conv(), arch.AvgPool(2), arch.Conv(), arch.Flatten()),
    "no positions": (arch.Flatten(), arch.Dense()),
    "as far-reaching as the sequence": (*[arch.Conv(23)] * 4, arch.Flatten()),
}


@needs_library
@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS.keys())
def test_other_architectures_are_left_alone(layers: tuple[arch.Layer, ...]) -> None:
    x = variants(9, 40, 44)
    network = arch.Architecture("other", layers)
    assert common_windows.cheapest(native_engine, network, "ntk", "float64", [x], 81) is native_engine


@needs_library
def test_it_has_to_pay() -> None:
    network = arch.build("Conv1D", pooling="average")

    def chosen(x: np.ndarray, pairs: int) -> Engine:
        return common_windows.cheapest(native_engine, network, "ntk", "float64", [x], pairs)

    near, far = variants(40, 40, 44), variants(40, 0, LENGTH)
    assert chosen(near, 40 * 40) is not native_engine
    assert chosen(near, 40) is native_engine  # as many full lengths for the one-sided terms
    assert chosen(far, 40 * 40) is native_engine
    assert chosen(np.concatenate([near, far]), 80 * 80) is native_engine
    images = np.zeros((4, 8, 8, 1))
    network = arch.build("CV8")
    assert common_windows.cheapest(native_engine, network, "ntk", "float64", [images], 16) is native_engine


@needs_library
def test_library_functions_use_it() -> None:
    network = arch.build("Conv1D", pooling="average")
    x = variants(20, 40, 44)
    expected = full(network, "ntk", x)
    for found in (engines.kernel_matrix(network, x), engines.kernel_matrix(network, x, x.copy())):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert (found != expected).any()  # in rounding: it was not computed at full length
    np.testing.assert_allclose(engines.variances(network, x), np.diag(expected), rtol=1e-12)


@pytest.fixture
def windows_used(monkeypatch: pytest.MonkeyPatch) -> list[common_windows.WindowedEngine]:
    """A list of every WindowedEngine that has computed a kernel."""
    used = []
    computed = common_windows.WindowedEngine.kernel

    def kernel(self: common_windows.WindowedEngine, *arguments: Any) -> np.ndarray:
        used.append(self)
        return computed(self, *arguments)

    monkeypatch.setattr(common_windows.WindowedEngine, "kernel", kernel)
    return used


@needs_library
def test_a_search_uses_it_and_finds_the_same(
    windows_used: list[common_windows.WindowedEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(1)
    x = variants(60, 40, 46)
    values = x[:, 40:46].sum(axis=(1, 2))[:, None] + 0.1 * random.standard_normal((60, 1))
    train, validation = (Part(x[s], values[s], values[s]) for s in (slice(40), slice(40, 60)))
    parts = {"train": train, "validation": validation}
    candidate = Candidate({"name": "Conv1D", "pooling": "average"}, "ntk", {"method": "none"})
    settings = Computation("native", "float64", [1e-4, 1e-3], largest_seconds=1000.0)
    found = assess(candidate, parts, OBJECTIVES["mse"], settings)
    assert windows_used
    monkeypatch.setattr(common_windows, "cheapest", lambda engine, *_: engine)
    expected = assess(candidate, parts, OBJECTIVES["mse"], settings)
    assert found.value == pytest.approx(expected.value, rel=1e-8)


@needs_library
def test_the_plan_measures_what_will_be_computed(windows_used: list[common_windows.WindowedEngine]) -> None:
    network = arch.build("Conv1D")
    study: Any = SimpleNamespace(engine="native", precision="float64", block_edge=lambda _: 500)
    kernel: Any = SimpleNamespace(name="K", architecture=network, kind="nngp")
    x = variants(40, 20, 23)
    planning.calibrate(study, kernel, x.shape[1:], 0.01)
    assert not windows_used
    engine, rate = planning.calibrate(study, kernel, x.shape[1:], 0.01, x)
    assert engine == "native"
    assert rate > 0
    assert windows_used


# ---------------------------------------------------------------------------------------- blocks

NETWORK = arch.build("Conv1D", pooling="average")


def store_in(directory: Path, n: int, edge: int) -> KernelStore:
    grid = Grid(n, n, edge, symmetric=True)
    return declare_store(directory, grid, "float64", {"architecture": NETWORK.describe()})


@needs_library
@pytest.mark.parametrize("tile", [None, 4])
def test_blocks_are_the_kernel_whatever_the_tile(tmp_path: Path, tile: int | None) -> None:
    x = variants(30, 50, 53)
    x[11, 20:] = variants(1, 0, LENGTH, seed=3)[0, 20:]
    store = store_in(tmp_path, 30, 18)
    expected = full(NETWORK, "ntk", x)
    for i, j in store.grid.blocks():
        compute_block(store, i, j, NETWORK, x, x, kind="ntk", engine="native", tile=tile)
        rows, columns = slice(*store.grid.row_range(i)), slice(*store.grid.column_range(j))
        block = read_block(store, i, j)
        np.testing.assert_allclose(block, expected[rows, columns], rtol=1e-12)
        assert i != j or (block == block.T).all()
    assert store.read_record(0, 1)["engine"] == "native"


@needs_library
def test_an_interrupted_block_goes_on_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = variants(24, 50, 53)
    stores = [store_in(tmp_path / name, 24, 24) for name in ("whole", "interrupted")]
    calls = 0
    computed = common_windows.WindowedEngine.kernel

    def count(self: common_windows.WindowedEngine, *arguments: Any) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyboardInterrupt
        return computed(self, *arguments)

    monkeypatch.setattr(common_windows.WindowedEngine, "kernel", count)
    stop = -1
    compute_block(stores[0], 0, 0, NETWORK, x, x, kind="ntk", tile=6)
    assert calls == 10
    calls, stop = 0, 6
    with pytest.raises(KeyboardInterrupt):
        compute_block(stores[1], 0, 0, NETWORK, x, x, kind="ntk", tile=6)
    calls, stop = 0, -1
    compute_block(stores[1], 0, 0, NETWORK, x, x, kind="ntk", tile=6)
    assert calls == 5
    whole, interrupted = (store.block_path(0, 0).read_bytes() for store in stores)
    assert whole == interrupted


@needs_library
def test_a_tile_of_a_window_is_as_large_as_its_pairs_are_cheap() -> None:
    x = variants(200, 50, 53, length=700)
    chosen = windowed(NETWORK, "ntk", x)
    shape = common_windows.equivalent_shape(chosen, x)
    assert shape == (3 + 4 * 2, CHANNELS)
    assert common_windows.equivalent_shape(native_engine, x) == (700, CHANNELS)
    assert default_tile(NETWORK, shape) > default_tile(NETWORK, (700, 3))


@needs_library
def test_a_block_that_is_not_finite_is_still_refused(tmp_path: Path) -> None:
    store = store_in(tmp_path, 24, 24)
    with np.errstate(all="ignore"), pytest.raises(UserError, match="not finite"):
        compute_block(store, 0, 0, NETWORK, *[1e200 * variants(24, 50, 53)] * 2, kind="ntk")


# ------------------------------------------------------------------------------------- real sequences


def one_hot(sequences: Any) -> np.ndarray:
    letters = np.array([list(sequence) for sequence in sequences])
    return (letters[..., None] == np.array(list(LETTERS))).astype(np.float64)


@pytest.fixture
def capsids(shared_data: Callable[[str], Path]) -> np.ndarray:
    """Features (1000, 735, 20) of variants of AAV, standardised in batches as a study does."""
    path = shared_data("aav/splits_reconstructed.zip")
    with zipfile.ZipFile(path) as archive, archive.open("splits/two_vs_many.csv") as file:
        table = pd.read_csv(file, nrows=3000).sample(1000, random_state=0)
    x = one_hot(table.sequence)
    statistics = channels.fit([x])
    return np.concatenate([channels.apply(statistics, batch) for batch in np.split(x, [1, 7, 500])])


@pytest.mark.parametrize("pooling", ["flatten", "average"])
@needs_library
def test_variants_of_aav_capsids(pooling: str, capsids: np.ndarray) -> None:
    network = arch.build("Conv1D", pooling=pooling)
    chosen = windowed(network, "ntk", capsids)
    crop = chosen.crops[-1]
    # Substitutions within residues 561 to 588, counted from 1, and twice the reach of two filters of 3.
    assert crop.first >= 560 - 4
    assert crop.end <= 588 + 4
    few = capsids[:: 50 if pooling == "average" else 10]
    np.testing.assert_allclose(through(chosen, few), full(network, "ntk", few), rtol=1e-12)


@needs_library
def test_the_ntk_of_aav_capsids_agrees_with_extended_precision(capsids: np.ndarray) -> None:
    x, y = capsids[:3], capsids[3:6]
    network = arch.build("Conv1D")
    expected = np.array([[conv1d_ntk(one, other) for other in y] for one in x])
    np.testing.assert_allclose(full(network, "ntk", x, y), expected.astype(float), rtol=1e-13)
    found = through(windowed(network, "ntk", capsids), x, y)
    np.testing.assert_allclose(found, expected.astype(float), rtol=1e-13)
