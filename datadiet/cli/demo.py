"""`datadiet demo`."""

from __future__ import annotations

import json

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import as_json

__all__ = ["demo"]


@click.command(cls=ConfiguredCommand, short_help="Compare ways of choosing bundled images, in about a minute.")
@click.option(
    "--out", default="datadiet-demo", show_default=True, metavar="FOLDER", help="Where the run and the page go."
)
@click.option("--seed", type=int, default=0, show_default=True)
@as_json
def demo(out: str, seed: int, json_: bool) -> None:
    """Find out on bundled images how much of the data a network needs: about a minute, offline.

    Scores 1,438 handwritten digits, keeps 10, 30 and 50 % of them in several ways, trains on each with three seeds and
    writes a page with the comparison.
    """
    from datadiet.workflow.comparing.comparison import commands_text
    from datadiet.workflow.comparing.demo import demo as run

    found = run(out, seed=seed)
    if json_:
        click.echo(json.dumps(found.as_dict()))
        return
    click.echo(f"{found.text()}\n\n{commands_text()}")
