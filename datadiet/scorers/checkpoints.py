"""What the gradient scorers share: the mean over checkpoints, weighted by the learning rate there.

TracIn and its relatives sum, over checkpoints, the learning rate times a quantity measured on gradients. Divided by the
sum of the learning rates, the result does not depend on how many checkpoints were kept, and with one checkpoint it is
the quantity itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datadiet.errors import OptionError
from datadiet.scorers.arrays import all_finite

__all__ = ["mean_over_checkpoints"]


def mean_over_checkpoints(name: str, signal: np.ndarray, lr: Sequence[float] | np.ndarray | None = None) -> np.ndarray:
    """The weighted mean over each run's checkpoints, then the mean over runs.

    Args:
        name: what the error calls the signal.
        signal: (seeds, epochs, n), or (seeds, n) or (n,) for one checkpoint.
        lr: (epochs,), the learning rate at each checkpoint, at least 0; None = equal weights.

    Returns:
        (n,) float64.

    Raises:
        OptionError: the wrong shape, NaN or infinity, or learning rates that cannot be weights.

    >>> mean_over_checkpoints("grad_norm", np.array([[[1.0], [5.0]]]), lr=[3.0, 1.0]).tolist()
    [2.0]
    """
    values = np.asarray(signal)
    if values.ndim not in (1, 2, 3) or 0 in values.shape[:-1]:
        raise OptionError(
            f"{name} has shape {values.shape}: give (seeds, epochs, n), (seeds, n) or (n,), with at least one seed and "
            "epoch."
        )
    runs = values if values.ndim == 3 else values[:, None] if values.ndim == 2 else values[None, None]
    runs = all_finite(name, runs.astype(np.float64, copy=False))
    weight = _weights(lr, runs.shape[1])
    return ((runs * weight[:, None]).sum(axis=1) / weight.sum()).mean(axis=0)


def _weights(lr: Sequence[float] | np.ndarray | None, epochs: int) -> np.ndarray:
    """One weight per checkpoint."""
    if lr is None:
        return np.ones(epochs)
    weight = np.asarray(lr, dtype=np.float64)
    if weight.shape != (epochs,):
        raise OptionError(
            f"lr has shape {weight.shape} and the signal {epochs} checkpoint{'s' if epochs > 1 else ''}: give one "
            "learning rate per checkpoint of a signal (seeds, epochs, n)."
        )
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise OptionError(f"lr={weight.tolist()}: give learning rates of at least 0, not all of them 0.")
    return weight
