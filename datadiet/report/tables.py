"""Rows as a table: in Markdown that also reads well as plain text, or in HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple, TypeAlias

from markupsafe import Markup

from datadiet.errors import OptionError, unknown_name
from datadiet.report.markup import clean, tag

__all__ = ["Bar", "Percent", "TableColumn", "html_table", "text_table"]

TableRow: TypeAlias = Mapping[str, Any]
TableColumn: TypeAlias = tuple[str, str, str]
"""Key in the rows, heading, and `left`, `right` or `center`."""

_MISSING = "–"
_RULES = {"left": (":", "-"), "right": ("-", ":"), "center": (":", ":")}


class Percent(NamedTuple):
    """A fraction to show in percent, such as an accuracy, with its standard deviation over seeds.

    The % sign belongs in the heading: repeated in every cell it would take the room of another column.

    >>> str(Percent(0.9123, 0.0041)), str(Percent(0.5)), str(Percent(0.91234, 0.0012, digits=2))
    ('91.2 ± 0.4', '50.0', '91.23 ± 0.12')
    """

    mean: float
    sd: float | None = None
    digits: int = 1

    def __str__(self) -> str:
        parts = [self.mean] if self.sd is None else [self.mean, self.sd]
        if not all(map(math.isfinite, parts)):
            raise OptionError(
                f"a table cannot show mean {self.mean} and sd {self.sd}: give None where nothing is known."
            )
        return " ± ".join(f"{100 * part:.{self.digits}f}" for part in parts)


class Bar(NamedTuple):
    """A share to draw as a bar beside its number.

    >>> str(Bar(0.256))
    '25.6 %'
    """

    share: float

    def __str__(self) -> str:
        return f"{100 * self.share:.3g} %"


def html_table(rows: Sequence[TableRow], columns: Sequence[TableColumn], caption: str) -> Markup:
    """A table in HTML; the first column names the rows.

    Args:
        rows, columns: as in `text_table`; a value may also be a `Bar`.
        caption: what the table shows.

    Returns:
        A `<figure>` with all text escaped: the caption, and the `<table>` in a frame that scrolls where there is little
        room.

    Raises:
        OptionError: as `text_table`.
    """
    _check(rows, columns)
    head = tag("tr", *(tag("th", heading, scope="col", class_=align) for _, heading, align in columns))
    body = []
    for row in rows:
        cells = [_html_cell(row.get(key), align) for key, _, align in columns[1:]]
        first, _, align = columns[0]
        body.append(tag("tr", tag("th", _cell(row.get(first)), scope="row", class_=align), *cells))
    newline = Markup("\n")
    table = tag("table", tag("thead", head), newline, tag("tbody", newline.join(body)), class_="rows")
    # What scrolls must be reachable by keyboard, and so needs a name.
    frame = tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=caption)
    return tag("figure", tag("figcaption", caption), frame)


def _html_cell(value: Any, align: str) -> Markup:
    if not isinstance(value, Bar):
        return tag("td", _cell(value), class_=align)
    bar = tag("rect", width=100 * value.share, height=8, fill="currentColor")
    drawn = tag("svg", bar, width=100, height=8, viewBox="0 0 100 8", class_="bar", aria_hidden="true")
    return tag("td", str(value), " ", drawn, class_=align)


def text_table(rows: Sequence[TableRow], columns: Sequence[TableColumn]) -> str:
    """A table in Markdown, padded so that it reads well as plain text too.

    Args:
        rows: One mapping per row. Values are text, numbers, bools, `Percent`, or None; None or a missing key is a dash.
        columns: (key, heading, align) in order; other keys are not shown.

    Returns:
        Lines joined by newlines, without a newline at the end.

    Raises:
        OptionError: A column's key is in no row, its alignment is unknown, or a number is not finite.

    >>> rows = [{"method": "random", "accuracy": Percent(0.9, 0.01)}, {"method": "ccs", "accuracy": None}]
    >>> print(text_table(rows, [("method", "Method", "left"), ("accuracy", "Accuracy (%)", "right")]))
    | Method | Accuracy (%) |
    | :----- | -----------: |
    | random |   90.0 ± 1.0 |
    | ccs    |            – |
    """
    _check(rows, columns)
    shown = []
    for key, heading, align in columns:
        texts = [_plain(text) for text in (heading, *(_cell(row.get(key)) for row in rows))]
        width = max(3, *map(len, texts))
        pad = {"left": str.ljust, "right": str.rjust, "center": str.center}[align]
        before, after = _RULES[align]
        rule = before + "-" * (width - 2) + after
        shown.append([pad(texts[0], width), rule, *(pad(text, width) for text in texts[1:])])
    return "\n".join("| " + " | ".join(line) + " |" for line in zip(*shown, strict=True))


def _check(rows: Sequence[TableRow], columns: Sequence[TableColumn]) -> None:
    if not columns:
        raise OptionError("a table got no columns: give at least one column.")
    known = {key for row in rows for key in row}
    for key, _, align in columns:
        if rows and key not in known:
            raise unknown_name("key of these rows", key, known)
        if align not in _RULES:
            raise unknown_name("column alignment", align, _RULES)


def _cell(value: Any) -> str:
    """A value as text: thousands separators, four significant digits, yes or no."""
    if value is None:
        return _MISSING
    if isinstance(value, (str, Percent, Bar)):
        return str(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{int(value):,}"
    if isinstance(value, Real):
        if not math.isfinite(value):
            raise OptionError(f"a table cannot show {value}: give None where nothing is known.")
        return f"{float(value):.4g}"
    return str(value)


def _plain(text: str) -> str:
    """Text on one line, escaped so that it cannot end its cell."""
    return " ".join(clean(text).split()).replace("|", "\\|")
