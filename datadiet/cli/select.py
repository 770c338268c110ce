"""`datadiet select`."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datadiet.cli.config import ConfiguredCommand
from datadiet.cli.options import as_json, keep_options, opened, overwriting, pairs, the_budget

if TYPE_CHECKING:
    from datadiet.table import Selection

__all__ = ["select"]

_log = logging.getLogger("datadiet")
_WORDS = ("harder", "easier")
_REPORTED = ("columns", "params", "by_class", "classes", "vectors")

_NO_PARAMETERS = (
    "keep", "score", "columns", "by_class", "seed", "higher_is", "scores", "method", "embeddings", "text", "texts",
    "id", "label", "split",
)  # fmt: skip


@click.command(cls=ConfiguredCommand, short_help="Choose what to keep.")
@click.argument("scores")
@click.option(
    "--method", help="How to choose; see datadiet ls selectors.  [default: ccs, within each class if there are labels]"
)
@keep_options
@click.option("--score", help="The column to select by.")
@click.option(
    "--column", "columns", multiple=True, metavar="PARAM=COLUMN", help="A further column, such as cutoff_scores=el2n."
)
@click.option("--embeddings", metavar="PATH", help="Vectors of the examples: .npy, a folder of parts, or another run.")
@click.option("--text", help="Column of the texts, if SCORES (or --texts) is data such as jsonl:docs.jsonl.")
@click.option("--texts", metavar="DATA", help="The data that was scored, for methods that compare texts.")
@click.option("--id", "id_", help="Column of unique ids, in a table of scores or in data with --text.")
@click.option("--index", help="Column of positions in the data (0 to n - 1), in a table of scores.")
@click.option("--label", help="Column of the labels, in a table of scores or in data with --text.")
@click.option("--split", help="Which split, for data with --text.")
@click.option("--by-class/--across-classes", default=None, help="Whether to keep each class's share.")
@click.option(
    "-p", "params", multiple=True, metavar="PARAM=VALUE", help="A parameter, such as prefer=hardest or beta=0.2."
)
@click.option(
    "--higher-is",
    multiple=True,
    metavar="[COLUMN=]harder|easier",
    help="What a high value means, of all columns of a table or array or of one.  [default: harder]",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--out", default="selection.parquet", show_default=True, metavar="FILE", help="Selection file to write (.parquet)."
)
@overwriting
@as_json
def select(
    scores: str,
    method: str | None,
    keep: str | None,
    prune: str | None,
    out: str,
    overwrite: bool,
    json_: bool,
    **options: Any,
) -> None:
    """Choose what to keep from SCORES: a run folder, a score file, or .npy, .npz, .csv, .json or .jsonl of your own.

    Methods that select by vectors take them from a .npy file of shape (n, d) or from the run.

    \b
    datadiet select runs/digits --method top_k -p prefer=hardest --score el2n --keep 30% --out hard.parquet
    datadiet select scores.npy --method ccs --keep n=5000 --out ccs.parquet
    datadiet select issues.csv --id filename --score label_score --higher-is label_score=easier --keep 30%
    datadiet select vectors.npy --method semdedup --keep 50% --out distinct.parquet
    """
    from datadiet.data.scheme import files_of
    from datadiet.files.writing import refuse_existing, refuse_own_input
    from datadiet.workflow.selecting.select import select as choose

    params, columns = pairs(options.pop("params"), "-p"), pairs(options.pop("columns"), "--column")
    for name in params:
        if name in _NO_PARAMETERS:
            raise click.UsageError(f"{name!r} has its own option: write --{name.replace('_', '-')}, not -p {name}=….")
    if Path(out).suffix != ".parquet":
        raise click.UsageError(f"--out {out} must be a Parquet file: give a name that ends in .parquet.")
    read = {path for name in (scores, options["texts"], options["embeddings"]) if name for path in files_of(name)}
    refuse_own_input(Path(out), read)
    if not overwrite:
        refuse_existing(Path(out))
    higher = _directions(options.pop("higher_is"))
    given = _opened(scores, options, higher or "harder")
    budget = the_budget(keep, prune)
    word: Any = higher if isinstance(higher, str) else "harder"
    chosen = choose(given, method, keep=budget, columns=columns, higher_is=word, **options, **params)
    if higher is None and chosen.meta["columns"] and _undescribed(Path(scores)):
        _log.warning("a higher score is taken to mean harder (--higher-is easier for the opposite)")
    chosen.write(out)
    n, k = len(chosen.index), len(chosen)
    if params.get("prefer") == "hardest" and round(100 * k / n) < 30:
        _log.warning("keeping only the hardest often does worse than random below 30 %; compare with --method random")
    how = method or chosen.meta["method"]
    if json_:
        about = {name: chosen.meta[name] for name in _REPORTED if name in chosen.meta} | {"method": how}
        click.echo(json.dumps({"out": out, "n": n, "k": k, **about}, default=str))
    else:
        _print(chosen, how, out)


def _print(chosen: Selection, method: str, out: str) -> None:
    from datadiet.table.classes import ClassCounts

    n, k, meta = len(chosen.index), len(chosen), chosen.meta
    columns = {**meta["columns"], **{key: meta[key] for key in ("vectors",) if key in meta}}
    used = [f"{parameter} = {column}" for parameter, column in sorted(columns.items(), reverse=True)]
    used += ["within each class"] if meta["by_class"] else []
    how = method + (f" ({', '.join(used)})" if used else "")
    click.echo(f"kept {k} of {n} examples ({100 * k / n:.4g} %) by {how}: {out}")
    counts = ClassCounts.read(meta.get("classes"))
    if counts is not None:
        click.echo(str(counts))


def _undescribed(path: Path) -> bool:
    """Whether this is a file of scores that does not say what a high value means."""
    from datadiet.files import parquet_identity
    from datadiet.table.incoming import FOREIGN, form_of

    return path.is_file() and (form_of(path) in FOREIGN or parquet_identity(path)[0] is None)


def _directions(given: tuple[str, ...]) -> str | dict[str, str] | None:
    """What a high value means: one word for all columns, or column -> word; None if nothing is said."""
    split = [text.rpartition("=") for text in given]
    for column, equals, word in split:
        if word not in _WORDS or (equals and not column):
            raise click.BadParameter(
                f"{word!r} is not one of 'harder', 'easier': write --higher-is easier, or --higher-is COLUMN=easier."
            )
    columns = {column: word for column, equals, word in split if equals}
    if len(split) > max(len(columns), 1):
        raise click.UsageError("--higher-is says one thing of all columns, or one of each: --higher-is COLUMN=easier.")
    return columns or (split[0][2] if split else None)


def _opened(scores: str, options: dict[str, Any], higher_is: Any) -> Any:
    """What to select from; data with texts, here or under --texts, is opened, and its options leave `options`."""
    of_data = {name: options.pop(name) for name in ("split", "label", "id_", "text")}
    index = options.pop("index")
    if of_data["text"] is None:
        if of_data["split"] is not None:
            raise click.UsageError("--split is for data with texts: name their column with --text.")
        return _table(scores, {"id": of_data["id_"], "index": index, "label": of_data["label"]}, higher_is)
    if index is not None:
        raise click.UsageError("--index is for a table of scores, and --text is for data: leave out one of the two.")
    if options["texts"] is None:
        return opened(scores, of_data)
    options["texts"] = opened(options["texts"], of_data)
    return scores if isinstance(higher_is, str) else _table(scores, {}, higher_is)


def _table(scores: str, columns: dict[str, str | None], higher_is: Any) -> Any:
    """The scores of a table whose columns are named; anything else as it is given."""
    if (isinstance(higher_is, str) and not any(columns.values())) or not Path(scores).exists():
        return scores
    from datadiet.table import Scores

    return Scores.from_table(scores, higher_is=higher_is, **columns)
