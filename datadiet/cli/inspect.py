"""`datadiet inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import as_json

__all__ = ["inspect"]


@click.command(cls=ConfiguredCommand, short_help="Show what a run, score file or selection holds.")
@click.argument("path")
@as_json
def inspect(path: str, json_: bool) -> None:
    """Show what a run folder, a folder of runs, a score file or a selection holds, from file footers alone."""
    from datadiet.workflow.selecting.inspect import inspect as look

    found = look(Path(path))
    if json_:
        click.echo(json.dumps(found))
        return
    _show(found, "")


def _show(value: Any, indent: str) -> None:
    for key, item in value.items():
        if isinstance(item, dict) and item:
            click.echo(f"{indent}{key}:")
            _show(item, indent + "  ")
        else:
            click.echo(f"{indent}{key}: {item if isinstance(item, str) else json.dumps(item)}")
