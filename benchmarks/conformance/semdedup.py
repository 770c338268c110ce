"""The authors' code of SemDeDup: the order within clusters, and the similarity to any row before."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from conformance.case import Arrays, Case, Peer, overlap, script
from conformance.vectors import in_clusters

EPSILON, LEFT, SHARE = 0.05, 0.75, 0.3


def ours(data: Arrays, *, mode: str) -> Arrays:
    """Rows kept in given clusters."""
    from datadiet.geometry import Clusters
    from datadiet.selectors import semdedup

    found = Clusters(data["centroids"], data["labels"], data["distance"], spherical=True)
    return {"rows": np.sort(semdedup(data["x"], epsilon=EPSILON, clusters=found, mode=mode))}


def theirs(data: Arrays) -> Arrays:
    """The same by their method for a cluster, in the order of their sorted clusters."""
    rows, similarity = compared(data["x"], data["labels"], data["centroids"])
    return {"rows": np.sort(rows[~(similarity > 1 - EPSILON)])}


def compared(x: np.ndarray, labels: np.ndarray, centroids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows, and the largest similarity of each to a row before it in its cluster."""
    import torch

    job = script("semdedup.py").SemDeDupJob
    parts = []
    for cluster in in_order(x, labels, centroids):
        rows = np.array([int(row) for _, row, *_ in cluster])
        names = np.array(cluster, dtype=object)
        nearest = job.semdedup(job.__new__(job), names, torch.from_numpy(x[rows]), "cpu")
        parts.append((rows, nearest.numpy()))
    rows, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
    return rows, similarity


def in_order(x: np.ndarray, labels: np.ndarray, centroids: np.ndarray) -> list[list[tuple]]:
    """Their clusters, whose members come farthest from the centroid first: (name, row, distance, cluster) each."""
    import pandas as pd

    folder = Path("sorted")
    for path in folder.glob("*"):
        path.unlink()
    table = pd.DataFrame({"paths_list": [str(row) for row in range(len(x))], "nearest_cent": labels})
    sort = script("clustering/sort_clusters.py").rank_within_cluster
    found = sort(x, table, centroids, "cosine", True, False, range(len(centroids)), str(folder))
    return [cluster for cluster in found if len(cluster)]


def pairs(n: int) -> Arrays:
    """Unit vectors, the last quarter of which are near-copies of the first quarter."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 64))
    x[n - n // 4 :] = x[: n // 4] + 0.2 * rng.normal(size=(n // 4, 64))
    return {"x": (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)}


def our_two_steps(data: Arrays) -> Arrays:
    """D4 with one cluster, so that no start of k-means matters."""
    from datadiet.selectors import d4

    found = d4.explain(data["x"], int(SHARE * len(data["x"])), dedup=LEFT, clusters=1)
    return {"left": np.flatnonzero(found.stratum >= 0), "rows": found.chosen}


def their_two_steps(data: Arrays) -> Arrays:
    """Their deduplication down to a share, then their order of what is left, around its own mean."""
    x = data["x"]
    rows, similarity = compared(x, np.zeros(len(x), dtype=int), x.mean(0, keepdims=True))
    left = np.sort(rows[np.argsort(similarity, kind="stable")[: round(LEFT * len(x))]])
    (cluster,) = in_order(x[left], np.zeros(len(left), dtype=int), x[left].mean(0, keepdims=True))
    return {"left": left, "rows": left[[int(row) for _, row, *_ in cluster[: int(SHARE * len(x))]]]}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are kept, and how many of them are the same."""
    return {
        "kept by ours": float(len(a["rows"])),
        "kept by theirs": float(len(b["rows"])),
        "ours in theirs": overlap(a["rows"], b["rows"]),
        "theirs in ours": overlap(b["rows"], a["rows"]),
    }


def steps_agree(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are the same after each step."""
    return {"same rows without duplicates": overlap(a["left"], b["left"]), "same rows": overlap(a["rows"], b["rows"])}


PEER = Peer(
    "SemDeDup",
    (
        Case("semdedup", "5,000 vectors, chains of near-copies, 50 clusters, mode=chain", 5000,
             partial(in_clusters, copies=True), partial(ours, mode="chain"), theirs, agreement,
             {"kept by ours": (1000, 3000), "kept by theirs": (1000, 3000), "ours in theirs": (1, 1),
              "theirs in ours": (1, 1)}),
        Case("semdedup", "the same, mode=greedy", 5000, partial(in_clusters, copies=True),
             partial(ours, mode="greedy"), theirs, agreement, {"theirs in ours": (1, 1), "ours in theirs": (0.7, 0.95)},
             "there, a removed row can still remove others"),
        Case("d4", "1,200 of 4,000 vectors, a quarter of them near-copies, 1 cluster", 4000, pairs, our_two_steps,
             their_two_steps, steps_agree, {"same rows without duplicates": (1, 1), "same rows": (1, 1)}),
    ),
    install=("submitit==1.5.4",),
    repository="facebookresearch/SemDeDup",
)  # fmt: skip
