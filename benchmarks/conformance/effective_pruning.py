"""The authors' code of density-based pruning: complexity, the quadratic program, and the rows taken from clusters."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout, overlap, relative_difference, script
from conformance.vectors import in_clusters

TEMPERATURE, BALANCE, NEIGHBOURS = 0.5, 0.5, 20


def with_single(n: int) -> Arrays:
    """The same with 20 more clusters, each of one vector."""
    data = dict(in_clusters(n))
    alone = np.arange(0, n, n // 20)[:20]
    data["labels"][alone] = len(data["centroids"]) + np.arange(20)
    data["distance"][alone] = 0
    return {**data, "centroids": np.concatenate([data["centroids"], data["x"][alone]])}


def their_code() -> Any:
    """Their functions: the file up to its main function, in which a bracket is missing."""
    sys.path.insert(0, str(checkout()))
    absent = ModuleType("cls_balance_pruning")  # not in the repository, and used by the main function only
    absent.ssp_pruning = absent.random_pruning = absent.load_arrays = None  # type: ignore[attr-defined]
    sys.modules[absent.__name__] = absent
    text = (checkout() / "prune.py").read_text()
    code = ModuleType("peer_prune")
    exec(compile(text[: text.index("def main(")], "prune.py", "exec"), code.__dict__)
    return code


def ours(data: Arrays, *, share: float = 0.3, temperature: float = TEMPERATURE) -> Arrays:
    """Complexities, budgets and rows."""
    from datadiet.geometry import Clusters
    from datadiet.selectors import dbp, dbp_budgets
    from datadiet.selectors.budget import project
    from datadiet.selectors.dbp import _complexity, _problem

    found = Clusters(data["centroids"], data["labels"], data["distance"], spherical=True)
    k, complexity = int(share * len(data["labels"])), _complexity(found, NEIGHBOURS)
    rows = dbp(data["x"], k, clusters=found, temperature=temperature, neighbours=NEIGHBOURS, min_per_cluster=BALANCE)
    budgets = dbp_budgets(complexity, found.sizes, k, temperature, BALANCE)
    target, lower, upper = _problem(complexity, found.sizes, k, temperature, BALANCE)
    exact = project(target, k, lower.astype(float), upper.astype(float))
    return {"complexity": complexity, "exact": exact, "budgets": budgets, "rows": np.sort(rows)}


def theirs(data: Arrays, *, share: float = 0.3, temperature: float = TEMPERATURE) -> Arrays:
    """The same, through the files that their scripts hand on."""
    import torch

    folder, number, k = Path("sorted"), len(data["centroids"]), int(share * len(data["labels"]))
    how = SimpleNamespace(
        density="dinter*dintra", print_fn=lambda text: None, which_to_keep="hard", sorted_clusters=range(number),
        sorted_clusters_path=str(folder), centroids_file="centroids.npy", dim=data["x"].shape[1], num_NNs=NEIGHBOURS,
        mean_centroid_distances_save_path="out/inter.npy", avg_distance_to_cent_save_path="out/intra.npy",
        num_clusters=number,
    )  # fmt: skip
    write(folder, data)
    script("compute_avg_dist_to_cluster_centroid.py").compute_avg_dist_to_cluster_centroid(how)
    script("compute_centroid_distances.py").compute_centroid_distances(how)
    code = their_code()
    complexity = code.get_distances(how)
    p = torch.softmax(torch.Tensor(complexity) / temperature, 0).numpy()
    sizes = np.bincount(data["labels"], minlength=number)
    exact, solve = [], code.solve_qp
    code.solve_qp = lambda **problem: exact.append(solve(**problem)) or exact[0]
    budgets = code.pruning_qp(p, sizes, k, number, how.print_fn, BALANCE)
    rows = code.get_paths(how, budgets)[0]
    rows = np.sort(np.array(rows).astype(int))
    return {"complexity": complexity, "exact": exact[0], "budgets": budgets, "rows": rows}


def write(folder: Path, data: Arrays) -> None:
    """The centroids, and a file for each cluster, whose members come farthest first."""
    for path in (*folder.glob("*"), *Path("out").glob("*")):
        path.unlink()
    folder.mkdir(exist_ok=True)
    np.save("centroids.npy", data["centroids"])
    for cluster in range(len(data["centroids"])):
        rows = np.flatnonzero(data["labels"] == cluster)
        rows = rows[np.argsort(-data["distance"][rows], kind="stable")]
        items = [(str(row), str(row), str(data["distance"][row]), str(cluster)) for row in rows]
        np.save(folder / f"cluster_{cluster}.npy", np.array(items))


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Complexities, budgets before and after they are rounded, what is kept in all, and how many rows are the same."""
    return {
        "relative difference of complexities": relative_difference(a["complexity"], b["complexity"]),
        "largest difference of a budget before rounding": float(np.abs(a["exact"] - b["exact"]).max()),
        "largest difference of a budget": float(np.abs(a["budgets"] - b["budgets"]).max()),
        "kept by ours": float(len(a["rows"])),
        "kept by theirs": float(len(b["rows"])),
        "ours in theirs": overlap(a["rows"], b["rows"]),
        "theirs in ours": overlap(b["rows"], a["rows"]),
    }


def single_agree(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Complexities, and how many clusters of one vector keep it."""
    single = np.bincount(data["labels"]) == 1
    return {
        "relative difference of complexities": relative_difference(a["complexity"], b["complexity"]),
        "single members kept by ours": float(a["budgets"][single].sum()),
        "single members kept by theirs": float(b["budgets"][single].sum()),
    }


PEER = Peer(
    "effective_pruning",
    (
        Case("dbp", "3,000 of 10,000 vectors in 100 clusters", 10_000, in_clusters, ours, theirs, agreement,
             {"relative difference of complexities": (0, 1e-5), "largest difference of a budget": (0, 1),
              "largest difference of a budget before rounding": (0, 1e-4),
              "kept by ours": (3000, 3000), "kept by theirs": (3001, 3020), "ours in theirs": (1, 1)},
             "each budget is rounded by itself there, so that the total misses k"),
        Case("dbp", "the same, temperature 0.05", 10_000, in_clusters, partial(ours, temperature=0.05),
             partial(theirs, temperature=0.05), agreement,
             {"relative difference of complexities": (0, 1e-5), "largest difference of a budget": (0, 1),
              "largest difference of a budget before rounding": (0, 0.002),
              "kept by ours": (3000, 3000), "kept by theirs": (2980, 2999), "theirs in ours": (1, 1)},
             "each budget is rounded by itself there, so that the total misses k"),
        Case("dbp", "500 of 10,000 vectors, 20 of them in clusters of their own, temperature 0.015", 10_000,
             with_single, partial(ours, share=0.05, temperature=0.015), partial(theirs, share=0.05, temperature=0.015),
             single_agree,
             {"relative difference of complexities": (0, 1e-5), "single members kept by ours": (20, 20),
              "single members kept by theirs": (0, 0)},
             "there, the lower bound may be one below the size of a cluster, so a cluster of one may be dropped"),
    ),
    install=("faiss-cpu==1.15.1", "osqp==1.1.3", "pygtrie==2.6.2", "qpsolvers==4.13.0"),
    repository="amro-kamal/effective_pruning",
)  # fmt: skip
