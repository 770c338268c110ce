"""scikit-learn: k-means, nearest neighbours, logistic regression, means of classes, stratified draws."""

from __future__ import annotations

from functools import partial

import numpy as np

from conformance.case import Arrays, Case, Peer, relative_difference
from conformance.vectors import clustered, in_clusters

CLUSTERS, NEIGHBOURS, ROUNDS, L2 = 50, 10, 100, 1e-3
SHARE = 0.1


def with_start(n: int) -> Arrays:
    """Vectors, and our first centroids of them."""
    from datadiet.geometry import kmeans

    data = clustered(n)
    return {**data, "start": kmeans(data["x"], CLUSTERS, spherical=False, iterations=0).centroids}


def our_clusters(data: Arrays) -> Arrays:
    """Lloyd's algorithm to the end."""
    import datadiet as dd

    found = dd.kmeans(data["x"], CLUSTERS, spherical=False, iterations=ROUNDS, tolerance=0)
    inertia = np.square(found.distance.astype(float)).sum()
    return {"inertia": inertia, "labels": found.labels, "rounds": len(found.objective) - 1}


def their_clusters(data: Arrays) -> Arrays:
    """The same, from the same start."""
    from sklearn.cluster import KMeans

    found = KMeans(CLUSTERS, init=data["start"], n_init=1, max_iter=ROUNDS, tol=0, algorithm="lloyd").fit(data["x"])
    return {"inertia": found.inertia_, "labels": found.labels_, "rounds": found.n_iter_}


def clusters_agree(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The clusters, the ratio of the inertias, and the rounds of both."""
    return {
        "equal clusters": float((a["labels"] == b["labels"]).mean()),
        "ratio of inertias": a["inertia"] / b["inertia"],
        "rounds of ours": float(a["rounds"]), "rounds of theirs": float(b["rounds"]),
    }  # fmt: skip


def our_neighbours(data: Arrays) -> Arrays:
    """The nearest of each, by Euclidean distance."""
    from datadiet.geometry import nearest

    rows, distance = nearest(data["x"], NEIGHBOURS, metric="euclidean")
    return {"rows": rows, "distance": distance}


def their_neighbours(data: Arrays) -> Arrays:
    """The same by brute force."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(data["x"])
    distance, rows = found.kneighbors()
    return {"rows": rows, "distance": distance}


def neighbours_agree(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The share of neighbours that are equal, and the distances."""
    return {
        "equal neighbours": float((a["rows"] == b["rows"]).mean()),
        "largest relative difference": relative_difference(a["distance"], b["distance"]),
    }


def our_density(data: Arrays, *, metric: str) -> Arrays:
    """The score."""
    from datadiet.scorers import density

    return {"distance": density(data["x"], k=NEIGHBOURS, metric=metric)}


def their_density(data: Arrays, *, metric: str) -> Arrays:
    """The mean of their distances."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=NEIGHBOURS, metric=metric, algorithm="brute").fit(data["x"].astype(float))
    return {"distance": found.kneighbors()[0].mean(1)}


def our_prototypes(data: Arrays, *, spherical: bool) -> Arrays:
    """The score, from given clusters."""
    from datadiet.geometry import Clusters
    from datadiet.scorers import prototypes

    found = Clusters(data["centroids"], data["labels"], data["distance"], spherical=spherical)
    return {"distance": prototypes(data["x"], clusters=found)}


def their_prototypes(data: Arrays, *, spherical: bool) -> Arrays:
    """The distances to the nearest of the same centroids."""
    from sklearn.metrics import pairwise_distances_argmin_min

    metric = "cosine" if spherical else "euclidean"
    return {"distance": pairwise_distances_argmin_min(*(data[name].astype(float) for name in ("x", "centroids")),
                                                      metric=metric)[1]}  # fmt: skip


def our_head(data: Arrays) -> Arrays:
    """The softmax regression beneath `influence`, refitted."""
    from datadiet.scorers.refit_head import refit_head

    return {"probabilities": refit_head(data["x"], data["labels"], l2=L2)[0]}


def their_head(data: Arrays) -> Arrays:
    """The same objective: C = 1 / (n l2), with the bias as a column, since theirs does not regularise it."""
    from sklearn.linear_model import LogisticRegression

    inputs = np.hstack([data["x"], np.ones((len(data["x"]), 1))]).astype(float)
    fitted = LogisticRegression(C=1 / (len(inputs) * L2), fit_intercept=False, tol=1e-10, max_iter=10_000)
    return {"probabilities": fitted.fit(inputs, data["labels"]).predict_proba(inputs)}


def heads_agree(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The largest difference of a probability."""
    return {"largest difference": float(np.abs(a["probabilities"] - b["probabilities"]).max())}


def our_classes(data: Arrays, *, spherical: bool) -> Arrays:
    """The distance to the mean of the class."""
    from datadiet.scorers import supervised_prototypes

    return {"distance": supervised_prototypes(data["x"], data["labels"], spherical=spherical)}


def their_classes(data: Arrays, *, spherical: bool) -> Arrays:
    """Their centroids of classes, and their distances to them; of vectors of length 1, if spherical."""
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestCentroid
    from sklearn.preprocessing import normalize

    x = normalize(data["x"].astype(float)) if spherical else data["x"].astype(float)
    means = NearestCentroid().fit(x, data["labels"]).centroids_
    away = pairwise_distances(x, means, metric="cosine" if spherical else "euclidean")
    return {"distance": away[np.arange(len(x)), data["labels"]]}


def distances_agree(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart."""
    return {"largest relative difference": relative_difference(a["distance"], b["distance"])}


def long_tail(n: int, *, rarest: int) -> Arrays:
    """Labels of eight classes, each half as large as the one before, and of a rare one."""
    sizes = n * 0.5 ** np.arange(1, 9)
    labels = np.repeat(np.arange(9), [*np.maximum(2, np.round(sizes)).astype(int), rarest])
    return {"labels": np.random.default_rng(0).permutation(labels)}


def our_draw(data: Arrays) -> Arrays:
    """How many of each class a stratified draw has."""
    from datadiet.selectors import random

    labels = data["labels"]
    return {"counts": np.bincount(labels[random(len(labels), int(SHARE * len(labels)), labels=labels)], minlength=9)}


def their_draw(data: Arrays) -> Arrays:
    """The same of theirs."""
    from sklearn.model_selection import train_test_split

    labels = data["labels"]
    part, _ = train_test_split(labels, train_size=int(SHARE * len(labels)), stratify=labels, random_state=0)
    return {"counts": np.bincount(part, minlength=9)}


def counts_agree(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The largest difference of the number from a class, and what is drawn of the rare class."""
    return {
        "largest difference": float(np.abs(a["counts"] - b["counts"]).max()),
        "ours of the rare class": float(a["counts"][-1]),
        "theirs of the rare class": float(b["counts"][-1]),
    }


PEER = Peer(
    "scikit-learn",
    (
        Case("prototypes", "k-means, 5,000 vectors, 50 clusters, the same start", 5000, with_start, our_clusters,
             their_clusters, clusters_agree, {"equal clusters": (0.999, 1), "ratio of inertias": (0.99999, 1.00001)}),
        Case("density", "10 nearest of 5,000 vectors", 5000, clustered, our_neighbours, their_neighbours,
             neighbours_agree, {"equal neighbours": (0.9999, 1), "largest relative difference": (0, 1e-5)}),
        *(Case("density", f"the score, 10 neighbours, metric={metric}", 5000, clustered,
               partial(our_density, metric=metric), partial(their_density, metric=metric), distances_agree,
               {"largest relative difference": (0, 1e-5)}) for metric in ("cosine", "euclidean")),
        *(Case("prototypes", f"the score, 50 given centroids, spherical={spherical}", 5000, in_clusters,
               partial(our_prototypes, spherical=spherical), partial(their_prototypes, spherical=spherical),
               distances_agree, {"largest relative difference": (0, 1e-5)}) for spherical in (True, False)),
        Case("influence", "softmax regression on 5,000 vectors, 10 classes", 5000, clustered, our_head, their_head,
             heads_agree, {"largest difference": (0, 1e-4)}),
        Case("supervised_prototypes", "5,000 vectors, 10 classes", 5000, clustered,
             partial(our_classes, spherical=True), partial(their_classes, spherical=True), distances_agree,
             {"largest relative difference": (0, 1e-5)}),
        Case("supervised_prototypes", "the same, spherical=False", 5000, clustered,
             partial(our_classes, spherical=False), partial(their_classes, spherical=False), distances_agree,
             {"largest relative difference": (0, 1e-5)}),
        Case("by_class", "random, 10 % of 9 classes, the rarest of 34 examples", 10_000, partial(long_tail, rarest=34),
             our_draw, their_draw, counts_agree, {"largest difference": (0, 0)}),
        Case("by_class", "the same, the rarest of 4 examples", 10_000, partial(long_tail, rarest=4), our_draw,
             their_draw, counts_agree,
             {"ours of the rare class": (1, 1), "theirs of the rare class": (0, 0), "largest difference": (1, 1)},
             "no class vanishes here that could keep an example"),
    ),
    ("scikit-learn==1.9.1",),
)  # fmt: skip
