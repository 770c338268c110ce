"""The authors' code of PASER: divergences, budgets, and choices, with clusters, outputs and concepts that are given."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, overlap, relative_difference, script

CLASSES, CLUSTERS, SHARE = 10, 8, 0.1


def outputs(n: int) -> Arrays:
    """Logits of two networks, clusters of different sizes, and the lengths of answers."""
    rng = np.random.default_rng(0)
    cluster = rng.choice(CLUSTERS, n, p=np.arange(1, CLUSTERS + 1) / 36)
    dense = 3 * rng.normal(size=(n, CLASSES))
    pruned = dense + rng.normal(size=(n, CLASSES)) * (2 - cluster[:, None] / CLUSTERS)
    data = {"dense": dense.astype("f4"), "pruned": pruned.astype("f4"), "length": rng.integers(10, 200, n)}
    return {**data, "cluster": cluster, "concepts": np.full((n, 1), -1)}


def crowded(n: int) -> Arrays:
    """The same, with a first cluster that pruning turned round, and that is smaller than its budget."""
    data, worst = outputs(n), np.arange(n) < n // 100
    return {**data, "cluster": np.where(worst, 0, 1 + np.arange(n) % (CLUSTERS - 1)),
            "pruned": np.where(worst[:, None], -data["dense"], data["pruned"])}  # fmt: skip


def conflicting(n: int, *, alone: bool) -> Arrays:
    """The same with two of thirty concepts for each example, or one for half of them, and what else may differ alike.

    That is: our budgets, and clusters that are numbered in the order in which ours scans them.
    """
    from datadiet.selectors import paser_budgets

    data = outputs(n)
    concepts = np.random.default_rng(1).permuted(np.tile(np.arange(30), (n, 1)), axis=1)[:, :2]
    if alone:
        concepts[::2, 1] = -1
    sizes = np.bincount(data["cluster"], minlength=CLUSTERS)
    lost = np.bincount(data["cluster"], our_divergence(data)["divergence"], CLUSTERS) / np.maximum(sizes, 1)
    order = np.argsort(-lost)
    budgets = paser_budgets(lost[order], sizes[order], round(SHARE * n))
    return {**data, "cluster": np.argsort(order)[data["cluster"]], "concepts": concepts, "budgets": budgets}


def our_divergence(data: Arrays) -> Arrays:
    """From the logits of both networks, as the pass records it."""
    import torch

    from datadiet.tasks.classification import jensen_shannon

    return {"divergence": jensen_shannon(torch.from_numpy(data["dense"]), torch.from_numpy(data["pruned"])).numpy()}


def ours(data: Arrays, *, least: int = 0) -> Arrays:
    """With their cost, the logarithm of the squared length.

    Args:
        data: logits, clusters, lengths, concepts.
        least: examples with fewer concepts have none; 0 = concepts do not count.
    """
    from datadiet.geometry import Clusters
    from datadiet.selectors import paser

    concepts = np.where((data["concepts"] >= 0).sum(1, keepdims=True) >= least, data["concepts"], -1)
    vectors = np.eye(CLUSTERS, dtype=np.float32)
    rows = paser(
        vectors[data["cluster"]], round(SHARE * len(concepts)), degradation=our_divergence(data)["divergence"],
        cost=np.log((data["length"] + 1.0) ** 2), concepts=concepts if least else None,
        clusters=Clusters(vectors, data["cluster"], np.zeros(len(concepts), "f4"), spherical=True),
    )  # fmt: skip
    return {"rows": rows}


class Prompt(dict):
    """What their tokenizer gives: one token, the number of the example."""

    def to(self, device: object) -> Prompt:
        """Itself."""
        return self


class Network:
    """What their models are: outputs by token."""

    def __init__(self, logits: Any) -> None:
        self.table = logits

    def __call__(self, input_ids: Any) -> Any:
        """One row of outputs for one token."""
        from types import SimpleNamespace

        return SimpleNamespace(logits=self.table[input_ids])


def tokenizer(row: int, return_tensors: str) -> Prompt:
    """A prompt is the number of the example."""
    import torch

    return Prompt(input_ids=torch.tensor([[row]]))


def their_method() -> Any:
    """Their class, without the text encoder and the phrase finder that it loads."""
    import sys
    from types import ModuleType, SimpleNamespace

    for module, name in (("sentence_transformers", "SentenceTransformer"), ("rake_nltk", "Rake")):
        sys.modules[module] = stand_in = ModuleType(module)
        setattr(stand_in, name, lambda *_: None)
    return script("paser.py").PASER(SimpleNamespace())


def their_divergence(data: Arrays) -> Arrays:
    """One example at a time."""
    import torch

    code, pairs = their_method(), zip(*(torch.from_numpy(data[name]) for name in ("pruned", "dense")), strict=True)
    return {"divergence": np.array([code.compute_jsd(p, q) for p, q in pairs])}


def theirs(data: Arrays) -> Arrays:
    """Their assessment, budgets and selection; an example is a prompt of one token, and an answer of some length."""
    import torch

    method = their_method()
    pruned, dense = (Network(torch.from_numpy(data[name])) for name in ("pruned", "dense"))
    examples = [
        {"instruction": row, "output": "x" * int(length), "concepts": {int(c) for c in concepts if c >= 0}}
        for row, (length, concepts) in enumerate(zip(data["length"], data["concepts"], strict=True))
    ]
    method.args.max_selected_data = round(SHARE * len(examples))
    method.extract_concepts = lambda example: example["concepts"]
    lost = method.assess_capability_degradation(data["cluster"].tolist(), examples, pruned, dense, tokenizer)
    budgets = dict(enumerate(data["budgets"])) if "budgets" in data else method.allocate_budget(lost)
    chosen = method.select_samples(data["cluster"].tolist(), budgets, examples, pruned, dense, tokenizer)
    return {"rows": np.array([example["instruction"] for example in chosen])}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows each keeps, and the share of theirs that ours has too."""
    return {
        "rows of ours": float(len(a["rows"])), "rows of theirs": float(len(b["rows"])),
        "theirs in ours": overlap(b["rows"], a["rows"]),
    }  # fmt: skip


def distance(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far the divergences are apart."""
    return {"largest relative difference": relative_difference(a["divergence"], b["divergence"])}


PEER = Peer(
    "PASER",
    (
        Case("divergence", "5,000 examples, 10 classes, one token each", 5000, outputs, our_divergence,
             their_divergence, distance, {"largest relative difference": (0, 1e-5)}),
        Case("paser", "500 of 5,000 examples in 8 clusters", 5000, outputs, ours, theirs, agreement,
             {"rows of ours": (500, 500), "rows of theirs": (493, 500), "theirs in ours": (1, 1)},
             "budgets are rounded down there"),
        Case("paser", "the same, one cluster smaller than its budget", 5000, crowded, ours, theirs, agreement,
             {"rows of ours": (500, 500), "rows of theirs": (200, 400), "theirs in ours": (1, 1)},
             "what a small cluster cannot use is lost there"),
        Case("paser", "the same, two of thirty concepts each, our budgets", 5000, partial(conflicting, alone=False),
             partial(ours, least=1), theirs, agreement,
             {"rows of ours": (500, 500), "rows of theirs": (100, 400), "theirs in ours": (1, 1)},
             "ours fills a cluster with the best inconsistent ones"),
        Case("paser", "the same, half of the examples with one concept", 5000, partial(conflicting, alone=True),
             partial(ours, least=1), theirs, agreement,
             {"rows of ours": (500, 500), "theirs in ours": (0.3, 0.99)},
             "a single concept does not count as known there"),
        Case("paser", "the same, single concepts left out of ours too", 5000, partial(conflicting, alone=True),
             partial(ours, least=2), theirs, agreement,
             {"rows of ours": (500, 500), "theirs in ours": (1, 1)}),
    ),
    repository="BokwaiHo/PASER",
)  # fmt: skip
