"""MosaicML's Composer: in which steps selective backprop chooses, how many examples of a batch, and which."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, script

DRAWS, PLAN = 2000, {"start": 0.3, "end": 0.8, "interrupt": 3}
BATCHES = 7  # in an epoch


def losses(n: int) -> Arrays:
    """Of the examples of one batch."""
    return {"loss": np.random.default_rng(0).gamma(1, 1, n).astype(np.float32)}


def budget(n: int) -> Arrays:
    """How many steps a training has."""
    return {"steps": np.array(n)}


def training(steps: int) -> Any:
    """A clock at every step."""
    from datadiet.training.clock import Clock

    clock = Clock(steps=steps)
    for step in range(steps):
        if step % BATCHES == 0:
            clock.begin_epoch(BATCHES)
        yield clock
        clock.tick()
        if clock.batch == BATCHES:
            clock.end_epoch()


def ours(data: Arrays, *, keep: float, seed: int = 0) -> Arrays:
    """The share of the draws in which each example is chosen, and how many are."""
    import torch

    from datadiet.data.batch import Batch
    from datadiet.training.selective_backprop import SelectiveBackprop

    n, calls, counts = len(data["loss"]), [], np.zeros(len(data["loss"]))

    def inner(_: Any, batch: Batch) -> Any:
        calls.append(batch.rows.numpy())
        return batch.inputs, batch.inputs

    batch = Batch(torch.from_numpy(data["loss"]), torch.zeros(n, dtype=torch.int64), torch.arange(n))
    for clock in training(DRAWS):
        SelectiveBackprop(inner, clock, keep=keep, start=0, end=1, interrupt=0, seed=seed)(len, batch)
        counts[calls[-1]] += 1
    return {"share": counts / DRAWS, "kept": np.array(len(calls[-1]))}


def twice(data: Arrays, *, keep: float) -> Arrays:
    """Ours, and ours with another seed."""
    return {**ours(data, keep=keep), "again": ours(data, keep=keep, seed=1)["share"]}


def our_steps(data: Arrays) -> Arrays:
    """The steps that choose: those in which the objective asks twice for losses."""
    import torch

    from datadiet.data.batch import Batch
    from datadiet.training.selective_backprop import SelectiveBackprop

    asked, batch = [], Batch(torch.rand(8), torch.zeros(8, dtype=torch.int64), torch.arange(8))

    def inner(_: Any, batch: Batch) -> Any:
        asked[-1] += 1
        return batch.inputs, batch.inputs

    for clock in training(int(data["steps"])):
        asked.append(0)
        SelectiveBackprop(inner, clock, **PLAN)(len, batch)
    return {"chooses": np.array(asked) == 2}


def code() -> Any:
    """Their file, without the trainer that it takes names of types from."""
    import sys
    from types import ModuleType

    for name in ("core", "loggers", "models"):
        module = sys.modules[f"composer.{name}"] = ModuleType(f"composer.{name}")
        for kind in ("Algorithm", "Event", "State", "Logger", "ComposerModel", "get_precision_context"):
            setattr(module, kind, type(kind, (), {}))
    return script("composer/algorithms/selective_backprop/selective_backprop.py")


def theirs(data: Arrays, *, keep: float) -> Arrays:
    """Of numbered rows, whose losses the network looks up."""
    import torch

    select, known = code().select_using_loss, torch.from_numpy(data["loss"])
    n, counts = len(known), np.zeros(len(known))
    rows = torch.arange(n)

    def loss(outputs: Any, _: Any, reduction: str = "none") -> Any:
        return outputs

    np.random.seed(0)  # noqa: NPY002  their draws come from the global state
    for _ in range(DRAWS):
        chosen, _ = select(rows, rows, known.__getitem__, loss, keep)
        counts[chosen.numpy()] += 1
    return {"share": counts / DRAWS, "kept": np.array(len(chosen))}


def their_steps(data: Arrays) -> Arrays:
    """The steps that choose."""
    chooses, steps = code().should_selective_backprop, int(data["steps"])
    return {"chooses": np.array([chooses(step / steps, step % BATCHES, **PLAN) for step in range(steps)])}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many of a batch are chosen, and the largest difference of how often one is."""
    return {
        "kept by ours": float(a["kept"]),
        "kept by theirs": float(b["kept"]),
        "largest difference of shares": float(np.abs(a["share"] - b["share"]).max()),
        "between two seeds of ours": float(np.abs(a["share"] - a["again"]).max()),
    }


def step_agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Steps that choose in both, and that differ."""
    differ = a["chooses"] != b["chooses"]
    return {"steps that choose": float(b["chooses"].sum()), "steps that differ": float(differ.sum())}


PEER = Peer(
    "composer",
    (
        Case("selective_backprop", "1,000 steps, epochs of 7", 1000, budget, our_steps, their_steps, step_agreement,
             {"steps that choose": (1, 999), "steps that differ": (0, 0)}),
        Case("selective_backprop", "half of a batch of 128, 2,000 draws (ours twice)", 128, losses,
             partial(twice, keep=0.5), partial(theirs, keep=0.5), agreement,
             {"kept by ours": (64, 64), "kept by theirs": (64, 64), "largest difference of shares": (0, 0.08)},
             "draws are random"),
        Case("selective_backprop", "a fifth of a batch of 128, 2,000 draws (ours twice)", 128, losses,
             partial(twice, keep=0.2), partial(theirs, keep=0.2), agreement,
             {"kept by ours": (25, 25), "kept by theirs": (25, 25), "largest difference of shares": (0, 0.08)},
             "draws are random"),
    ),
    repository="mosaicml/composer",
)  # fmt: skip
