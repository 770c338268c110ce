"""Score against score: how many examples lie where, as squares in a grid, and which part of them is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from datadiet.report.canvas import NARROW, Axis, Frame, document, left_of, number_of, rounded
from datadiet.report.markup import tag
from datadiet.report.palette import look

__all__ = ["Cells", "density_chart"]

_TOP, _PLOT, _FOOT = 58.0, 280.0, 50.0


@dataclass(frozen=True)
class Cells:
    """Counts in a grid of two scores; cells without examples are left out.

    Attributes:
        x_edges, y_edges: b + 1 ascending numbers each.
        cells: (column, row, all examples, kept ones or None) of each cell.
    """

    x_edges: tuple[float, ...]
    y_edges: tuple[float, ...]
    cells: tuple[tuple[int, int, int, int | None], ...]

    @classmethod
    def of(
        cls, x: NDArray[np.floating], y: NDArray[np.floating], kept: NDArray[np.bool_] | None, bins: int = 24
    ) -> Self:
        """Count.

        Args:
            x, y: (n,) finite scores of the same n >= 1 examples.
            kept: (n,) bool; None if nothing was selected.
            bins: columns, and rows.
        """
        axes = [Axis.around([values.min(), values.max()]) for values in (x, y)]
        edges = [np.linspace(axis.low, axis.high, bins + 1) for axis in axes]
        every = np.histogram2d(x, y, edges)[0].astype(np.int64)
        inside = every if kept is None else np.histogram2d(x[kept], y[kept], edges)[0].astype(np.int64)
        cells = tuple(
            (int(i), int(j), int(every[i, j]), None if kept is None else int(inside[i, j]))
            for i, j in np.argwhere(every)
        )
        return cls(tuple(edges[0].tolist()), tuple(edges[1].tolist()), cells)


def density_chart(cells: Cells, *, title: str, x_label: str, y_label: str, width: float = NARROW) -> Markup:
    """Draw a square in each cell: its area grows with the number of examples; the kept part is a solid square in it.

    Args:
        cells: the counts.
        title: shown above the chart, and its name for screen readers.
        x_label, y_label: names of the axes.
        width: of the drawing.

    Returns:
        An SVG document. Each square is a `<g>` whose `data-all` and `data-kept` count its examples.
    """
    x, y = (Axis(edges[0], edges[-1]) for edges in (cells.x_edges, cells.y_edges))
    frame = Frame(x, y, left_of(y), _TOP, width - 12, _TOP + _PLOT)
    most = max(count for _, _, count, _ in cells.cells)
    side = min((frame.right - frame.left) / (len(cells.x_edges) - 1), _PLOT / (len(cells.y_edges) - 1))
    squares = [_square(frame, cells, one, side / most**0.5) for one in cells.cells]
    return document(title, frame.bottom + _FOOT, [frame.draw(x_label, y_label), *squares], width)


def _square(frame: Frame, cells: Cells, cell: tuple[int, int, int, int | None], unit: float) -> Markup:
    column, row, every, kept = cell
    xs, ys = cells.x_edges[column : column + 2], cells.y_edges[row : row + 2]
    x, y = frame.at_x(sum(xs) / 2), frame.at_y(sum(ys) / 2)
    shown = [" to ".join(rounded(edge, (ends[1] - ends[0]) / 10) for edge in ends) for ends in (xs, ys)]
    said = f"{shown[0]} and {shown[1]}: {number_of(every)}" + ("" if kept is None else f", {kept:,} kept")
    parts = [tag("title", said)]
    solid = every if kept is None else kept
    for count, fill in ((0 if kept is None else every, "var(--dd-rest)"), (solid, look(0).colour)):
        if count:
            side = max(unit * count**0.5, 1.0)
            parts.append(tag("rect", x=x - side / 2, y=y - side / 2, width=side, height=side, fill=fill))
    counts = {"data-all": str(every), "data-kept": None if kept is None else str(kept)}
    return tag("g", *parts, class_="dd-cell", **counts)
