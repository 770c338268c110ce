"""`datadiet recover`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import (
    as_json,
    check_named,
    check_run,
    columns_of,
    data_options,
    keep_options,
    opened,
    opened_further,
    pairs,
    session_options,
    the_budget,
)

__all__ = ["recover"]


@click.command(cls=ConfiguredCommand, short_help="Prune a trained network, and train it again on a few examples.")
@click.argument("model")
@click.option("--data", required=True, metavar="DATA", help="The data to recover on.")
@click.option("--model", "network", metavar="SPEC", help="The network of the weights, if their run does not say.")
@click.option(
    "--sparsify", default="global_magnitude:0.9", show_default=True, metavar="SPEC", help="See datadiet ls pruning."
)
@click.option("--sparsify-on", metavar="FILE", help="A selection of the examples that a pruning method reads.")
@click.option("--keep-dense", multiple=True, metavar="NAME", help="A layer that is not pruned; may be given twice.")
@click.option("--method", default="paser", show_default=True, metavar="NAME", help="How to choose the examples.")
@click.option("--score", metavar="COLUMN", help="The score that the method reads; the divergence by default.")
@click.option(
    "--column", "columns", multiple=True, metavar="PARAM=COLUMN", help="A further column, such as cutoff_scores=el2n."
)
@click.option("--by-class/--across-classes", default=None, help="Whether to keep each class's share.")
@click.option("-p", "params", multiple=True, metavar="KEY=VALUE", help="A parameter of the method.")
@keep_options
@click.option(
    "--teacher",
    multiple=True,
    metavar="auto|none|RUN",
    help="auto: the dense network; given twice, their mean.  [default: auto]",
)
@click.option("--teacher-model", metavar="SPEC", help="The network of the teacher's weights, if its run does not say.")
@click.option("--kd-weight", default="auto", show_default=True, metavar="auto|W", help="Weight of the distillation.")
@click.option("--temperature", default=4.0, show_default=True, help="Temperature of the distillation.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the kept examples; 10 by default.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimizer steps, instead of epochs.")
@session_options
@data_options
@click.option("--out", required=True, metavar="FOLDER", help="Holds all runs; the same command continues.")
@as_json
def recover(model: str, data: str, network: str | None, out: str, json_: bool, **options: Any) -> None:
    """Prune the network of MODEL, a run or a checkpoint, and recover it on the part of DATA that a method chooses,
    a tenth unless --keep says otherwise.

    The same recovery on as many random examples, and on all of them, takes equally many steps.

    \b
    datadiet recover runs/dense --data digits --sparsify global_magnitude:0.95 --keep 10% --out runs/recovered
    """
    columns, recipe = columns_of(options), pairs(options.pop("recipe"), "--set")
    held_out, eval_split = options.pop("eval_"), options.pop("eval_split")
    options["keep"] = the_budget(options["keep"], options.pop("prune")) or "10%"
    teachers = list(options["teacher"]) or ["auto"]
    if len(teachers) > 1 and {"auto", "none"} & {*teachers}:
        raise click.UsageError("--teacher auto and --teacher none stand alone: name runs or checkpoints for a mean.")
    options["teacher"] = teachers if len(teachers) > 1 else None if teachers == ["none"] else teachers[0]
    options |= {"params": pairs(options["params"], "-p"), "columns": pairs(options["columns"], "--column")}
    check_run(data, network, held_out, recipe)
    check_named(None, None, options["sparsify"])
    from datadiet.workflow.fitting.recover import recover as run

    source = opened(data, columns)
    held_out = opened_further(data, held_out, eval_split, columns, "eval")
    found = run(model, source, network=network, eval=held_out, recipe=recipe, out=out, **options)
    if json_:
        click.echo(json.dumps({"out": out, "rows": [asdict(row) for row in found.rows]}))
        return
    click.echo(found.table())
    click.echo(f"recovered network: {Path(out) / found.rows[2].name}")
