"""`datadiet embed`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import (
    as_json,
    columns_of,
    command_text,
    data_options,
    executor_of,
    executor_options,
    opened,
    strip_prefix,
)

__all__ = ["embed"]

_UNITS = ("B", "kB", "MB", "GB", "TB")


@click.command(cls=ConfiguredCommand, short_help="Record a vector for every example.")
@click.argument("data")
@click.option(
    "--model", required=True, metavar="SPEC", help="A classifier, hf:, sentence-transformers:, model2vec: or py:."
)
@strip_prefix
@click.option("--checkpoint", metavar="FILE|RUN|pretrained", help="The weights of a classifier.")
@click.option("--pool", type=click.Choice(["mean", "cls"]), help="How a transformer's tokens become one vector.")
@click.option("--head", help="The layer of a classifier whose input is the vector, if it cannot be found.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Examples per batch.")
@click.option("--dtype", type=click.Choice(["float16", "float32"]), default="float16", show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    default=0,
    help="Loader processes that decode images (with Ray: for each worker).",
)
@data_options
@executor_options
@click.option("--out", required=True, metavar="RUN", help="Run folder; the same command continues.")
@as_json
def embed(data: str, model: str, out: str, json_: bool, **options: Any) -> None:
    """Embed every example of DATA, and keep the vectors in RUN. No labels are needed.

    \b
    datadiet embed digits --model datadiet:mlp --checkpoint runs/digits --out runs/vectors
    datadiet embed jsonl:news.jsonl --text body --model model2vec:minishlab/potion-base-8M --out runs/news
    """
    log = logging.getLogger("datadiet")
    log.setLevel(log.level or logging.INFO)
    from datadiet.data.scheme import resolve_spec
    from datadiet.models.catalog import check_encoder

    columns, options["executor"] = columns_of(options), executor_of(options)
    resolve_spec(data)
    check_encoder(model)
    from datadiet.runtime.layout import Layout, parts_in
    from datadiet.runtime.records import read_record
    from datadiet.workflow.fitting.embed import embed as run

    vectors = run(opened(data, columns), model, out=out, **options)
    n, d = vectors.shape
    layout = Layout(Path(out))
    size = sum(path.stat().st_size for folder in layout.vector_folders() for path in parts_in(folder))
    seconds = read_record(layout.log).get("embed", {}).get("seconds", 0.0)
    if json_:
        found = {"out": out, "n": n, "d": d, "dtype": str(vectors.dtype), "bytes": size, "seconds": seconds}
        click.echo(json.dumps(found))
        return
    click.echo(f"{n} vectors of {d} numbers in {vectors.dtype}, {_size(size)}, {seconds:.1f} s: {out}")
    following = command_text("select", out, "--method", "semdedup", "--keep", "50%", "--out", "selection.parquet")
    click.echo(f"next: {following}")


def _size(size: float) -> str:
    """Bytes in human-readable form.

    >>> _size(1234567)
    '1.2 MB'
    """
    unit = 0
    while size >= 1000 and unit + 1 < len(_UNITS):
        size, unit = size / 1000, unit + 1
    return f"{size:.1f} {_UNITS[unit]}" if unit else f"{size:.0f} B"
