"""Pages, tables and thumbnails: nothing from outside is loaded, nothing from the data becomes markup."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image

from datadiet.errors import OptionError
from datadiet.report.images import Excerpt, Picture, grid, thumbnail
from datadiet.report.matrix import Beside, Method, matrix
from datadiet.report.page import Section, page, side_by_side
from datadiet.report.palette import BASELINE, look
from datadiet.report.svg import Series, histogram, line_chart
from datadiet.report.tables import Bar, Percent, html_table, text_table

HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}\x00"
READ = "<script>alert(1)</script>\"'&{{ 7 * 7 }}\ufffd"
ROWS = [
    {"method": HOSTILE, "accuracy": Percent(0.9123, 0.0041), "n": 12345},
    {"method": "a|b\nc", "accuracy": None, "n": np.int64(7), "time": 0.123456, "ok": True},
]
COLUMNS = [("method", "Method", "left"), ("accuracy", HOSTILE, "right"), ("n", "n", "center"), ("time", "t", "right")]
PICTURE = np.arange(64, dtype=np.uint8).reshape(8, 8)
METHODS = [
    Method(HOSTILE, BASELINE, ["90.0 ± 2.0", "95.0 ± 1.0"], "free"),
    Method("ccs", look(0), ["93.0 ± 0.1", "95.1 ± 1.0"], "+ 2 s", ["within", ""]),
]
HEADINGS = [("10 %", "60 steps"), ("30 %", HOSTILE)]
FULL = Beside(("100 %", "full data"), "99.0 ± 0.3")


class Reader(HTMLParser):
    """Collects tags, attributes and text, and fails on elements that are closed out of order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def decoded(uri: str) -> np.ndarray:
    head, body = uri.split(",", 1)
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


def sample() -> str:
    chart = line_chart([Series(HOSTILE, [0.1, 0.5], [0.8, 0.9])], title=HOSTILE, x_label="kept", y_label="accuracy")
    bars = histogram([1.0, 2.5], [True, False], title="t", x_label="x")
    table, examples = matrix(METHODS, HEADINGS, HOSTILE, FULL), [Picture(PICTURE, HOSTILE, [HOSTILE, "2"], 1)]
    shown = Section(HOSTILE, [HOSTILE, side_by_side(chart, table), bars, grid([(HOSTILE, HOSTILE, examples)])])
    return page(HOSTILE, HOSTILE, [shown], HOSTILE, facts=[HOSTILE], manifest={"method": HOSTILE, "seeds": [0, 1]})


def test_page_holds_everything_and_loads_nothing():
    html = sample()
    read = Reader(html)
    assert not {"script", "link", "iframe", "object", "embed"} & set(read.tags)
    for name, value in read.attributes:
        assert not name.startswith("on")
        if name in {"src", "href", "xlink:href", "srcset", "data", "action"}:
            assert value.startswith("data:image/png;base64,")
    assert not re.search(r"url\(|@import", html)
    assert "http" not in html.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; img-src data:") in read.attributes


def test_page_shows_hostile_text_as_text():
    html = sample()
    assert "<script" not in html
    seen = Reader(html).text
    # title, heading, lead, section, paragraph, svg title and text and more, footer: each whole, none evaluated
    assert seen.count(READ) >= 8
    html.encode("utf-8")


def test_page_is_deterministic():
    assert sample() == sample()


def test_body_keeps_its_order_and_manifest_reads_back():
    body = ["first", Markup("<b>second</b>"), "third", str(Markup("<i>fourth</i>"))]
    html = page("t", "l", [Section("s", body)], "f", manifest={"a": [1, {"b": "é<"}]})
    places = [html.index(part) for part in ("<p>first</p>", "<b>second</b>", "<p>third</p>", "&lt;i&gt;fourth")]
    assert places == sorted(places)
    text = Reader(html).text
    after = text[text.index("Provenance") :]
    assert json.loads(next(part for part in after if part.startswith("{"))) == {"a": [1, {"b": "é<"}]}
    assert "Provenance" not in page("t", "l", [], "f")


def test_manifest_with_nan_is_refused():
    with pytest.raises(ValueError, match="Out of range"):
        page("t", "l", [], "f", manifest={"a": float("nan")})


def test_provenance_has_no_exponents():
    html = page("t", "l", [], "f", manifest={"lr": [0.1, 2.0729964717414176e-06], "big": 1e300, "text": "1e-5"})
    shown = next(part for part in Reader(html).text if part.startswith("{"))
    assert json.loads(shown)["lr"] == [0.1, 0.00000207300]
    assert json.loads(shown)["big"] == 1e300
    assert "e-06" not in shown and "e+300" not in shown and '"1e-5"' in shown


def test_matrix_has_a_row_per_method_a_column_per_budget_and_full_data_beside():
    html = matrix(METHODS, HEADINGS, "Accuracy in %", FULL)
    read = Reader(html)
    seen = [text.strip() for text in read.text if text.strip()]
    assert seen[:8] == ["Accuracy in %", "method", "10 %", "60 steps", "30 %", READ, "100 %", "full data"]
    assert seen[8:16] == [READ, "free", "90.0", "± 2.0", "95.0", "± 1.0", "99.0", "± 0.3"]
    assert seen[16:] == ["ccs", "+ 2 s", "93.0", "± 0.1", "within", "95.1", "± 1.0"]
    assert read.tags.count("th") == 6 and read.tags.count("td") == 5
    scopes = [value for name, value in read.attributes if name == "scope"]
    assert scopes.count("col") == 4 and scopes.count("row") == 2
    assert ("rowspan", "2") in read.attributes
    assert html.count("<em>") == 1


def test_matrix_shows_the_look_of_each_method_to_the_eye_only():
    html = matrix(METHODS, HEADINGS, "a", FULL)
    keys = re.findall(r"<svg.*?</svg>", html)
    assert len(keys) == 3 and all('aria-hidden="true"' in key for key in keys)  # full data, then the methods
    assert [look_of.colour in key for look_of, key in zip((BASELINE, look(0)), keys[1:], strict=True)] == [True, True]
    assert BASELINE.dashes in keys[1] and look(0).marker in keys[2]


def test_matrix_refuses_missing_cells():
    with pytest.raises(OptionError, match="a cell per column and method"):
        matrix(METHODS, HEADINGS[:1], "a", FULL)
    with pytest.raises(OptionError, match="a cell per column and method"):
        matrix([], HEADINGS, "a", FULL)
    with pytest.raises(OptionError, match="a cell per column and method"):
        matrix([Method("ccs", look(0), METHODS[1].cells, shown=["within"])], HEADINGS, "a", FULL)


def test_html_table_names_its_rows_and_draws_shares():
    rows = [{"class": HOSTILE, "n": 1438, "share": Bar(0.25)}, {"class": "b", "n": None, "share": Bar(1.0)}]
    columns = [("class", "class", "left"), ("n", "n", "right"), ("share", HOSTILE, "right")]
    html = html_table(rows, columns, HOSTILE)
    seen = [text.strip() for text in Reader(html).text if text.strip()]
    assert seen == [READ, "class", "n", READ, READ, "1,438", "25 %", "b", "–", "100 %"]
    assert re.findall(r'<rect width="([\d.]+)"', html) == ["25", "100"]
    scopes = [value for name, value in Reader(html).attributes if name == "scope"]
    assert scopes == ["col"] * 3 + ["row"] * 2
    assert ("tabindex", "0") in Reader(html).attributes  # what scrolls can be reached by keyboard
    assert html.index("</figcaption>") < html.index(
        'class="scroll"'
    )  # so that the caption wraps where the table scrolls
    with pytest.raises(OptionError, match="key of these rows"):
        html_table(rows, [("klass", "c", "left")], "t")


def test_a_percent_sign_stays_beside_its_number():
    html = page("t", "5.63 to 100 % of a % b", [Section("s", ["30 % of"])], "f", card=[("Kept", "3 %", "of 9, 3 %")])
    shown = html[html.index("<body>") :]
    assert "to 100\xa0% of a % b" in shown and "30\xa0% of" in shown
    assert "<dd>3\xa0%</dd><dd>of 9, 3\xa0%</dd>" in shown


def test_the_card_comes_before_the_sections():
    html = page("t", "l", [Section("s", ["p"])], "f", card=[("Kept", HOSTILE, "of 9"), ("Lost", "0", "")])
    seen = [text.strip() for text in Reader(html).text if text.strip()]
    at = seen.index("Kept")
    assert seen[at : at + 6] == ["Kept", READ, "of 9", "Lost", "0", "s"]


def test_excerpts_are_text_with_a_caption():
    html = grid([("texts", "", [Excerpt(HOSTILE + "\nsecond line", ["id 1", "label a"], 1)])])
    read = Reader(html)
    assert "blockquote" in read.tags and READ + "\nsecond line" in read.text and "img" not in read.tags
    assert "<strong>label a</strong>" in html and 'class="grid excerpts"' in html


def test_text_table_keeps_one_line_a_row():
    columns = [("method", "Method", "left"), ("n", "n", "right"), ("ok", "ok", "center")]
    head, rule, first, second = text_table(ROWS, columns).splitlines()
    assert len({len(line) for line in (head, rule, first, second)}) == 1
    assert re.fullmatch(r"\| :-+ \| -+: \| :-+: \|", rule)
    assert second.startswith(r"| a\|b c ") and second.endswith("yes |")


def test_tables_refuse_what_they_cannot_show():
    with pytest.raises(OptionError, match="did you mean 'method'"):
        text_table(ROWS, [("methud", "M", "left")])
    with pytest.raises(OptionError, match="column alignment"):
        text_table(ROWS, [("method", "M", "middle")])
    with pytest.raises(OptionError, match="at least one column"):
        text_table(ROWS, [])
    for bad in (float("nan"), Percent(float("inf")), np.float32("nan")):
        with pytest.raises(OptionError, match="give None"):
            text_table([{"a": bad}], [("a", "A", "right")])


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((8, 8), (96, 96)),
        ((1, 28, 28), (112, 112)),
        ((3, 32, 32), (96, 96, 3)),
        ((3, 20, 5), (100, 25, 3)),
        ((100, 150), (100, 150)),
        ((3, 448, 224), (192, 96, 3)),
        ((1, 1000, 2), (192, 1)),
    ],
)
def test_thumbnail_sizes(shape, shown):
    array = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    pixels = decoded(thumbnail(array))
    assert pixels.shape == shown
    if max(shape[-2:]) < 192:
        times = shown[0] // shape[-2]
        source = array if array.ndim == 2 else (array[0] if shape[0] == 1 else np.moveaxis(array, 0, -1))
        assert np.array_equal(pixels[::times, ::times], source)
        assert np.array_equal(pixels[times - 1 :: times, times - 1 :: times], source)


def test_thumbnail_of_an_even_picture_stays_even_when_averaged_down():
    assert set(decoded(thumbnail(np.full((3, 300, 200), 77, np.uint8))).ravel()) == {77}


@pytest.mark.parametrize("bad", [np.zeros((8, 8)), np.zeros((2, 8, 8), np.uint8), np.zeros((0, 8), np.uint8)])
def test_thumbnail_refuses_anything_but_a_picture(bad):
    with pytest.raises(OptionError, match="a picture"):
        thumbnail(bad)


def test_grid_names_groups_and_says_when_one_is_empty():
    pictures = [Picture(PICTURE, "a seven", ["label 7", "predicted 1"], 1), Picture(PICTURE, HOSTILE, [HOSTILE])]
    html = grid([("hard", "kept", pictures), ("easy", "left out", [])])
    read = Reader(html)
    assert read.tags.count("img") == 2
    seen = [text.strip() for text in read.text if text.strip()]
    assert seen == ["hard", "kept", "label 7", "predicted 1", READ, "easy", "left out", "none"]
    assert ("alt", READ) in read.attributes and ("alt", "a seven") in read.attributes
    assert "<strong>predicted 1</strong>" in html


def test_only_enlarged_pictures_are_shown_in_squares():
    small, large = (grid([("g", "", [Picture(np.zeros((n, n), np.uint8), "a", ["c"])])]) for n in (8, 300))
    assert 'class="pixels"' in small and 'class="pixels"' not in large
    assert ("width", "96") in Reader(small).attributes and ("width", "192") in Reader(large).attributes
