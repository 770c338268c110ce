"""One self-contained HTML file: no scripts, no requests, readable on paper and in dark mode."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from markupsafe import Markup

from datadiet.report.markup import clean, tag
from datadiet.report.palette import COLOURS

__all__ = ["CardLine", "Section", "page", "side_by_side"]

CardLine = tuple[str, str, str]
"""A number of the card at the top: what it is, the number, and a smaller line below it."""


@dataclass(frozen=True)
class Section:
    """A heading and the content below it.

    Attributes:
        heading: Text.
        body: In order: strings, which become escaped paragraphs, and Markup (charts, tables, grids), which is
            inserted as it is.
    """

    heading: str
    body: Sequence[str | Markup]


def side_by_side(*parts: Markup) -> Markup:
    """Parts side by side, or one below the other where there is little room."""
    return tag("div", *parts, class_="columns")


def page(
    title: str,
    lead: str,
    sections: Sequence[Section],
    footer: str,
    *,
    facts: Sequence[str] = (),
    card: Sequence[CardLine] = (),
    manifest: Mapping[str, Any] | None = None,
) -> str:
    """Write a page.

    Args:
        title: The page's title and first heading.
        lead: A sentence that says what was found.
        sections: The content of the page.
        footer: A closing line, such as the version that made it.
        facts: What the numbers rest on, in few words each; shown below the lead.
        card: The few numbers that matter most, side by side below the lead.
        manifest: Where the numbers come from; if given, shown folded as JSON under "Provenance". Numbers that JSON
            would write with an exponent are shortened to six digits.

    Returns:
        The text of one HTML file, to be written as UTF-8.

    Raises:
        ValueError: The manifest holds a NaN or an infinity.
        TypeError: The manifest holds something that JSON cannot represent.
    """
    import jinja2

    template = resources.files("datadiet.report").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests["markup"] = lambda part: isinstance(part, Markup)
    environment.filters["unbroken"] = _unbroken
    shown = None if manifest is None else _json(manifest)
    text = environment.from_string(template).render(
        title=title, lead=lead, facts=facts, card=card, sections=sections, footer=footer, manifest=shown,
        colours=COLOURS,
    )  # fmt: skip
    return clean(text)


def _unbroken(text: str) -> str:
    """Text in which a percent sign stays beside its number."""
    return re.sub(r"(?<=\d) %", "\xa0%", text)


def _json(manifest: Mapping[str, Any]) -> str:
    """JSON with a value per line, and without exponents: 0.00000207 instead of 2.07e-06."""

    def written_out(found: re.Match[str]) -> str:
        return found[1] + str(np.format_float_positional(float(found[2]), precision=6, fractional=False, trim="0"))

    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    return re.sub(r'^(\s*(?:"(?:[^"\\]|\\.)*": )?)(-?[\d.]+e[+-]?\d+)(?=,?$)', written_out, text, flags=re.MULTILINE)
