"""`datadiet score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import (
    as_json,
    check_further,
    check_network,
    check_run,
    columns_of,
    command_text,
    data_options,
    executor_of,
    executor_options,
    logits_of,
    nested,
    opened,
    opened_further,
    pairs,
    run_options,
    strip_prefix,
)

__all__ = ["score"]

_COLUMNS = ("min", "median", "max")


@click.command(cls=ConfiguredCommand, short_help="Score every example of a data set.")
@click.argument("data")
@run_options
@click.option(
    "--scorer", "scorers", required=True, metavar="NAME[,NAME…]", help="What to compute; see datadiet ls scorers."
)
@click.option("-p", "params", multiple=True, metavar="SCORER.PARAM=VALUE", help="A parameter, such as el2n.at=3.")
@click.option("--as", "save_as", metavar="NAME", help="Another name for the column, if there is one scorer.")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="How many training runs to average over."
)
@click.option("--epochs", type=click.IntRange(min=1), help="Length of each training run.  [default: 10]")
@strip_prefix
@click.option("--checkpoints", metavar="GLOB|RUN", help="Evaluate these weights instead of training.")
@click.option("--reference", metavar="DATA", help="Examples to compare with, or a share to split off such as 10%.")
@click.option("--reference-split", help="Which split of the reference data.")
@click.option("--against", metavar="RUN|CHECKPOINT", help="The network to compare with, such as the pruned copy.")
@click.option("--against-model", metavar="SPEC", help="The network of its weights, if it is not --model or its run's.")
@click.option("--fallback", type=click.Choice(["vmap"]), help="What to do with layers of unknown kind.")
@click.option(
    "--logits",
    is_flag=False,
    flag_value="",
    metavar="[views=8,top=10]",
    help="Also store what each network says, for train --teacher RUN.",
)
@click.option("--head", help="Name of the last linear layer, if it cannot be found.")
@data_options
@executor_options
@click.option("--out", required=True, metavar="RUN", help="Run folder; the same command continues or adds to it.")
@as_json
def score(data: str, model: str, scorers: str, params: tuple[str, ...], out: str, json_: bool, **options: Any) -> None:
    """Score every example of DATA and write RUN/scores.parquet.

    DATA is digits, or scheme:rest with parquet, jsonl, csv, npz, imagefolder, hf, torchvision, run or py.

    \b
    datadiet score digits --model datadiet:mlp --scorer el2n,forgetting --epochs 20 --out runs/digits
    datadiet score parquet:train.parquet --image jpeg --model datadiet:cnn --scorer aum --eval 10% --out runs/mine
    """
    from datadiet.workflow.scoring.requests import make_requests

    given, options["logits"] = nested(params), logits_of(options["logits"])
    columns, options["executor"] = columns_of(options), executor_of(options)
    recipe, held_out = pairs(options.pop("recipe"), "--set"), options.pop("eval_")
    eval_split, reference = options.pop("eval_split"), options.pop("reference")
    reference_split = options.pop("reference_split")
    make_requests(scorers, given, options["save_as"])
    check_run(data, model, held_out, recipe)
    check_further(reference, "reference")
    check_network(options["against_model"])
    from datadiet.workflow.scoring.score import score as run

    source = opened(data, columns)
    options["eval"] = opened_further(data, held_out, eval_split, columns, "eval")
    options["reference"] = opened_further(data, reference, reference_split, columns, "reference")
    scores = run(source, model, scorers, params=given, recipe=recipe, out=out, **options)
    facts, stability = scores.meta["facts"], scores.meta.get("stability", {})
    summary = {name: _summary(scores[name]) | stability.get(name, {}) for name in scores.names}
    if json_:
        click.echo(json.dumps({"out": out, "n": len(scores), "facts": facts, "scores": summary}))
        return
    _print(out, len(scores), facts, summary)


def _summary(values: Any) -> dict[str, Any]:
    """Smallest, middle and largest value; JSON has no infinity, so it becomes a string."""
    import numpy as np

    found = np.quantile(values.astype(np.float64), [0.0, 0.5, 1.0], method="lower").tolist()
    return {key: value if np.isfinite(value) else str(value) for key, value in zip(_COLUMNS, found, strict=True)}


def _print(out: str, n: int, facts: dict[str, Any], summary: dict[str, dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    from datadiet.runtime.layout import Layout
    from datadiet.scorers import SCORERS
    from datadiet.workflow.scoring.requests import compares_with_reference

    table = Table(
        Column("score", no_wrap=True),
        "min",
        "median",
        "max",
        "spearman",
        title=f"{n} examples, {Layout(Path(out)).scores}",
    )
    for name, row in summary.items():
        agreement = f"{row['spearman']:.2f}" if "spearman" in row else ""
        table.add_row(name, *(f"{float(row[key]):.4g}" for key in _COLUMNS), agreement)
    Console().print(table)
    if any("spearman" in row for row in summary.values()):
        click.echo("spearman: rank correlation between seeds, mean over their pairs")
    if "accuracy" in facts:
        click.echo(f"held-out accuracy of the scoring model: {100 * facts['accuracy']:.1f} %")
    name = next(iter(summary))
    by_reference = name in SCORERS and compares_with_reference(SCORERS[name])
    if by_reference:  # it says what to remove, and CCS would cut off its largest values
        how = ["--method", "top_k", "-p", "prefer=hardest", "--score", name, "--keep", "90%"]
    else:
        how = [*([] if "aum" in summary or len(summary) == 1 else ["--score", name]), "--keep", "30%"]
    click.echo(f"next: {command_text('select', out, *how, '--out', 'selection.parquet')}")
