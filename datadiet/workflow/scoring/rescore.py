"""rescore: further scores from recorded signals. No model, no data, no torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.deprecation import renamed
from datadiet.errors import DataError, OptionError
from datadiet.files.opening import load_array
from datadiet.runtime import Layout, Plan, RunFolder, Sink
from datadiet.runtime.records import read_manifest
from datadiet.runtime.units import Product
from datadiet.table import Scores, Signals
from datadiet.workflow.scoring.columns import compute_scores
from datadiet.workflow.scoring.needs import resolve
from datadiet.workflow.scoring.requests import Request, make_requests

if TYPE_CHECKING:
    from datadiet.data import Source

__all__ = ["keep_scores", "recorded_signals", "rescore", "score_signals", "table_of"]


def rescore(
    run: str | Path,
    scorers: str | Callable[..., Any] | Iterable[Any],
    *,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    save_as: str | None = None,
    column: str | None = None,
) -> Scores:
    """Add score columns to a run from its recorded signals.

    Args:
        run: a run folder that `score` has finished.
        scorers, params, save_as: as in `score`.
        column: the old name of `save_as`.

    Returns:
        All scores of the run, as now stored in `run/scores.parquet`.

    Raises:
        MissingSignal: a signal or epoch was not recorded; `score` with the same folder would record it.
        DataError: not a run folder, or a damaged one.
    """
    run = Path(run)
    if column is not None:
        renamed("rescore(column=…)", "rescore(save_as=…)")
    requests = make_requests(scorers, params, save_as or column)
    manifest = read_manifest(run)
    have = Scores.read(run)
    requests = resolve(requests, have.meta.get("facts", {}))
    scores = compute_scores(recorded_signals(run, have), requests, have)
    keep_scores(Sink(RunFolder(run, Plan(manifest["plan"]))), scores)
    return scores


def recorded_signals(run: Path, table: Scores, passes: Collection[str] | None = None) -> Signals:
    """What a run recorded of the examples of its table; `passes` are the names of the parts to open, None = all."""
    facts = table.meta.get("facts", {})
    kept = Layout(run).reference_labels(facts["reference"]) if "reference" in facts else None
    return Signals.open(
        run,
        len(table),
        passes,
        ids=table.ids,
        labels=table.labels,
        index=table.index,
        reference_labels=load_array(kept) if kept is not None and kept.exists() else None,
        meta={"facts": facts},
    )


def keep_scores(sink: Sink, scores: Scores) -> None:
    """Write the score table of a run, and what its manifest says of it."""
    layout, about = sink.folder.layout, ("facts", "columns", "stability")
    sink.write(Product(layout.relative(layout.scores), scores))
    sink.update(layout.manifest, {key: scores.meta[key] for key in about if key in scores.meta})


def score_signals(signals: Signals, requests: list[Request], out: str | Path | None) -> Scores:
    """Scores from a Recorder's signals; written to out/scores.parquet if out is given."""
    facts = signals.meta.get("facts", {})
    meta = {"data": signals.meta.get("data", {"n": signals.n}), "facts": facts}
    meta |= {key: signals.meta[key] for key in ("class_names",) if key in signals.meta}
    empty = Scores(np.arange(signals.n), {}, signals.ids, signals.labels, meta)
    scores = compute_scores(signals, resolve(requests, facts), empty)
    if out is not None:
        if Path(out).exists() and any(Path(out).iterdir()):
            raise OptionError(f"{out} is not empty: choose another out for the scores of these signals.")
        scores.write(Layout(Path(out)).scores)
    return scores


def table_of(source: Source, folder: RunFolder, facts: Mapping[str, Any]) -> Scores:
    """The score table that a run of these examples already has, or one without scores.

    Raises:
        DataError: the table is damaged.
    """
    path = folder.layout.scores
    if path.exists():
        try:
            have = Scores.read(path)
        except DataError as error:
            raise DataError(f"{str(error)[:-1]}, or remove it: the same command makes it from the recording.") from None
        return replace(have, meta={**have.meta, "facts": dict(facts)})
    meta = {
        "data": source.identity(),
        "plan": dict(folder.plan.what),
        "facts": dict(facts),
        "columns": {},
        "skipped": [list(entry) for entry in source.skipped],
        "class_names": list(source.class_names),
    }
    return Scores(np.asarray(source.index), {}, source.ids, source.labels, meta)
