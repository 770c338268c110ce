"""Epsilon-greedy: the examples with the highest running loss, and a random few of the others.

Raju, Daruwalla and Lipasti: Accelerating Deep Learning with Dynamic Data Pruning, 2021 (arXiv 2111.12621). The score of
an example is a running mean of its loss over its presentations, s_i <- (1 - alpha) s_i + alpha loss_i. An epoch has k
examples: the (1 - epsilon) k with the highest scores, and epsilon k at random from the others.

Deviations: of the paper only the abstract could be read; the formula is that of a public re-implementation. The paper
scores from time to time; here every epoch is chosen anew, by the losses of the presentations themselves. Examples that
were never seen come first, and the first loss of an example is its first score. The defaults of epsilon and alpha are
ours.

Cost: a partial sort once an epoch; one number for each example.
"""

from __future__ import annotations

import numpy as np

from datadiet.parameters import check_whole, checked
from datadiet.randomness import Keys
from datadiet.sampling.scored_sampler import Chosen, ScoredSampler, random_subset, unknown_values
from datadiet.sampling.shares import check_share, count_of
from datadiet.sampling.spec import ScheduleSpec
from datadiet.selectors.budget import parse_keep
from datadiet.selectors.ordering import smallest

__all__ = ["SPEC", "EpsilonGreedySampler"]


class EpsilonGreedySampler(ScoredSampler):
    """Exactly k of n examples per epoch: mostly those with the highest running loss.

    Give `update` the losses. Rank-agnostic: every rank has the same global order, if all were given the same.

    Args:
        n: number of examples in the data set.
        keep: how many of them an epoch takes: a fraction (0.3, "30%") or a count.
        epsilon: the share of these that is drawn at random, from 0 to 1.
        alpha: the weight of the latest loss in the running mean, above 0 and at most 1.
        seed: a whole number of at least 0.

    Raises:
        OptionError: one of them cannot be used.

    >>> import numpy as np
    >>> sampler = EpsilonGreedySampler(4, keep=2, epsilon=0.0)
    >>> sampler.update(np.arange(4), np.array([1.0, 3.0, 2.0, 4.0]))
    >>> sampler.set_epoch(1)
    >>> sorted(sampler)
    [1, 3]
    """

    @checked
    def __init__(
        self, n: int, keep: int | float | str, *, epsilon: float = 0.1, alpha: float = 0.8, seed: int = 0
    ) -> None:
        super().__init__(n, seed, mean=unknown_values(check_whole("n", n)))
        self._k = parse_keep(keep, self.n)
        self.epsilon, self.alpha = check_share("epsilon", epsilon), check_share("alpha", alpha, zero=False)

    def learn(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Move the mean of each example towards its loss."""
        mean = self.learned["mean"]
        before = np.where(np.isnan(mean[rows]), values, mean[rows])
        mean[rows] = before + self.alpha * (values - before)

    def choose(self, epoch: int) -> Chosen:
        """The examples with the highest means, and random others."""
        mean = self.learned["mean"]
        chance = count_of(self.epsilon, self._k)
        greedy = np.zeros(self.n, dtype=bool)
        if chance < self._k:
            losses = np.where(np.isnan(mean), np.inf, mean)
            greedy[smallest(-losses, self._k - chance, Keys(self.seed, f"epsilon greedy {epoch}", self.n))] = True
        others = np.flatnonzero(~greedy)
        greedy[others[random_subset(others, chance, self.seed, f"epsilon {epoch}")]] = True
        return Chosen(np.flatnonzero(greedy))


SPEC = ScheduleSpec(EpsilonGreedySampler, name="epsilon_greedy", example={"keep": "30%"}, reference="Raju et al. 2021")
