"""InfoBatch: drop half of the examples with a low loss, anew each epoch, and double the weight of the other half.

Qin et al.: InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning, ICLR 2024 (arXiv 2303.04947). With
s_i the loss at the latest presentation and L = {i: s_i < mean(s)}, an epoch presents all examples outside L with weight
1, and a random (1 - r)|L| of L with weight 1 / (1 - r): in expectation the gradient is that of all examples. The last
epochs, from the share `anneal` of them on, present all with weight 1.

Deviations: (1 - r)|L| is rounded half up to k, at least 1, and the weight is |L| / k. So the weights of an epoch sum to
n, and the expectation of an example's weight is 1, both exactly. The mean is over the examples that were seen, and the
others are always presented; the authors' code begins with a loss of 3 for all. Losses that differ from the mean by less
than a millionth of it are not below it: with equal losses nothing is dropped, however sums round.

Cost: a mean, and a draw for each example below it, once an epoch; one number for each example.
"""

from __future__ import annotations

import numpy as np

from datadiet.parameters import check_whole, checked
from datadiet.sampling.scored_sampler import Chosen, ScoredSampler, random_subset, unknown_values
from datadiet.sampling.shares import as_fraction, check_share, count_of, epochs_before
from datadiet.sampling.spec import ScheduleSpec

__all__ = ["SPEC", "InfoBatchSampler"]

_EQUAL = 1e-6  # relative: what float32 losses of equal examples may differ by


class InfoBatchSampler(ScoredSampler):
    """All examples with a high loss, and a random part of those with a low one, at a higher weight.

    In each step multiply the losses by `weights(index)`, and give `update` the losses without weights. Rank-agnostic:
    every rank has the same global order, if all were given the same.

    Args:
        n: number of examples in the data set.
        epochs: of the whole training.
        ratio: the share of the examples with a low loss that an epoch leaves out, in [0, 1).
        anneal: the share of the epochs after which all examples are presented, from 0 to 1.
        seed: a whole number of at least 0.

    Raises:
        OptionError: one of them cannot be used.

    >>> import numpy as np
    >>> sampler = InfoBatchSampler(4, epochs=10)
    >>> sorted(sampler)  # nothing is known yet
    [0, 1, 2, 3]
    >>> sampler.update(np.arange(4), np.array([1.0, 1.0, 4.0, 4.0]))
    >>> sampler.begin(1), sampler.weights(np.array([2, 3])).tolist()
    (3, [1.0, 1.0])
    >>> sampler.weights(np.arange(4)).sum().item()
    4.0
    """

    @checked
    def __init__(self, n: int, *, epochs: int, ratio: float = 0.5, anneal: float = 0.875, seed: int = 0) -> None:
        super().__init__(n, seed, latest=unknown_values(check_whole("n", n)))
        self.epochs = check_whole("epochs", epochs)
        self.ratio, self.anneal = check_share("ratio", ratio, one=False), check_share("anneal", anneal)

    def choose(self, epoch: int) -> Chosen:
        """All examples with a high loss, and k of those with a low one."""
        loss = self.learned["latest"].astype(np.float64)
        seen = loss[~np.isnan(loss)]
        if epoch >= epochs_before(self.anneal, self.epochs) or not len(seen):
            return Chosen()
        low = np.flatnonzero(loss < seen.mean() - _EQUAL * np.abs(seen).mean())
        if not len(low):
            return Chosen()
        k = max(1, count_of(1 - as_fraction(self.ratio), len(low)))
        kept = low[random_subset(low, k, self.seed, f"infobatch {epoch}")]
        weights = np.ones(self.n, dtype=np.float32)
        weights[low] = 0
        weights[kept] = len(low) / k
        return Chosen(np.flatnonzero(weights), weights)


SPEC = ScheduleSpec(
    InfoBatchSampler, name="infobatch", weights_sum="examples", equal_keep_all=True, reference="Qin et al. 2024"
)
