"""Does an attribution predict what happens when training examples are removed?

An attribution tau(q, i) says how much training example i helps on query q. Two tests retrain the model to check it.

- Leave one out: the predicted change for each single removal against the true one (Pearson and Spearman).
  Koh, Liang: Understanding Black-box Predictions via Influence Functions, ICML 2017 (arXiv 1703.04730).
- Linear datamodelling score, LDS: retrain on S random subsets; for each query the Spearman correlation, over the
  subsets s, of  sum over i in s of tau(q, i)  with the output of the model trained on s; then the mean over queries.
  Park, Georgiev, Ilyas, Leclerc, Madry: TRAK, ICML 2023 (arXiv 2303.14186).

An LDS means little without its noise ceiling: outputs of retrainings are noisy, and noise that no attribution can
predict bounds the score. Split the retrainings into two independent halves of equal size: r = Spearman(half a, half b)
estimates the share of the variance of one half that is signal. The mean of both halves then has the reliability
2r / (1 + r) (Spearman 1910, Brown 1910), and a perfect prediction of the expected output has the square root of that as
its correlation with the mean:

    ceiling = sqrt(2r / (1 + r))

Compare it with the LDS on the mean of both halves.

Deviations: an r below 0 gives -sqrt(2|r| / (1 + |r|)), so that queries without any signal average to 0 instead of to a
positive number. For Pearson's r and noise independent of the signal the formula is exact; for Spearman's r of normal
outputs it is at most 0.008 too high.

Cost: one product of the masks with the attributions, and sorting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from datadiet.arrays import in_numpy
from datadiet.errors import OptionError
from datadiet.evaluate.ranks import as_finite, average_ranks, constant, correlation
from datadiet.parameters import checked

__all__ = ["NoiseCeiling", "OverQueries", "lds", "leave_one_out_correlation", "noise_ceiling"]

_FEWEST = 3  # two points always lie on a line


@dataclass(frozen=True, eq=False)
class OverQueries:
    """One number per query, and what they say about queries in general.

    Attributes:
        per_query: (m,) float64.
        queries: (m,) int64, their columns in the outputs; fewer than all if constant queries were excluded.
    """

    per_query: np.ndarray
    queries: np.ndarray

    @property
    def mean(self) -> float:
        """The mean over queries."""
        return float(self.per_query.mean())

    @property
    def interval(self) -> tuple[float, float] | None:
        """The normal 95 % interval of the mean: mean ± 1.96 · sample standard deviation / sqrt(m); None for one query.

        It says how far the mean would move with other queries, drawn independently. It does not cover other subsets or
        other retrainings, since all queries share them.
        """
        m = len(self.per_query)
        if m < 2:
            return None
        half = 1.96 * float(self.per_query.std(ddof=1)) / m**0.5
        return self.mean - half, self.mean + half


@dataclass(frozen=True, eq=False)
class NoiseCeiling:
    """How much of the outputs can be predicted at all.

    Attributes:
        agreement: r, Spearman's correlation of the two halves.
        ceiling: the LDS that a perfect prediction of the expected output has on the mean of both halves.
    """

    agreement: OverQueries
    ceiling: OverQueries


def leave_one_out_correlation(predicted: np.ndarray, actual: np.ndarray) -> dict[str, float]:
    """How well predicted changes agree with the true ones.

    Args:
        predicted: (n,), the predicted change when each example is removed.
        actual: (n,), the true change of the same quantity (the loss, say).

    Returns:
        "pearson" and "spearman", both in [-1, 1].

    Raises:
        OptionError: different shapes, fewer than 3 examples, a NaN, or changes that are all equal.

    >>> leave_one_out_correlation(np.array([1.0, 2.0, 4.0]), np.array([10.0, 20.0, 40.0]))
    {'pearson': 1.0, 'spearman': 1.0}
    """
    both = as_finite(predicted, "predicted", (1,)), as_finite(actual, "actual", (1,))
    if both[0].shape != both[1].shape or len(both[0]) < _FEWEST:
        raise OptionError(
            f"predicted has {len(both[0])} entries and actual {len(both[1])}: give one for each of the same examples, "
            f"at least {_FEWEST}."
        )
    for name, values in zip(("predicted", "actual"), both, strict=True):
        if constant(values):
            raise OptionError(
                f"{name} is {values[0]} for every example: give changes that vary, since a constant has no correlation."
            )
    ranked = average_ranks(both[0]), average_ranks(both[1])
    return {"pearson": float(correlation(*both)), "spearman": float(correlation(*ranked))}


@checked
def lds(
    attributions: np.ndarray,
    outputs: np.ndarray,
    masks: np.ndarray,
    *,
    higher_is: Literal["better", "worse"] = "better",
    constant_queries: Literal["refuse", "exclude"] = "refuse",
) -> OverQueries:
    """The linear datamodelling score.

    Args:
        attributions: (m, n) for m queries and n training examples, or (n,) for one aggregated query. Positive =
            keeping the example improves the query: a higher margin, a lower loss.
        outputs: (subsets, m), or (subsets,) for one query: the output for each query of the model trained on each
            subset, preferably averaged over several trainings.
        masks: (subsets, n) bool, which examples each subset holds; at least 3 subsets.
        higher_is: "better" if a high output is good (margins, the usual choice for classification), "worse" for
            losses.
        constant_queries: a query whose outputs or predictions are the same for all subsets has no correlation:
            "refuse" raises an error, "exclude" leaves such queries out.

    Returns:
        The Spearman correlation of every query, their mean and its interval.

    Raises:
        OptionError: shapes that do not fit, masks that are not boolean, a NaN, or a constant query (named).

    >>> masks = np.array([[True, True, False], [True, False, True], [False, True, True]])
    >>> lds(np.array([3.0, 2.0, 1.0]), np.array([0.9, 0.7, 0.1]), masks).mean  # predicted 5, 4, 3
    1.0
    """
    given, seen = as_finite(attributions, "attributions", (1, 2)), _columns(outputs, "outputs")
    tau, kept = np.atleast_2d(given), np.asarray(in_numpy(masks, "masks"))
    if kept.dtype != bool or kept.shape != (len(seen), tau.shape[1]) or tau.shape[0] != seen.shape[1]:
        raise OptionError(
            f"attributions of shape {given.shape}, outputs of shape {seen.shape} and masks of {kept.dtype} of shape "
            f"{kept.shape} do not fit: give (m, n), (subsets, m) and boolean (subsets, n)."
        )
    predicted = _places(tau, kept)
    queries = _varying(constant(predicted) | constant(seen), constant_queries, "outputs or predictions")
    sign = 1 if higher_is == "better" else -1
    ranked = average_ranks(predicted[:, queries]), average_ranks(sign * seen[:, queries])
    return OverQueries(correlation(*ranked), queries)


@checked
def noise_ceiling(
    outputs_a: np.ndarray, outputs_b: np.ndarray, *, constant_queries: Literal["refuse", "exclude"] = "refuse"
) -> NoiseCeiling:
    """The LDS that a perfect attribution could reach, from two independent halves of the retrainings.

    Args:
        outputs_a: (subsets, m) or (subsets,), the outputs averaged over one half of the trainings on each subset.
        outputs_b: the same, over equally many other trainings with other seeds.
        constant_queries: as for `lds`.

    Returns:
        The agreement r of the halves and the ceiling sqrt(2r / (1 + r)), per query and on average. It bounds any
        prediction of the expected output; a sum over examples may not reach it.

    Raises:
        OptionError: different shapes, fewer than 3 subsets, a NaN, or a constant query (named).

    >>> found = noise_ceiling(np.array([1.0, 2.0, 3.0]), np.array([1.0, 3.0, 2.0]))
    >>> round(found.agreement.mean, 6), round(found.ceiling.mean, 6)  # 1/2 and sqrt(1 / 1.5)
    (0.5, 0.816497)
    """
    a, b = _columns(outputs_a, "outputs_a"), _columns(outputs_b, "outputs_b")
    if a.shape != b.shape:
        raise OptionError(f"outputs_a has shape {a.shape} and outputs_b {b.shape}: give two halves of the same shape.")
    queries = _varying(constant(a) | constant(b), constant_queries, "outputs")
    r = correlation(average_ranks(a[:, queries]), average_ranks(b[:, queries]))
    ceiling = np.sign(r) * np.sqrt(2 * np.abs(r) / (1 + np.abs(r)))
    return NoiseCeiling(OverQueries(r, queries), OverQueries(ceiling, queries))


def _places(tau: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(subsets, m) int64: the place of each subset by its sum, from the lowest up; ties share a place.

    Sums of the same terms in another order differ by rounding, which ranks would turn into noise.
    """
    sums = kept.astype(np.float64) @ tau.T
    rounding = tau.shape[1] * np.finfo(np.float64).eps * np.abs(tau).sum(axis=1)
    order = np.argsort(sums, axis=0)
    climbs = np.diff(np.take_along_axis(sums, order, axis=0), axis=0) > rounding
    places = np.zeros_like(order)
    np.put_along_axis(places, order[1:], np.cumsum(climbs, axis=0), axis=0)
    return places


def _columns(outputs: np.ndarray, name: str) -> np.ndarray:
    values = as_finite(outputs, name, (1, 2))
    if len(values) < _FEWEST:
        raise OptionError(f"{name} has {len(values)} subsets: give at least {_FEWEST} for a correlation over subsets.")
    return values[:, None] if values.ndim == 1 else values


def _varying(flat: np.ndarray, choice: str, what: str) -> np.ndarray:
    """The queries that are not constant."""
    if flat.all() or (flat.any() and choice == "refuse"):
        raise OptionError(
            f"{what} are the same for all subsets in {int(flat.sum())} of {len(flat)} queries, the first query "
            f"{int(flat.argmax())}: a constant has no rank correlation, so check it, or leave out such queries with "
            "constant_queries='exclude' if others remain."
        )
    return np.flatnonzero(~flat)
