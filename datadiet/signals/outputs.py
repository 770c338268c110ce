"""The narrow columns that come out of a classifier's logits: one number each per example.

All are computed so that easy examples keep their order: whatever is close to 0 is a sum of small terms, never the
difference of numbers close to 1. (As 1 - p_y in float32, the ranking of the easiest examples would be lost.)
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

__all__ = ["OUTPUT_SIGNALS", "output_signals"]

OUTPUT_SIGNALS = ("loss", "error_norm", "p_true", "doubt", "p_gap", "margin", "p_margin", "entropy", "correct")


@torch.no_grad()
def output_signals(logits: Tensor, targets: Tensor, features: Tensor | None = None) -> dict[str, Tensor]:
    """All output signals of a batch, on its device, without waiting for it.

    With z the logits, p = softmax(z) and y the label:
    loss = -log p_y; error_norm = ||p - onehot(y)||_2; p_true = p_y; doubt = 1 - max_c p_c; p_gap = largest minus second
    largest p; margin = z_y - max_{c != y} z_c; p_margin = p_y - max_{c != y} p_c; entropy = -sum p log p (nats);
    correct = z_y is the largest (a tie with a class of lower number counts as an error, as with argmax);
    feature_norm = ||h||_2 of the last layer's input, when `features` is given.

    Args:
        logits: (B, C) with C >= 2; computed in float32.
        targets: (B,) int64 in 0..C-1.
        features: (B, d), the input of the last linear layer.

    Returns:
        name -> (B,) float32, `correct` bool.
    """
    z = logits.detach().float()
    y = targets.to(z.device, torch.int64)[:, None]
    log_p = z.log_softmax(dim=1)
    p = log_p.exp()
    others = p.scatter(1, y, 0.0)
    rest, tiny = others.sum(dim=1), torch.finfo(torch.float32).tiny
    z_true = z.gather(1, y).squeeze(1)
    z_other = z.scatter(1, y, -torch.inf).amax(dim=1)
    top = z.topk(2, dim=1)
    p_top = p.gather(1, top.indices)
    best = top.indices[:, :1]
    log_best = -softplus(z.scatter(1, best, -torch.inf).logsumexp(dim=1, keepdim=True) - top.values[:, :1])
    out = {
        # log(1 + sum_{c != y} exp(z_c - z_y)): softplus keeps the small losses that -log p_y rounds to 0.
        "loss": softplus(z.scatter(1, y, -torch.inf).logsumexp(dim=1) - z_true),
        # ||(p_c)_{c != y}, sum of them||, in units of that sum, since squares of small numbers vanish.
        "error_norm": rest * (1 + (others / rest.clamp_min(tiny)[:, None]).square().sum(dim=1)).sqrt(),
        "p_true": p.gather(1, y).squeeze(1),
        "doubt": p.scatter(1, best, 0.0).sum(dim=1),
        "p_gap": p_top[:, 0] - p_top[:, 1],
        "margin": z_true - z_other,
        "p_margin": p.gather(1, y).squeeze(1) - others.amax(dim=1),
        "entropy": -(p * log_p.scatter(1, best, log_best).clamp_min(-1e4)).sum(dim=1),
        "correct": z.argmax(dim=1) == y.squeeze(1),
    }
    if features is not None:
        out["feature_norm"] = features.detach().float().flatten(1).norm(dim=1)
    return out
