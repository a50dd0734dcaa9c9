"""What NVRTC makes of the CUDA kernel, for cards that need not be here: held to the figures of docs/performance.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from networks import Network

from neural_kernels import architectures as arch
from neural_kernels.engines import Kind
from neural_kernels.engines.cuda import cubins, nvrtc, programs
from neural_kernels.engines.cuda.specialisation import Specialisation, specialise
from neural_kernels.engines.cuda.stages import Recipe
from neural_kernels.errors import UserError

needs_compiler = pytest.mark.skipif(nvrtc.unavailable() is not None, reason=str(nvrtc.unavailable()))
PERFORMANCE = Path(__file__).parents[2] / "docs" / "performance.md"
COUNTED_WITH = "13.0"
# Shared memory that a block may ask for.
SHARED_BYTES = {80: 166_912, 90: 232_448, 100: 232_448}
# Another compiler gives out registers and orders instructions in its own way.
OTHER_COMPILER = 1.15


def compiled(made: Specialisation, capability: int) -> bytes:
    headers = programs.headers() | {programs.SPECIALISED: made.header}
    return nvrtc.compile_cubin(programs.SOURCE, headers, capability)


def specialised(
    architecture: arch.Architecture,
    shape: tuple[int, ...],
    kind: Kind | None = "ntk",
    recipe: Recipe = "float64",
    capability: int = 90,
) -> Specialisation:
    made = specialise(architecture, shape, kind, recipe, SHARED_BYTES[capability])
    assert isinstance(made, Specialisation)
    return made


@cache
def counted() -> list[Mapping[str, str]]:
    """The rows of the table of compiled kernels."""
    text = PERFORMANCE.read_text().split("### Counted", 1)[1]
    lines = text[text.index("\n|") :].strip().split("\n\n", 1)[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


@needs_compiler
@pytest.mark.parametrize("row", counted(), ids=lambda row: " ".join(list(row.values())[:3]))
def test_a_compiled_kernel_is_what_the_documentation_says(row: Mapping[str, str]) -> None:
    capability = int(row["card"].removeprefix("sm_"))
    if capability not in nvrtc.capabilities():
        pytest.skip(f"NVRTC {nvrtc.version()} does not compile for {row['card']}")
    recipe: Any = row["precision"]
    made = specialised(arch.build(row["architecture"]), (32, 32, 3), "ntk", recipe, capability)
    cubin = compiled(made, capability)
    found = cubins.resources(cubin)["nk_pairs"]
    loops = cubins.loops(cubin, "nk_pairs", capability)[: len(made.stages) or 1]

    def number(column: str) -> int:
        return int(row[column].replace(",", ""))

    assert number("shared memory (bytes)") == made.shared_bytes
    assert number("scratch (bytes)") == made.scratch_bytes
    by_stage = {
        "instructions of a row": [loop.instructions for loop in loops],
        "of them float64": [loop.float64 for loop in loops],
    }
    expected = {column: [int(part) for part in row[column].split(",")] for column in by_stage}
    if nvrtc.version() == COUNTED_WITH:
        assert number("registers") == found.registers
        assert number("spilled (bytes)") == found.frame
        assert expected == by_stage
    else:
        assert found.registers <= 128
        for column, values in by_stage.items():
            for value, stated in zip(values, expected[column], strict=True):
                assert value <= OTHER_COMPILER * stated + 1


def test_the_documentation_counts_every_card_that_it_should() -> None:
    assert {row["card"] for row in counted()} == {f"sm_{capability}" for capability in SHARED_BYTES}
    assert {row["precision"] for row in counted()} == {"float64", "float32", "mixed"}


@needs_compiler
def test_every_activation_compiles_for_a_card(layer_network: Network) -> None:
    for kind in (None, "ntk"):
        made = specialised(layer_network.architecture, layer_network.x1.shape[1:], kind)
        found = cubins.resources(compiled(made, 90))
        assert found.keys() == {"nk_tables" if kind is None else "nk_pairs"}
        assert all(resources.registers <= 128 for resources in found.values())


@needs_compiler
def test_a_card_that_the_compiler_does_not_know_is_one_sentence() -> None:
    with pytest.raises(
        UserError, match=r"does not compile for compute capability 3.5, expected one of .*9.0"
    ):
        nvrtc.compile_cubin("", {}, 35)


@needs_compiler
def test_what_the_compiler_refuses_is_said() -> None:
    with pytest.raises(UserError, match=r"refuses the kernel: .*nonsense"):
        nvrtc.compile_cubin("nonsense", {}, 90)


def test_what_is_no_cubin_is_refused() -> None:
    with pytest.raises(ValueError, match="no ELF file"):
        cubins.resources(b"path/to/something")


def test_versions_of_the_compiler_are_those_that_are_looked_for() -> None:
    (extra,) = re.findall(
        r'^cuda = \["nvidia-cuda-nvrtc>=(\d+)', (PERFORMANCE.parents[1] / "pyproject.toml").read_text(), re.M
    )
    assert int(extra) in nvrtc.MAJOR_VERSIONS
