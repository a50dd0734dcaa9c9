from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural_kernels.reports import style


@given(st.floats(1e-5, 1e5), st.floats(1.05, 1e8), st.sampled_from([2, 10]), st.integers(4, 6))
def test_ticks_are_few_increasing_and_inside(low: float, ratio: float, base: int, most: int) -> None:
    ticks = style.log_ticks(low, low * ratio, base, most)
    assert 1 <= len(ticks) <= most + 1
    assert ticks == sorted(set(ticks))
    assert all(low * (1 - 1e-9) <= tick <= low * ratio * (1 + 1e-9) for tick in ticks)


@pytest.mark.parametrize(
    ("low", "high", "base", "expected"),
    [
        (14, 75_000, 2, [100, 1000, 10_000]),
        (14, 1100, 2, [16, 32, 64, 128, 256, 512, 1024]),
        (0.02, 0.095, 10, [0.03, 0.05, 0.07, 0.09]),
        (0.0015, 0.1, 10, [0.002, 0.005, 0.01, 0.02, 0.05, 0.1]),
        (0.071, 0.081, 10, [0.072, 0.074, 0.076, 0.078, 0.08]),
    ],
)
def test_ticks_that_a_person_would_choose(low: float, high: float, base: int, expected: list[float]) -> None:
    assert style.log_ticks(low, high, base, 7) == pytest.approx(expected)


def test_thinned_powers_of_two_keep_the_largest() -> None:
    assert style.log_ticks(14, 1100, 2, 4) == [16, 64, 256, 1024]
    assert style.log_ticks(30, 1100, 2, 4)[-1] == 1024


@pytest.mark.parametrize(
    ("value", "label"), [(65536, "65,536"), (16, "16"), (0.05, "0.05"), (1e6, "$10^{6}$"), (2e6, "2.0e+06")]
)
def test_labels_of_ticks(value: float, label: str) -> None:
    assert style.tick_label(value) == label


def test_the_callers_settings_come_back() -> None:
    before = matplotlib.rcParams["font.size"]
    with style.context():
        assert matplotlib.rcParams["pdf.fonttype"] == 42
    assert matplotlib.rcParams["font.size"] == before


def test_colours_and_markers_are_distinct() -> None:
    assert len(set(style.COLOURS)) == len(set(style.MARKERS)) == 8


def test_only_known_kinds_of_image_are_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not as figure\.jpg"):
        style.write_image(style.new_figure(), tmp_path / "figure.jpg")
    assert list(tmp_path.iterdir()) == []
