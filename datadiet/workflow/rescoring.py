"""rescore: further scores from signals that are recorded already. No model, no data, no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.files import read_vectors, write_json
from datadiet.table import Scores, Signals
from datadiet.table.signals import read_manifest
from datadiet.workflow.compute import compute_scores
from datadiet.workflow.requests import Request, make_requests

__all__ = ["reference_labels", "rescore", "score_signals"]


def rescore(
    run: str | Path,
    scorers: str | Callable[..., Any] | Iterable[Any],
    *,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    column: str | None = None,
) -> Scores:
    """Add score columns to a run from its recorded signals.

    Args:
        run: a run folder that `score` has finished.
        scorers, params, column: as in `score`.

    Returns:
        All scores of the run, as they now stand in `run/scores.parquet`.

    Raises:
        MissingSignal: a signal or epoch was not recorded; `score` with the same folder would record it.
        DataError: not a run folder, or a damaged one.
    """
    run = Path(run)
    requests = make_requests(scorers, params, column)
    manifest = read_manifest(run)
    have = Scores.read(run)
    facts = have.meta.get("facts", {})
    signals = Signals.open(
        run,
        len(have),
        ids=have.ids,
        labels=have.labels,
        index=have.index,
        reference_labels=reference_labels(run, facts),
        meta={"facts": facts},
    )
    scores = compute_scores(signals, requests, have)
    scores.write(run / "scores.parquet")
    write_json(
        run / "manifest.json", {**manifest, **{k: scores.meta[k] for k in ("columns", "stability") if k in scores.meta}}
    )
    return scores


def reference_labels(run: Path, facts: Mapping[str, Any]) -> np.ndarray | None:
    """The labels of the reference data that a run was last given, or None."""
    kept = run / "embeddings" / f"reference-{facts['reference'][:12]}.npy" if "reference" in facts else None
    return read_vectors(kept) if kept is not None and kept.exists() else None


def score_signals(signals: Signals, requests: list[Request], out: str | Path | None) -> Scores:
    """Scores from a Recorder's signals; written to out/scores.parquet if out is given."""
    empty = Scores(
        np.arange(signals.n), {}, signals.ids, signals.labels, {"data": signals.meta.get("data", {"n": signals.n})}
    )
    scores = compute_scores(
        signals, requests, replace(empty, meta={**empty.meta, "facts": signals.meta.get("facts", {})})
    )
    if out is not None:
        if Path(out).exists() and any(Path(out).iterdir()):
            raise OptionError(f"{out} is not empty: choose another out for the scores of these signals.")
        scores.write(Path(out) / "scores.parquet")
    return scores
