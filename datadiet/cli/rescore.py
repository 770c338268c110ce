"""`datadiet rescore`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import as_json, nested

__all__ = ["rescore"]


@click.command(cls=ConfiguredCommand, short_help="Add scores from recorded signals.")
@click.argument("run")
@click.option(
    "--scorer", "scorers", required=True, metavar="NAME[,NAME…]", help="What to compute; see datadiet ls scorers."
)
@click.option("-p", "params", multiple=True, metavar="SCORER.PARAM=VALUE", help="A parameter, such as dual.window=5.")
@click.option("--as", "save_as", metavar="NAME", help="Another name for the column, if there is one scorer.")
@as_json
def rescore(run: str, scorers: str, params: tuple[str, ...], save_as: str | None, json_: bool) -> None:
    """Add scores to RUN from its recorded signals: no model, no data, no GPU.

    \b
    datadiet rescore runs/digits --scorer dual -p dual.window=5
    """
    from datadiet.workflow.scoring.rescore import rescore as compute

    scores = compute(run, scorers, params=nested(params), save_as=save_as)
    if json_:
        click.echo(json.dumps({"run": run, "n": len(scores), "columns": list(scores.names)}))
    else:
        from datadiet.runtime.layout import Layout

        click.echo(f"{Layout(Path(run)).scores} now has {', '.join(scores.names)}")
