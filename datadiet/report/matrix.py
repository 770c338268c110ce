"""A table of methods by budgets in HTML: one row a method, one column a budget, and full data beside them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from datadiet.errors import OptionError
from datadiet.report.markup import clean, tag
from datadiet.report.palette import REFERENCE, Look, key

__all__ = ["Beside", "Heading", "Method", "matrix"]

Heading = tuple[str, str]
"""What a column is, and a smaller line below it."""


@dataclass(frozen=True)
class Method:
    """One row.

    Attributes:
        name: of the method.
        look: how its line looks in the charts.
        cells: one value per column, such as "91.2 ± 0.4".
        note: a smaller line below the name, such as what the method costs.
        shown: a word below each value, such as what a test shows of it; empty = nothing is said of any.
    """

    name: str
    look: Look
    cells: Sequence[str]
    note: str = ""
    shown: Sequence[str] = ()


@dataclass(frozen=True)
class Beside:
    """A column with one value for all rows: what the methods are compared with."""

    heading: Heading
    cell: str
    look: Look = REFERENCE


def matrix(methods: Sequence[Method], headings: Sequence[Heading], caption: str, beside: Beside) -> Markup:
    """An HTML table in which each row and column has its heading.

    Args:
        methods: the rows.
        headings: one per column of theirs.
        caption: what the cells are.
        beside: the last column.

    Returns:
        A `<table>` with all text escaped.

    Raises:
        OptionError: there is no method, or one has another number of cells than there are headings.
    """
    if not methods or any({len(m.cells), len(m.shown) or len(headings)} != {len(headings)} for m in methods):
        given = {method.name: len(method.cells) for method in methods}
        raise OptionError(f"a matrix of {len(headings)} columns got cells {given}: give a cell per column and method.")
    columns = [tag("th", heading, _small(below), scope="col") for heading, below in headings]
    heading, below = beside.heading
    columns.append(tag("th", heading, _small(below), key(beside.look), scope="col", class_="beside"))
    head = tag("tr", tag("th", "method", scope="col"), *columns)
    body = []
    for place, method in enumerate(methods):
        name = tag("th", key(method.look), tag("span", _breakable(method.name), _small(method.note)), scope="row")
        cells = [_cell(*one) for one in zip(method.cells, method.shown or [""] * len(headings), strict=True)]
        if not place:
            cells.append(tag("td", *_value(beside.cell), class_="beside", rowspan=str(len(methods))))
        body.append(tag("tr", name, *cells))
    newline = Markup("\n")
    parts = [tag("caption", caption), tag("thead", head), tag("tbody", newline.join(body))]
    return tag("table", newline.join(parts), class_="matrix")


def _breakable(name: str) -> Markup:
    """A name that may break after its signs, so that its words stay whole."""
    parts = re.split(r"(?<=[+:=,])", name)
    return Markup("<wbr>").join(map(clean, parts))  # which escapes them


def _cell(value: str, shown: str) -> Markup:
    mark = [" ", tag("em", shown)] if shown else []
    return tag("td", *_value(value), *mark)


def _value(value: str) -> tuple[str, Markup]:
    mean, _, sd = value.partition(" ± ")
    return f"{mean} ", _small(sd and f"± {sd}")


def _small(text: str) -> Markup:
    """A smaller line; the space before it keeps it apart where a reader ignores the layout."""
    return Markup(" ") + tag("small", text) if text else Markup("")
