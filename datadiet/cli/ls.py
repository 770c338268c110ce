"""`datadiet ls`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from datadiet.cli.options import as_json

__all__ = ["ls"]

KINDS = ("scorers", "selectors", "models", "data", "exports")


@click.command(short_help="List methods, models and forms of data.")
@click.argument("kind", type=click.Choice(KINDS), required=False)
@as_json
def ls(kind: str | None, json_: bool) -> None:
    """List scorers, selectors, models, data schemes and export forms."""
    found = {name: _rows(name) for name in KINDS if kind in (None, name)}
    if json_:
        click.echo(json.dumps(found))
        return
    for name, rows in found.items():
        width = max(len(row["name"]) for row in rows) + 2
        click.echo(f"{name}:")
        for row in rows:
            click.echo(f"  {row['name']:<{width}}{row['about']}")


def _rows(kind: str) -> list[dict[str, Any]]:
    from datadiet.data.catalog import EXPORT_FORMS, SCHEMES
    from datadiet.models import catalog
    from datadiet.scorers import SCORERS
    from datadiet.selectors import SELECTORS

    if kind == "scorers":
        return [
            {"name": name, "about": f"{_what(spec.fn)} [{spec.reference}; reads {spec.needs[0].mode} signals]"}
            for name, spec in SCORERS.items()
        ]
    if kind == "selectors":
        return [{"name": name, "about": f"{_what(spec.fn)} [{spec.reference}]"} for name, spec in SELECTORS.items()]
    tables = {
        "models": {
            **{f"datadiet:{k}": v for k, v in catalog.NETWORKS.items()},
            **{f"{k}:": v for k, v in catalog.SCHEMES.items()},
            **{f"{k}:": f"{v}; for datadiet embed" for k, v in catalog.ENCODERS.items()},
        },
        "data": SCHEMES,
        "exports": EXPORT_FORMS,
    }
    return [{"name": name, "about": about} for name, about in tables[kind].items()]


def _what(function: Any) -> str:
    """The first sentence of the method's file."""
    text = (sys.modules[function.__module__].__doc__ or "").strip().splitlines()[0]
    return text.partition(": ")[2].rstrip(".") or text.rstrip(".")
