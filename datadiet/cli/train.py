"""`datadiet train`."""

from __future__ import annotations

import json
from typing import Any

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.grid import check_grid, grid_options, run_grid, take_grid_options
from datadiet.cli.options import (
    as_json,
    check_named,
    check_run,
    columns_of,
    data_options,
    executor_options,
    opened,
    opened_further,
    pairs,
    run_options,
    strip_prefix,
)
from datadiet.errors import counted

__all__ = ["train"]


@click.command(cls=ConfiguredCommand, short_help="Train on a selection, on a schedule, or on everything.")
@click.argument("data")
@run_options
@click.option(
    "--selection",
    metavar="FILE",
    help="Train on the examples this keeps: a file of select, or ids, one per line in .txt.",
)
@click.option(
    "--sampler", metavar="SPEC", help="Other examples in each epoch, such as rs2:keep=10%; see datadiet ls schedules."
)
@click.option(
    "--objective", metavar="SPEC", help="What to minimise, such as selective_backprop; see datadiet ls objectives."
)
@click.option(
    "--teacher", multiple=True, metavar="RUN|CHECKPOINT", help="Distil from this network; given twice, from their mean."
)
@click.option("--teacher-model", metavar="SPEC", help="The network of the teacher's weights, if its run does not say.")
@click.option(
    "--kd-weight", default="auto", show_default=True, metavar="auto|W", help="Weight of the distillation term, 0 to 1."
)
@click.option("--temperature", default=4.0, show_default=True, help="Temperature of the distillation term.")
@strip_prefix
@click.option("--start", metavar="CHECKPOINT|RUN", help="Start from these weights instead of random ones.")
@click.option(
    "--sparsify",
    metavar="SPEC",
    help="Prune the network too, such as global_magnitude:0.9 or channels:0.5; see datadiet ls pruning.",
)
@click.option(
    "--sparsify-when",
    metavar="PACE",
    help="When to prune, such as cubic:0.25-0.75 (shares of the training); see datadiet ls pruning.",
)
@click.option("--sparsify-on", metavar="FILE", help="A selection of the examples that a pruning method reads.")
@click.option("--keep-dense", multiple=True, metavar="NAME", help="A layer that is not pruned; may be given twice.")
@click.option(
    "--trainable",
    multiple=True,
    metavar="WHAT",
    help="biases, norms, adapters[:RANK] or a layer: train only these; may be repeated.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the kept examples.")
@click.option("--steps", type=click.IntRange(min=1), help="Optimizer steps, instead of epochs.")
@click.option(
    "--match", type=click.Choice(["full-steps"]), help="Take as many steps as --epochs of the full data would."
)
@grid_options
@executor_options
@data_options
@click.option("--out", required=True, metavar="RUN", help="Run folder; the same command continues an interrupted run.")
@click.option(
    "--log",
    type=click.Choice(["tensorboard", "wandb"]),
    metavar="NAME",
    help="Also log loss, accuracy and speed: tensorboard (in RUN/tensorboard) or wandb.",
)
@as_json
def train(data: str, model: str, out: str, json_: bool, **options: Any) -> None:
    """Train MODEL on DATA, or on the part of it that a selection keeps.

    \b
    datadiet train digits --model datadiet:mlp --selection hard.parquet --epochs 20 --match full-steps --out runs/hard
    datadiet train digits --model datadiet:mlp --sampler rs2:keep=10% --epochs 20 --out runs/rs2
    datadiet train digits --model datadiet:mlp --grid keep=10%,100% --grid sparsity=0,0.8 --epochs 20 --out runs/grid
    """
    grid = take_grid_options(options)
    if (options["epochs"] is None) == (options["steps"] is None):
        raise click.UsageError("say how long to train: give exactly one of --epochs E and --steps S.")
    if options["selection"] and options["sampler"]:
        raise click.UsageError("give --selection or --sampler, not both: a selection is the same every epoch.")
    options["teacher"] = list(options["teacher"]) or None
    if grid is not None:
        check_grid(grid, options)
    columns = columns_of(options)
    recipe, held_out = pairs(options.pop("recipe"), "--set"), options.pop("eval_")
    eval_split = options.pop("eval_split")
    check_run(data, model, held_out, recipe)
    with_sparsity = grid is not None and "sparsity" in grid["axes"]
    check_named(options["sampler"], options["objective"], None if with_sparsity else options["sparsify"])
    from datadiet.workflow.fitting.train import train as run

    source = opened(data, columns)
    held_out = opened_further(data, held_out, eval_split, columns, "eval")
    if grid is not None:
        run_grid(source, model, grid, out, json_, eval=held_out, recipe=recipe, **options)
        return
    result = run(source, model, eval=held_out, recipe=recipe, out=out, **options)
    _report(result, out, json_)


def _report(result: Any, out: str, as_json: bool) -> None:
    """Print what a training came to."""
    recall = None if result.evaluation is None else list(result.evaluation.class_recall)
    if as_json:
        plain = ("accuracy", "steps", "kept", "seconds", "sparsity", "layer_sparsity")
        summary = {"out": out, "class_recall": recall, **{name: getattr(result, name) for name in plain}}
        click.echo(json.dumps(summary))
        return
    steps = counted(result.steps, "step")
    click.echo(f"{steps} on {result.kept} examples an epoch in {result.seconds:.1f} s: {out}")
    if result.accuracy is None:
        click.echo("no held-out data, so no accuracy: name some with --eval DATA or --eval 10%")
    else:
        known = [value for value in recall or () if value is not None]
        click.echo(f"held-out accuracy {100 * result.accuracy:.2f} %, worst class {100 * min(known):.1f} %")
    if result.sparsity is not None:
        click.echo(f"sparsity {100 * result.sparsity:.2f} %{_of_layers(result.layer_sparsity)}")


def _of_layers(sparsity: dict[str, float]) -> str:
    """How sparse the layers are: the densest and the sparsest."""
    low, high = (choose(sparsity, key=sparsity.__getitem__) for choose in (min, max))
    first, last = (f"{100 * sparsity[name]:.1f} %" for name in (low, high))
    return " in every layer" if first == last else f": {first} in {low} to {last} in {high}"
