"""DUAL's pruning rule: weight difficulty by a Beta density over confidence; the fewer are kept, the easier they are.

Cho, Shin, Yun: Lightweight Dataset Pruning without Full Training via Example Difficulty and Prediction Uncertainty,
ICML 2025 (arXiv 2502.06905). With kept fraction f = k/n, pruned fraction r = 1 - f, p_i the mean predicted
probability of example i's own label over the scored epochs and mu the mean of p over the ten examples with the highest
score: b = 15 (1 - mu) (1 - r^c), a = 16 - b, and examples are drawn without replacement with probability proportional
to Beta(p_i; a, b) * score_i. As r grows, a grows and the mass moves to confident, easier examples.

Deviations: the draw is an exponential race in the logarithm of the weights, which has the same distribution as drawing
one after another. Densities never underflow, and examples of weight zero come last, in random order, instead of
failing.

Cost: one draw per example.
"""

from __future__ import annotations

import numpy as np

from datadiet.arrays import Range
from datadiet.parameters import checked
from datadiet.randomness import Keys
from datadiet.selectors.ordering import as_scores, choose_keys, first_k, smallest
from datadiet.selectors.spec import Column, SelectorSpec

__all__ = ["SPEC", "beta", "beta_parameters"]


def beta_parameters(score: np.ndarray, p_mean: np.ndarray, k: int, c: float, keys: Keys) -> tuple[float, float]:
    """The (a, b) of the Beta density for keeping k of n. At k = n, r = 0 and b = 15 (1 - mu)."""
    hardest = smallest(-score, min(10, len(score)), keys)
    mu = float(np.mean(p_mean[hardest], dtype=np.float64))
    b = 15.0 * (1.0 - mu) * (1.0 - (1.0 - k / len(score)) ** c)
    return 16.0 - b, b


@checked
def beta(
    score: np.ndarray,
    k: int,
    *,
    p_mean: np.ndarray,
    c: float = 4.0,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> np.ndarray:
    """A weighted random subset that moves from uncertain to easy examples as the budget shrinks.

    Args:
        score: (n,) non-negative numbers, the DUAL score (or another), higher = kept first.
        k: how many to keep, 1..n.
        p_mean: (n,) in [0, 1], mean probability of the true label over the scored epochs (column `dual.p_mean`).
        c: exponent of the pruned fraction. The authors' code uses 4 for CIFAR and 11 for ImageNet.
        rng, keys: the source of randomness.

    Returns:
        (k,) int64 positions in the order in which they were drawn. Not nested: the density depends on k.

    Raises:
        OptionError: NaN, negative scores, probabilities outside [0, 1], or k outside 1..n.

    >>> len(beta(np.array([0.1, 0.3, 0.2]), 2, p_mean=np.array([0.2, 0.5, 0.9])))
    2
    """
    values = as_scores(score, k, name="score", allowed=Range(0, np.inf, rounding=0))
    p = as_scores(p_mean, k, name="p_mean", n=len(values), allowed=Range(0, 1)).astype(np.float64)
    np.clip(p, 0, 1, out=p)  # beyond by rounding only
    keys = choose_keys(len(values), rng, keys)
    a, b = beta_parameters(values, p, k, c, keys)
    with np.errstate(divide="ignore"):
        log_weight = _times_log(a - 1, p) + _times_log(b - 1, 1 - p) + np.log(values.astype(np.float64))
    return first_k(np.log(-np.log(keys.uniform())) - log_weight, k, keys)


def _times_log(power: float, x: np.ndarray) -> np.ndarray:
    """power * log(x), with 0 * log(0) = 0; where the density diverges (x = 0, power < 0), x is the smallest float32."""
    if power < 0:
        x = np.maximum(x, np.finfo(np.float32).tiny)
    return power * np.log(x) if power else np.zeros_like(x)


SPEC = SelectorSpec(
    beta,
    reads={"score": Column("dual"), "p_mean": Column("dual.p_mean", as_hardness=False)},
    reference="Cho et al. 2025",
)
