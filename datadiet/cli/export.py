"""`datadiet export`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import as_json, data_options, opened, overwriting
from datadiet.errors import unknown_name

__all__ = ["export"]


@click.command(cls=ConfiguredCommand, short_help="Write the kept examples as a data set of their own.")
@click.argument("selection")
@click.argument("path")
@click.option("--data", required=True, metavar="DATA", help="The data that was selected from.")
@click.option("--to", required=True, metavar="FORM", help="parquet, jsonl, imagefolder, hf, indices or ids.")
@data_options
@overwriting
@as_json
def export(selection: str, path: str, data: str, to: str, overwrite: bool, json_: bool, **options: Any) -> None:
    """Write the examples that SELECTION (a file of select, or ids, one per line in .txt) keeps to PATH.

    \b
    datadiet export hard.parquet kept.parquet --data parquet:train.parquet --to parquet
    datadiet export hard.parquet kept/ --data imagefolder:photos --to imagefolder
    datadiet export kept.txt kept/ --data imagefolder:photos --to imagefolder
    """
    from datadiet.data.export import EXPORT_FORMS
    from datadiet.data.ids import read_id_lines
    from datadiet.data.scheme import resolve_spec
    from datadiet.files.writing import refuse_existing
    from datadiet.table import Selection

    if to not in EXPORT_FORMS:
        raise unknown_name("form to export to", to, EXPORT_FORMS)
    resolve_spec(data)
    if not overwrite:
        refuse_existing(Path(path))
    kept = len(read_id_lines(selection) if Path(selection).suffix == ".txt" else Selection.read(selection))
    from datadiet.workflow.fitting.export import export as write

    write(selection, opened(data, options), to, path, overwrite)
    click.echo(json.dumps({"path": path, "k": kept}) if json_ else f"{kept} examples written to {path}")
