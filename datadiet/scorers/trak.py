"""TRAK: influence on the reference margin from randomly projected gradients, over several trained networks.

Park, Georgiev, Ilyas, Leclerc, Madry: TRAK: Attributing Model Behavior at Scale, ICML 2023 (arXiv 2303.14186). With
phi = P' grad f the projected gradient of the margin f = log(p / (1 - p)) of the true class, Phi the rows phi_i of the
training examples, and M networks,
score_i = [(1/M) sum_m (1 - p_{m,i})] [(1/M) sum_m phi_m(z)' (Phi_m' Phi_m + lambda I)^-1 phi_{m,i}],
here with the mean of phi(z) over the reference examples z. blocks=B cuts the k columns into B parts that are solved
separately and summed, as Womp Labs propose in a post of their own ("A New SOTA in Data Attribution"): the noise of the
inverse grows with its width, so with blocks more columns do no harm.

Deviations: lambda = l2 * trace(Phi' Phi) / k per block, where the paper has none; with our l2 = 0.01 the condition
number of a block is at most 1 + 100 k, which float64 can solve even for k > n. There is no soft threshold, which would
not change the ranking of the examples above it. Products and solves are in float64, whatever dtype the gradients are
stored in.

Cost: per network a backward pass per example with projection; then n k^2 / B operations and a k/B x k/B matrix.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from datadiet.arrays import Range, check_range
from datadiet.errors import OptionError
from datadiet.parameters import checked
from datadiet.scorers.projected import as_models, mean_row, row_blocks, solver
from datadiet.scorers.spec import ScorerSpec, outputs, vectors

__all__ = ["SPEC", "trak"]


@checked
def trak(
    projected: np.ndarray, p_true: np.ndarray, val_projected: np.ndarray, *, l2: float = 0.01, blocks: int = 1
) -> np.ndarray:
    """The mean over networks of the attribution, times the mean over networks of 1 - p.

    Args:
        projected: (models, n, k), or (n, k) for one network: projected gradients of the margin; memory maps are read
            in pieces.
        p_true: (models, n) or (n,), probability of the true class, in [0, 1].
        val_projected: (models, m, k) or (m, k), of the reference examples, by the same networks and projections.
        l2: lambda as a share of the mean of the diagonal of Phi' Phi, at least 0. Paper: 0.
        blocks: B, from 1 to k.

    Returns:
        (n,) float32, positive = keeping the example raises the mean reference margin.

    Raises:
        OptionError: shapes that do not fit, NaN or infinity, p_true outside [0, 1], l2 below 0, blocks outside 1 to k,
            or gradients without an inverse (all 0, or l2=0 with fewer examples than columns).

    References:
        Park et al. 2023.

    >>> trak(np.array([[2.0], [-1.0]]), np.array([0.5, 0.5]), np.array([[5.0]]), l2=0.0).tolist()
    [1.0, -0.5]
    """
    train, p, val = _opened(projected, p_true, val_projected, l2=l2, blocks=blocks)
    edges = [part[0] for part in np.array_split(np.arange(train.shape[2]), blocks)] + [train.shape[2]]
    total = np.zeros(train.shape[1])
    for gradients, asked in zip(train, val, strict=True):
        for low, high in pairwise(edges):
            total += _attribution(gradients[:, low:high], asked[:, low:high], l2)
    return (total / len(train) * (1 - p).mean(axis=0)).astype(np.float32)


def _opened(
    projected: np.ndarray, p_true: np.ndarray, val_projected: np.ndarray, *, l2: float = 0.01, blocks: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The arrays of `trak`, with a leading axis over models: (models, n, k), (models, n) float64, (models, m, k).

    Raises:
        OptionError: as for `trak`, except gradients that are not finite or have no inverse.
    """
    train, val = as_models("projected", projected, "n k"), as_models("val_projected", val_projected, "m k")
    p = as_models("p_true", p_true, "n")
    if p.shape != train.shape[:2] or (val.shape[0], val.shape[2]) != (train.shape[0], train.shape[2]):
        raise OptionError(
            f"projected, p_true and val_projected have shapes {train.shape}, {p.shape} and {val.shape}: give (models, "
            "n, k), (models, n) and (models, m, k) of the same networks."
        )
    check_range("p_true", p, Range(0, 1))
    if not (np.isfinite(l2) and l2 >= 0):
        raise OptionError(f"l2={l2}: give a share of the mean squared gradient of at least 0, such as 0.01.")
    if not 1 <= blocks <= train.shape[2]:
        raise OptionError(f"blocks={blocks}: give from 1 to {train.shape[2]}, the number of columns.")
    return train, p.astype(np.float64), val


def _attribution(gradients: np.ndarray, asked: np.ndarray, l2: float) -> np.ndarray:
    """(n,): mean phi(z)' (Phi' Phi + lambda I)^-1 phi_i, for one network and block of columns."""
    width = gradients.shape[1]
    gram = np.zeros((width, width))
    for _, part in row_blocks("projected", gradients):
        gram += part.T @ part
    gram.flat[:: width + 1] += l2 * np.trace(gram) / width
    solve = solver(gram, "use l2 above 0, fewer columns or more examples, and gradients that are not all 0")
    pull = solve(mean_row("val_projected", asked))
    out = np.empty(len(gradients))
    for rows, part in row_blocks("projected", gradients):
        out[rows] = part @ pull
    return out


SPEC = ScorerSpec(
    trak,
    (vectors("projected_margin"), *outputs("p_true"), vectors("projected_margin", "reference")),
    check=_opened,
    reference="Park et al. 2023",
)
