"""`datadiet demo`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import as_json

__all__ = ["demo"]


@click.command(cls=ConfiguredCommand, short_help="Compare ways of choosing bundled images, in a minute or two.")
@click.option(
    "--out", default="datadiet-demo", show_default=True, metavar="FOLDER", help="Where the run and the page go."
)
@click.option("--seed", type=int, default=0, show_default=True)
@as_json
def demo(out: str, seed: int, json_: bool) -> None:
    """Find out on bundled images how much of the data a network needs: a minute or two, offline.

    Scores 1,438 handwritten digits, keeps 10, 30 and 50 % of them in several ways, trains on each with five seeds and
    writes a page with the comparison: datadiet compare and datadiet report in one.
    """
    from datadiet.workflow.comparing.demo import commands_text
    from datadiet.workflow.comparing.demo import demo as run

    found, page = run(out, seed=seed), str(Path(out) / "index.html")
    if json_:
        click.echo(json.dumps({"out": out, "page": page, **found.as_dict()}))
        return
    click.echo(f"{found.text()}\n\nPage: {page}\n\n{commands_text()}")
