"""Losses with their limits beside zero and a margin: one row each, its name above its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from datadiet.report.canvas import NARROW, Axis, Frame, document, path, rounded, shorten, text_width
from datadiet.report.markup import number, tag
from datadiet.report.palette import REFERENCE, Look

__all__ = ["Interval", "intervals"]

_TOP, _ROW, _FOOT = 58.0, 40.0, 50.0
_LABEL = 20.0  # the upper part of a row, which holds its name
_EDGE = 16.0  # half of the label of a tick at the end of the axis
_BEYOND = 6.0  # margins


@dataclass(frozen=True)
class Interval:
    """One row: a mean between two limits.

    Attributes:
        name: what it is of.
        mean, lower, upper: numbers; an infinite limit is drawn to the edge.
        look: how its method looks in the other charts.
        note: what it shows, after the numbers.
    """

    name: str
    mean: float
    lower: float
    upper: float
    look: Look
    note: str = ""


def intervals(rows: Sequence[Interval], margin: float, *, title: str, x_label: str, width: float = NARROW) -> Markup:
    """Draw the rows with a line at zero and a dashed one at the margin, both broken where the names stand.

    The axis shows zero, the margin and all means. Limits more than six margins beyond all of these leave it and end in
    an arrow.

    Args:
        rows: at least one.
        margin: where the second line is, above zero.
        title: shown above the chart, and its name for screen readers.
        x_label: name of the horizontal axis.
        width: of the drawing.

    Returns:
        An SVG document.
    """
    shown = [0.0, 1.5 * margin, *(row.mean for row in rows)]
    low, high = min(shown) - _BEYOND * margin, max(shown) + _BEYOND * margin
    ends = [min(max(end, low), high) for row in rows for end in (row.lower, row.upper) if math.isfinite(end)]
    frame = Frame(
        Axis.around([*shown, *ends]), Axis(0.0, 1.0), _EDGE, _TOP, width - _EDGE, _TOP + _ROW * len(rows)
    )  # fmt: skip
    parts = [_axis(frame, x_label), _level(frame, 0.0, len(rows)), _level(frame, margin, len(rows), "margin", "5 4")]
    parts += [_row(frame, row, _TOP + _ROW * place) for place, row in enumerate(rows)]
    return document(title, frame.bottom + _FOOT, parts, width)


def _axis(frame: Frame, label: str) -> Markup:
    parts = [tag("line", class_="dd-axis", x1=frame.left, x2=frame.right, y1=frame.bottom, y2=frame.bottom)]
    for value, text in frame.x.ticks(7):
        x = frame.at_x(value)
        parts.append(tag("line", class_="dd-axis", x1=x, x2=x, y1=frame.bottom, y2=frame.bottom + 4))
        parts.append(tag("text", text, class_="dd-soft dd-x", x=x, y=frame.bottom + 19, text_anchor="middle"))
    middle = (frame.left + frame.right) / 2
    parts.append(tag("text", label, x=middle, y=frame.bottom + 40, text_anchor="middle"))
    return tag("g", *parts)


def _level(frame: Frame, value: float, rows: int, name: str = "", dashes: str | None = None) -> Markup:
    """A vertical line beside the intervals, with its name beside its upper end."""
    x = frame.at_x(value)
    heights = [(frame.top - 18, frame.top)]
    heights += [(frame.top + _ROW * row + _LABEL, frame.top + _ROW * (row + 1)) for row in range(rows)]
    d = "".join(path([(x, top), (x, bottom)]) for top, bottom in heights)
    line = tag("path", d=d, class_="dd-level", stroke=REFERENCE.colour, stroke_dasharray=dashes)
    return line + tag("text", name, class_="dd-soft", x=x + 4, y=frame.top - 9)


def _row(frame: Frame, row: Interval, top: float) -> Markup:
    step = (frame.x.high - frame.x.low) / 100
    limits = " to ".join(rounded(end, step) if math.isfinite(end) else "any" for end in (row.lower, row.upper))
    said = f": {rounded(row.mean, step)} ({limits}){f', {row.note}' if row.note else ''}"
    y, colour = top + 27, row.look.colour
    ends = [_within(frame, end) for end in (row.lower, row.upper)]
    name = shorten(row.name, frame.right - text_width(said))
    parts = [
        tag("title", row.name + said),
        tag("path", d=path([(ends[0], y), (ends[1], y)]), stroke=colour, stroke_width=2),
        _end(ends[0], y, colour, -1 if row.lower < frame.x.low else 0) if row.lower <= frame.x.high else "",
        _end(ends[1], y, colour, 1 if row.upper > frame.x.high else 0) if row.upper >= frame.x.low else "",
        tag("text", name + said, class_="dd-name", x=0.0, y=top + 14),
    ]
    if row.look.marker is not None and frame.x.low <= row.mean <= frame.x.high:
        place = f"translate({number(frame.at_x(row.mean))} {number(y)})"
        parts.append(tag("path", d=row.look.marker, transform=place, fill=colour, stroke="var(--dd-paper)"))
    return tag("g", *parts, class_="dd-interval")


def _within(frame: Frame, value: float) -> float:
    return frame.at_x(min(max(value, frame.x.low), frame.x.high))


def _end(x: float, y: float, colour: str, points: int) -> Markup:
    """A limit: a short stroke, or an arrow if it lies beyond the axis to the left (-1) or right (1)."""
    if not points:
        return tag("path", d=path([(x, y - 4), (x, y + 4)]), stroke=colour, stroke_width=2)
    return tag("path", d=path([(x, y), (x - 7 * points, y - 4), (x - 7 * points, y + 4)]) + "Z", fill=colour)
