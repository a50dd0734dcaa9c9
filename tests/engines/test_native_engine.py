from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import POOL_FIRST, WINDOWS_OF_THREE, Kernel, Network

from neural_kernels import architectures as arch
from neural_kernels.engines import Kind, Precision, native_engine
from neural_kernels.engines.native import plan
from neural_kernels.engines.native.plan import compile_plan
from neural_kernels.errors import UserError

needs_library = pytest.mark.skipif(
    native_engine.unavailable() is not None, reason=f"native engine: {native_engine.unavailable()}"
)


def architecture(*layers: arch.Layer) -> arch.Architecture:
    return arch.Architecture("test", layers)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


# -------------------------------------------------------------------------- agreement with the reference


@needs_library
def test_each_layer_agrees_with_reference(
    layer_network: Network, instruction_sets: Callable[[], Iterator[str]], compute: Kernel, reference: Kernel
) -> None:
    network = layer_network
    expected = reference(network.architecture, "ntk", network.x1, network.x2)
    for name in instruction_sets():
        found = compute(native_engine, network.architecture, "ntk", network.x1, network.x2)
        single = compute(native_engine, network.architecture, "ntk", network.x1, network.x2, "float32")
        np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(single, expected, rtol=1e-4, err_msg=name)
        assert found.dtype == np.float64
        assert single.dtype == np.float32


@needs_library
def test_named_architectures_agree_with_reference(
    named_network: Network, instruction_sets: Callable[[], Iterator[str]], compute: Kernel, reference: Kernel
) -> None:
    network = named_network
    expected = reference(network.architecture, "ntk", network.x1, network.x2)
    for name in instruction_sets():
        found = compute(native_engine, network.architecture, "ntk", network.x1, network.x2)
        single = compute(native_engine, network.architecture, "ntk", network.x1, network.x2, "float32")
        np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=name)
        np.testing.assert_allclose(single, expected, rtol=1e-4, err_msg=name)


@needs_library
@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (
            WINDOWS_OF_THREE,
            (12, 6, 2),
        ),
        (
            POOL_FIRST,
            (6, 4, 2),
        ),
        (
            architecture(
                arch.Conv(7),
                arch.Relu(),
                arch.AvgPool(5),
                arch.Conv(3),
                arch.Relu(),
                arch.GlobalAvgPool(),
                arch.Dense(),
            ),
            (30, 3),
        ),
        (
            architecture(arch.Dense(), arch.LayerNorm(), arch.Relu(), arch.GlobalAvgPool(), arch.Dense()),
            (3, 5, 130),
        ),
    ],
    ids=["window 3", "pool first", "long filter", "many channels"],
)
def test_unusual_shapes_agree_with_reference(
    network: arch.Architecture, shape: tuple[int, ...], compute: Kernel, reference: Kernel
) -> None:
    x1, x2 = normal(3, *shape), normal(2, *shape, seed=1)
    expected = reference(network, "nngp", x1, x2)
    np.testing.assert_allclose(compute(native_engine, network, "nngp", x1, x2), expected, rtol=1e-12)


@needs_library
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_random_networks_agree_with_reference(
    data: st.DataObject, random_networks: st.SearchStrategy[Network], compute: Kernel, reference: Kernel
) -> None:
    network = data.draw(random_networks)
    kind = data.draw(st.sampled_from(["nngp", "ntk"]))
    expected = reference(network.architecture, kind, network.x1, network.x2)
    found = compute(native_engine, network.architecture, kind, network.x1, network.x2)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13 * np.abs(expected).max())


@needs_library
@pytest.mark.parametrize("activation", [arch.Relu(), arch.Erf(), arch.Gelu(), arch.ExpNormalized()], ids=repr)
def test_degenerate_images_agree_with_reference(
    activation: arch.Activation,
    degenerate_images: dict[str, tuple[np.ndarray, np.ndarray]],
    instruction_sets: Callable[[], Iterator[str]],
    compute: Kernel,
    reference: Kernel,
) -> None:
    layers = (arch.Conv(3, 1.4, 0.0), activation) * 2
    network = architecture(*layers, arch.Flatten(), arch.Dense(1.4, 0.0))
    left, right = (np.concatenate([pair[side] for pair in degenerate_images.values()]) for side in (0, 1))
    expected = reference(network, "ntk", left, right)
    known = np.isfinite(expected)
    for name in instruction_sets():
        found = compute(native_engine, network, "ntk", left, right)
        own = [np.diag(compute(native_engine, network, "ntk", x)) for x in (left, right)]
        assert np.isfinite(found).all(), name
        # Where c is within rounding of 1 or -1, theta is known to 1e-8 only, in the reference too.
        assert (np.abs(found - expected) <= 1e-8 * np.sqrt(np.outer(*own)) + 1e-14)[known].all(), name


@needs_library
@pytest.mark.parametrize("scale", [1e-150, 1e-75, 1e75, 1e150])
def test_relu_without_bias_is_homogeneous_at_every_scale(scale: float, compute: Kernel) -> None:
    network = arch.build("Myrtle5", b_std=0.0)
    x, y = normal(3, 4, 4, 3), normal(2, 4, 4, 3, seed=1)
    scaled = compute(native_engine, network, "ntk", scale * x, y / scale)
    np.testing.assert_allclose(scaled, compute(native_engine, network, "ntk", x, y), rtol=1e-12)
    # A power of two, so that squares of scale**2 stay representable: the kernel is quadratic.
    squared = compute(native_engine, network, "ntk", scale * x, scale * y) / scale**2
    np.testing.assert_allclose(squared, compute(native_engine, network, "ntk", x, y), rtol=1e-12)


# ------------------------------------------------------------------------------- accuracy of the formulas


@needs_library
@pytest.mark.parametrize("kind", ["nngp", "ntk"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_identical_images_have_correlation_one(
    kind: Kind, precision: Precision, instruction_sets: Callable[[], Iterator[str]], compute: Kernel
) -> None:
    # For ReLU at c = 1, NNGP and NTK after each layer follow in closed form from the input's variance.
    x = normal(50, 12).astype(precision)
    K = np.mean(x.astype(np.float64) ** 2, axis=1)
    T = np.zeros_like(K)
    for layer in range(4):
        K = 2 * K + 0.01
        T = 2 * T + K
        if layer < 3:
            K, T = K / 2, T / 2
    for name in instruction_sets():
        found = np.diag(compute(native_engine, arch.build("FC3"), kind, x, x.copy(), precision))
        ulp = float(np.finfo(precision).eps)
        np.testing.assert_allclose(found, K if kind == "nngp" else T, rtol=12 * ulp, err_msg=name)


@needs_library
def test_arc_cosine_kernels_are_exact_to_rounding(
    instruction_sets: Callable[[], Iterator[str]], compute: Kernel
) -> None:
    angle = np.concatenate([np.linspace(0.01, np.pi - 0.01, 2001), [np.pi / 2 - 1e-9, np.pi / 2 + 1e-9]])
    x = np.sqrt(2.0) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    network = architecture(arch.Dense(1.0, 0.0), arch.Relu(), arch.Dense(1.0, 0.0))
    fixed = np.array([[np.sqrt(2.0), 0.0]])
    a, b = x.astype(np.longdouble), fixed.astype(np.longdouble)
    c = (a @ b.T)[:, 0] / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1)) / 2
    theta = np.arccos(c)
    pi = np.longdouble("3.14159265358979323846264338327950288")
    nngp = size * (np.sqrt(1 - c * c) + (pi - theta) * c) / (2 * pi)
    ntk = nngp + size * c * (pi - theta) / (2 * pi)
    for name in instruction_sets():
        for kind, expected in (("nngp", nngp), ("ntk", ntk)):
            found = compute(native_engine, network, kind, x, fixed)[:, 0]
            # An error of a rounding in c moves theta by that over sin(theta).
            error = np.abs(found - expected) / (1 + np.abs(c) / np.sqrt(1 - c * c))
            assert error.max() < 1e-15, (name, kind)


def test_polynomials_have_the_error_that_their_header_states() -> None:
    header = Path(native_engine.__file__).with_name("native") / "polynomials.h"
    blocks = re.findall(r"relative error ([\d.e-]+)\n[^\n]* (\w+)\[\] = \{([^}]*)\}", header.read_text())
    (stated,) = re.findall(r"acos_centre = ([\d.]+)", header.read_text())
    centre = np.longdouble(stated)
    half = np.log(np.longdouble(2)) / 2
    q = np.linspace(np.longdouble(1), np.sqrt(np.longdouble(2)), 2002)[:-1]
    z = np.linspace(np.longdouble(1e-3), np.longdouble(0.25), 2000)
    r = np.linspace(-half, half, 2000)
    # Half-angle form of acos, which keeps its digits where 1 - c is small.
    exact = {
        "acos": (q - centre, 2 * np.arcsin(np.sqrt((2 - q * q) / 2)) / np.sqrt(2 - q * q)),
        "asin": (z, (np.arcsin(np.sqrt(z)) - np.sqrt(z)) / np.sqrt(z) ** 3),
        "exp": (r, np.exp(r)),
    }
    assert len(blocks) == 6
    for error, name, body in blocks:
        x, expected = exact[name.split("_")[0]]
        value = sum(np.longdouble(c) * x**k for k, c in enumerate(body.replace(",", " ").split()))
        assert np.abs(value / expected - 1).max() <= 1.1 * float(error) + 4e-17, name


# ------------------------------------------------------------------------- one value whatever the company


SHAPES = {"FC3": (7,), "Myrtle5": (4, 4, 3), "CV8": (4, 4, 2), "Conv1D": (11, 130)}


@needs_library
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_entries_are_the_same_bits_in_every_batch_and_thread_count(
    name: str,
    precision: Precision,
    instruction_sets: Callable[[], Iterator[str]],
    compute: Kernel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, shape = arch.build(name), SHAPES[name]
    x, y = normal(37, *shape), normal(43, *shape, seed=1)
    for _ in instruction_sets():
        monkeypatch.delenv("NEURAL_KERNELS_THREADS", raising=False)
        whole = compute(native_engine, network, "ntk", x, y, precision)
        for rows, columns in itertools.product((slice(0, 5), slice(11, 37)), (slice(3, 4), slice(17, 43))):
            part = compute(native_engine, network, "ntk", x[rows], y[columns], precision)
            assert (part == whole[rows, columns]).all()
        for threads in ("1", "3"):
            monkeypatch.setenv("NEURAL_KERNELS_THREADS", threads)
            assert (compute(native_engine, network, "ntk", x, y, precision) == whole).all()


@needs_library
@pytest.mark.parametrize("name", SHAPES)
def test_symmetric_call_has_the_bits_of_the_general_one_mirrored(
    name: str, instruction_sets: Callable[[], Iterator[str]], compute: Kernel
) -> None:
    network, shape = arch.build(name), SHAPES[name]
    for n in (1, 45) if name == "Myrtle5" else (1, 45, 230):
        x = normal(n, *shape)
        for _ in instruction_sets():
            symmetric = compute(native_engine, network, "ntk", x)
            assert (symmetric == symmetric.T).all()
            general = compute(native_engine, network, "ntk", x, x)
            assert (np.triu(symmetric) == np.triu(general)).all()


@needs_library
def test_entries_do_not_depend_on_other_examples(compute: Kernel) -> None:
    network = arch.build("Myrtle5", W_std=1.2)
    x1, x2 = normal(9, 4, 4, 3), normal(9, 4, 4, 3, seed=1)
    alone = compute(native_engine, network, "ntk", x1[:1], x2[:1])
    x1[1:] *= 1e9
    x2[1:] = np.nan
    assert (compute(native_engine, network, "ntk", x1, x2)[:1, :1] == alone).all()


# ------------------------------------------------------------------------------------ what it says


@pytest.mark.parametrize(
    ("layers", "shape", "reason"),
    [
        (
            (arch.Dense(), arch.Aggregate(), arch.LayerNorm(), arch.GlobalSumPool(), arch.Dense()),
            (None, 2),
            "LayerNorm that",
        ),
        (
            (arch.Conv(), arch.Relu(), arch.LayerNorm(), arch.Flatten(), arch.Dense()),
            (4, 4, 1),
            "LayerNorm that",
        ),
        ((arch.Dense(), arch.Relu(), arch.Relu(), arch.Dense()), (4,), "Relu without"),
        ((arch.Conv(), arch.Relu(), arch.Flatten(), arch.Dense()), (4, 4, 4, 1), "3 spatial dimensions"),
    ],
)
def test_uncovered_names_what_is_lacking(layers: tuple[arch.Layer, ...], shape: Any, reason: str) -> None:
    assert reason in (native_engine.uncovered(architecture(*layers), shape) or "")


def test_uncovered_is_none_for_named_architectures() -> None:
    assert native_engine.uncovered(arch.build("Myrtle10"), (32, 32, 3)) is None
    assert native_engine.uncovered(arch.build("Conv1D", pooling="average"), (735, 21)) is None


@needs_library
def test_prepare_refuses_an_uncovered_architecture() -> None:
    network = architecture(arch.Dense(), arch.Relu(), arch.Relu(), arch.Dense())
    with pytest.raises(UserError, match=r"does not cover.*Relu without"):
        native_engine.prepare(network, normal(2, 5), "float64")


@needs_library
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NEURAL_KERNELS_THREADS", "many"),
        ("NEURAL_KERNELS_THREADS", "0"),
        ("NEURAL_KERNELS_INSTRUCTIONS", "mmx"),
    ],
)
def test_environment_is_checked(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(UserError, match=f"{variable} is '{value}'"):
        native_engine.prepare(arch.build("FC3"), normal(2, 5), "float64")


@pytest.fixture
def installed_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """The engine as if it were installed in an empty folder."""
    monkeypatch.setattr(native_engine, "__file__", str(tmp_path / "native_engine.py"))
    native_engine._library_or_reason.cache_clear()
    yield tmp_path
    native_engine._library_or_reason.cache_clear()


def test_without_the_library_it_is_unavailable_and_says_so(installed_in: Path) -> None:
    assert "was not built" in (native_engine.unavailable() or "")
    with pytest.raises(UserError, match="native engine cannot run: its library was not built"):
        native_engine.prepare(arch.build("FC3"), normal(2, 5), "float64")


def test_a_broken_library_is_unavailable_and_named(installed_in: Path) -> None:
    (installed_in / "_native.so").write_bytes(b"not a library")
    assert "_native.so does not load" in (native_engine.unavailable() or "")


def test_plan_folds_constant_factors_and_counts_scalars() -> None:
    plan = compile_plan(arch.build("Myrtle5", b_std=0.0, W_std=1.0), (8, 8, 3))
    assert not isinstance(plan, str)
    steps = [plan.structure.steps[i] for i in range(5)]
    assert [step.scale for step in steps[:3]] == pytest.approx(
        [1 / 27, 1 / (9 * 2 * np.pi), 1 / (9 * 2 * np.pi * 16)], rel=1e-15
    )
    assert plan.scalars == 8 * 8 * 3 + 2 * (2 * 64 + 16 + 4)


def test_the_codes_of_activations_are_those_of_the_compiled_code() -> None:
    header = (Path(plan.__file__).parent / "activations.h").read_text()
    formulas = re.findall(r"^ +X\((\w+), +([\w<>]+)\)", header, re.MULTILINE)
    assert [name for name, _ in formulas] == [formula.name for formula in plan.Formula]
    for name, structure in formulas:
        declared = re.search(
            rf"struct {structure.split('<')[0]} {{\n *static constexpr int tables = (\d);", header
        )
        assert declared is not None
        assert int(declared[1]) == plan.Formula[name].tables
