"""Charts: known points lie where the ticks say, counts add up, hostile text stays text."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datadiet.errors import OptionError
from datadiet.report.bars import Bins, bins_chart
from datadiet.report.canvas import NARROW, Axis, rounded, text_width
from datadiet.report.density import Cells, density_chart
from datadiet.report.intervals import Interval, intervals
from datadiet.report.labels import ROW, apart
from datadiet.report.palette import BASELINE, look
from datadiet.report.svg import Level, Series, histogram, line_chart

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</text><script>alert(\"x\")</script> & 'y' \x00\ud800"
RANDOM = Series("random", [0.1, 0.3, 0.5], [0.80, 0.90, 0.92], [0.02, 0.01, 0.005], baseline=True)
CCS = Series("ccs", [0.1, 0.3, 0.5], [0.84, 0.91, 0.93], [0.01, 0.01, 0.005])
LABELS = {"title": "Accuracy", "x_label": "kept", "y_label": "accuracy"}


def elements(svg: str, name: str, class_: str | None = None) -> list[ElementTree.Element]:
    found = ElementTree.fromstring(svg).iter(SVG + name)
    return [one for one in found if class_ is None or class_ in one.get("class", "").split()]


def numbers(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"-?\d+(?:\.\d+)?", text)]


def scale(svg: str, axis: str) -> tuple[float, float]:
    """Offset and pixels per unit, read off the first and last tick label of the drawn axis."""
    ticks = elements(svg, "text", f"dd-{axis}")
    values = [float(tick.text.rstrip("%").replace(",", "")) / (100 if tick.text.endswith("%") else 1) for tick in ticks]
    # A vertical tick label stands 4 px below its line, so that its digits are centred on it.
    places = [float(tick.get(axis)) - (4 if axis == "y" else 0) for tick in ticks]
    slope = (places[-1] - places[0]) / (values[-1] - values[0])
    return places[0] - slope * values[0], slope


def test_points_bands_and_level_lie_where_the_ticks_say():
    svg = line_chart([RANDOM, CCS], reference=Level("full data", 0.95, 0.01), **LABELS)
    (x0, dx), (y0, dy) = scale(svg, "x"), scale(svg, "y")
    assert dx > 0 > dy
    for series, group in zip([RANDOM, CCS], elements(svg, "g", "dd-series"), strict=True):
        line, *markers = list(group)
        wanted = [(x0 + dx * x, y0 + dy * y) for x, y in zip(series.x, series.y, strict=True)]
        assert numbers(line.get("d")) == pytest.approx(list(itertools.chain(*wanted)), abs=0.03)
        assert [numbers(marker.get("transform")) for marker in markers] == [pytest.approx(w, abs=0.03) for w in wanted]
    first, _ = elements(svg, "path", "dd-band")
    upper = [(x0 + dx * x, y0 + dy * (y + s)) for x, y, s in zip(RANDOM.x, RANDOM.y, RANDOM.spread, strict=True)]
    assert numbers(first.get("d"))[:6] == pytest.approx(list(itertools.chain(*upper)), abs=0.03)
    rule = elements(svg, "line")[-1]
    assert float(rule.get("y1")) == pytest.approx(y0 + dy * 0.95, abs=0.03)
    (band,) = elements(svg, "rect", "dd-band")
    assert float(band.get("height")) == pytest.approx(-dy * 0.02, abs=0.03)


def test_series_are_distinct_named_and_inside_the_drawing():
    many = [Series(f"Method No. {i}", [0.1, 0.9], [0.5, 0.9 + i / 1e4]) for i in range(24)]
    svg = line_chart(many, **LABELS)
    root = ElementTree.fromstring(svg)
    width, height = numbers(root.get("viewBox"))[2:]
    looks = [(list(g)[1].get("fill"), list(g)[1].get("d")) for g in elements(svg, "g", "dd-series")]
    assert len(set(looks)) == 24
    names = elements(svg, "text", "dd-name")
    assert [name.text for name in names] == [one.name for one in many]
    heights = sorted(float(name.get("y")) for name in names)
    assert min(np.diff(heights)) >= ROW - 0.02
    assert heights[0] > 0 and heights[-1] < height
    assert all(float(name.get("x")) + text_width(name.text) <= width for name in names)


def test_a_series_keeps_its_look_in_every_chart():
    mine = Series("mine", [0.1, 0.5], [0.8, 0.9], look=look(3))
    for others in ([], [CCS], [RANDOM, CCS]):
        svg = line_chart([*others, mine], **LABELS)
        line, marker, *_ = list(elements(svg, "g", "dd-series")[-1])
        assert line.get("stroke") == marker.get("fill") == look(3).colour and marker.get("d") == look(3).marker
    dashed = next(iter(elements(line_chart([RANDOM], **LABELS), "g", "dd-series")[0]))
    assert dashed.get("stroke-dasharray") == BASELINE.dashes


def test_looks_differ_in_colour_and_marker():
    looks = [look(place) for place in range(30)]
    assert len(set(looks)) == 30
    assert all(len({one[part] for one in looks[:5]}) == 5 for part in (0, 1))


def test_a_narrow_chart_has_its_names_above_the_frame_and_inside_the_drawing():
    many = [Series(f"Method No. {i}", [0.1, 0.9], [0.5, 0.9], look=look(i)) for i in range(7)]
    long = Series("a name that is far too long for a drawing this narrow, so that it must be shortened", [0.1], [0.5])
    svg = line_chart([*many, long], reference=Level("full data", 0.95), width=NARROW, **LABELS)
    assert ElementTree.fromstring(svg).get("viewBox").split()[2] == f"{NARROW:.0f}"
    names = elements(svg, "text", "dd-name")
    assert [name.text for name in names][:7] == [one.name for one in many] and names[7].text.endswith("…")
    assert all(float(name.get("x")) + text_width(name.text) <= NARROW for name in names)
    top = min(float(tick.get("y")) for tick in elements(svg, "text", "dd-y"))
    assert all(float(name.get("y")) < top for name in names)
    places = [(float(name.get("y")), float(name.get("x"))) for name in names]
    assert places == sorted(places) and len(set(places)) == len(places)


def test_tooltips_are_rounded_for_people():
    svg = line_chart([Series("one", [0.1, 0.5], [0.8, 0.98885793], [0.02, 1.4e-16])], **LABELS)
    tips = [tip.text for tip in elements(svg, "title")][1:]
    assert tips == ["one: 80.0 ± 2.0% at 10.0%", "one: 98.9 ± 0.0% at 50.0%"]
    bars = histogram([-1.4e-17, 0.5, 1.0], [True, False, False], title="t", x_label="x", bins=4)
    assert elements(bars, "title")[1].text.startswith("0.00 to 0.25:")
    assert not re.search(r"\d\.?\d*e[+-]\d", svg + bars)


def test_rounding_keeps_what_tells_neighbours_apart():
    assert [rounded(value, 0.02) for value in (0.1, -0.001, 1234.567)] == ["0.10", "0.00", "1,234.57"]


def test_text_is_escaped_and_the_document_is_accessible():
    hostile = {"title": HOSTILE, "x_label": HOSTILE, "y_label": HOSTILE}
    chart = line_chart([Series(HOSTILE, [0.1], [0.5], [0.1])], reference=Level(HOSTILE, 0.6), **hostile)
    bars = histogram([1.0, 2.5], [True, False], title=HOSTILE, x_label=HOSTILE)
    for svg in (chart, bars):
        root = ElementTree.fromstring(svg)
        assert "<script" not in svg and not elements(svg, "script")
        assert root.get("role") == "img" and root.get("aria-label") == root.find(SVG + "title").text
        assert "http" not in svg.replace('xmlns="http://www.w3.org/2000/svg"', "")
        svg.encode("utf-8")


def test_drawing_is_deterministic():
    assert line_chart([RANDOM, CCS], **LABELS) == line_chart([RANDOM, CCS], **LABELS)
    values = np.linspace(0, 1, 30) ** 2
    first, second = (histogram(values, values > 0.4, title="t", x_label="x") for _ in range(2))
    assert first == second


def test_one_point_without_spread_and_values_beyond_percentages_can_be_drawn():
    svg = line_chart([Series("one", [5], [1e9])], x_percent=False, y_percent=False, **LABELS)
    assert len(elements(svg, "text", "dd-y")) >= 2


@pytest.mark.parametrize(
    "bad",
    [
        {"x": [], "y": []},
        {"x": [0.1, 0.2], "y": [0.5]},
        {"x": [0.1], "y": [0.5], "spread": []},
        {"x": [0.1], "y": [float("nan")]},
        {"x": [0.1], "y": [0.5], "spread": [-0.1]},
        {"x": [0.2, 0.1], "y": [0.5, 0.6]},
        {"x": [0.1, 0.1], "y": [0.5, 0.6]},
    ],
)
def test_malformed_series_are_refused(bad):
    with pytest.raises(OptionError, match="'bad'"):
        Series("bad", **bad)


def test_no_series_is_refused():
    with pytest.raises(OptionError, match="at least one"):
        line_chart([], **LABELS)


@pytest.mark.parametrize("integers", [False, True])
def test_bars_sum_to_all_and_to_the_kept(integers):
    rng = np.random.default_rng(0)
    values = rng.poisson(3.0, 1000) if integers else rng.normal(size=1000).astype(np.float32)
    kept = rng.random(1000) < 0.3
    svg = histogram(values, kept, title="t", x_label="x", bins=20)
    bars = elements(svg, "g", "dd-bar")
    assert sum(int(bar.get("data-all")) for bar in bars) == 1000
    assert sum(int(bar.get("data-kept")) for bar in bars) == kept.sum()
    _, dy = scale(svg, "y")
    for bar in bars:
        drawn = [float(rect.get("height")) / -dy for rect in bar.iter(SVG + "rect")]
        counts = [count for count in (int(bar.get("data-all")), int(bar.get("data-kept"))) if count]
        assert drawn == pytest.approx(counts, abs=0.1)
    assert look(1).colour in histogram(values, kept, title="t", x_label="x", kept_look=look(1), width=NARROW)
    if integers:
        assert [int(bar.get("data-all")) for bar in bars] == [n for n in np.bincount(values) if n]


@pytest.mark.parametrize("value", [0.0, 0.25, 3.0, -7e8, np.float32(0.1)])
def test_equal_scores_make_one_bar(value):
    svg = histogram([value] * 5, [True, True, False, False, False], title="t", x_label="x")
    (bar,) = elements(svg, "g", "dd-bar")
    assert (bar.get("data-all"), bar.get("data-kept")) == ("5", "2")


@pytest.mark.parametrize(
    ("values", "kept", "bins"),
    [([], [], 5), ([1.0], [True, False], 5), ([1.0], [1], 5), ([np.nan], [True], 5), ([1.0], [True], 0)],
)
def test_malformed_histograms_are_refused(values, kept, bins):
    mask = np.array(kept, dtype=bool if not kept or isinstance(kept[0], bool) else int)
    with pytest.raises(OptionError, match="a histogram got"):
        histogram(values, mask, title="t", x_label="x", bins=bins)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.booleans())
def test_ticks_are_few_distinct_and_inside(low, span, percent):
    axis = Axis.around([low, low + span], percent=percent)
    values, labels = zip(*axis.ticks(), strict=True)
    assert 2 <= len(values) <= 8 and len(set(labels)) == len(labels)
    air = 1e-6 * (axis.high - axis.low)
    assert axis.low - air <= values[0] and values[-1] <= axis.high + air


@given(st.lists(st.floats(0, 400), min_size=1, max_size=20))
def test_labels_keep_apart_in_order_and_move_only_where_they_must(wanted):
    placed = apart(wanted, 0.0, 400.0)
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    assert all(placed[b] - placed[a] >= ROW - 1e-6 for a, b in itertools.pairwise(order))
    assert min(placed) >= -1e-6 and max(placed) <= 400.0 + 1e-6
    if all(wanted[b] - wanted[a] > ROW for a, b in itertools.pairwise(order)):
        assert placed == pytest.approx(wanted)


def test_bins_without_a_selection_are_solid():
    bins = Bins.of([1, 1, 2, 4])
    assert bins == Bins((0.5, 1.5, 2.5, 3.5, 4.5), (2, 1, 0, 1))
    svg = bins_chart(bins, title="t", x_label="x", y_label="strata")
    assert "data-kept" not in svg and "kept" not in svg and svg.count('class="dd-bar"') == 3
    assert ">strata<" in svg and "--dd-rest)" not in svg.replace("--dd-rest:", "")


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.booleans()), min_size=1, max_size=200))
def test_squares_sum_to_all_and_to_the_kept(points):
    x, y, kept = (np.array(part) for part in zip(*points, strict=True))
    cells = Cells.of(x.astype(np.float32), y.astype(np.float32), kept, 8)
    assert sum(cell[2] for cell in cells.cells) == len(points) and sum(cell[3] for cell in cells.cells) == kept.sum()
    drawn = density_chart(cells, title="t", x_label="x", y_label="y")
    counts = re.findall(r'data-all="(\d+)" data-kept="(\d+)"', drawn)
    assert [(int(a), int(k)) for a, k in counts] == [cell[2:] for cell in cells.cells]
    ElementTree.fromstring(drawn)


def test_the_area_of_a_square_grows_with_its_count():
    cells = Cells((0.0, 1.0, 2.0), (0.0, 1.0, 2.0), ((0, 0, 16, 4), (1, 1, 4, 4)))
    drawn = density_chart(cells, title="t", x_label="x", y_label="y")
    sides = [float(side) for side in re.findall(r'<rect [^>]*width="([\d.]+)"', drawn)]
    assert len(sides) == 4 and sides[0] == 2 * sides[1] and sides[1] == sides[2] == sides[3]


def test_intervals_lie_where_the_axis_says_and_say_their_numbers():
    rows = [Interval("ccs", 1.0, 0.5, 1.5, look(0), "within"), Interval("r" * 90, 3.0, 2.0, 4.0, look(1))]
    svg = intervals(rows, 2.0, title="Loss", x_label="points")
    ElementTree.fromstring(svg)
    ticks = {float(label): float(x) for x, label in re.findall(r'dd-x" x="([\d.]+)"[^>]*>([\d.-]+)<', svg)}
    per_point = (ticks[4.0] - ticks[0.0]) / 4
    lines = re.findall(r'<path d="M([\d.]+) ([\d.]+)L([\d.]+) \2" stroke="var\(--dd-\d\)"', svg)
    for row, (left, _, right) in zip(rows, lines, strict=True):
        assert float(left) == pytest.approx(ticks[0.0] + row.lower * per_point, abs=0.05)
        assert float(right) == pytest.approx(ticks[0.0] + row.upper * per_point, abs=0.05)
    assert "ccs: 1.00 (0.50 to 1.50), within" in svg.replace("ccs: 1.0 (0.5 to 1.5)", "ccs: 1.00 (0.50 to 1.50)")
    assert "…: 3" in svg  # a long name leaves room for its numbers


def test_large_losses_are_on_the_axis_and_no_line_runs_through_a_name():
    """Losses far beyond the margin, as after few steps: each mean has its marker, and only a wide limit an arrow."""
    rows = [Interval(f"method {at}", 43.0 + 8 * at, 40.0 + 8 * at, 46.0 + 8 * at, look(at)) for at in range(3)]
    svg = intervals([*rows, Interval("wide", 50.0, -300.0, 52.0, look(3))], 2.0, title="Loss", x_label="points")
    width = float(re.search(r'viewBox="0 0 (\d+)', svg)[1])
    markers = [float(x) for x in re.findall(r'transform="translate\(([\d.]+) ', svg)]
    assert len(markers) == 4 and markers[:3] == sorted(markers[:3]) and 0 < min(markers) < max(markers) < width
    assert len(re.findall(r'd="M[^"]*Z" fill="var\(--dd-\d\)"/>', svg)) == 1
    names = [float(y) for y in re.findall(r'class="dd-name" x="[\d.]+" y="([\d.]+)"', svg)]
    lines = re.findall(r'<path d="(M[^"Z]*)" class="dd-level"', svg)
    assert len(names) == 4 and len(lines) == 2
    for line in lines:
        for top, bottom in re.findall(r"M[\d.]+ ([\d.]+)L[\d.]+ ([\d.]+)", line):
            assert not any(float(top) < name + 4 and name - 11 < float(bottom) for name in names)
