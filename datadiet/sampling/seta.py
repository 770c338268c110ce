"""SeTa: of a random part of the examples, a window over groups of equal loss that slides from easy to hard.

Zhou et al.: Scale Efficient Training for Large Datasets, CVPR 2025 (arXiv 2503.13385). Each epoch draws a random
(1 - r) n examples and clusters their latest losses by k-means into g groups, ordered by their means. It presents a
window of w = round(g * window) groups: all groups in epoch 0, and in epoch e those from group e mod (g - w + 1) on. The
last epochs, from the share `anneal` of them on, present a random (1 - r) n examples ("partial annealing"). Weights are
1.

Deviations: the paper's abstract and the authors' code were read. k-means starts from the best groups of bins, where the
code starts at random. Groups without examples are left out, which happens if there are fewer different losses than
groups. Drawn examples that were never seen are always presented, where the code begins with a loss of 3 for all. The
code's count of epochs begins anew with each process, and its draws come from numpy's global state.

Cost: a sort of the losses once an epoch, and 400^2 g operations; one number for each example. With 200 groups or more,
k-means starts at quantiles.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from datadiet.parameters import check_whole, checked
from datadiet.sampling.scored_sampler import Chosen, ScoredSampler, random_subset, unknown_values
from datadiet.sampling.shares import as_fraction, check_share, count_of, epochs_before
from datadiet.sampling.spec import ScheduleSpec

__all__ = ["SPEC", "SeTaSampler", "group_edges"]

_MOST_ROUNDS = 100
_BINS = 200  # of equally many examples, and as many of equal width


class SeTaSampler(ScoredSampler):
    """A random part of the examples, without the hardest or without the easiest groups in turn.

    Give `update` the losses. Rank-agnostic: every rank has the same global order, if all were given the same.

    Args:
        n: number of examples in the data set.
        epochs: of the whole training.
        ratio: the share of the examples that an epoch leaves out at random, in [0, 1).
        groups: how many groups of difficulty there are, at least 1.
        window: the share of the groups that is presented, above 0 and at most 1.
        anneal: the share of the epochs after which the window is as wide as all groups, from 0 to 1.
        seed: a whole number of at least 0.

    Raises:
        OptionError: one of them cannot be used.

    >>> import numpy as np
    >>> sampler = SeTaSampler(6, epochs=10, ratio=0.0, groups=3, window=0.67)
    >>> sampler.update(np.arange(6), np.array([1.0, 1.0, 5.0, 5.0, 9.0, 9.0]))
    >>> sampler.set_epoch(1)
    >>> sorted(sampler), sorted(sampler)  # the hard two groups in epoch 1, the easy two in epoch 2
    ([2, 3, 4, 5], [0, 1, 2, 3])
    """

    @checked
    def __init__(
        self,
        n: int,
        *,
        epochs: int,
        ratio: float = 0.1,
        groups: int = 5,
        window: float = 0.9,
        anneal: float = 0.875,
        seed: int = 0,
    ) -> None:
        super().__init__(n, seed, latest=unknown_values(check_whole("n", n)))
        self.epochs, self.groups = check_whole("epochs", epochs), check_whole("groups", groups)
        self.ratio, self.window = check_share("ratio", ratio, one=False), check_share("window", window, zero=False)
        self.anneal = check_share("anneal", anneal)

    def choose(self, epoch: int) -> Chosen:
        """The drawn examples in the window of an epoch."""
        everyone = np.arange(self.n)
        k = max(1, count_of(1 - as_fraction(self.ratio), self.n))
        drawn = everyone[random_subset(everyone, k, self.seed, f"seta {epoch}")]
        loss = self.learned["latest"][drawn].astype(np.float64)
        ordered = np.sort(loss[~np.isnan(loss)])
        if not epoch or epoch >= epochs_before(self.anneal, self.epochs) or not len(ordered):
            return Chosen(drawn)
        edges = group_edges(ordered, self.groups)
        number = len(edges) - 1
        wide = max(1, round(as_fraction(self.window) * number))
        start = epoch % (number - wide + 1)
        low, high = ordered[edges[start]], ordered[edges[start + wide] - 1]
        return Chosen(drawn[~((loss < low) | (loss > high))])


def group_edges(ordered: np.ndarray, groups: int) -> np.ndarray:
    """k-means of ascending numbers: where each group begins, and the end.

    Args:
        ordered: (m,) float64 ascending, m >= 1.
        groups: at most how many.

    Returns:
        (g + 1,) int64 ascending from 0 to m. Equal numbers are in one group, and no group is empty.

    >>> group_edges(np.array([1.0, 1.1, 5.0, 9.0, 9.1]), 3).tolist()
    [0, 2, 3, 5]
    """
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    edges = _best_of_bins(ordered, groups) if groups < _BINS else np.arange(groups + 1) * len(ordered) // groups
    edges = np.unique(edges)
    for _ in range(_MOST_ROUNDS):
        centres = np.diff(sums[edges]) / np.diff(edges)
        between = [(low + high) / 2 for low, high in pairwise(centres)]
        found = np.unique([0, *np.searchsorted(ordered, between), len(ordered)])
        if np.array_equal(found, edges):
            break
        edges = found
    return edges


def _best_of_bins(ordered: np.ndarray, groups: int) -> np.ndarray:
    """The edges of the groups of whole bins with the least sum of squares within groups, by dynamic programming."""
    at = np.arange(_BINS) * len(ordered) // _BINS
    values = np.concatenate([ordered[at], np.linspace(ordered[0], ordered[-1], _BINS)])
    bins = np.unique([*np.searchsorted(ordered, values), len(ordered)])
    size, total, squares = (
        np.subtract.outer(sums, sums).T for sums in (bins, *_sums_before(bins, ordered - ordered.mean()))
    )
    within = np.where(size > 0, squares - total**2 / np.maximum(size, 1), np.inf)  # [from, to]
    least, starts = within[0], []
    for _ in range(min(groups, len(bins) - 1) - 1):
        whole = least[:, None] + within
        starts.append(whole.argmin(axis=0))
        least = whole.min(axis=0)
    edges = [len(bins) - 1]
    for start in reversed(starts):
        edges.append(start[edges[-1]])
    return bins[[*edges, 0]]


def _sums_before(bins: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
    """The sums of the values before each of some positions, and of their squares."""
    return [np.concatenate([[0.0], np.cumsum(x)])[bins] for x in (values, values**2)]


SPEC = ScheduleSpec(SeTaSampler, name="seta", reference="Zhou et al. 2025")
