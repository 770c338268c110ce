"""`datadiet ls`."""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

import click

from datadiet.cli.options import as_json

__all__ = ["ls"]

KINDS = ("scorers", "selectors", "models", "data", "exports")


@click.command(short_help="List methods, models and forms of data.")
@click.argument("what", required=False)
@as_json
def ls(what: str | None, json_: bool) -> None:
    """List scorers, selectors, models, data and exports; or WHAT, one of these kinds, or a method with its parameters.

    \b
    datadiet ls selectors
    datadiet ls semdedup
    """
    if what is not None and what not in KINDS:
        _method(what, json_)
        return
    found = {name: _rows(name) for name in KINDS if what in (None, name)}
    if json_:
        click.echo(json.dumps(found))
        return
    for name, rows in found.items():
        width = max(len(row["name"]) for row in rows) + 2
        click.echo(f"{name}:")
        for row in rows:
            click.echo(f"  {row['name']:<{width}}{row['about']}")


def _method(name: str, json_: bool) -> None:
    """Print what a scorer or selector does, and its parameters with their defaults."""
    from datadiet.errors import unknown_name
    from datadiet.scorers import SCORERS
    from datadiet.selectors import SELECTORS

    spec: Any = SELECTORS.get(name) or SCORERS.get(name)
    if spec is None:
        raise unknown_name("kind or method", name, [*KINDS, *SELECTORS, *SCORERS])
    default = inspect.Parameter.empty
    known = {key: None if value is default else value for key, value in spec.parameters.items()}
    if json_:
        click.echo(json.dumps({"name": name, "parameters": known, "about": inspect.getdoc(spec.fn)}, default=str))
        return
    click.echo(f"{name}: {_what(spec.fn)} [{spec.reference}]")
    click.echo(f"  -p {' -p '.join(f'{key}={_shown(value)}' for key, value in known.items())}" if known else "")
    click.echo(f"\n{inspect.getdoc(spec.fn)}")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _rows(kind: str) -> list[dict[str, Any]]:
    from datadiet.data.catalog import EXPORT_FORMS, SCHEMES
    from datadiet.models import catalog
    from datadiet.scorers import SCORERS
    from datadiet.selectors import SELECTORS

    if kind == "scorers":
        return [
            {"name": name, "about": f"{_what(spec.fn)} [{spec.reference}; reads {spec.needs[0].pass_name} signals]"}
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
