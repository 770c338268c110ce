"""Line charts with their spread, and histograms that show what was kept, as SVG.

Series differ in colour and marker and are named where they end, or in a legend if the chart is narrow, so a chart works
on grey paper, with colour blindness and in dark mode. The same numbers give the same bytes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from datadiet.errors import OptionError
from datadiet.report.bars import histogram
from datadiet.report.canvas import NARROW, WIDTH, Axis, Frame, document, left_of, path, rounded
from datadiet.report.labels import ROW, End, legend, names_at, width_for
from datadiet.report.markup import number, tag
from datadiet.report.palette import BASELINE, REFERENCE, Look, look

__all__ = ["Level", "Series", "histogram", "line_chart"]

_TOP, _PLOT, _FOOT = 58.0, 300.0, 50.0
_TITLE, _UNIT, _NARROW_PLOT, _EDGE = 28.0, 36.0, 230.0, 8.0


@dataclass(frozen=True)
class Series:
    """A line of means.

    Attributes:
        name: The name of the line.
        x: Strictly ascending.
        y: One mean per x.
        spread: Half the height of the band around each mean, such as a standard deviation; None = no band.
        baseline: Whether this is the line that the others are compared with, drawn dashed in the colour of the text.
        look: How it looks; None = the baseline's look, or the next of the palette.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] | None = None
    baseline: bool = False
    look: Look | None = None

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.spreads) > 0:
            lengths = f"{len(self.x)} x, {len(self.y)} y and {len(self.spreads)} spread"
            raise OptionError(f"series {self.name!r} has {lengths} values: give the same number of each, at least one.")
        if not all(map(math.isfinite, [*self.x, *self.y, *self.spreads])) or min(self.spreads) < 0:
            raise OptionError(f"series {self.name!r} has a value that is not finite or a spread below 0: leave it out.")
        if any(a >= b for a, b in zip(self.x, self.x[1:], strict=False)):
            raise OptionError(f"the x of series {self.name!r} do not ascend strictly: sort them and average repeats.")

    @property
    def spreads(self) -> Sequence[float]:
        """The spread at every x, zero without one."""
        return [0.0] * len(self.x) if self.spread is None else self.spread


@dataclass(frozen=True)
class Level:
    """A horizontal line to compare the series with, such as training on everything."""

    name: str
    y: float
    spread: float = 0.0


def line_chart(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_percent: bool = True,
    y_percent: bool = True,
    reference: Level | None = None,
    width: float = WIDTH,
) -> Markup:
    """Draw series of means with their bands.

    Args:
        series: One or more lines; those without a look of their own get one by their order.
        title: Shown above the chart, and its name for screen readers.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis.
        x_percent: Whether x are fractions to show as percentages.
        y_percent: The same for y.
        reference: A horizontal line across the chart.
        width: Of the drawing; one of `NARROW`, for telephones, has its names in a legend above the frame.

    Returns:
        An SVG document.

    Raises:
        OptionError: There is no series, or a series is malformed.
    """
    if not series:
        raise OptionError("a line chart got no series: give at least one.")
    looks = _looks(series)
    named = [(one.name, its) for one, its in zip(series, looks, strict=True)]
    named += [] if reference is None else [(reference.name, REFERENCE)]
    reach = [y + sign * s for one in series for y, s in zip(one.y, one.spreads, strict=True) for sign in (-1, 1)]
    reach += [] if reference is None else [reference.y + sign * reference.spread for sign in (-1, 1)]
    x = Axis.around((v for one in series for v in one.x), percent=x_percent)
    y = Axis.around(reach, percent=y_percent)
    if width <= NARROW:
        names, top = legend(named, _TITLE, width)
        frame = Frame(x, y, left_of(y), top + _UNIT, width - _EDGE, top + _UNIT + _NARROW_PLOT)
    else:
        bottom = _TOP + max(_PLOT, ROW * len(named))
        frame = Frame(x, y, left_of(y), _TOP, width - width_for([name for name, _ in named]), bottom)
        names = names_at(frame, _ends(frame, series, looks, reference))
    parts = [frame.draw(x_label, y_label), Markup("") if reference is None else _level(frame, reference)]
    parts += [_band(frame, one, its.colour) for one, its in zip(series, looks, strict=True)]
    parts += [_line(frame, one, its) for one, its in zip(series, looks, strict=True)]
    return document(title, frame.bottom + _FOOT, [*parts, names], width)


def _ends(frame: Frame, series: Sequence[Series], looks: Sequence[Look], reference: Level | None) -> list[End]:
    ends = [
        End(one.name, frame.at_x(one.x[-1]), frame.at_y(one.y[-1]), its) for one, its in zip(series, looks, strict=True)
    ]
    return ends if reference is None else [*ends, End(reference.name, frame.right, frame.at_y(reference.y), REFERENCE)]


def _looks(series: Sequence[Series]) -> list[Look]:
    """The look of every series: its own, the baseline's, or the next of the palette."""
    turns = itertools.count()
    return [one.look or (BASELINE if one.baseline else look(next(turns))) for one in series]


def _level(frame: Frame, level: Level) -> Markup:
    top, bottom, y = (frame.at_y(level.y + delta) for delta in (level.spread, -level.spread, 0.0))
    across, colour = {"x": frame.left, "width": frame.right - frame.left}, REFERENCE.colour
    band = tag("rect", class_="dd-band", **across, y=top, height=bottom - top, fill=colour, opacity=0.16)
    dashes = REFERENCE.dashes
    line = tag("line", x1=frame.left, x2=frame.right, y1=y, y2=y, stroke=colour, stroke_dasharray=dashes)
    return tag("g", band, line, class_="dd-level", stroke_width=1.5)


def _band(frame: Frame, one: Series, colour: str) -> Markup:
    """The spread as a band, or as a bar for a single point, where a band would have no width."""
    if one.spread is None:
        return Markup("")
    points = list(zip(one.x, one.y, one.spread, strict=True))
    upper = [(frame.at_x(x), frame.at_y(y + s)) for x, y, s in points]
    lower = [(frame.at_x(x), frame.at_y(y - s)) for x, y, s in points]
    if len(points) == 1:
        return tag("path", d=path(upper + lower), stroke=colour, stroke_width=1.6, opacity=0.6)
    return tag("path", d=path(upper + lower[::-1]) + "Z", class_="dd-band", fill=colour, opacity=0.13)


def _line(frame: Frame, one: Series, its: Look) -> Markup:
    points = [(frame.at_x(x), frame.at_y(y)) for x, y in zip(one.x, one.y, strict=True)]
    line = {"fill": "none", "stroke": its.colour, "stroke_width": 2, "stroke_dasharray": its.dashes}
    parts = [tag("path", d=path(points), **line)]
    for (x, y), value, y_value, spread in zip(points, one.x, one.y, one.spreads, strict=True):
        at, mean = _value(value, 0.0, frame.x), _value(y_value, spread, frame.y)
        tip = tag("title", f"{one.name}: {mean} at {at}")
        place = f"translate({number(x)} {number(y)})"
        parts.append(tag("path", tip, d=its.marker, transform=place, fill=its.colour, stroke="var(--dd-paper)"))
    return tag("g", *parts, class_="dd-series", stroke_linejoin="round")


def _value(value: float, spread: float, axis: Axis) -> str:
    """A value for a tooltip, in the unit of its axis, to a hundredth of what the axis spans."""
    unit = 100.0 if axis.percent else 1.0
    step = unit * (axis.high - axis.low) / 100
    shown = rounded(value * unit, step) + (f" ± {rounded(spread * unit, step)}" if spread else "")
    return shown + "%" * axis.percent
