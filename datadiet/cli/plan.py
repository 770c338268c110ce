"""`datadiet plan`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import (
    as_json,
    check_run,
    columns_of,
    data_options,
    keep_options,
    logits_of,
    nested,
    opened,
    pairs,
    the_budget,
)
from datadiet.errors import counted

if TYPE_CHECKING:
    from datadiet.workflow.planning.estimate import Estimate

__all__ = ["plan"]

_UNITS = ("", "k", "M", "G", "T", "P", "E")


@click.command(cls=ConfiguredCommand, short_help="Estimate what something will cost before it runs.")
@click.argument("data", required=False)
@click.option("--method", help="A selection method, or a scorer of vectors.")
@click.option("--n", type=click.IntRange(min=1), help="Number of vectors.")
@click.option("--dim", type=click.IntRange(min=1), help="Numbers per vector.")
@keep_options
@click.option("--model", metavar="SPEC", help="The network to score with.")
@click.option("--scorer", "scorers", metavar="NAME[,NAME…]", help="What to compute.")
@click.option("--seeds", type=click.IntRange(min=1), help="How many training runs.")
@click.option("--epochs", type=click.IntRange(min=1), help="Length of each training run.")
@click.option("--eval", metavar="DATA", help="Held-out data, or a share such as 10%.")
@click.option("--reference", metavar="DATA", help="Examples to compare with, or a share such as 10%.")
@click.option("--against", metavar="RUN|CHECKPOINT", help="The network to compare with, such as the pruned copy.")
@click.option("--against-model", metavar="SPEC", help="The network of its weights, if it is not --model or its run's.")
@click.option("--set", "recipe", multiple=True, metavar="KEY=VALUE", help="A field of the recipe.")
@click.option("--device", help="auto, cpu, cuda, cuda:1 …")
@click.option("--logits", is_flag=False, flag_value="", metavar="[views=8,top=10]", help="Also of score --logits.")
@click.option("--actors", type=click.IntRange(min=1), help="Also estimate the time with this many Ray workers.")
@click.option(
    "-p", "params", multiple=True, metavar="NAME=VALUE", help="clusters=1000 for a method, el2n.at=3 for a scorer."
)
@data_options
@as_json
def plan(data: str | None, json_: bool, keep: str | None, prune: str | None, **options: Any) -> None:
    """Estimate passes, operations, memory, disk and time of a selection or of scoring. Nothing is written.

    For --method, DATA is vectors (leave it out with --n and --dim); for --scorer, it is what datadiet score takes.

    \b
    datadiet plan --n 1000000 --dim 384 --method semdedup --keep 50%
    datadiet plan vectors.npy --method dbp --keep 30% -p clusters=500
    datadiet plan digits --model datadiet:mlp --scorer el2n,grand,forgetting --epochs 20 --seeds 3
    """
    from datadiet.workflow.planning.costs import plan as estimate

    columns = columns_of(options)
    params, recipe = options.pop("params"), pairs(options.pop("recipe"), "--set")
    options["logits"] = logits_of(options["logits"]) or None
    given = {name: value for name, value in options.items() if value is not None}
    budget = the_budget(keep, prune)
    source: Any = data
    if "scorers" in given and data is not None and "model" in given:
        from datadiet.workflow.scoring.requests import make_requests

        given["params"] = nested(params)
        make_requests(given["scorers"], given["params"])
        check_run(data, given["model"], given.get("eval"), recipe)
        source = opened(data, columns)
        given["recipe"] = recipe
    else:
        given["params"] = pairs(params, "-p")
    found = estimate(source, keep=budget, **given)
    if json_:
        click.echo(json.dumps({**asdict(found), "memory": found.memory, "total": asdict(found.total)}))
    else:
        _print(found)


def _print(found: Estimate) -> None:
    rows = [("", "passes", "operations", "memory", "about")]
    for line in (*found.lines, found.total):
        rows.append(
            (line.name, f"{line.passes:.4g}", short(line.flops), f"{short(line.memory)}B", _duration(line.seconds))
        )
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    click.echo(found.what)
    for row in rows:
        click.echo(
            row[0].ljust(widths[0]) + "".join(f"  {cell:>{w}}" for cell, w in zip(row[1:], widths[1:], strict=True))
        )
    click.echo("disk: " + ", ".join(f"{name} {short(size)}B" for name, size in found.disk.items()))
    click.echo(f"The total memory is the peak, including the process and {short(found.data)}B of data.")
    click.echo(f"Times are estimates, {found.how}.")
    if found.spread is not None:
        spread = found.spread
        click.echo(
            f"{counted(spread.workers, 'worker')}, each as fast as this process, would take about "
            f"{_duration(spread.seconds)}; one would take {_duration(spread.alone)}. More workers do not shorten the "
            f"longest unit, {spread.longest}: {_duration(spread.longest_seconds)}."
        )


def short(value: float) -> str:
    """A number in human-readable form.

    >>> short(1234567), short(999), short(0)
    ('1.2M', '999', '0')
    """
    unit = 0
    while value >= 999.5 and unit + 1 < len(_UNITS):
        value, unit = value / 1000, unit + 1
    return f"{value:.2g}{_UNITS[unit]}" if value < 99.5 and unit else f"{value:.0f}{_UNITS[unit]}"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 99 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.2g} s" if seconds < 99 else f"{seconds:.0f} s"
