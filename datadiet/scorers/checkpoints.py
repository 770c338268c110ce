"""What the gradient scorers share: the mean over checkpoints, weighted by the learning rate there.

TracIn and its relatives sum, over checkpoints, the learning rate times a quantity measured on gradients. Divided by the
sum of the learning rates, the result does not depend on how many checkpoints were kept, and with one checkpoint it is
the quantity itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datadiet.arrays import as_array
from datadiet.errors import OptionError
from datadiet.scorers.presentations import outputs_of

__all__ = ["mean_over_checkpoints"]


def mean_over_checkpoints(
    name: str, signal: np.ndarray, lr: Sequence[float] | np.ndarray | None = None, *, squared: bool = False
) -> np.ndarray:
    """The weighted mean over each run's checkpoints, then the mean over runs.

    Args:
        name: the name of the signal, which says what its entries may be: see `presentations.RANGES`.
        signal: (seeds, epochs, n), or (seeds, n) or (n,) for one checkpoint.
        lr: (epochs,), the learning rate at each checkpoint, at least 0; None = equal weights.
        squared: whether to average the squares of the signal.

    Returns:
        (n,) float64.

    Raises:
        OptionError: the wrong shape, NaN, infinity or an entry out of range, or learning rates that cannot be weights.

    >>> mean_over_checkpoints("grad_norm", np.array([[[1.0], [5.0]]]), lr=[3.0, 1.0]).tolist()
    [2.0]
    """
    values = outputs_of(signal, name)
    runs = values if values.ndim == 3 else values[:, None] if values.ndim == 2 else values[None, None]
    runs = runs.astype(np.float64, copy=False)
    runs = np.square(runs) if squared else runs
    weight = _weights(lr, runs.shape[1])
    return ((runs * weight[:, None]).sum(axis=1) / weight.sum()).mean(axis=0)


def _weights(lr: Sequence[float] | np.ndarray | None, epochs: int) -> np.ndarray:
    """One weight per checkpoint."""
    if lr is None:
        return np.ones(epochs)
    weight = as_array("lr", lr, "...").astype(np.float64)
    if weight.shape != (epochs,):
        raise OptionError(
            f"lr has shape {weight.shape} and the signal {epochs} checkpoint{'s' if epochs > 1 else ''}: give one "
            "learning rate per checkpoint of a signal (seeds, epochs, n)."
        )
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.any()):
        raise OptionError(f"lr={weight.tolist()}: give learning rates of at least 0, not all of them 0.")
    return weight
