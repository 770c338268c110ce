"""`datadiet doctor`."""

from __future__ import annotations

import json

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import as_json

__all__ = ["doctor"]


@click.command(cls=ConfiguredCommand, short_help="Show what is installed, what is missing, and the machine.")
@as_json
def doctor(json_: bool) -> None:
    """Show what is installed, which extras are missing and for what, and what the machine offers.

    Each library is imported once, in another process, which takes some seconds. The paragraph at the end is for an
    issue: it holds no variables of the environment and no folders.

    \b
    datadiet doctor
    datadiet doctor --json > doctor.json
    """
    from datadiet.workflow.diagnosing.doctor import as_text, diagnose

    found = diagnose()
    click.echo(json.dumps(found) if json_ else as_text(found))
