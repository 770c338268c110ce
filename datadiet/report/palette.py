"""How a line looks: a colour, a marker and dashes, the same in every chart, legend and table that names it.

The colours are Okabe and Ito's, which stay apart with any kind of colour blindness; markers and dashes tell the lines
apart on grey paper too.
"""

from __future__ import annotations

from typing import NamedTuple

from markupsafe import Markup

from datadiet.report.markup import number, tag

__all__ = ["BASELINE", "COLOURS", "REFERENCE", "Look", "key", "look", "swatch"]

SWATCH = 28.0
_MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z",
    "M-3.6-3.6h7.2v7.2h-7.2Z",
    "M0-5L4.7 3.4H-4.7Z",
    "M0-5.2L5.2 0L0 5.2L-5.2 0Z",
    "M0 5L4.7-3.4H-4.7Z",
)
_COLOURS = 6

# Black is the ink. On white, purple is darker than Okabe and Ito's, which is too pale for a thin line. In dark mode
# blue, which sinks into the background, gives way to sky blue, and yellow, invisible on white, takes the last place.
COLOURS = Markup(""".dd-chart,.dd-key{
--dd-ink:#1f2328;--dd-soft:#626972;--dd-grid:#e6e8eb;--dd-rest:#c9cfd6;--dd-paper:#fff;
--dd-0:#0072b2;--dd-1:#d55e00;--dd-2:#009e73;--dd-3:#b8578f;--dd-4:#e69f00;--dd-5:#56b4e9;color:var(--dd-ink)}
@media (prefers-color-scheme:dark){.dd-chart,.dd-key{--dd-ink:#e6e8eb;--dd-soft:#9aa3ad;--dd-grid:#2c3138;
--dd-rest:#4b535d;--dd-paper:#15181c;--dd-0:#56b4e9;--dd-3:#cc79a7;--dd-5:#f0e442}}""")
"""The rules that give the colours of every chart and key their values, in light and dark."""


class Look(NamedTuple):
    """A colour in CSS, the path of a marker and the dashes of a line; None = no marker, a solid line."""

    colour: str
    marker: str | None = None
    dashes: str | None = None


BASELINE = Look("currentColor", _MARKERS[0], "6 4")
"""What the others are compared with: dashed, in the colour of the text."""

REFERENCE = Look("var(--dd-soft)", None, "2 3")
"""A level across the chart: dotted and grey."""


def look(place: int) -> Look:
    """One of thirty looks: five markers and six colours, which start again together after thirty.

    >>> look(1).colour, look(6).colour, look(1).marker == look(6).marker
    ('var(--dd-1)', 'var(--dd-0)', True)
    """
    return Look(f"var(--dd-{place % _COLOURS})", _MARKERS[place % len(_MARKERS)])


def swatch(of: Look, x: float, y: float) -> Markup:
    """A piece of line with its marker, to stand before a name in a drawing; `SWATCH` wide, from x, around y."""
    line = tag("line", x1=x, x2=x + SWATCH, y1=y, y2=y, stroke=of.colour, stroke_width=2, stroke_dasharray=of.dashes)
    if of.marker is None:
        return line
    place = f"translate({number(x + SWATCH / 2)} {number(y)})"
    return line + tag("path", d=of.marker, transform=place, fill=of.colour, stroke="var(--dd-paper)")


def key(of: Look) -> Markup:
    """The same as a small picture to stand before a name in HTML; screen readers skip it."""
    size = {"width": SWATCH, "height": 12, "viewBox": f"0 0 {number(SWATCH)} 12"}
    return tag("svg", swatch(of, 0, 6), class_="dd-key", aria_hidden="true", **size)
