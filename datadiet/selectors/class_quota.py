"""Give the budget to the classes that the model gets wrong, and draw at random within each.

Vysogorets, Ahuja, Kempe: DRoP: Distributionally Robust Data Pruning, ICLR 2025 (arXiv 2404.05579; MetriQ in its first
version), Algorithm 1: the kept *fraction* of class c is proportional to 1 - recall_c; where that would be more than the
whole class, the class is kept whole and the others share the excess in the same proportion. The authors' code makes the
*number* kept proportional to 1 - recall_c instead (`weighting="count"`); for classes of equal size the two agree.

Deviations: whole numbers by largest remainders (`allocate`), so the budget is met exactly. If the classes with recall
below 1 cannot fill it, the others give the rest, in equal parts.

Cost: one draw per example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from datadiet.arrays import natural_numbers, numbers
from datadiet.errors import OptionError
from datadiet.parameters import checked
from datadiet.randomness import Keys
from datadiet.selectors.budget import allocate, in_proportion
from datadiet.selectors.by_class import per_class
from datadiet.selectors.ordering import check_k, choose_keys
from datadiet.selectors.spec import Fact, SelectorSpec
from datadiet.selectors.uniform import random

__all__ = ["SPEC", "class_quota"]


@checked
def class_quota(
    labels: np.ndarray,
    k: int,
    *,
    recall: Sequence[float],
    weighting: Literal["density", "count"] = "density",
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> np.ndarray:
    """A random subset whose class counts favour the classes with low recall.

    Args:
        labels: (n,) integers 0..C-1.
        k: how many to keep, 1..n.
        recall: C numbers in [0, 1], the recall of each class on held-out data.
        weighting: "density" shares out by size * (1 - recall) (the paper), "count" by 1 - recall (the authors' code).
        rng, keys: the source of randomness.

    Returns:
        (k,) int64 positions. Not nested.

    Raises:
        OptionError: a recall outside [0, 1], fewer recalls than classes, recalls that are all 1, or k outside 1..n.

    >>> labels = np.repeat([0, 1], 5)
    >>> np.bincount(labels[class_quota(labels, 4, recall=[0.9, 0.7])]).tolist()
    [1, 3]
    """
    labels = natural_numbers("labels", labels, "n*")
    check_k(k, len(labels))
    need = 1.0 - _recalls(recall)
    if labels.max() >= len(need):
        raise OptionError(
            f"{len(need)} recalls for {int(labels.max()) + 1} classes: give one number in [0, 1] per class."
        )
    sizes = np.bincount(labels, minlength=len(need))
    share = need * (sizes if weighting == "density" else sizes > 0)
    if not share.sum():
        raise OptionError("every class has recall 1, so none needs more than another: use method random with by_class.")
    keys = choose_keys(len(labels), rng, keys)
    quotas = allocate(in_proportion(share, k, sizes), k, upper=sizes)
    return per_class(
        labels,
        k,
        lambda members, quota: random(len(members), quota, keys=keys.of(members)),
        (np.arange(len(sizes)), quotas),
    )


def _recalls(recall: Sequence[float]) -> np.ndarray:
    unknown = [c for c, value in enumerate(recall) if value is None] if isinstance(recall, (list, tuple)) else []
    if unknown:
        raise OptionError(
            f"the recall of the classes {unknown} is not known: evaluate on data that has examples of them."
        )
    return numbers("recall", recall, "classes", low=0, high=1).astype(np.float64).clip(0, 1)  # beyond by rounding only


SPEC = SelectorSpec(class_quota, reads={"recall": Fact("class_recall")}, reference="Vysogorets et al. 2025")
