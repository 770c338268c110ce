"""A histogram of all examples' scores with the kept part shaded."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from datadiet.errors import OptionError
from datadiet.report.canvas import WIDTH, Axis, Frame, document, left_of, rounded, text_width
from datadiet.report.markup import tag
from datadiet.report.palette import Look, look

__all__ = ["histogram"]

_TOP, _PLOT, _FOOT = 58.0, 220.0, 50.0
_KEPT, _REST = look(0), "var(--dd-rest)"


def histogram(
    values: ArrayLike,
    kept_mask: ArrayLike,
    *,
    title: str,
    x_label: str,
    bins: int = 50,
    kept_look: Look = _KEPT,
    width: float = WIDTH,
) -> Markup:
    """Draw how the scores of all examples are spread, and which part was kept.

    Whole numbers get one bar each if they fit, so counts such as forgetting events do not turn into a comb.

    Args:
        values: (n,) finite scores of all examples.
        kept_mask: (n,) bool, True for a kept example.
        title: Shown above the chart, and its name for screen readers.
        x_label: Name of the horizontal axis.
        bins: Number of bars, at least one.
        kept_look: The look of the method that kept them; its colour fills the kept part.
        width: Of the drawing; `NARROW` for telephones.

    Returns:
        An SVG document. Each bar is a `<g>` whose `data-all` and `data-kept` count its examples.

    Raises:
        OptionError: The arrays do not match, are empty, or hold a value that is not finite.
    """
    scores, kept = np.asarray(values, dtype=np.float64), np.asarray(kept_mask)
    if scores.ndim != 1 or scores.shape != kept.shape or kept.dtype != np.bool_ or not scores.size:
        given = f"values of shape {scores.shape} and a mask of shape {kept.shape} and type {kept.dtype}"
        raise OptionError(f"a histogram got {given}: give n >= 1 values and a mask of n bools.")
    if bins < 1 or not np.isfinite(scores).all():
        wrong = int(scores.size - np.isfinite(scores).sum())
        raise OptionError(
            f"a histogram got {bins} bins and {wrong} values that are not finite: give 1 bin or more and finite values."
        )
    edges = _edges(scores, bins)
    every, inside = np.histogram(scores, edges)[0], np.histogram(scores[kept], edges)[0]
    y = Axis(0.0, 1.05 * float(every.max()), whole=True)
    x = Axis(float(edges[0]), float(edges[-1]))
    frame = Frame(x, y, left_of(y), _TOP, width - 12, _TOP + _PLOT)
    bars = (
        _bar(frame, kept_look.colour, *bar) for bar in zip(edges[:-1], edges[1:], every, inside, strict=True) if bar[2]
    )
    parts = [
        frame.draw(x_label, "examples"),
        *bars,
        _legend(frame.right, kept_look.colour, int(kept.sum()), scores.size),
    ]
    return document(title, frame.bottom + _FOOT, parts, width)


def _edges(scores: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    low, high = float(scores.min()), float(scores.max())
    if high - low < bins and (scores == np.rint(scores)).all():
        return np.arange(low - 0.5, high + 1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        axis = Axis.around([low, high])
        return np.array([axis.low, axis.high])
    return np.linspace(low, high, bins + 1)


def _bar(frame: Frame, colour: str, low: float, high: float, every: int, kept: int) -> Markup:
    """One bar: the full height in a pale shade, and the kept part solid from the bottom up."""
    left, right = frame.at_x(low), frame.at_x(high)
    gap = min(1.0, 0.1 * (right - left))
    place = {"x": left + gap / 2, "width": right - left - gap}
    ends = [rounded(edge, (high - low) / 10) for edge in (low, high)]
    parts = [tag("title", f"{ends[0]} to {ends[1]}: {every:,} examples, {kept:,} kept")]
    for count, fill in ((every, _REST), (kept, colour)):
        if count:
            top = frame.at_y(count)
            parts.append(tag("rect", **place, y=top, height=frame.bottom - top, fill=fill))
    counts: dict[str, Any] = {"data-all": str(every), "data-kept": str(kept)}
    return tag("g", *parts, class_="dd-bar", **counts)


def _legend(right: float, colour: str, kept: int, every: int) -> Markup:
    """The two shades with their counts, ending flush with the frame."""
    parts = []
    for fill, text in ((_REST, f"not kept {every - kept:,}"), (colour, f"kept {kept:,} ({kept / every:.1%})")):
        right -= text_width(text)
        parts.append(tag("text", text, x=right, y=_TOP - 14))
        parts.append(tag("rect", x=right - 17, y=_TOP - 24, width=11, height=11, rx=2, fill=fill))
        right -= 34
    return tag("g", *parts)
