"""dPrune: the highest and the lowest scores, and what is farthest from the centroids of k-means."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, overlap
from conformance.data_diet_subsets import kept as kept_scores
from conformance.data_diet_subsets import our_ends, same_ends, scores
from conformance.vectors import in_clusters, kept


def table(**columns: np.ndarray) -> Any:
    """What they score and prune, with the positions of the rows."""
    from datasets import Dataset

    return Dataset.from_dict({"row": np.arange(len(next(iter(columns.values())))), **columns})


def their_ends(data: Arrays) -> Arrays:
    """The rows with the highest scores, and with the lowest."""
    from dprune import BottomKPruner, TopKPruner

    scored, k = table(score=data["score"]), kept_scores(len(data["score"]))
    found = {"hardest": TopKPruner(k), "easiest": BottomKPruner(k)}
    return {end: np.sort(pruner.prune(scored)["row"]) for end, pruner in found.items()}


def our_farthest(data: Arrays) -> Arrays:
    """In Euclidean clusters that are given."""
    from datadiet.geometry import Clusters
    from datadiet.selectors import prototypes_topk

    away = np.linalg.norm(data["x"] - data["centroids"][data["labels"]], axis=1)
    found = Clusters(data["centroids"], data["labels"], away, spherical=False)
    return {"rows": np.sort(prototypes_topk(data["x"], kept(len(away)), clusters=found))}


def their_farthest(data: Arrays) -> Arrays:
    """By their scorer, which gets the vectors and the clusters in place of a network and of its k-means."""
    from dprune import KMeansCentroidDistanceScorer, TopKPruner
    from dprune.scorers import unsupervised

    clusters = SimpleNamespace(fit_predict=lambda x: data["labels"], cluster_centers_=data["centroids"])
    unsupervised.KMeans = lambda **options: clusters
    unsupervised._get_embeddings = lambda *options: data["x"]
    scored = KMeansCentroidDistanceScorer(None, None, "text", len(data["centroids"])).score(table(label=data["labels"]))
    return {"rows": np.sort(TopKPruner(kept(len(data["x"]))).prune(scored)["row"])}


def same_rows(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are the same."""
    return {"same rows": overlap(a["rows"], b["rows"])}


PEER = Peer(
    "dPrune",
    (
        Case("top_k", "3,000 of 10,000 scores, from either end", 10_000, scores, our_ends, their_ends, same_ends,
             {"same rows, hardest": (1, 1), "same rows, easiest": (1, 1)}),
        Case("prototypes_topk", "500 of 5,000 vectors, the same 50 clusters, Euclidean", 5000, in_clusters,
             our_farthest, their_farthest, same_rows, {"same rows": (1, 1)}),
    ),
    ("dprune==0.0.1",),
)  # fmt: skip
