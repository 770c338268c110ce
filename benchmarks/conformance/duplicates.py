"""Texts with near-copies planted in them, and how the pairs that are found compare with the exact ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from conformance.case import Arrays

__all__ = ["EXPECTED", "THRESHOLD", "against_exact", "joined", "ours", "shingled", "texts"]

THRESHOLD, WORDS, VOCABULARY = 0.7, 60, 5000
EXPECTED = {
    "groups of which ours keeps one": (1, 1),
    "kept beyond one per group by ours": (0, 0),
    "kept beyond one per group by theirs": (-300, -1),
}


def texts(n: int) -> Arrays:
    """n texts of 60 words, the last third near-copies of the first with 1 to 4 words replaced."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, VOCABULARY, (n, WORDS))
    copies = n // 3
    for row in range(copies):
        words[n - copies + row] = words[row]
        changed = rng.choice(WORDS, rng.integers(1, 5), replace=False)
        words[n - copies + row, changed] = rng.integers(0, VOCABULARY, len(changed))
    return {"texts": np.array([" ".join(f"w{word}" for word in row) for row in words])}


def shingled(data: Arrays) -> list[set[str]]:
    """The sets of five consecutive words that we compare."""
    parts = [text.split() for text in data["texts"].tolist()]
    return [{" ".join(words[i : i + 5]) for i in range(len(words) - 4)} for words in parts]


def ours(data: Arrays) -> Arrays:
    """What `minhash` keeps."""
    from datadiet.selectors import minhash

    return {"kept": np.sort(minhash(data["texts"].tolist(), threshold=THRESHOLD))}


def joined(n: int, pairs: list[tuple[int, int]]) -> np.ndarray:
    """(n,) the smallest row of the group that each row belongs to."""
    group = list(range(n))

    def root(row: int) -> int:
        while group[row] != row:
            row = group[row]
        return row

    for a, b in pairs:
        first, second = sorted((root(a), root(b)))
        group[second] = first
    return np.array([root(row) for row in range(n)])


def against_exact(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows each keeps beyond one of each group of texts whose exact coefficient is enough.

    And the share of these groups of which ours keeps one row.
    """
    sets = shingled(data)
    where: dict[str, list[int]] = {}
    for row, shingles in enumerate(sets):
        for shingle in shingles:
            where.setdefault(shingle, []).append(row)
    near = {pair for rows in where.values() for pair in pairwise(rows)}
    exact = [(i, j) for i, j in near if len(sets[i] & sets[j]) >= THRESHOLD * len(sets[i] | sets[j])]
    group = joined(len(sets), exact)
    groups = np.unique(group)
    return {
        "groups": len(groups),
        "groups of which ours keeps one": float(
            (np.bincount(group[a["kept"]], minlength=len(sets))[groups] == 1).mean()
        ),
        "kept beyond one per group by ours": len(a["kept"]) - len(groups),
        "kept beyond one per group by theirs": len(b["kept"]) - len(groups),
    }
