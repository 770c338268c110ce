"""`datadiet compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import (
    as_json,
    check_run,
    columns_of,
    command_text,
    data_options,
    executor_of,
    executor_options,
    opened,
    opened_further,
    pairs,
    run_options,
)

__all__ = ["compare"]


@click.command(cls=ConfiguredCommand, short_help="Compare ways to choose with all the data and with random choice.")
@click.argument("data")
@run_options
@click.option(
    "--methods", required=True, metavar="CHOICE[,CHOICE…]", help="SCORE+METHOD:PARAM=VALUE, such as ccs or dual+beta."
)
@click.option("--keep", default="10%,30%,50%", show_default=True, metavar="SIZE[,SIZE…]", help="How much to keep.")
@click.option(
    "--epochs", type=click.IntRange(min=1), default=10, show_default=True, help="Of a training on all the data."
)
@click.option(
    "--margin", type=float, default=2.0, show_default=True, help="The loss you can accept, in points (nats for loss)."
)
@click.option(
    "--metric",
    type=click.Choice(["accuracy", "worst_class", "loss"]),
    default="accuracy",
    show_default=True,
    help="What is compared.",
)
@click.option(
    "--budget",
    type=click.Choice(["equal", "reduced", "both"]),
    default="equal",
    show_default=True,
    help="Steps of the full data for all, or those that the kept examples need.",
)
@click.option("--seeds", type=click.IntRange(min=2), default=5, show_default=True, help="Paired trainings of each arm.")
@click.option("--max-hours", type=float, metavar="H", help="Leave out the last seeds, then the smallest shares.")
@click.option(
    "--screen", type=click.IntRange(min=1), metavar="N", help="First leave out all but N methods, by short trainings."
)
@click.option("--scores", metavar="RUN", help="A run of datadiet score whose scores and full trainings are used.")
@data_options
@executor_options
@click.option("--out", required=True, metavar="FOLDER", help="Holds all runs; the same command continues.")
@as_json
def compare(data: str, model: str, methods: str, out: str, json_: bool, **options: Any) -> None:
    """Is a part of DATA, chosen by each of some methods, as good as all of it for training MODEL?

    Each of the paired seeds scores, selects and trains anew. All the data and random choice are always compared too.

    \b
    datadiet compare digits --model datadiet:mlp --methods ccs,dual+beta --keep 30%,50% --out runs/compared
    datadiet compare digits --model datadiet:mlp --methods el2n+top_k:prefer=hardest --budget both --out runs/hardest
    datadiet compare digits --model datadiet:mlp --methods ccs --seeds 3 --scores runs/digits --out runs/reused
    """
    from datadiet.workflow.selecting.choice import read_choices

    columns, options["executor"] = columns_of(options), executor_of(options)
    recipe, held_out = pairs(options.pop("recipe"), "--set"), options.pop("eval_")
    eval_split = options.pop("eval_split")
    check_run(data, model, held_out, recipe)
    read_choices(methods)
    from datadiet.workflow.comparing.compare import compare as run

    source = opened(data, columns)
    held_out = opened_further(data, held_out, eval_split, columns, "eval")
    found = run(source, model, methods, eval=held_out, recipe=recipe, out=out, **options)
    if json_:
        click.echo(json.dumps({"out": out, **found.as_dict()}))
        return
    click.echo(found.text())
    click.echo(
        f"\nthe tables are in {Path(out) / 'comparison.json'}; each training is a run in {Path(out) / 'trainings'}\n"
        f"see them: {command_text('report', out, '--data', data, **columns)}"
    )
