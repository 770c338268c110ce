"""Logits of many small networks on the same features, and the margins and losses that the ground truth records."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

__all__ = ["mlp_logits", "losses", "margins"]


def mlp_logits(weights: Mapping[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """The logits of networks of linear layers with ReLUs between them.

    Args:
        weights: "0.weight" (models, out, in), "0.bias" (models, out), "2.weight" …, as `batched_mlp` names them.
        features: (m, d).

    Returns:
        (models, m, classes) float64.
    """
    hidden = features.astype(np.float64)[None]
    for name in (name for name in weights if name.endswith("weight")):
        hidden = hidden if name == "0.weight" else np.maximum(hidden, 0)
        hidden = hidden @ weights[name].transpose(0, 2, 1) + weights[name.replace("weight", "bias")][:, None]
    return hidden


def margins(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """log p_y / (1 - p_y) = z_y - logsumexp of the other logits, with all digits even where p_y rounds to 1.

    Args:
        logits: (…, m, classes).
        labels: (m,).

    Returns:
        (…, m).

    >>> margins(np.array([[2.0, 0.0]]), np.array([0])).tolist()
    [2.0]
    """
    others = np.where(np.arange(logits.shape[-1]) == labels[:, None], -np.inf, logits)
    top = others.max(axis=-1)
    rest = top + np.log(np.exp(others - top[..., None]).sum(axis=-1))
    index = np.broadcast_to(labels[:, None], (*logits.shape[:-1], 1))
    return np.asarray(np.take_along_axis(logits, index, axis=-1)[..., 0] - rest)


def losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The cross-entropy -log p_y = log(1 + exp(-margin)), shapes as for `margins`."""
    return np.logaddexp(0, -margins(logits, labels))
