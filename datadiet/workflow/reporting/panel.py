"""A report: panels whose drawings are made from their own JSON values, so that page and JSON have the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from datadiet.files.writing import atomic_write
from datadiet.report.markup import tag
from datadiet.report.page import CardLine, Section, page
from datadiet.version import __version__

__all__ = ["Panel", "Report", "figure"]


@dataclass(frozen=True)
class Panel:
    """One part of a report.

    Attributes:
        name: its key in the JSON values.
        heading: its heading on the page.
        values: all that it shows, as JSON values.
        body: strings, which become paragraphs, and drawings; made from `values` and from pictures of examples.
    """

    name: str
    heading: str
    values: Any
    body: Sequence[str | Markup]


@dataclass(frozen=True, repr=False)
class Report:
    """What is said about a run, a score file, a selection or a comparison.

    Attributes:
        kind: "run", "training", "scores", "selection" or "comparison".
        title: of the page.
        lead: the answer in a sentence or two.
        card: the few numbers that matter most.
        panels: what is shown, in order.
        notes: what is missing, and what would add it.
        commands: what makes the same again, with DATA and RUN for paths.
        provenance: the identity blocks of all that was read.
    """

    kind: str
    title: str
    lead: str
    card: Sequence[CardLine]
    panels: Sequence[Panel]
    notes: Sequence[str] = ()
    commands: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Report(on a {self.kind}: {', '.join(panel.name for panel in self.panels)})"

    def as_dict(self) -> dict[str, Any]:
        """All that the page shows but pixels and texts of examples, as JSON values."""
        return {
            "kind": self.kind,
            "title": self.title,
            "lead": self.lead,
            "card": [dict(zip(("name", "value", "note"), line, strict=True)) for line in self.card],
            **{panel.name: panel.values for panel in self.panels},
            "notes": list(self.notes),
            "commands": list(self.commands),
            "provenance": dict(self.provenance),
        }

    def html(self) -> str:
        """The page: one HTML file without scripts that loads nothing."""
        sections = [Section(panel.heading, panel.body) for panel in self.panels]
        if self.notes:
            sections.append(Section("Not shown", [tag("ul", *(tag("li", note) for note in self.notes))]))
        if self.commands:
            steps = [tag("li", tag("pre", tag("code", command))) for command in self.commands]
            sections.append(Section("To make the same again", [tag("ol", *steps, class_="commands")]))
        footer = f"Made by datadiet {__version__}."
        return page(self.title, self.lead, sections, footer, card=self.card, manifest=self.provenance)

    def write(self, path: str | Path) -> Path:
        """Write the page."""
        path, text = Path(path), self.html()
        atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        return path


def figure(drawing: Markup, reading: str) -> Markup:
    """A drawing with a sentence below it that says how to read it."""
    return tag("figure", drawing, tag("figcaption", reading), class_="chart")
