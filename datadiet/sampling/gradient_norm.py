"""Gradient-norm sampling: draw examples in proportion to the norm of their gradient, ever more so as training goes on.

Lu et al.: PA&DA: Jointly Sampling PAth and DAta for Consistent NAS, CVPR 2023 (arXiv 2302.14772), the data half. With
g_i = ||softmax(z_i) - onehot(y_i)||_2 at the latest presentation and tau = epoch / epochs, every draw of an epoch is
example i with the probability p_i = tau g_i / sum(g) + (1 - tau) / n, with replacement. g_i is EL2N, the norm of the
gradient with respect to the logits.

Deviations: an example that was not seen has the mean of the others as its g, and one that the latest epoch did not draw
keeps its g; in the authors' code both have g = 0, and tau is that of the epoch before. `keep` may ask for fewer draws
than n. With `unbiased` each draw has the weight 1 / (n p_i) of importance sampling, which PA&DA leaves out.

Cost: a running sum and a binary search for each draw, once an epoch; one number for each example.
"""

from __future__ import annotations

import numpy as np

from datadiet.errors import OptionError
from datadiet.parameters import check_whole, checked
from datadiet.randomness import mix64, uniform
from datadiet.sampling.scored_sampler import Chosen, ScoredSampler, unknown_values
from datadiet.sampling.spec import ScheduleSpec
from datadiet.selectors.budget import parse_keep

__all__ = ["SPEC", "GradientNormSampler"]


class GradientNormSampler(ScoredSampler):
    """Draws with replacement, examples with a large error more often.

    Give `update` the error norms ||softmax(logits) - onehot(target)||_2. Rank-agnostic: every rank has the same global
    order, if all were given the same.

    Args:
        n: number of examples in the data set.
        epochs: of the whole training.
        keep: how many draws an epoch has: a fraction of n (0.5, "50%") or a count, at most n.
        unbiased: whether draws have the weights 1 / (n p_i), which `weights` then gives for the loss.
        seed: a whole number of at least 0.

    Raises:
        OptionError: one of them cannot be used; or, when the next epoch begins, a norm below 0.

    >>> import numpy as np
    >>> sampler = GradientNormSampler(4, epochs=2)
    >>> sampler.update(np.arange(4), np.array([0.0, 0.0, 0.0, 1.0]))
    >>> sampler.begin(1)
    4
    >>> sampler.probabilities(1).tolist()  # half by the norms, half uniform
    [0.125, 0.125, 0.125, 0.625]
    """

    reads = "error_norm"

    @checked
    def __init__(
        self, n: int, *, epochs: int, keep: int | float | str = 1.0, unbiased: bool = False, seed: int = 0
    ) -> None:
        super().__init__(n, seed, latest=unknown_values(check_whole("n", n)))
        self.epochs, self.unbiased = check_whole("epochs", epochs), unbiased
        self._k = parse_keep(keep, self.n)

    def probabilities(self, epoch: int) -> np.ndarray:
        """(n,) float64, the probability of each example in a draw of an epoch, from what was learned."""
        norm = self.learned["latest"].astype(np.float64)
        unknown = np.isnan(norm)
        norm[unknown] = 1.0 if unknown.all() else norm[~unknown].mean()
        total = norm.sum()
        tau = min(epoch / self.epochs, 1.0) if total > 0 else 0.0
        return tau * norm / (total or 1.0) + (1 - tau) / self.n

    def learn(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Keep the norms of the latest presentation of each example, which must be at least 0."""
        if values.min() < 0:
            bad = int(values.argmin())
            raise OptionError(
                f"an error norm of {values[bad]} was given for example {rows[bad]}: norms are at least 0."
            )
        super().learn(rows, values)

    def choose(self, epoch: int) -> Chosen:
        """k draws, and their weights."""
        p = self.probabilities(epoch)
        edges = np.cumsum(p)
        draws = uniform(mix64(self.seed, f"gradient norm {epoch}", np.arange(self._k))) * edges[-1]
        draws.sort()  # a search for sorted numbers stays in the cache; the order of the epoch is mixed later
        examples = np.minimum(np.searchsorted(edges, draws, side="right"), int(np.flatnonzero(p)[-1]))
        if not self.unbiased:
            return Chosen(examples)
        weights = np.zeros(self.n, dtype=np.float32)
        weights[examples] = 1 / (self.n * p[examples])
        return Chosen(examples, weights)


SPEC = ScheduleSpec(GradientNormSampler, name="gradient_norm", weights_sum="presentations", reference="Lu et al. 2023")
