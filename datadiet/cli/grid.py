"""The part of `datadiet train` that is about grids: its options, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from datadiet.cli.options import executor_of, pairs, together

__all__ = ["check_grid", "grid_options", "run_grid", "take_grid_options"]

grid_options = together(
    click.option(
        "--grid",
        multiple=True,
        metavar="AXIS=VALUE,VALUE…",
        help="A training for each value of keep, sparsity, teacher or seed; given twice, for each combination.",
    ),
    click.option("--scores", metavar="RUN|SCORES", help="What to choose by, for --grid keep=….  [default: at random]"),
    click.option("--method", metavar="NAME", help="How to choose, for --grid keep=…; see datadiet ls selectors."),
    click.option("--score", metavar="COLUMN", help="The column to choose by, for --grid keep=…."),
    click.option(
        "-p", "params", multiple=True, metavar="PARAM=VALUE", help="A parameter of --method, such as prefer=hardest."
    ),
)


def take_grid_options(options: dict[str, Any]) -> dict[str, Any] | None:
    """Take the options of grids out of those of the command: arguments of `train_grid`, or None without --grid."""
    axes, params = options.pop("grid"), pairs(options.pop("params"), "-p")
    select = {name: value for name in ("scores", "method", "score") if (value := options.pop(name)) is not None}
    named = next((name for name in ("actors", "gpus_per_actor", "address") if options[name] is not None), None)
    named = named or ("executor" if options["executor"] == "ray" else None) or next(iter(select), None)
    if axes:
        return {"axes": axes, "select": {**select, **params} or None, "executor": executor_of(options)}
    if named is not None or params:
        option = "-p" if named is None else f"--{named.replace('_', '-')}"
        raise click.UsageError(f"{option} is for a grid: name its axes too, such as --grid keep=10%,100%.")
    for name in ("executor", "actors", "gpus_per_actor", "address"):
        del options[name]
    return None


def check_grid(grid: dict[str, Any], options: dict[str, Any]) -> None:
    """Read the axes, and refuse what cannot be before torch is imported."""
    from datadiet.workflow.fitting.axes import Axes, read_axes

    if options.pop("log") is not None:
        raise click.UsageError("--log is for one training: leave it out of a grid, which draws its own figure.")
    source = click.get_current_context().get_parameter_source("seed")
    if source is click.core.ParameterSource.DEFAULT:
        del options["seed"]
    grid["axes"] = read_axes(grid["axes"])
    Axes(grid["axes"], options)


def run_grid(data: Any, model: str, grid: dict[str, Any], out: str, as_json: bool, **options: Any) -> None:
    """Train, and print the table."""
    from datadiet.runtime.layout import Layout
    from datadiet.workflow.fitting.grid import train_grid

    found = train_grid(data, model, grid.pop("axes"), out=out, **grid, **options)
    if as_json:
        click.echo(json.dumps({"out": out, "n": found.n, "rows": found.table()}))
        return
    click.echo(found.text())
    layout = Layout(Path(out))
    click.echo(f"the table is {layout.grid}, the figure {layout.grid_figure}; each training is a run in {layout.cells}")
