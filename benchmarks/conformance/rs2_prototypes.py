"""The authors' code of RS2: its own self-supervised prototypes."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType, SimpleNamespace

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout, overlap
from conformance.vectors import in_clusters, kept


def one_cluster(n: int) -> Arrays:
    """Unit vectors around one centroid."""
    x = in_clusters(n)["x"]
    return {"x": x, "centroids": x.mean(0, keepdims=True), "labels": np.zeros(n, dtype=int)}


def ours(data: Arrays, *, prefer: str) -> Arrays:
    """In clusters that are given, by cosine."""
    from datadiet.geometry import Clusters
    from datadiet.selectors import prototypes_topk

    centroids = data["centroids"] / np.linalg.norm(data["centroids"], axis=1, keepdims=True)
    found = Clusters(centroids, data["labels"], 1 - (data["x"] * centroids[data["labels"]]).sum(1), spherical=True)
    return {"rows": np.sort(prototypes_topk(data["x"], kept(len(data["x"])), clusters=found, prefer=prefer))}


def theirs(data: Arrays, *, prefer: str) -> Arrays:
    """The same clusters, given in place of their k-means."""
    import torch

    for name in ("deepcore", "deepcore.methods"):  # without the other methods and what these need
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(checkout() / "src" / "DeepCore" / name.replace(".", "/"))]
    from deepcore.methods import selfproto

    clusters = SimpleNamespace(fit=lambda x: None, labels_=data["labels"], cluster_centers_=data["centroids"])
    selfproto.KMeans = lambda **options: clusters
    x, number = torch.from_numpy(data["x"]), len(data["centroids"])
    method = SimpleNamespace(
        get_embeddings=lambda: (range(len(x)), range(len(x)), x), num_classes=number, fraction=kept(len(x)) / len(x),
        distance_type="cosine_similarity", use_hard_examples=prefer == "hardest",
        embedding_distance=partial(selfproto.SelfSupervisedPrototypes.embedding_distance, None),
    )  # fmt: skip
    return {"rows": np.sort(selfproto.SelfSupervisedPrototypes.run_clustering(method))}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are the same."""
    return {"same rows": overlap(a["rows"], b["rows"])}


def shares(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are the same, and the least and the largest share of a cluster that each keeps."""
    sizes = np.bincount(data["labels"])
    found = agreement(data, a, b)
    for name, side in (("ours", a), ("theirs", b)):
        share = np.bincount(data["labels"][side["rows"]], minlength=len(sizes)) / sizes
        found |= {f"least share of {name}": float(share.min()), f"largest share of {name}": float(share.max())}
    return found


PEER = Peer(
    "RS2",
    (
        Case("prototypes_topk", "500 of 5,000 vectors, the same 50 clusters", 5000, in_clusters,
             partial(ours, prefer="hardest"), partial(theirs, prefer="hardest"), shares,
             {"same rows": (0.5, 0.9), "least share of ours": (0, 0.05), "largest share of ours": (0.2, 1),
              "least share of theirs": (0.08, 0.1), "largest share of theirs": (0.1, 0.12)},
             "each cluster keeps the same share there"),
        Case("prototypes_topk", "500 of 5,000 vectors, 1 cluster", 5000, one_cluster,
             partial(ours, prefer="hardest"), partial(theirs, prefer="hardest"), agreement, {"same rows": (1, 1)}),
        Case("prototypes_topk", "the same, prefer=easiest", 5000, one_cluster, partial(ours, prefer="easiest"),
             partial(theirs, prefer="easiest"), agreement, {"same rows": (1, 1)}),
    ),
    repository="PatrikOkanovic/RS2",
)  # fmt: skip
