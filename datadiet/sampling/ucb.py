"""UCB: the examples with the highest upper confidence bound of their loss.

Raju, Daruwalla and Lipasti: Accelerating Deep Learning with Dynamic Data Pruning, 2021 (arXiv 2111.12621). Over the
presentations of an example, with running mean m_i and running variance v_i of its loss,
v_i <- (1 - alpha) v_i + alpha (loss_i - m_i)^2 and m_i <- (1 - alpha) m_i + alpha loss_i. An epoch presents the k
examples with the highest m_i + c v_i.

Deviations: of the paper only the abstract could be read; the formula is that of a public re-implementation. The paper
scores from time to time; here every epoch is chosen anew, by the losses of the presentations themselves. Examples that
were never seen come first, and the first loss of an example is its first mean, with the variance 0. The defaults of c
and alpha are ours.

Cost: a partial sort once an epoch; two numbers for each example.
"""

from __future__ import annotations

import numpy as np

from datadiet.errors import OptionError
from datadiet.parameters import check_whole, checked
from datadiet.randomness import Keys
from datadiet.sampling.scored_sampler import Chosen, ScoredSampler, unknown_values
from datadiet.sampling.shares import check_share
from datadiet.sampling.spec import ScheduleSpec
from datadiet.selectors.budget import parse_keep
from datadiet.selectors.ordering import smallest

__all__ = ["SPEC", "UCBSampler"]


class UCBSampler(ScoredSampler):
    """Exactly k of n examples per epoch: those whose loss is high, or varies.

    Give `update` the losses. Rank-agnostic: every rank has the same global order, if all were given the same.

    Args:
        n: number of examples in the data set.
        keep: how many of them an epoch takes: a fraction (0.3, "30%") or a count.
        confidence: c, how much the variance of the loss counts, at least 0.
        alpha: the weight of the latest loss in the running mean and variance, above 0 and at most 1.
        seed: a whole number of at least 0.

    Raises:
        OptionError: one of them cannot be used.

    >>> import numpy as np
    >>> sampler = UCBSampler(3, keep=1, alpha=0.5)
    >>> for epoch, losses in enumerate([[2.0, 3.0, 1.0], [2.0, 3.0, 5.0]], 1):
    ...     sampler.update(np.arange(3), np.array(losses))
    ...     sampler.set_epoch(epoch)
    >>> list(sampler)  # 3 + 8 is more than 3 + 0
    [2]
    """

    @checked
    def __init__(
        self, n: int, keep: int | float | str, *, confidence: float = 1.0, alpha: float = 0.8, seed: int = 0
    ) -> None:
        super().__init__(n, seed, mean=unknown_values(check_whole("n", n)), variance=np.zeros(n, dtype=np.float32))
        self._k, self.alpha = parse_keep(keep, self.n), check_share("alpha", alpha, zero=False)
        if not 0 <= confidence < np.inf:
            raise OptionError(f"confidence={confidence}: give a number of at least 0.")
        self.confidence = float(confidence)

    def learn(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Move the mean and the variance of each example towards its loss."""
        mean, variance = self.learned["mean"], self.learned["variance"]
        before = np.where(np.isnan(mean[rows]), values, mean[rows])
        away = values - before
        variance[rows] += self.alpha * (away**2 - variance[rows])
        mean[rows] = before + self.alpha * away

    def choose(self, epoch: int) -> Chosen:
        """The examples with the highest bounds."""
        bound = self.learned["mean"] + self.confidence * self.learned["variance"]
        bound[np.isnan(bound)] = np.inf
        return Chosen(np.sort(smallest(-bound, self._k, Keys(self.seed, f"ucb {epoch}", self.n))))


SPEC = ScheduleSpec(UCBSampler, name="ucb", example={"keep": "30%"}, reference="Raju et al. 2021")
