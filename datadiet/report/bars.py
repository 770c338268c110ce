"""A histogram of scores, of which a part may be kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from datadiet.errors import OptionError
from datadiet.report.canvas import WIDTH, Axis, Frame, document, left_of, number_of, rounded, text_width
from datadiet.report.markup import tag
from datadiet.report.palette import Look, look

__all__ = ["Bins", "bins_chart", "histogram"]

_TOP, _PLOT, _FOOT = 58.0, 220.0, 50.0
_KEPT, _REST = look(0), "var(--dd-rest)"
_EXACT = 2.0**52  # from here on, float64 has no halves between whole numbers


@dataclass(frozen=True)
class Bins:
    """How many examples have a score in each of b neighbouring ranges.

    Attributes:
        edges: b + 1 ascending numbers.
        every: b counts of all examples.
        kept: b counts of those that are kept; None if nothing was selected.
    """

    edges: tuple[float, ...]
    every: tuple[int, ...]
    kept: tuple[int, ...] | None = None

    @classmethod
    def of(cls, values: ArrayLike, kept_mask: ArrayLike | None = None, bins: int = 50) -> Self:
        """Count.

        Whole numbers get one range each if they fit, so counts such as forgetting events do not turn into a comb.

        Args:
            values: (n,) finite scores of all examples.
            kept_mask: (n,) bool, True for a kept example; None if nothing was selected.
            bins: number of ranges, at least one.

        Raises:
            OptionError: The arrays do not match, are empty, or hold a value that is not finite.

        >>> Bins.of([1, 1, 2], [True, False, True])
        Bins(edges=(0.5, 1.5, 2.5), every=(2, 1), kept=(1, 1))
        """
        scores = np.asarray(values, dtype=np.float64)
        kept = np.zeros(scores.shape, dtype=bool) if kept_mask is None else np.asarray(kept_mask)
        if scores.ndim != 1 or scores.shape != kept.shape or kept.dtype != np.bool_ or not scores.size:
            given = f"values of shape {scores.shape} and a mask of shape {kept.shape} and type {kept.dtype}"
            raise OptionError(f"a histogram got {given}: give n >= 1 values and a mask of n bools.")
        if bins < 1 or not np.isfinite(scores).all():
            wrong = int(scores.size - np.isfinite(scores).sum())
            raise OptionError(
                f"a histogram got {bins} bins and {wrong} values that are not finite: give 1 bin or more and finite "
                "values."
            )
        edges = _edges(scores, bins)
        every, inside = (tuple(np.histogram(part, edges)[0].tolist()) for part in (scores, scores[kept]))
        return cls(tuple(edges.tolist()), every, None if kept_mask is None else inside)


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

    Args:
        values, kept_mask, bins: as in `Bins.of`.
        title, x_label, kept_look, width: as in `bins_chart`.

    Returns:
        An SVG document.

    Raises:
        OptionError: as `Bins.of`.
    """
    return bins_chart(Bins.of(values, kept_mask, bins), title=title, x_label=x_label, kept_look=kept_look, width=width)


def bins_chart(
    bins: Bins,
    *,
    title: str,
    x_label: str,
    y_label: str = "examples",
    kept_look: Look = _KEPT,
    width: float = WIDTH,
) -> Markup:
    """Draw a bar for each range: pale for all examples, solid for the kept ones; or solid if nothing was selected.

    Args:
        bins: the counts.
        title: Shown above the chart, and its name for screen readers.
        x_label: Name of the horizontal axis.
        y_label: What is counted.
        kept_look: The look of the method that kept them; its colour fills the kept part.
        width: Of the drawing; `NARROW` for telephones.

    Returns:
        An SVG document. Each bar is a `<g>` whose `data-all` and `data-kept` count its examples.
    """
    y = Axis(0.0, 1.05 * max(bins.every), whole=True)
    x = Axis(bins.edges[0], bins.edges[-1], whole=all(edge % 1 == 0.5 for edge in bins.edges))
    frame = Frame(x, y, left_of(y), _TOP, width - 12, _TOP + _PLOT)
    kept = bins.every if bins.kept is None else bins.kept
    ranges = zip(bins.edges[:-1], bins.edges[1:], bins.every, kept, strict=True)
    bars = [_bar(frame, kept_look.colour, *one, selected=bins.kept is not None) for one in ranges if one[2]]
    legend = Markup("") if bins.kept is None else _legend(frame.right, kept_look.colour, sum(kept), sum(bins.every))
    return document(title, frame.bottom + _FOOT, [frame.draw(x_label, y_label), *bars, legend], width)


def _edges(scores: NDArray[np.float64], bins: int) -> NDArray[np.float64]:
    low, high = float(scores.min()), float(scores.max())
    if high - low < bins and max(abs(low), abs(high)) < _EXACT and (scores == np.rint(scores)).all():
        return np.arange(low - 0.5, high + 1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        axis = Axis.around([low, high])
        return np.array([axis.low, axis.high])
    return np.linspace(low, high, bins + 1)


def _bar(frame: Frame, colour: str, low: float, high: float, every: int, kept: int, *, selected: bool) -> Markup:
    """One bar: the full height in a pale shade, and the kept part solid from the bottom up."""
    left, right = frame.at_x(low), frame.at_x(high)
    gap = min(1.0, 0.1 * (right - left))
    place = {"x": left + gap / 2, "width": right - left - gap}
    ends = [rounded(edge, (high - low) / 10) for edge in (low, high)]
    parts = [tag("title", f"{ends[0]} to {ends[1]}: {number_of(every)}{f', {kept:,} kept' if selected else ''}")]
    for count, fill in ((every if selected else 0, _REST), (kept, colour)):
        if count:
            top = frame.at_y(count)
            parts.append(tag("rect", **place, y=top, height=frame.bottom - top, fill=fill))
    counts: dict[str, Any] = {"data-all": str(every), "data-kept": str(kept) if selected else None}
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
