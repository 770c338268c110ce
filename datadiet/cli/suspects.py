"""`datadiet suspects`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import as_json, check_examples, columns_of, data_options, opened, overwriting

__all__ = ["suspects"]


@click.command(cls=ConfiguredCommand, short_help="List the examples whose labels are most likely wrong.")
@click.argument("run")
@click.option("--top", type=click.IntRange(min=1), help="How many to list.  [default: 100, or all if there are fewer]")
@click.option("--score", metavar="COLUMN", help="What to rank by.  [default: aum; without it, the last loss]")
@click.option("--data", metavar="DATA", help="The scored data, to evaluate the last checkpoint of the run on.")
@click.option("--model", help="What the checkpoint belongs to.  [default: what the run says, unless that is code]")
@data_options
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@click.option(
    "--out", default="suspects.csv", show_default=True, metavar="FILE", help="What to write: .csv, .parquet or .json."
)
@overwriting
@as_json
def suspects(run: str, data: str | None, out: str, overwrite: bool, json_: bool, **options: Any) -> None:
    """List the examples of RUN, a run of datadiet score, whose labels are most likely wrong: suspects, not errors.

    With --data, also what the trained network takes them for.

    \b
    datadiet suspects runs/digits --top 50 --data digits
    datadiet suspects runs/photos --score el2n --out suspects.parquet
    """
    from datadiet.data.scheme import files_of
    from datadiet.files.writing import refuse_existing, refuse_own_input
    from datadiet.runtime.layout import Layout
    from datadiet.runtime.records import read_manifest
    from datadiet.workflow.selecting.suspected import check_suspect_file
    from datadiet.workflow.selecting.suspects import suspects as find

    columns = columns_of(options)
    check_examples(data, columns, options["model"])
    check_suspect_file(Path(out))
    read_manifest(Path(run))  # what is missing is named before anything about the file to write
    read = {path for name in (run, data) if name for path in files_of(name)}
    refuse_own_input(Path(out), read | {Layout(Path(run)).manifest.resolve(), Layout(Path(run)).log.resolve()})
    if not overwrite:
        refuse_existing(Path(out))
    found = find(run, data=None if data is None else opened(data, columns), **options)
    found.write(out)
    click.echo(json.dumps({"out": out, **found.as_dict()}) if json_ else f"{found.text()}\n\nwritten to {out}")
