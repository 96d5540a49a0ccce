"""Parts of the page by themselves: markup, axes, labels, the SVG of figures."""

from __future__ import annotations

import itertools
import json
import math

import pytest

from nodebench.reporting.report.axes import axis_over
from nodebench.reporting.report.charts import Chart, Curve, axes_over, spread
from nodebench.reporting.report.inlining import inlined, page_colours
from nodebench.reporting.report.markup import Markup, element, embedded_json
from nodebench.reporting.report.titles import title


def test_what_is_not_markup_is_escaped_and_markup_is_not_escaped_twice() -> None:
    inner = element("b", '1 < 2 & "3"', title='">')
    assert inner == '<b title="&quot;&gt;">1 &lt; 2 &amp; &quot;3&quot;</b>'
    assert element("p", inner, None, ["x", Markup("<br>")]) == f"<p>{inner}x<br></p>"
    assert (
        element("input", type="search", hidden=True, disabled=False, value=None)
        == '<input type="search" hidden>'
    )


def test_embedded_json_ends_no_element_and_reads_back() -> None:
    value = {"</script>": ["<!--", "\u2028", "&amp;", 1.5, None]}
    text = embedded_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


@pytest.mark.parametrize(
    "numbers",
    [[0.0], [1.0, 1.0], [-3.0, 5.0], [1e-5, 10.0], [0.98, 0.99], [-1e99, 1e99], [1e-99, 1e99], [0.0, 1e-99]],
)
def test_an_axis_has_a_place_for_its_numbers_and_round_ticks_inside(numbers: list[float]) -> None:
    axis = axis_over(numbers, 0.0, 100.0)
    assert all(0 <= axis.at(number) <= 100 for number in numbers)
    ticks = axis.ticks(4)
    assert 1 <= len(ticks) <= 12
    assert all(-1e-6 <= axis.at(tick) <= 100 + 1e-6 for tick in ticks)
    assert len({axis.label(tick) for tick in ticks}) == len(ticks)


def test_numbers_over_several_powers_of_ten_are_on_a_logarithmic_axis() -> None:
    axis = axis_over([1e-3, 1.0], 0.0, 90.0)
    assert axis.is_log
    assert axis.at(0.1) - axis.at(0.01) == pytest.approx(axis.at(1.0) - axis.at(0.1))
    assert axis_over([0.5, 1.0], 0.0, 90.0).is_log is False
    assert axis_over([1e-6], 0.0, 1.0).label(1e-6) == "10⁻⁶"
    assert axis_over([0.0, 5000.0], 0.0, 1.0).label(2000.0) == "2,000"


def test_the_beginning_of_a_line_is_left_out_only_where_the_line_is_long() -> None:
    def highest(ys: list[float]) -> float:
        curve = Curve("mlp", [(float(x), y) for x, y in enumerate(ys, start=1)])
        return axes_over([Chart("key", "title", "", "epoch", [curve])])[1].high

    assert highest([20.0, 2.0, 1.5, 1.0]) > 20
    assert highest([20.0, 2.0, *(1.5 - 0.01 * number for number in range(20))]) < 3


def test_labels_keep_their_order_and_their_distance() -> None:
    places = spread([50.0, 51.0, 10.0, 99.0, 100.0], 10.0, 0.0, 100.0)
    ordered = [places[index] for index in (2, 0, 1, 3, 4)]
    assert all(after - before >= 10 - 1e-9 for before, after in itertools.pairwise(ordered))
    assert min(places) >= 0
    assert max(places) <= 100
    many = spread([1.0] * 30, 10.0, 0.0, 100.0)
    assert math.isclose(max(many) - min(many), 100.0)


SVG = """<?xml version="1.0"?>
<!DOCTYPE svg>
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="691.2pt" height="200pt" viewBox="0 0 691.2 200" version="1.1">
 <metadata>made on a day</metadata>
 <defs><style type="text/css">*{stroke-linejoin: round}</style></defs>
 <g id="figure_1"><path id="a1" d="M 1.23456 2.000001
L 3.14159 4
z
" clip-path="url(#p1)" style="fill: #ffffff; stroke: #123456"/>
 <use xlink:href="#a1" x="10.98765" style="font: bold 9px 'DejaVu Sans', 'Arial', sans-serif; text-anchor: middle"/></g>
 <defs><clipPath id="p1"><rect x="0" y="0.123456" width="1" height="1"/></clipPath></defs>
</svg>
"""


def test_the_svg_of_a_figure_has_the_pages_font_and_colours_and_ids_of_its_own() -> None:
    text = inlined(SVG, "fig5")
    assert text.startswith('<svg viewBox="0 0 691.2 200">')
    assert "metadata" not in text
    assert "stroke-linejoin" not in text  # a rule of the whole page
    assert 'd="M1.23 2L3.14 4z"' in text
    assert 'clip-path="url(#fig5-i1)"' in text
    assert 'href="#fig5-i0"' in text
    assert '<path id="fig5-i0"' in text
    assert "figure_1" not in text  # nothing refers to it
    assert "fill:var(--cffffff);stroke:#123456" in text
    assert "font-weight:bold;font-size:9px;text-anchor:middle" in text
    assert "DejaVu" not in text
    assert "ffffff" in page_colours()


def test_a_style_of_many_elements_is_a_class() -> None:
    mark = '<path style="fill: #d1602a"/>'
    text = inlined(f'<svg viewBox="0 0 1 1">{mark * 3}</svg>', "fig7")
    assert "<style>.fig7-0{fill:var(--cd1602a)}</style>" in text
    assert text.count('<path class="fig7-0"/>') == 3


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        ("fig10", "Figure 10"),
        ("table1", "Table 1"),
        ("per_image", "Image by image"),
        ("speed_accuracy", "Speed and accuracy"),
        ("nfe", "NFE"),
        ("gradients", "Gradients"),
    ],
)
def test_figures_and_tables_are_called_as_they_are_spoken(name: str, spoken: str) -> None:
    assert title(name) == spoken
