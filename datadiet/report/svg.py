"""Line charts with their spread, and histograms that show what was kept, as SVG.

Series differ in colour and marker and are named where they end, so a chart works on grey paper, with colour blindness
and in dark mode. The same numbers give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from datadiet.errors import OptionError
from datadiet.report.bars import histogram
from datadiet.report.canvas import WIDTH, Axis, Frame, document, left_of, path
from datadiet.report.labels import ROW, End, names_at, width_for
from datadiet.report.markup import number, tag

__all__ = ["Level", "Series", "histogram", "line_chart"]

_TOP, _PLOT, _FOOT = 58.0, 300.0, 50.0
_MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z",
    "M-3.6-3.6h7.2v7.2h-7.2Z",
    "M0-5L4.7 3.4H-4.7Z",
    "M0-5.2L5.2 0L0 5.2L-5.2 0Z",
    "M0 5L4.7-3.4H-4.7Z",
)
_COLOURS = 6


@dataclass(frozen=True)
class Series:
    """A line of means.

    Attributes:
        name: The name of the line.
        x: Strictly ascending.
        y: One mean per x.
        spread: Half the height of the band around each mean, such as a standard deviation; None = no band.
        baseline: Whether this is the line that the others are compared with, drawn dashed in the colour of the text.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    spread: Sequence[float] | None = None
    baseline: bool = False

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
) -> Markup:
    """Draw series of means with their bands.

    Args:
        series: One or more lines; their order determines colours and markers.
        title: Shown above the chart, and its name for screen readers.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis.
        x_percent: Whether x are fractions to show as percentages.
        y_percent: The same for y.
        reference: A horizontal line across the chart.

    Returns:
        An SVG document.

    Raises:
        OptionError: There is no series, or a series is malformed.
    """
    if not series:
        raise OptionError("a line chart got no series: give at least one.")
    levels = [] if reference is None else [reference]
    reach = [y + sign * s for one in series for y, s in zip(one.y, one.spreads, strict=True) for sign in (-1, 1)]
    reach += [level.y + sign * level.spread for level in levels for sign in (-1, 1)]
    x = Axis.around((v for one in series for v in one.x), percent=x_percent)
    y = Axis.around(reach, percent=y_percent)
    names = [one.name for one in series] + [level.name for level in levels]
    bottom = _TOP + max(_PLOT, ROW * len(names))
    frame = Frame(x, y, left_of(y), _TOP, WIDTH - width_for(names), bottom)
    looks = _looks(series)
    parts = [frame.draw(x_label, y_label), *(_level(frame, level) for level in levels)]
    parts += [_band(frame, one, colour) for one, (colour, _) in zip(series, looks, strict=True)]
    parts += [_line(frame, one, *look) for one, look in zip(series, looks, strict=True)]
    ends = [
        End(one.name, frame.at_x(one.x[-1]), frame.at_y(one.y[-1]), *look)
        for one, look in zip(series, looks, strict=True)
    ]
    ends += [End(level.name, frame.right, frame.at_y(level.y), "var(--dd-soft)", None) for level in levels]
    return document(title, bottom + _FOOT, [*parts, names_at(frame, ends)])


def _looks(series: Sequence[Series]) -> list[tuple[str, str]]:
    """A colour and a marker for every series; five markers and six colours make thirty pairs before one repeats."""
    looks, turn = [], 0
    for one in series:
        colour = "currentColor" if one.baseline else f"var(--dd-{turn % _COLOURS})"
        looks.append((colour, _MARKERS[turn % len(_MARKERS)] if not one.baseline else _MARKERS[0]))
        turn += not one.baseline
    return looks


def _level(frame: Frame, level: Level) -> Markup:
    top, bottom, y = (frame.at_y(level.y + delta) for delta in (level.spread, -level.spread, 0.0))
    across = {"x": frame.left, "width": frame.right - frame.left}
    band = tag("rect", class_="dd-band", **across, y=top, height=bottom - top, fill="var(--dd-soft)", opacity=0.16)
    line = tag("line", x1=frame.left, x2=frame.right, y1=y, y2=y, stroke="var(--dd-soft)", stroke_dasharray="2 3")
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


def _line(frame: Frame, one: Series, colour: str, marker: str) -> Markup:
    points = [(frame.at_x(x), frame.at_y(y)) for x, y in zip(one.x, one.y, strict=True)]
    dashes = "6 4" if one.baseline else None
    parts = [tag("path", d=path(points), fill="none", stroke=colour, stroke_width=2, stroke_dasharray=dashes)]
    for (x, y), value, y_value, spread in zip(points, one.x, one.y, one.spreads, strict=True):
        at, mean = _value(value, 0.0, frame.x), _value(y_value, spread, frame.y)
        tip = tag("title", f"{one.name}: {mean} at {at}")
        place = f"translate({number(x)} {number(y)})"
        parts.append(tag("path", tip, d=marker, transform=place, fill=colour, stroke="var(--dd-paper)"))
    return tag("g", *parts, class_="dd-series", stroke_linejoin="round")


def _value(value: float, spread: float, axis: Axis) -> str:
    """A value for a tooltip, in the unit of its axis."""
    unit = 100.0 if axis.percent else 1.0
    shown = f"{value * unit:.4g}" + (f" ± {spread * unit:.2g}" if spread else "")
    return shown + "%" * axis.percent
