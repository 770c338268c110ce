"""The names of lines: at their ends, each as near to its line as the others allow, or in a legend above the frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from datadiet.report.canvas import Frame, path, shorten, text_width
from datadiet.report.markup import number, tag
from datadiet.report.palette import SWATCH, Look, swatch

__all__ = ["ROW", "End", "apart", "legend", "names_at", "width_for"]

ROW = 18.0
_WIDEST = 190.0
_THREAD = 24.0  # room between the frame and the marker before a name


@dataclass(frozen=True)
class End:
    """The end of a line: its place and how the line looks."""

    name: str
    x: float
    y: float
    look: Look


def width_for(names: Sequence[str]) -> float:
    """The width to leave to the right of the frame for these names."""
    return _THREAD + 14 + max(text_width(shorten(name, _WIDEST)) for name in names)


def names_at(frame: Frame, ends: Sequence[End]) -> Markup:
    """Draw each name to the right of the frame, joined to the end of its line by a thin thread."""
    parts, at = [], frame.right + _THREAD
    for end, height in zip(ends, apart([end.y for end in ends], frame.top, frame.bottom), strict=True):
        thread = path([(end.x, end.y), (max(end.x, frame.right), end.y), (at - 7, height)])
        parts.append(tag("path", d=thread, fill="none", stroke=end.look.colour, stroke_dasharray="2 2", opacity=0.6))
        if end.look.marker is not None:
            place = f"translate({number(at)} {number(height)})"
            parts.append(tag("path", d=end.look.marker, transform=place, fill=end.look.colour))
        left = at - 4 if end.look.marker is None else at + 9
        parts.append(tag("text", shorten(end.name, _WIDEST), class_="dd-name", x=left, y=height + 4.2))
    return tag("g", *parts)


def legend(named: Sequence[tuple[str, Look]], top: float, width: float) -> tuple[Markup, float]:
    """Draw swatches with their names, side by side in as many rows as they need.

    Returns:
        The drawing, and where it ends at the bottom.
    """
    parts, x, y = [], 0.0, top + ROW / 2
    for name, look in named:
        shown = shorten(name, width - SWATCH - 8)
        needed = SWATCH + 8 + text_width(shown)
        if x and x + needed > width:
            x, y = 0.0, y + ROW
        parts += [swatch(look, x, y), tag("text", shown, class_="dd-name", x=x + SWATCH + 7, y=y + 4.2)]
        x += needed + 14
    return tag("g", *parts), y + ROW / 2


def apart(wanted: Sequence[float], top: float, bottom: float) -> list[float]:
    """Heights at least one row apart, moved from the wanted ones by the smallest sum of squares.

    Subtracting each label's rank times the row height turns "one row apart" into "never falling": isotonic regression,
    which pooling adjacent violators solves exactly. Heights outside the frame are then moved to its edge.

    >>> apart([50.0, 50.0, 200.0], 0.0, 300.0)
    [41.0, 59.0, 200.0]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    pools: list[list[float]] = []
    for place, i in enumerate(order):
        pools.append([wanted[i] - place * ROW])
        while len(pools) > 1 and _mean(pools[-2]) >= _mean(pools[-1]):
            last = pools.pop()
            pools[-1].extend(last)
    levels = [_mean(pool) for pool in pools for _ in pool]
    lowest = bottom - (len(wanted) - 1) * ROW
    placed = [min(max(level, top), lowest) + place * ROW for place, level in enumerate(levels)]
    return [height for _, height in sorted(zip(order, placed, strict=True))]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
