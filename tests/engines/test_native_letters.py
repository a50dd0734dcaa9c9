"""Positions that are one of a few letters: the same bits from a table of their products."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from networks import Kernel

from neural_kernels import architectures as arch
from neural_kernels.engines import Precision, native_engine
from neural_kernels.engines.native import letters
from neural_kernels.engines.native.letters import find_letters
from neural_kernels.engines.native_engine import Prepared

needs_library = pytest.mark.skipif(
    native_engine.unavailable() is not None, reason=f"native engine: {native_engine.unavailable()}"
)

NETWORKS = {
    "flatten": (arch.build("Conv1D", filter_size=5), (13, 6)),
    "average": (arch.build("Conv1D", pooling="average"), (11, 130)),
    "images": (arch.build("Myrtle5"), (4, 4, 5)),
}


def spelled(n: int, *shape: int, count: int = 7, seed: int = 0) -> np.ndarray:
    """Examples (n, *shape) of ``count`` letters."""
    random = np.random.default_rng(seed)
    *space, channels = shape
    return random.standard_normal((count, channels))[random.integers(0, count, (n, *space))]


@needs_library
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_every_bit_is_that_without_letters(
    name: str,
    precision: Precision,
    instruction_sets: Callable[[], Iterator[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, shape = NETWORKS[name]
    x, y = spelled(19, *shape), spelled(33, *shape, count=9, seed=1)
    for instructions in instruction_sets():
        left, right = (native_engine.prepare(network, part, precision) for part in (x, y))
        assert isinstance(left, Prepared)
        assert isinstance(right, Prepared)
        assert left.letters is not None
        assert right.letters is not None
        assert len(left.letters) == 7
        assert len(right.letters) == 9
        with monkeypatch.context() as patch:
            patch.setattr(letters, "MOST_LETTERS", 0)
            plain_left, plain_right = (native_engine.prepare(network, part, precision) for part in (x, y))
        assert isinstance(plain_left, Prepared)
        assert plain_left.letters is None
        for kind in ("nngp", "ntk"):
            expected = native_engine.kernel(network, kind, plain_left, plain_right, precision)
            own = native_engine.kernel(network, kind, plain_left, None, precision)
            for a, b in ((left, right), (plain_left, right), (left, plain_right)):
                found = native_engine.kernel(network, kind, a, b, precision)
                np.testing.assert_array_equal(found, expected, err_msg=instructions)
            found = native_engine.kernel(network, kind, left, None, precision)
            np.testing.assert_array_equal(found, own, err_msg=instructions)


@needs_library
def test_letters_agree_with_reference(compute: Kernel, reference: Kernel) -> None:
    network, shape = NETWORKS["flatten"]
    x, y = spelled(5, *shape), spelled(4, *shape, seed=1)
    expected = reference(network, "ntk", x, y)
    np.testing.assert_allclose(compute(native_engine, network, "ntk", x, y), expected, rtol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_letters_spell_the_examples(data: st.DataObject) -> None:
    shape = (
        *data.draw(arrays.array_shapes(min_dims=2, max_dims=3, max_side=6)),
        data.draw(st.integers(4, 6)),
    )
    dtype = data.draw(st.sampled_from([np.float64, np.float32]))
    x = data.draw(arrays.arrays(dtype, shape, elements=st.sampled_from([0.0, -0.0, 1.0, 0.25, 3.5])))
    found = find_letters(x)
    if found is not None:
        table, numbers = found
        assert len(table) <= letters.MOST_LETTERS
        assert numbers.shape == shape[:-1]
        np.testing.assert_array_equal(table[numbers], x)
        np.testing.assert_array_equal(np.signbit(table[numbers]), np.signbit(x))


def test_letters_are_looked_for_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "CHUNK", 10)
    x = spelled(9, 12, 4, count=30)
    found = find_letters(x)
    assert found is not None
    table, numbers = found
    assert len(table) == 30
    np.testing.assert_array_equal(table[numbers], x)
    assert find_letters(spelled(9, 12, 4, count=letters.MOST_LETTERS + 30)) is None


def test_no_letters_where_there_is_nothing_to_gain() -> None:
    assert find_letters(spelled(9, 12, 3)) is None
    assert find_letters(spelled(9, 12)) is None
    assert find_letters(np.empty((0, 5, 6))) is None
