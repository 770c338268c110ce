"""The authors' code of D2 pruning: the graph, and the examples taken from it."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, overlap, script
from conformance.vectors import clustered, kept

NEIGHBOURS, GAMMA = 5, 0.1


def scored(n: int) -> Arrays:
    """Vectors with a hardness."""
    return {**clustered(n), "hardness": np.random.default_rng(1).random(n).astype(np.float32)}


def ours(data: Arrays) -> Arrays:
    """Rows in the order taken."""
    from datadiet.selectors import d2

    k = kept(len(data["x"]))
    return {"rows": d2(data["x"], k, hardness=data["hardness"], neighbours=NEIGHBOURS, gamma_r=GAMMA)}


def theirs(data: Arrays) -> Arrays:
    """A set of rows, from the graph that they build."""
    from types import SimpleNamespace

    import torch

    how = SimpleNamespace(graph_mode="sum", graph_sampling_mode="weighted", precomputed_dists=None,
                          precomputed_neighbors=None, n_neighbor=NEIGHBOURS)  # fmt: skip
    code = script("core/data/sampling.py").GraphDensitySampler
    found = code(data["x"], None, 0, gamma=GAMMA, importance_scores=torch.from_numpy(data["hardness"]), args=how)
    return {"rows": np.array(found.select_batch_(kept(len(data["x"]))))}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are the same."""
    return {"same rows": overlap(a["rows"], b["rows"])}


PEER = Peer(
    "d2pruning",
    (
        Case("d2", "100 of 1,000 vectors, 5 neighbours, gamma 0.1", 1000, scored, ours, theirs, agreement,
             {"same rows": (1, 1)}),
    ),
    repository="adymaharana/d2pruning",
)  # fmt: skip
