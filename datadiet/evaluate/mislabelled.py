"""Does a score find wrong labels? Examples whose labels were flipped on purpose should be the hardest.

- Area under the ROC curve: the probability that a flipped example is harder than an unflipped one; ties count half.
  By ranks, AUC = (R - f (f + 1) / 2) / (f (n - f)) with R the sum of the mid-ranks of the f flipped ones (Mann, Whitney
  1947; Hanley, McNeil, Radiology 143, 1982).
- Recall: the share of the flipped examples among the hardest k.

Flipping is uniform: the new label is any other class with equal probability. This is the easiest kind of label noise to
find; people confuse similar classes.
"""

from __future__ import annotations

import numpy as np

from datadiet.arrays import in_numpy
from datadiet.errors import OptionError
from datadiet.evaluate.ranks import average_ranks, how_many
from datadiet.parameters import check_whole, checked
from datadiet.randomness import Keys, mix64
from datadiet.selectors.ordering import as_scores, first_k, smallest

__all__ = ["flip_labels", "mislabel_auc", "recall_at", "recall_curve"]


@checked
def flip_labels(labels: np.ndarray, fraction: float, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Move a share of the labels to another class.

    Which labels are flipped, and to what, depends only on the seed and the position, so a smaller fraction flips a
    subset of the labels that a larger one flips.

    Args:
        labels: (n,) integers in 0..classes-1.
        fraction: in (0, 1]; exactly round-half-up(fraction·n) labels are flipped.
        classes: the number of classes, at least 2.
        seed: a whole number of at least 0.

    Returns:
        (n,) int64, the noisy labels; (n,) bool, whether each was flipped.

    Raises:
        OptionError: labels outside 0..classes-1, fewer than two classes, or a fraction that is out of range or flips
            nothing.

    >>> flip_labels(np.array([0, 1, 1, 0]), 1.0, 2)[0].tolist()
    [1, 0, 0, 1]
    """
    given = np.asarray(in_numpy(labels, "labels"))
    if given.ndim != 1 or given.dtype.kind not in "iu" or not len(given):
        raise OptionError(f"labels is {given.dtype} of shape {given.shape}: give integers of shape (n,).")
    if check_whole("classes", classes) < 2 or given.min() < 0 or given.max() >= classes:
        raise OptionError(
            f"labels from {given.min()} to {given.max()} and classes={classes}: give labels in 0..classes-1 of at "
            "least 2 classes."
        )
    k = how_many("fraction", float(fraction), len(given))
    rows = np.argsort(Keys(seed, "flip", len(given)).draw())[:k]
    flipped = np.zeros(len(given), dtype=bool)
    flipped[rows] = True
    noisy = given.astype(np.int64)
    shift = 1 + (mix64(seed, "flip to", rows) % np.uint64(classes - 1)).astype(np.int64)
    noisy[rows] = (noisy[rows] + shift) % classes
    return noisy, flipped


def mislabel_auc(hardness: np.ndarray, flipped: np.ndarray) -> float:
    """The area under the ROC curve of finding flipped labels by hardness.

    Args:
        hardness: (n,), higher = harder, as `Scores.hardness` gives it; infinities are allowed.
        flipped: (n,) bool.

    Returns:
        In [0, 1]; 0.5 by chance, 1 if every flipped example is harder than every other.

    Raises:
        OptionError: different shapes, a NaN, or no label or all labels flipped.

    >>> mislabel_auc(np.array([3.0, 2.0, 2.0, 1.0]), np.array([True, True, False, False]))  # 3.5 of 4 pairs
    0.875
    """
    values, wrong = _pair(hardness, flipped)
    f = int(wrong.sum())
    if f == len(wrong):
        raise OptionError(f"all {f} labels are flipped: leave some unflipped to compare with.")
    return float((average_ranks(values)[wrong].sum() - f * (f + 1) / 2) / (f * (len(wrong) - f)))


@checked
def recall_at(hardness: np.ndarray, flipped: np.ndarray, inspected: float | int | str = 0.1, *, seed: int = 0) -> float:
    """The share of the flipped labels that are among the hardest examples.

    Args:
        hardness: (n,), higher = harder.
        flipped: (n,) bool, at least one.
        inspected: how many of the hardest to inspect: a fraction or a count, like `keep` of a selection.
        seed: for breaking ties at the cut.

    Returns:
        In [0, 1]; by chance, the share inspected.

    Raises:
        OptionError: different shapes, a NaN, nothing flipped, or a budget that cannot be met.

    >>> recall_at(np.array([0.1, 0.9, 0.8, 0.2]), np.array([False, True, False, True]), inspected=0.5)
    0.5
    """
    values, wrong = _pair(hardness, flipped)
    k = how_many("inspected", inspected, len(values))
    top = smallest(-values, k, Keys(seed, "inspect", len(values)))
    return float(wrong[top].sum() / wrong.sum())


@checked
def recall_curve(hardness: np.ndarray, flipped: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The recall after inspecting the hardest 1, 2, …, n examples.

    Args:
        hardness: (n,), higher = harder.
        flipped: (n,) bool, at least one.
        seed: for breaking ties.

    Returns:
        (n,) float64, rising to 1; entry k-1 is `recall_at(…, inspected=k)`.

    Raises:
        OptionError: different shapes, a NaN, or nothing flipped.

    >>> recall_curve(np.array([0.1, 0.9, 0.8, 0.2]), np.array([False, True, False, True])).tolist()
    [0.5, 0.5, 1.0, 1.0]
    """
    values, wrong = _pair(hardness, flipped)
    order = first_k(-values, len(values), Keys(seed, "inspect", len(values)))
    return np.asarray(np.cumsum(wrong[order]) / wrong.sum())


def _pair(hardness: np.ndarray, flipped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, wrong = np.asarray(in_numpy(hardness, "hardness")), np.asarray(in_numpy(flipped, "flipped"))
    if wrong.dtype != bool or wrong.shape != values.shape:
        raise OptionError(
            f"hardness has shape {values.shape} and flipped is {wrong.dtype} of shape {wrong.shape}: give one "
            "number and one boolean for each example."
        )
    if not wrong.any():
        raise OptionError("no label is flipped, so there is nothing to find: flip some with flip_labels.")
    return as_scores(values, 1), wrong
