"""pandas: rows that occur before."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer


def repeated(n: int) -> Arrays:
    """Rows of small whole numbers, of which many are equal."""
    return {"x": np.random.default_rng(0).integers(0, 6, (n, 4)).astype(np.float32)}


def ours(data: Arrays) -> Arrays:
    """The first of each group, by telling it that earlier rows are preferred."""
    from datadiet.selectors import exact_dedup

    return {"rows": np.sort(exact_dedup(data["x"], hardness=-np.arange(len(data["x"]), dtype=np.float64)))}


def theirs(data: Arrays) -> Arrays:
    """The first of each group."""
    import pandas

    return {"rows": np.flatnonzero(~pandas.DataFrame(data["x"]).duplicated(keep="first"))}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Whether the same rows stay, and how many."""
    return {"same rows": float(np.array_equal(a["rows"], b["rows"])), "rows": len(a["rows"])}


PEER = Peer(
    "pandas",
    (
        Case("exact_dedup", "20,000 rows of 4 numbers, mostly repeated", 20_000, repeated, ours, theirs, agreement,
             {"same rows": (1, 1)}),
    ),
)  # fmt: skip
