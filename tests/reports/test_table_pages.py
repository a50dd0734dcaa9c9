from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from matplotlib.figure import Figure

from neural_kernels.reports import style
from neural_kernels.reports.table_pages import Table, table_pages


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with style.context():
        yield


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def boxes(figure: Figure) -> list[tuple[float, float, float, float]]:
    """Extents of all text in inches: left, bottom, right, top."""
    found = [text.get_window_extent() for text in figure.texts if text.get_text()]
    return [(b.x0 / figure.dpi, b.y0 / figure.dpi, b.x1 / figure.dpi, b.y1 / figure.dpi) for b in found]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    texts = [text for text in figure.texts if text.get_text()]
    extents = boxes(figure)
    return [
        (texts[i].get_text(), texts[j].get_text())
        for i, (left, bottom, right, top) in enumerate(extents)
        for j, other in enumerate(extents[:i])
        if left < other[2] and other[0] < right and bottom < other[3] and other[1] < top
    ]


def long_table(rows: int) -> Table:
    return Table(
        "Table",
        ["Name of the kernel", "n", "A remark that is rather long for its column"],
        [[f"row {row}", f"{row * 1000:,}", "remarkable " * (1 + row % 9)] for row in range(rows)],
        numbers=frozenset({1}),
        alerts=frozenset({2}),
        notes=["A note that follows the last row of the table. " * 6],
    )


@pytest.mark.parametrize("rows", [1, 5, 24, 60])
def test_every_row_is_on_a_page_once_in_order(rows: int) -> None:
    pages = table_pages([long_table(rows)], "footer")
    found = [word for page in pages for word in words(page) if word.startswith("row ")]
    assert found == [f"row {row}" for row in range(rows)]


@pytest.mark.parametrize("rows", range(20, 30))
def test_nothing_overlaps_or_leaves_the_page(rows: int) -> None:
    for page in table_pages([long_table(rows), long_table(3)], "footer"):
        width, height = page.get_size_inches()
        left, bottom, right, top = np.array(boxes(page)).T
        assert left.min() >= 0.3
        assert bottom.min() >= 0.2
        assert right.max() <= width - 0.3
        assert top.max() <= height - 0.3
        assert overlapping(page) == []


@pytest.mark.parametrize("rows", range(1, 40, 3))
def test_no_page_has_a_header_or_notes_alone(rows: int) -> None:
    for page in table_pages([long_table(rows), long_table(rows)], "footer"):
        assert any(word.startswith("row ") for word in words(page))


@pytest.mark.parametrize("rows", range(20, 60, 4))
def test_a_group_of_rows_stays_on_one_page(rows: int) -> None:
    starts = frozenset(range(12, rows, 12))
    table = Table("Table", ["Row"], [[f"row {row}"] for row in range(rows)], rules=starts)
    pages = [{word for word in words(page) if word.startswith("row ")} for page in table_pages([table], "")]
    for first in (0, *starts):
        group = {f"row {row}" for row in range(first, min(first + 12, rows))}
        assert sum(bool(group & page) for page in pages) == 1


def test_a_group_that_no_page_holds_is_split() -> None:
    rows = [[f"row {row}"] for row in range(100)]
    pages = table_pages([Table("Table", ["Row"], rows, rules=frozenset({5}))], "")
    assert [word for page in pages for word in words(page) if word.startswith("row ")] == [r for (r,) in rows]
    assert "row 5" in words(pages[0])


def test_lines_of_a_cell_stay_lines_and_quoted_rows_are_in_italics() -> None:
    (page,) = table_pages([Table("Table", ["A"], [["one\ntwo"], ["three"]], quoted=frozenset({1}))], "")
    styles = {text.get_text(): text.get_fontstyle() for text in page.texts}
    assert (styles["one"], styles["two"], styles["three"]) == ("normal", "normal", "italic")


def test_following_pages_repeat_the_header_and_count_on() -> None:
    pages = table_pages([long_table(60)], "footer", first_page=4)
    assert len(pages) > 2
    for number, page in enumerate(pages, start=4):
        assert "Name of the kernel" in words(page)
        assert str(number) in words(page)
        assert "footer" in words(page)
    assert "Table (continued)" in words(pages[1])


def test_alerts_are_bold_and_red() -> None:
    (page,) = table_pages([long_table(4)], "footer")
    cell = {text.get_text(): text for text in page.texts}
    assert (cell["row 2"].get_color(), cell["row 2"].get_fontweight()) == (style.ALERT, "bold")
    assert cell["row 1"].get_color() != style.ALERT


def test_numbers_are_flush_right() -> None:
    (page,) = table_pages([long_table(4)], "footer")
    right = {
        b[2] for text, b in zip(page.texts, boxes(page), strict=True) if text.get_text() in ("1,000", "3,000")
    }
    assert max(right) - min(right) < 0.02


def test_no_text_is_below_eight_points() -> None:
    (page,) = table_pages([long_table(4)], "footer")
    assert min(float(text.get_fontsize()) for text in page.texts) >= 8


def test_impossible_tables_are_refused() -> None:
    with pytest.raises(ValueError, match="a row of 1 cells, expected 2"):
        table_pages([Table("T", ["a", "b"], [["1"]])], "")
    with pytest.raises(ValueError, match="too many for a page"):
        table_pages([Table("T", ["column"] * 40, [["12345678"] * 40])], "")
