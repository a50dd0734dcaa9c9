from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from studies import a_study, metrics

from neural_kernels.reports import one_sentence, style
from neural_kernels.reports.augmentation import (
    Augmented,
    augmentation_figure,
    factors_table,
    report_figures,
    write_augmentation_figure,
    write_augmentation_report,
)
from neural_kernels.reports.contact_sheet import ContactSheet, contact_sheet_figure

IMAGES = 100
SIZES = [100, 200, 400, 800, 2000]
STUDY = a_study(
    title="A title",
    data={"name": "digits", "augmentation": {"factor": 20, "magnitude": 4, "padding": 4}},
    ridge={"candidates": [1e-4, 1e-2, 1.0]},
    solver={"tolerance": 1e-4},
)


def sheet(images: int = 20, copies: int = 8, channels: int = 3, size: int = 32) -> ContactSheet:
    values = np.random.default_rng(0).integers(0, 256, (images, copies, size, size, channels), dtype=np.uint8)
    operations = [["Original", "Flip", *["Brightness"] * (copies - 2)][:copies]] * images
    return ContactSheet(values, operations, ["automobile"] * images, factor=max(copies, 3))


def augmented(kernels: tuple[str, ...], test_sets: tuple[str, ...], shown: ContactSheet | None) -> Augmented:
    return Augmented(IMAGES, {kernel: dict.fromkeys(test_sets, 2000) for kernel in kernels}, shown)


def table(
    kernels: tuple[str, ...] = ("FC3", "CV8"), test_sets: tuple[str, ...] = ("cifar10",), **options: object
) -> tuple[pd.DataFrame, Augmented]:
    numbers = metrics(list(kernels), list(test_sets), SIZES, **options)  # type: ignore[arg-type]
    return numbers, augmented(kernels, test_sets, sheet(images=1, copies=3))


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with style.context():
        yield


def all_text(figure: Figure) -> list[Text]:
    drawn: list[Text] = []
    for ax in figure.axes:
        if ax.axison:
            for axis, (low, high) in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
                # Matplotlib has ticks beyond the limits too, which it does not draw.
                ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
                drawn += [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
            drawn += [ax.title, ax.xaxis.label, ax.yaxis.label]
    drawn += figure.texts
    for legend in figure.legends:
        drawn += legend.get_texts()
    return [text for text in dict.fromkeys(drawn) if text.get_visible() and text.get_text().strip()]


def check_page(figure: Figure) -> None:
    """No text is small, leaves the page or overlaps another."""
    figure.canvas.draw()
    texts = [(text, text.get_window_extent()) for text in all_text(figure)]
    texts = [(text, box) for text, box in texts if box.width > 0]
    for place, (text, box) in enumerate(texts):
        assert float(text.get_fontsize()) >= 8, text.get_text()
        inside = box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 and box.y1 <= figure.bbox.height
        assert inside, text.get_text()
        for other, its_box in texts[:place]:
            assert not box.overlaps(its_box), (text.get_text(), other.get_text())


@pytest.mark.parametrize(
    "case",
    [
        table(),
        table(("FC3",), ("cifar10", "cifar10_1")),
        table(("FC3", "CV8", "Myrtle10", "Tuned_Myrtle10_of_a_study"), ("cifar10", "cifar10_1", "cifar5m")),
        table(unconverged=(("CV8", 2000),)),
        table(regression=True),
    ],
    ids=["one test set", "two", "three", "unconverged", "regression"],
)
def test_no_text_overlaps_or_leaves_the_page(case: tuple[pd.DataFrame, Augmented]) -> None:
    for figure in report_figures(case[0], STUDY, case[1]):
        check_page(figure)


@pytest.mark.parametrize(
    ("shown", "pictures"),
    [
        # As many rows as a page holds; columns and the rows of another group beside them.
        (sheet(copies=8), 5 * 8),
        (sheet(copies=10), 6 * 10),
        (sheet(copies=20), 6 * 10),
        (sheet(copies=3), 2 * 4 * 3),
        (sheet(copies=2, channels=1, size=8), 2 * 4 * 2),
        (sheet(images=2, copies=4), 2 * 4),
    ],
)
def test_a_contact_sheet_fills_its_page_and_no_more(shown: ContactSheet, pictures: int) -> None:
    figure = contact_sheet_figure(shown, "heading")
    check_page(figure)
    boxes = [ax.bbox for ax in figure.axes]
    assert len(boxes) == min(pictures, shown.images.shape[0] * shown.images.shape[1])
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y0 >= 0 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    texts = [text.get_window_extent() for text in all_text(figure)]
    assert not any(box.overlaps(text) for box in boxes for text in texts)


def test_pictures_are_the_images_with_their_operations() -> None:
    shown = sheet(copies=3)
    figure = contact_sheet_figure(shown, "heading")
    pixels = [np.asarray(ax.images[0].get_array()) for ax in figure.axes]
    for place in range(6):
        np.testing.assert_array_equal(pixels[place][::5, ::5], shown.images[place // 3, place % 3])
    words = [text.get_text() for text in figure.texts]
    count = len(figure.axes) // 3
    assert [words.count(word) for word in ("Original", "Flip", "Brightness", "automobile")] == [count] * 4


def test_panels_show_the_numbers_of_the_table_against_the_factor() -> None:
    numbers, what = table(unconverged=(("CV8", 2000),))
    figure = augmentation_figure(numbers, STUDY, what, ["cifar10"])
    panels = {str(ax.get_gid()): ax for ax in figure.axes}
    assert set(panels) == {"accuracy cifar10", "loss cifar10"}
    for name, ax in panels.items():
        scale = 100 if name.startswith("accuracy") else 1
        lines = [line for line in ax.lines if line.get_linestyle() == "-"]
        for line, kernel in zip(lines, ("FC3", "CV8"), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 4, 8, 20])
            own = numbers.query(
                f"kernel == '{kernel}' and split == 'cifar10' and metric == '{name.split()[0]}'"
            )
            np.testing.assert_allclose(np.asarray(line.get_ydata()), scale * own["value"])
        opened = [
            line
            for line in ax.lines
            if line.get_markerfacecolor() == "white" and len(np.asarray(line.get_xdata()))
        ]
        assert [list(np.asarray(line.get_xdata())) for line in opened] == [[20]]
    assert any("did not converge" in text.get_text() for text in figure.texts)


def test_the_table_has_a_row_for_each_factor_and_the_change_from_the_first() -> None:
    numbers, _ = table(unconverged=(("CV8", 2000),))
    shown = factors_table(numbers, STUDY, IMAGES, "cifar10")
    assert [row[:3] for row in shown.rows[:5]] == [
        ["FC3 NTK", str(n // IMAGES), f"{n:,}"] for n in SIZES
    ]  # fmt: skip
    first, last = (100 * (0.2 + 0.05 * np.log(n)) for n in (100, 2000))
    assert shown.rows[0][3:] == ["1e-04*", "0.0500", f"{0.2 * 100**-0.1:.4f}", f"{first:.2f}", ""]
    assert shown.rows[4][6:] == [f"{last:.2f}", f"+{last - first:.2f}"]
    assert shown.alerts == {9}
    assert any(note.startswith("*") for note in shown.notes)


def test_equal_tables_give_equal_files(tmp_path: Path) -> None:
    numbers, what = table()
    for name in ("a.pdf", "b.pdf"):
        write_augmentation_report(numbers, STUDY, what, tmp_path / name)
    content = (tmp_path / "a.pdf").read_bytes()
    assert content == (tmp_path / "b.pdf").read_bytes()
    assert len(re.findall(rb"/Type /Page\b", content)) >= 3
    write_augmentation_figure(numbers, STUDY, what, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_other_tables_are_refused() -> None:
    numbers, what = table()
    with pytest.raises(ValueError, match="n = 100, expected multiples of 150 images"):
        write_augmentation_report(numbers, STUDY, Augmented(150, what.tested, None), Path("unused.pdf"))
    two = pd.concat([numbers, numbers.assign(study="other")])
    with pytest.raises(ValueError, match="of the studies demo, other"):
        write_augmentation_report(two, STUDY, what, Path("unused.pdf"))


def test_one_sentence_goes_from_the_fewest_copies_to_the_most() -> None:
    said = one_sentence.of_augmentation(table()[0], STUDY, IMAGES)
    assert re.fullmatch(
        r"from factor 1 to 20 CV8 NTK goes from accuracy \d+\.\d % to \d+\.\d % on CIFAR-10", said
    ), said
