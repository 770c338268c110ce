"""The parts of every chart: axes with round ticks, a frame that places them, and the document around it."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from markupsafe import Markup

from datadiet.errors import OptionError
from datadiet.report.markup import number, tag
from datadiet.report.palette import COLOURS

__all__ = [
    "Axis",
    "Frame",
    "NARROW",
    "WIDTH",
    "document",
    "number_of",
    "left_of",
    "path",
    "rounded",
    "shorten",
    "text_width",
]

WIDTH = 760.0
NARROW = 390.0
"""A width whose text can still be read when the drawing is scaled to a telephone."""
_FONT_SIZE = 12.5

# A chart carries its own style so that it also works as a separate file.
_STYLE = (
    Markup("<style>\n")
    + COLOURS
    + Markup("""
.dd-chart{max-width:100%;height:auto;font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI",sans-serif;
font-size:12.5px;font-variant-numeric:tabular-nums}
.dd-chart text{fill:currentColor}.dd-chart .dd-soft{fill:var(--dd-soft)}
.dd-chart .dd-title{font-size:15px;font-weight:600}
.dd-chart .dd-grid{stroke:var(--dd-grid);fill:none}.dd-chart .dd-axis{stroke:var(--dd-soft);fill:none}
</style>""")
)


def text_width(text: str) -> float:
    """The approximate width of a text in a broad sans serif, in pixels; narrower typefaces leave a little air."""
    return _FONT_SIZE * sum(map(_character_width, text))


def shorten(text: str, width: float) -> str:
    """The text, or as much as fits followed by an ellipsis."""
    if text_width(text) <= width:
        return text
    while text and text_width(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def number_of(count: int, thing: str = "example") -> str:
    """A number of things, as text on a page.

    >>> number_of(1), number_of(1438), number_of(2, "class")
    ('1 example', '1,438 examples', '2 classes')
    """
    return f"{count:,} {thing}{'' if count == 1 else 'es' if thing.endswith('s') else 's'}"


def rounded(value: float, step: float) -> str:
    """A number with just enough digits to tell it from another one step away.

    >>> rounded(1234.5, 10), rounded(0.3, 0.05), rounded(-1.4e-14, 0.1)
    ('1,234', '0.30', '0.0')
    """
    largest, finest = max(abs(value), step), math.floor(math.log10(step) + 1e-9)
    if largest >= 1e7 or finest < -4:
        return f"{value:.{max(1, math.floor(math.log10(largest)) - finest + 1)}g}"
    return f"{round(value, max(0, -finest)) + 0.0:,.{max(0, -finest)}f}"


@dataclass(frozen=True)
class Axis:
    """A range of values with its ticks.

    Attributes:
        low: Value at the start of the axis.
        high: Value at its end, above `low`.
        percent: Whether labels show a fraction as a percentage.
        whole: Whether only whole numbers may carry a tick (counts).
    """

    low: float
    high: float
    percent: bool = False
    whole: bool = False

    @classmethod
    def around(cls, values: Iterable[float], *, percent: bool = False) -> Self:
        """The axis that shows all values with a little air at both ends."""
        found = [float(value) for value in values]
        if not found or not all(map(math.isfinite, found)):
            raise OptionError(f"an axis got {found[:8]}: give at least one value, and only finite ones.")
        low, high = min(found), max(found)
        # All values are equal or nearly so: a range this narrow leaves no room for distinct ticks.
        air = 0.05 * (high - low) if high - low > 1e-9 * max(abs(low), abs(high)) else 0.05 * abs(low) or 0.05
        return cls(low - air, high + air, percent)

    def ticks(self, most: int = 7) -> list[tuple[float, str]]:
        """Round values on the axis with their labels: multiples of 1, 2 or 5 times a power of ten.

        >>> Axis(0.08, 1.02, percent=True).ticks()
        [(0.2, '20%'), (0.4, '40%'), (0.6, '60%'), (0.8, '80%'), (1.0, '100%')]
        """
        unit = 100.0 if self.percent else 1.0
        low, high = self.low * unit, self.high * unit
        exponent = math.floor(math.log10((high - low) / most))
        steps = (m * 10.0**e for e in (exponent, exponent + 1, exponent + 2) for m in (1, 2, 5))
        step = next(s for s in steps if (high - low) / s < most and not (self.whole and s < 1))
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        values = [k * step for k in range(first, last + 1)]
        return [(value / unit, rounded(value, step) + "%" * self.percent) for value in values]


@dataclass(frozen=True)
class Frame:
    """The rectangle that two axes span, in pixels."""

    x: Axis
    y: Axis
    left: float
    top: float
    right: float
    bottom: float

    def at_x(self, value: float) -> float:
        """Where a value of the horizontal axis lies."""
        return self.left + (value - self.x.low) / (self.x.high - self.x.low) * (self.right - self.left)

    def at_y(self, value: float) -> float:
        """Where a value of the vertical axis lies; pixels count downwards."""
        return self.bottom - (value - self.y.low) / (self.y.high - self.y.low) * (self.bottom - self.top)

    def draw(self, x_label: str, y_label: str) -> Markup:
        """Grid lines, tick labels and axis labels; the vertical label lies flat above its axis."""
        parts = []
        for value, label in self.y.ticks():
            y = self.at_y(value)
            parts.append(tag("line", class_="dd-grid", x1=self.left, x2=self.right, y1=y, y2=y))
            parts.append(tag("text", label, class_="dd-soft dd-y", x=self.left - 8, y=y + 4, text_anchor="end"))
        parts.append(tag("line", class_="dd-axis", x1=self.left, x2=self.right, y1=self.bottom, y2=self.bottom))
        for value, label in self.x.ticks(8):
            x = self.at_x(value)
            parts.append(tag("line", class_="dd-axis", x1=x, x2=x, y1=self.bottom, y2=self.bottom + 4))
            parts.append(tag("text", label, class_="dd-soft dd-x", x=x, y=self.bottom + 19, text_anchor="middle"))
        middle = (self.left + self.right) / 2
        parts.append(tag("text", x_label, x=middle, y=self.bottom + 40, text_anchor="middle"))
        parts.append(tag("text", y_label, class_="dd-soft", x=0, y=self.top - 14))
        return Markup("\n").join(parts)


def left_of(axis: Axis) -> float:
    """Where a frame must begin to leave room for the labels of its vertical axis."""
    return 12 + max((text_width(label) for _, label in axis.ticks()), default=0.0)


def path(points: Sequence[tuple[float, float]]) -> str:
    """The points joined by straight lines, as a path's `d`."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


def document(title: str, height: float, parts: Iterable[Markup], width: float = WIDTH) -> Markup:
    """The SVG document: it scales with its container, has a name for screen readers and loads nothing from outside."""
    body = Markup("\n").join(
        [tag("title", title), _STYLE, tag("text", shorten(title, width * 0.8), class_="dd-title", x=0, y=16), *parts]
    )
    size = {"width": width, "height": height, "viewBox": f"0 0 {width:.0f} {height:.0f}"}
    return tag("svg", body, xmlns="http://www.w3.org/2000/svg", class_="dd-chart", role="img", aria_label=title, **size)


def _character_width(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF" or character in "mwMW@%—…":
        return 1.0
    if character in " .,:;'|!()ijlt":
        return 0.38
    return 0.72 if character.isupper() else 0.62
