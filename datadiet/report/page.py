"""One self-contained HTML file: no scripts, no requests, readable on paper and in dark mode."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from markupsafe import Markup

from datadiet.report.markup import clean

__all__ = ["Section", "page"]


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


def page(
    title: str,
    lead: str,
    sections: Sequence[Section],
    footer: str,
    *,
    manifest: Mapping[str, Any] | None = None,
) -> str:
    """Write a page.

    Args:
        title: The page's title and first heading.
        lead: A paragraph that says what was found.
        sections: The content of the page.
        footer: A closing line, such as the version that made it.
        manifest: Where the numbers come from; if given, shown folded as JSON under "Provenance".

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
    shown = None if manifest is None else json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False)
    text = environment.from_string(template).render(
        title=title, lead=lead, sections=sections, footer=footer, manifest=shown
    )
    return clean(text)
