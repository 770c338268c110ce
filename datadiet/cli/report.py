"""`datadiet report`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import as_json, check_examples, columns_of, data_options, opened, overwriting

__all__ = ["report"]


@click.command(cls=ConfiguredCommand, short_help="Show a run, scores, a selection or a comparison on one page.")
@click.argument("path")
@click.option("--data", metavar="DATA", help="The scored data, to show its examples.")
@click.option("--scores", metavar="RUN|SCORES", help="For a selection: the scores that it was made from.")
@click.option("--scores-id", metavar="COLUMN", help="Column of unique ids, in a table of scores.  [default: id]")
@click.option("--score", metavar="COLUMN", help="What to rank examples by.  [default: what the selection used]")
@click.option("--model", help="What the checkpoint belongs to.  [default: what the run says, unless that is code]")
@data_options
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@click.option(
    "--higher-is", type=click.Choice(["harder", "easier"]), default="harder", show_default=True,
    help="What a high value means in a score file that does not say.",
)  # fmt: skip
@click.option(
    "--out", metavar="FILE", help="The page to write (.html).  [default: report.html; with --json, only what is named]"
)
@click.option("--open", "open_", is_flag=True, help="Open the page in the browser.")
@overwriting
@as_json
def report(
    path: str, data: str | None, out: str | None, open_: bool, overwrite: bool, json_: bool, **options: Any
) -> None:
    """Show what PATH holds on one page: a run of score, train or compare, a score file, or a selection.

    The page is one file without scripts, which needs no network. With --data it shows examples: hard and easy ones,
    kept and left out, duplicates, and labels that may be wrong.

    \b
    datadiet report runs/digits --data digits
    datadiet report ccs.parquet --scores runs/digits --data digits --out ccs.html --open
    """
    from datadiet.data.scheme import files_of
    from datadiet.files.writing import refuse_existing, refuse_own_input
    from datadiet.workflow.artefacts import kind_of

    columns = columns_of(options)
    check_examples(data, columns, options["model"])
    given = [name for name in (path, options["scores"]) if name]
    for name in given:
        kind_of(Path(name))  # what is missing is named before anything about the page
    if out is None and (open_ or not json_):
        out = "report.html"
    if out is not None:
        if Path(out).suffix not in (".html", ".htm"):
            raise click.UsageError(f"--out {out} must be a page: give a name that ends in .html.")
        refuse_own_input(Path(out), {one for name in (*given, data) if name for one in files_of(name)})
        if not overwrite:
            refuse_existing(Path(out))
    from datadiet.workflow.reporting.report import make_report

    made = make_report(path, data=None if data is None else opened(data, columns), **options)
    if out is not None:
        made.write(out)
    if json_:
        click.echo(json.dumps({"out": out, **made.as_dict()}))
    else:
        click.echo("\n".join([made.lead, *(f"not shown: {note}" for note in made.notes), f"written to {out}"]))
    if open_ and out is not None:
        click.launch(str(Path(out).resolve()))
