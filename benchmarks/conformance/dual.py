"""The authors' code of DUAL, with its own Dyn-Unc, forgetting and AUM."""

from __future__ import annotations

from functools import partial

import numpy as np

from conformance.case import Arrays, Case, Peer, rank_correlation, relative_difference, script
from conformance.tdds import logits as trajectories

SCALE = 10  # of their standard deviations


def probabilities(n: int) -> Arrays:
    """Logits, and the probability of the label at each epoch."""
    data = trajectories(n)
    exp = np.exp(data["logits"] - data["logits"].max(2, keepdims=True))
    p = np.take_along_axis(exp / exp.sum(2, keepdims=True), data["labels"][None, :, None], 2)[:, :, 0]
    return {**data, "p_true": p}


def their_code() -> object:
    """Their functions."""
    return script("exp_cifar/importance_evaluation.py", "--dynamics_path", ".", "--save_path", ".")


def our_dual(data: Arrays) -> Arrays:
    """DUAL."""
    from datadiet.scorers import dual

    return {"score": dual(data["p_true"])}


def their_dual(data: Arrays) -> Arrays:
    """DUAL, ten times as large there."""
    import torch

    return {"score": their_code().dual(torch.from_numpy(data["p_true"]))[0].numpy() / SCALE}


def our_dyn_unc(data: Arrays, *, again: bool = False) -> Arrays:
    """Dyn-Unc; `again` with the last epoch twice, so that no window before that is left out."""
    from datadiet.scorers import dyn_unc

    p = data["p_true"]
    return {"score": dyn_unc(np.concatenate([p, p[-1:]]) if again else p)}


def their_dyn_unc(data: Arrays) -> Arrays:
    """Dyn-Unc, ten times as large there, and with the window that ours leaves out."""
    import torch

    return {"score": their_code().dynunc(torch.from_numpy(data["p_true"]))[0].numpy() / SCALE}


def our_aum(data: Arrays) -> Arrays:
    """AUM."""
    from datadiet.scorers import aum

    logits, labels = data["logits"], data["labels"]
    return {"score": aum(margins(logits, labels))}


def our_last(data: Arrays) -> Arrays:
    """AUM of the probabilities of the last epoch."""
    from datadiet.scorers import aum

    exp = np.exp(data["logits"][-1:] - data["logits"][-1:].max(2, keepdims=True))
    return {"score": aum(margins(exp / exp.sum(2, keepdims=True), data["labels"]))}


def margins(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(epochs, n): the value of the label minus the largest of the others."""
    own = np.take_along_axis(values, labels[None, :, None], 2)[:, :, 0]
    return own - np.where(np.arange(values.shape[2]) == labels[:, None], -np.inf, values).max(2)


def their_aum(data: Arrays) -> Arrays:
    """What is called AUM there."""
    import torch

    code = their_code()
    code.targets = torch.from_numpy(data["labels"])
    return {"score": code.aum(torch.from_numpy(data["logits"].copy()))[0].numpy()}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart."""
    return {
        "rank correlation": rank_correlation(a["score"], b["score"]),
        "largest relative difference": relative_difference(a["score"], b["score"]),
    }


SAME = {"rank correlation": (0.99999, 1), "largest relative difference": (0, 1e-5)}
PEER = Peer(
    "dual-pruning",
    (
        Case("dual", "20 epochs, windows of 10, 5,000 examples", 5000, probabilities, our_dual, their_dual, agreement,
             SAME),
        Case("dyn_unc", "20 epochs, windows of 10, 5,000 examples", 5000, probabilities, our_dyn_unc, their_dyn_unc,
             agreement, {"rank correlation": (0.9, 1)},
             "the window with the last epoch counts there; the authors of Dyn-Unc leave it out"),
        Case("dyn_unc", "the same, the last epoch twice in ours", 5000, probabilities,
             partial(our_dyn_unc, again=True), their_dyn_unc, agreement, SAME),
        Case("aum", "20 epochs of logits, 5,000 examples", 5000, probabilities, our_aum, their_aum, agreement,
             {"rank correlation": (-1, 0.95)},
             "the margin of the last epoch alone there, of probabilities; AUM is the mean over epochs, of logits"),
        Case("aum", "the same, ours of the probabilities of the last epoch", 5000, probabilities, our_last, their_aum,
             agreement, SAME),
    ),
    repository="behaapyy/dual-pruning",
)  # fmt: skip
