"""Forgetting removal: at intervals, remove for good the examples that were forgotten least.

Wang et al.: SparCL: Sparse Continual Learning on the Edge, NeurIPS 2022 (arXiv 2209.09476), its dynamic data removal.
An example is forgotten when it was classified correctly at its previous presentation and is not at this one. After
every `interval` of the epochs until the share `until` of them, the examples that were forgotten least are removed, the
same number each time, `remove` of all in the end. Then the counts begin at 0 again. An example that was never correct
since then counts as forgotten most.

Deviations: the parameters are shares of the epochs and of the data; the defaults are those of the authors' code for 50
epochs of 10,000 examples (every 5 epochs up to epoch 20, 750 examples each time). Ties are broken at random, where the
code goes by position. The first presentation after a removal is compared with the last before it; the code compares
only presentations between two removals. Examples that were not presented since the last removal are kept; if none was,
nothing is removed until some are.

Cost: a sort at each removal; seven bytes for each example.
"""

from __future__ import annotations

import math

import numpy as np

from datadiet.parameters import check_whole, checked
from datadiet.randomness import Keys
from datadiet.sampling.scored_sampler import Chosen, ScoredSampler
from datadiet.sampling.shares import as_fraction, check_share, count_of
from datadiet.sampling.spec import ScheduleSpec

__all__ = ["SPEC", "ForgettingRemovalSampler"]

_MOST = np.iinfo(np.int32).max


class ForgettingRemovalSampler(ScoredSampler):
    """All examples, then ever fewer: those that are forgotten least are removed.

    Give `update` whether each example was classified correctly. Rank-agnostic: every rank has the same global order, if
    all were given the same.

    Args:
        n: number of examples in the data set.
        epochs: of the whole training.
        remove: the share of the examples that is removed in all, in [0, 1).
        interval: the share of the epochs between two removals, above 0 and at most 1.
        until: the share of the epochs after which nothing more is removed, from 0 to 1.
        seed: a whole number of at least 0.

    Raises:
        OptionError: one of them cannot be used.

    >>> import numpy as np
    >>> sampler = ForgettingRemovalSampler(4, epochs=4, remove=0.5, interval=0.5, until=0.5)
    >>> for epoch, correct in enumerate([[1, 1, 1, 0], [1, 1, 0, 0]], 1):  # 2 is forgotten, 3 never learned
    ...     sampler.update(np.arange(4), np.array(correct))
    ...     sampler.set_epoch(epoch)
    >>> sorted(sampler)
    [2, 3]
    """

    reads = "correct"

    @checked
    def __init__(
        self,
        n: int,
        *,
        epochs: int,
        remove: float = 0.3,
        interval: float = 0.1,
        until: float = 0.4,
        seed: int = 0,
    ) -> None:
        no = np.zeros(check_whole("n", n), dtype=bool)
        super().__init__(
            n, seed, removed=no, correct=no.copy(), seen=no.copy(), learned=no.copy(), forgotten=no.astype(np.int32)
        )
        self.epochs, self.remove = check_whole("epochs", epochs), check_share("remove", remove, one=False)
        self.interval, self.until = check_share("interval", interval, zero=False), check_share("until", until)

    def learn(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Count forgettings."""
        known, right = self.learned, values > 0.5
        known["forgotten"][rows] += known["correct"][rows] & ~right
        known["learned"][rows] |= right
        known["correct"][rows] = right
        known["seen"][rows] = True

    def enter(self, epoch: int) -> None:
        """Remove what is due."""
        known = self.learned
        more = self._removed_by(epoch) - int(known["removed"].sum())
        if more <= 0 or not known["seen"].any():
            return
        unknown = ~known["learned"]
        left = np.flatnonzero(~known["removed"])
        counts = np.where(unknown, _MOST, known["forgotten"])[left].astype(np.uint32)
        known["removed"][Keys(self.seed, f"forgetting {epoch}", self.n).sort(counts, left)[:more]] = True
        for name in ("seen", "learned", "forgotten"):
            known[name][:] = 0

    def _removed_by(self, epoch: int) -> int:
        """How many examples are to be removed before an epoch."""
        interval = as_fraction(self.interval)
        removals = math.floor(as_fraction(self.until) / interval)
        done = min(removals, math.floor(epoch / (interval * self.epochs)))
        return min(count_of(as_fraction(self.remove) * done / removals, self.n), self.n - 1) if done else 0

    def choose(self, epoch: int) -> Chosen:
        """The examples that are left."""
        return Chosen(np.flatnonzero(~self.learned["removed"]) if self.learned["removed"].any() else None)


SPEC = ScheduleSpec(ForgettingRemovalSampler, name="forgetting_removal", reference="Wang et al. 2022")
