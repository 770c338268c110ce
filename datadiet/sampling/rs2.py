"""Repeated Random Sampling (RS2): a new random subset every epoch.

Okanovic et al.: Repeated Random Sampling for Minimizing the Time-to-Accuracy of Learning, ICLR 2024 (arXiv
2305.18424). With k of n examples per epoch:

Without replacement, example i of epoch e is P_{seed, e div c}((e k + Q_{seed, e}(i)) mod n), c = lcm(n, k) / k.
P puts the n examples on a circle, every epoch takes the next k of them, and Q shuffles those. After c epochs the circle
has been completed a whole number of times, each example has come up equally often, and a new circle begins.
With replacement (across epochs, never within one) example i of epoch e is P_{seed, e}(i), i < k.
Stratified: the same in each class, with fixed counts k_c that share k out in proportion to the class sizes n_c.

P and Q are keyed permutations, so nothing of size n is held; stratified sampling holds the members of each class.

Deviations: the paper reshuffles whenever all n have come up; here a new circle begins only after c epochs, so that
every epoch has exactly k examples and none comes up more often than another. If k does not divide n, later rounds of a
circle therefore take shifted windows of the same order; for independent subsets use replacement=True.
Classes share k out by largest remainder, so that the epoch has exactly k examples, instead of rounding each alone.

Cost: a keyed permutation of each batch; none of size n.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from datadiet.arrays import in_numpy
from datadiet.data.ids import RowNumbers
from datadiet.data.labels import class_codes, refuse_unlabelled
from datadiet.errors import OptionError
from datadiet.parameters import check_whole, checked
from datadiet.sampling.epoch_sampler import EpochSampler, Order
from datadiet.sampling.permutation import Permutation
from datadiet.sampling.spec import ScheduleSpec
from datadiet.selectors.budget import allocate, parse_keep

__all__ = ["SPEC", "RS2Sampler"]


class RS2Sampler(EpochSampler):
    """Exactly k of n examples per epoch, different ones each epoch, none twice within an epoch.

    Rank-agnostic: every rank has the same global order. That is right under Accelerate and Lightning, which shard for
    themselves; with bare DDP wrap it in `datadiet.sampling.shard`.

    Args:
        n: number of examples in the data set, 1..2**62.
        keep: how many of them an epoch takes: a fraction (0.1, "10%") or a count. The authors' code: 1 % to 90 %.
        seed: a whole number of at least 0.
        replacement: a fresh subset every epoch, independent of the earlier ones; otherwise no example comes up
            again before (nearly) all others have.
        labels: (n,) class labels, for the same share of each class in every epoch.

    Raises:
        OptionError: n or keep cannot be used, or there is not one label per example.
        DataError: labels that are not classes, or -1, which means unlabelled.

    >>> sampler = RS2Sampler(6, keep=2)
    >>> epochs = [list(sampler) for _ in range(3)]
    >>> [len(epoch) for epoch in epochs], sorted(sum(epochs, []))
    ([2, 2, 2], [0, 1, 2, 3, 4, 5])
    """

    @checked
    def __init__(
        self,
        n: int,
        keep: int | float | str,
        *,
        seed: int = 0,
        replacement: bool = False,
        labels: np.ndarray | None = None,
    ) -> None:
        super().__init__(seed)
        self.n = check_whole("n", n)
        self.replacement = replacement
        self._k = parse_keep(keep, self.n)
        self._strata = None if labels is None else _strata(np.asarray(in_numpy(labels, "labels")), self.n, self._k)

    def __len__(self) -> int:
        return self._k

    def order(self, epoch: int) -> Order:
        """Positions in the epoch, (m,) int64 in [0, k), to examples, (m,) int64."""
        if self._strata is None and self.replacement:
            return self._window(self.n, self._k, epoch)
        shuffle = Permutation(self._k, self.seed, "rs2 order", epoch)
        if self._strata is None:
            window = self._window(self.n, self._k, epoch)
            return lambda positions: window(shuffle(positions))
        chosen = np.concatenate(
            [
                members[self._window(len(members), count, epoch, stratum)(np.arange(count))]
                for stratum, (members, count) in enumerate(self._strata)
            ]
        )
        return lambda positions: chosen[shuffle(positions)]

    def _window(self, n: int, k: int, epoch: int, *stratum: int) -> Order:
        """The k of range(n) that this epoch takes: positions 0..k-1 to distinct numbers below n."""
        if self.replacement:
            return Permutation(n, self.seed, "rs2", *stratum, epoch)
        circle = Permutation(n, self.seed, "rs2", *stratum, epoch // (n // math.gcd(n, k)))
        # In Python's integers, since epoch * k may not fit in 64 bits.
        start = epoch * k % n
        return lambda positions: circle((positions + start) % n)


def _strata(labels: np.ndarray, n: int, k: int) -> list[tuple[np.ndarray, int]]:
    """For each class: its members, (n_c,) int64 ascending, and how many of them an epoch takes."""
    if labels.shape != (n,):
        raise OptionError(f"labels of shape {labels.shape} were given for {n} examples: give one label per example.")
    codes = class_codes(labels, RowNumbers(n), column="labels").values
    refuse_unlabelled(codes, RowNumbers(n), "labels")
    _, classes, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    counts = allocate(k * sizes / n, k, upper=sizes)
    if not counts.all():
        warnings.warn(
            f"{np.count_nonzero(counts == 0)} of {len(sizes)} classes are too small to get one of the {k} examples of "
            "an epoch, and are never seen: keep more, or sample without labels.",
            UserWarning,
            stacklevel=3,
        )
    members = np.split(np.argsort(classes, kind="stable"), np.cumsum(sizes)[:-1])
    return [(part, count) for part, count in zip(members, counts.tolist(), strict=True) if count]


SPEC = ScheduleSpec(
    RS2Sampler,
    name="rs2",
    example={"keep": "10%"},
    by_labels="stratified",
    reference="Okanovic et al. 2024",
)
