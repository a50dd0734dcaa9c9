from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from studies import a_study, exponent, metrics

from neural_kernels.reports import style
from neural_kernels.reports.scaling import report_figures, write_scaling_figure, write_scaling_report
from neural_kernels.reports.scaling_panels import scaling_figure

SIZES = [2**k for k in range(4, 13)]
EIGHT = [
    "FC3",
    "CV8",
    "Myrtle5",
    "Myrtle7",
    "Myrtle10",
    "Myrtle10_with_a_long_name",
    "FC3_NNGP",
    "Conv1D-pooled",
]
FOUR = ["cifar5m", "cifar10", "cifar10_1_v4", "cifar10_1_v6"]


@pytest.fixture(autouse=True)
def _style() -> Iterator[None]:
    with style.context():
        yield


def pages(path: Path) -> int:
    return len(re.findall(rb"/Type /Page\b", path.read_bytes()))


def all_text(figure: Figure) -> list[Text]:
    """Every text that is drawn: titles, labels, ticks, legends and notes."""
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    drawn = []
    for ax in figure.axes:
        ticks = [*ax.get_xticklabels(which="both"), *ax.get_yticklabels(which="both")]
        drawn += [text for text in ticks if text in found]
        drawn += [ax.title, ax.xaxis.label, ax.yaxis.label]
    drawn += figure.texts
    for legend in figure.legends:
        drawn += legend.get_texts()
    return [text for text in dict.fromkeys(drawn) if text.get_visible() and text.get_text().strip()]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in all_text(figure)]
    boxes = [(name, box) for name, box in boxes if box.width > 0]
    return [(a, b) for i, (a, one) in enumerate(boxes) for b, other in boxes[:i] if one.overlaps(other)]


@pytest.mark.parametrize(
    ("kernels", "test_sets", "sizes", "kind"),
    [
        (["FC3"], ["digits"], [64, 128, 256, 512], {}),
        (["FC3", "CV8"], ["digits"], [256], {}),
        (["FC3", "CV8", "Myrtle10"], FOUR[:3], [2**k for k in range(4, 17)], {}),
        (EIGHT, FOUR, [2**k for k in range(4, 21)], {}),
        (["FC3"], ["mut_des", "des_mut"], [100, 300, 1000, 3000], {"regression": True}),
        (["FC3", "CV8", "Myrtle10"], ["tiny_imagenet"], [2**k for k in range(6, 18)], {"top5": True}),
        (EIGHT, ["tiny_imagenet"], [2**k for k in range(6, 18)], {"top5": True}),
        (["FC3", "CV8"], FOUR[:2], [2**k for k in range(4, 17)], {"top5": True}),
    ],
)
def test_no_text_overlaps_or_leaves_the_page(
    kernels: list[str], test_sets: list[str], sizes: list[int], kind: dict[str, Any]
) -> None:
    table = metrics(kernels, test_sets, sizes, draws=2, unconverged=((kernels[0], 2048),), **kind)
    for figure in report_figures(table, a_study({"FC3": 1000}, title="A title")):
        assert overlaps(figure) == []
        for text in all_text(figure):
            box = text.get_window_extent()
            assert box.x0 >= 0, text.get_text()
            assert box.y0 >= 0, text.get_text()
            assert box.x1 <= figure.bbox.width, text.get_text()
            assert box.y1 <= figure.bbox.height, text.get_text()
            assert float(text.get_fontsize()) >= 8, text.get_text()


@pytest.mark.parametrize("test_sets", [FOUR, FOUR[:1]])
@pytest.mark.parametrize("top5", [False, True])
def test_legends_and_panels_stay_apart(test_sets: list[str], top5: bool) -> None:
    figure = scaling_figure(metrics(EIGHT, test_sets, SIZES, top5=top5), a_study(), test_sets)
    figure.canvas.draw()
    boxes = [box for part in (*figure.axes, *figure.legends) if (box := part.get_tightbbox()) is not None]
    assert len(figure.legends) == len(test_sets)
    assert len(figure.axes) == (3 if top5 else 2) * len(test_sets)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_panels_show_the_points_the_fit_and_what_is_beyond() -> None:
    table = metrics(["FC3", "CV8"], ["cifar5m", "cifar10"], SIZES)
    figure = scaling_figure(table, a_study(fit={"n_min": 64, "n_max": 1024}), ["cifar5m", "cifar10"])
    assert len(figure.axes) == 4
    loss, accuracy, second, _ = figure.axes
    assert (loss.get_title(), second.get_title()) == ("CIFAR-5m", "CIFAR-10")
    assert (loss.get_xscale(), loss.get_yscale()) == ("log", "log")
    assert (accuracy.get_xscale(), accuracy.get_yscale()) == ("log", "linear")
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("Test loss", "Accuracy (%)")

    fits = [line for line in loss.lines if line.get_gid() == "fit"]
    assert [line.get_color() for line in fits] == list(style.COLOURS[:2])
    for kernel, line in enumerate(fits):
        np.testing.assert_array_equal(line.get_xdata(), [64, 1024])
        slope = np.diff(np.log(np.asarray(line.get_ydata()))) / np.diff(np.log(np.asarray(line.get_xdata())))
        assert -slope[0] == pytest.approx(exponent(kernel, 0), rel=1e-9)
    beyond = [line for line in loss.lines if line.get_gid() == "beyond"]
    assert [tuple(np.asarray(line.get_xdata())) for line in beyond] == [(16, 64), (1024, 4096)] * 2
    assert all(line.is_dashed() for line in beyond)

    means = [line for line in loss.lines if line.get_gid() == "mean"]
    shown = [
        point
        for line in means
        for point in zip(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), strict=True)
    ]
    wanted = table.loc[(table["split"] == "cifar5m") & (table["metric"] == "loss")]
    assert len(shown) == 2 * len(SIZES)
    for n, value in zip(wanted["n"], wanted["value"], strict=True):
        assert any(m == n and v == pytest.approx(value) for m, v in shown)
    assert (
        max(
            max(np.asarray(line.get_ydata()), default=0)
            for line in accuracy.lines
            if line.get_gid() == "mean"
        )
        > 50
    )


def test_top5_accuracy_has_a_panel_and_a_column_of_its_own() -> None:
    table = metrics(["FC3"], ["tiny_imagenet"], SIZES, top5=True)
    panels, tables, _ = report_figures(table, a_study())
    assert [ax.get_ylabel() for ax in panels.axes] == ["Test loss", "Accuracy (%)", "Top-5 accuracy (%)"]
    # Of one test set, all three side by side.
    assert len({ax.get_position().y0 for ax in panels.axes}) == 1
    wanted = table.loc[table["metric"] == "top5_accuracy"]
    (line,) = [
        line
        for line in panels.axes[2].lines
        if line.get_gid() == "mean" and len(np.asarray(line.get_xdata()))
    ]
    np.testing.assert_array_equal(line.get_xdata(), wanted["n"])
    np.testing.assert_allclose(np.asarray(line.get_ydata()), 100 * wanted["value"])
    words = [text.get_text() for text in tables.texts]
    assert words.index("Accuracy (%)") < words.index("Top-5 accuracy (%)") < words.index("Test loss")
    assert f"{100 * wanted['value'].iloc[-1]:.2f}" in words


def test_the_legend_has_the_exponent_and_its_interval() -> None:
    figure = scaling_figure(metrics(["FC3"], ["digits"], SIZES), a_study(), ["digits"])
    (text,) = figure.legends[0].get_texts()
    assert text.get_text() == f"FC3 NTK  {style.ALPHA} = 0.100 [0.100, 0.100]"


def curved(loss: Callable[[np.ndarray], np.ndarray], noise: float) -> pd.DataFrame:
    """Metrics of three draws whose loss is this function of n."""
    table = metrics(["FC3"], ["digits"], SIZES, draws=3)
    rows = (table["metric"] == "loss") & (table["split"] == "digits")
    errors = noise * np.random.default_rng(0).standard_normal(int(rows.sum()))
    table.loc[rows, "value"] = loss(table.loc[rows, "n"].to_numpy(float)) * np.exp(errors)
    return table


def test_a_floor_is_drawn_and_said() -> None:
    table = curved(lambda n: n**-0.3 + 0.1, 1e-3)
    panels, tables, *_ = report_figures(table, a_study())
    (line,) = [line for line in panels.axes[0].lines if line.get_gid() == "fit"]
    x, y = np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)
    np.testing.assert_allclose(y, x**-0.3 + 0.1, rtol=0.005)
    assert re.search(
        r" = 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\], floor 0\.", panels.legends[0].get_texts()[0].get_text()
    )
    words = " ".join(text.get_text() for text in tables.texts)
    assert "no pure power law (p < 0.0001): the loss falls to a floor" in words
    assert "A straight line would give 0.19" in words


def test_a_curve_that_is_no_power_law_has_no_exponent() -> None:
    table = curved(lambda n: np.where(n > 256, (n / 256) ** -0.4 * 256**-0.1, n**-0.1), 1e-3)
    study = a_study(fit={"n_min": 16})
    panels, tables, *_ = report_figures(table, study)
    assert not [line for line in panels.axes[0].lines if line.get_gid() in ("fit", "beyond")]
    assert panels.legends[0].get_texts()[0].get_text() == "FC3 NTK  no power law"
    assert any("No power law: the tables say why" in text.get_text() for text in panels.texts)
    words = " ".join(text.get_text() for text in tables.texts)
    assert "no power law over n = 16 to 4,096: the exponent still grows, from" in words


def test_a_single_draw_of_four_sizes_is_said_to_give_no_interval() -> None:
    panels, tables, *_ = report_figures(
        curved(lambda n: n**-0.1, 0.0).query("n < 256 and draw == 0"), a_study()
    )
    assert f"{style.ALPHA} = 0.100 [0.100, 0.100]" in panels.legends[0].get_texts()[0].get_text()
    table = curved(lambda n: n**-0.1, 0.01).query("n < 256 and draw == 0")
    panels, tables, *_ = report_figures(table, a_study())
    assert re.search(r" = 0\.\d{3}, no interval", panels.legends[0].get_texts()[0].get_text())
    words = " ".join(text.get_text() for text in tables.texts)
    assert "4 sizes with a draw each do not tell whether there is a floor" in words


def test_draws_are_dots_around_their_mean() -> None:
    figure = scaling_figure(metrics(["FC3"], ["digits"], SIZES, draws=3), a_study(), ["digits"])
    (draws,) = [line for line in figure.axes[0].lines if line.get_gid() == "draws"]
    assert np.asarray(draws.get_xdata()).tolist() == [n for n in SIZES[:7] for _ in range(3)] + [2048, 2048]
    assert any("dots: single draws" in text.get_text() for text in figure.texts)


def test_unconverged_solves_are_open_and_said() -> None:
    table = metrics(["FC3", "CV8"], ["a", "b"], SIZES, unconverged=(("FC3", 4096), ("CV8", 4096)))
    figure = scaling_figure(table, a_study(), ["a", "b"])
    for ax in figure.axes:
        opened = [
            np.asarray(line.get_xdata()).tolist()
            for line in ax.lines
            if line.get_markerfacecolor() == "white"
        ]
        assert opened == [[4096], [4096]]
    (note,) = [text for text in figure.texts if "did not converge" in text.get_text()]
    assert note.get_text() == "Open markers: 2 solves that did not converge, left out of the fits."
    words = [text.get_text() for page in report_figures(table, a_study())[1:] for text in page.texts]
    assert "1 unconverged left out" in words
    assert any("(not converged)" in word or word == "converged)" for word in words)


def test_without_a_fit_there_is_no_line_and_the_legend_says_so() -> None:
    figure = scaling_figure(metrics(["FC3"], ["digits"], [64, 128]), a_study(), ["digits"])
    assert not [line for line in figure.axes[0].lines if line.get_gid() in ("fit", "beyond")]
    assert figure.legends[0].get_texts()[0].get_text() == "FC3 NTK  no fit"
    assert not any("least squares" in text.get_text() for text in figure.texts)
    words = [text.get_text() for text in report_figures(metrics(["FC3"], ["d"], [64]), a_study())[1].texts]
    assert any("needs 4 training sizes" in word for word in words)


def test_a_loss_of_zero_is_left_out_of_the_panel(tmp_path: Path) -> None:
    table = metrics(["FC3"], ["a"], SIZES)
    for zero in (table["n"] == 4096, table["n"] > 0):
        table.loc[zero & (table["metric"] == "loss"), "value"] = 0.0
        figure = scaling_figure(table, a_study(), ["a"])
        assert figure.legends[0].get_texts()[0].get_text() == "FC3 NTK  no fit"
        write_scaling_report(table, a_study(), tmp_path / "report.pdf")
        assert pages(tmp_path / "report.pdf") == 3


def test_single_precision_and_fewer_test_examples_are_named() -> None:
    table = metrics(["FC3", "CV8"], ["digits"], SIZES, single_precision=("CV8",))
    figures = report_figures(table, a_study({"FC3": None, "CV8": 1000}))
    for figure, legend in ((figures[0], True), (figures[1], False)):
        texts = [t.get_text() for t in (figure.legends[0].get_texts() if legend else figure.texts)]
        assert any("CV8 NTK, float32" in text for text in texts)
        assert "CV8 NTK, float32 on the first 1,000" in " ".join(text.get_text() for text in figure.texts)


def test_a_kernel_without_one_of_the_test_sets_is_reported_all_the_same(tmp_path: Path) -> None:
    table = metrics(["FC3", "CV8"], ["a", "b"], SIZES)
    table = table.loc[~((table["kernel"] == "CV8") & (table["split"] == "b"))]
    write_scaling_report(table, a_study(), tmp_path / "report.pdf")
    assert pages(tmp_path / "report.pdf") == 4


@pytest.mark.parametrize(("test_sets", "expected"), [(["a"], 3), (list("abcdef"), 5)])
def test_the_pdf_has_its_pages(tmp_path: Path, test_sets: list[str], expected: int) -> None:
    out = tmp_path / "results" / "demo_scaling.pdf"
    write_scaling_report(metrics(["FC3"], test_sets, SIZES), a_study(title="Demo"), out)
    assert pages(out) == expected
    content = out.read_bytes()
    assert content.startswith(b"%PDF-")
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert b"/Image" not in content.replace(b"/ImageB", b"").replace(b"/ImageC", b"").replace(b"/ImageI", b"")


def test_equal_tables_give_equal_files(tmp_path: Path) -> None:
    table = metrics(["FC3", "CV8"], ["a"], SIZES, draws=2)
    for name in ("one.pdf", "two.pdf"):
        write_scaling_report(table, a_study(), tmp_path / name)
    assert (tmp_path / "one.pdf").read_bytes() == (tmp_path / "two.pdf").read_bytes()
    for name in ("one.svg", "two.svg"):
        write_scaling_figure(table, a_study(), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_the_figure_is_an_image(tmp_path: Path) -> None:
    write_scaling_figure(metrics(["FC3"], ["a"], SIZES), a_study(), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_tables_that_cannot_be_reported_are_refused(tmp_path: Path) -> None:
    table = metrics(["FC3"], ["a"], SIZES)
    two = pd.concat([table, table.assign(study="other")], ignore_index=True)
    with pytest.raises(ValueError, match="of the studies demo, other"):
        write_scaling_report(two, a_study(), tmp_path / "report.pdf")
    with pytest.raises(ValueError, match="expected loss or mse"):
        write_scaling_report(table.loc[table["split"] == "train"], a_study(), tmp_path / "report.pdf")
    assert list(tmp_path.iterdir()) == []
