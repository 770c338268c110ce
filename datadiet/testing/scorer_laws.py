"""The laws of all scorers; the last one plants a hard example, to see whether the orientation is right."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from datadiet.errors import OptionError
from datadiet.randomness import generator
from datadiet.testing.laws import Broken, expect, expect_refusal, law, laws_in, shown, untouched
from datadiet.testing.scorer_cases import EPOCHS, ROWS, SEEDS, Columns, ScorerCase, expect_same

__all__ = ["SCORER_LAWS"]

_GIVEN = f"made-up signals of {ROWS} examples ({SEEDS} seeds, {EPOCHS} epochs)"


def _one_by_one(scorer: ScorerCase) -> bool:
    return not scorer.compares


@law("return one float32 number per example, shape (n,), or {suffix: such an array}; give hardness for each suffix.")
def one_number_per_example(scorer: ScorerCase) -> None:
    """A scorer returns one finite number per example, in the columns that its spec names."""
    found = scorer.columns(scorer.signals())
    named = {""} if isinstance(scorer.spec.hardness, int) else set(scorer.spec.hardness)
    extras = set(scorer.spec.extras) if isinstance(scorer.spec.hardness, int) else set()
    expect(set(found) == named | extras, _GIVEN, f"the columns {sorted(found)}, but hardness of {sorted(named)}")
    for suffix, values in found.items():
        allowed = (-1, 1) if isinstance(scorer.spec.hardness, int) else (-1, 0, 1)  # 0 = a column without an order
        sign = scorer.spec.sign(suffix)
        expect(sign in allowed, _GIVEN, f"hardness {sign}, not one of {', '.join(map(str, allowed))}")
        expect(values.shape == (ROWS,) and values.dtype.kind in "biuf", _GIVEN, shown(values))
        expect(np.isfinite(values).all(), _GIVEN, f"NaN or infinity: {shown(values)}")
        expect(values.dtype == bool or len(np.unique(values)) > 1, _GIVEN, f"the same for all: {shown(values)}")


@law("end with .astype(np.float32).", ours=True)
def float32_columns(scorer: ScorerCase) -> None:
    """A column is float32, or bool if it says yes or no."""
    for values in scorer.columns(scorer.signals()).values():
        expect(values.dtype in (np.float32, bool), _GIVEN, shown(values))


@law("draw nothing, or draw from `keys`; compute in new arrays (no out=, no +=).")
def the_same_twice(scorer: ScorerCase) -> None:
    """The same signals give the same bytes, and are not changed."""
    given, before = scorer.signals(), scorer.signals()
    for values in given:
        values.flags.writeable = False
    first, second = scorer.columns(given), scorer.columns(given)
    expect(all(first[s].tobytes() == second[s].tobytes() for s in first), f"{_GIVEN}, twice", "two results")
    expect(all(map(np.array_equal, given, before)), _GIVEN, "a signal was changed")


@law("draw from `keys`, or from datadiet.randomness.generator(seed, …).")
def global_random_states(scorer: ScorerCase) -> None:
    """The method neither draws from nor seeds the random states of the process."""
    with untouched(_GIVEN):
        scorer.columns(scorer.signals())


@law("reduce over seeds and epochs only; if ties must be broken, take `keys` and break them by key.")
def order_of_the_examples(scorer: ScorerCase) -> None:
    """If the examples come in another order, their scores do too."""
    given, order = scorer.signals(), generator(1, "datadiet.testing", "order").permutation(ROWS)
    found = scorer.columns(given, **scorer.keys())
    moved = scorer.columns(scorer.of_rows(given, order), **scorer.keys(order))
    scale = max(float(np.abs(values).max()) for values in found.values())
    exact = {"rtol": 0.0, "atol": 0.0} if _one_by_one(scorer) else {"atol": 1e-6 * scale}
    wanted = {suffix: values[order] for suffix, values in found.items()}
    expect_same(moved, wanted, f"{_GIVEN} in another order", **exact)


@law("compute each example from its own numbers: no mean, maximum or rank over the last axis.", when=_one_by_one)
def alone_as_among_others(scorer: ScorerCase) -> None:
    """An example has the same score alone as among others, so that data can be scored in parts."""
    given = scorer.signals()
    wanted = {suffix: values[7:8] for suffix, values in scorer.columns(given).items()}
    expect_same(scorer.columns(scorer.of_rows(given, [7])), wanted, "example 7 alone", rtol=1e-6)


@law("reduce over the reference with a mean or a sum.", when=lambda scorer: scorer.spec.compares)
def order_of_the_reference(scorer: ScorerCase) -> None:
    """The order of the reference examples does not matter."""
    given = scorer.signals()
    found = scorer.columns(given)
    scale = max(float(np.abs(values).max()) for values in found.values())
    turned = scorer.columns(scorer.of_rows(given, np.arange(12)[::-1], of="reference"))
    expect_same(turned, found, "the reference in reverse", atol=1e-6 * scale)


@law("convert with np.asarray, and compare numbers that stand for bools with 0 (`correct != 0`).",
     when=_one_by_one, ours=True)  # fmt: skip
def float64_signals(scorer: ScorerCase) -> None:
    """Signals in float64, and numbers instead of bools, give the same scores."""
    given = scorer.signals()
    wide = [values.astype(np.float64) for values in given]
    expect_same(scorer.columns(wide), scorer.columns(given), "signals in float64")


@law("compute the score of each seed, then the mean over seeds (axis 0).", when=_one_by_one, ours=True)
def mean_over_seeds(scorer: ScorerCase) -> None:
    """The score of several seeds is the mean of their scores; a bool column says whether it holds for all.

    Columns without an order, such as class numbers, have no mean.
    """
    given = scorer.signals()
    each = [scorer.columns([values[s : s + 1] for values in given]) for s in range(SEEDS)]
    wanted = {}
    found = {suffix: values for suffix, values in scorer.columns(given).items() if scorer.spec.sign(suffix)}
    for suffix, values in found.items():
        runs = np.stack([one[suffix] for one in each])
        wanted[suffix] = np.asarray(runs.all(axis=0) if values.dtype == bool else runs.mean(axis=0, dtype=np.float64))
    expect_same(found, wanted, f"{SEEDS} seeds together")


@law("add the axis if it is missing, as scorers.presentations.as_runs does.", when=_one_by_one, ours=True)
def one_run(scorer: ScorerCase) -> None:
    """Signals of one run do not need an axis of seeds."""
    given = scorer.signals(seeds=1)
    found = scorer.columns([values[0] for values in given])
    expect_same(found, scorer.columns(given), "one run without the axis of seeds", rtol=0.0, atol=0.0)


@law("reduce over seeds and epochs only: a sum over no examples works, a maximum does not.",
     when=_one_by_one, ours=True)  # fmt: skip
def empty_shard(scorer: ScorerCase) -> None:
    """No examples give empty columns."""
    for values in scorer.columns(scorer.of_rows(scorer.signals(), [])).values():
        expect(values.shape == (0,) and values.dtype in (np.float32, bool), "signals of no example", shown(values))


@law("refuse an empty axis, as the helpers in scorers.presentations do.", when=_one_by_one, ours=True)
def no_seed(scorer: ScorerCase) -> None:
    """Signals without seeds, or without epochs, are refused with an OptionError that says so."""
    given = scorer.signals()
    expect_refusal(partial(scorer.columns, [v[:0] for v in given]), "signals of no seed", "at least one seed")
    if scorer.takes("seen"):
        expect_refusal(partial(scorer.columns, [v[:, :0] for v in given]), "signals of no epoch", "epoch")


def _takes_seen(scorer: ScorerCase) -> bool:
    return scorer.takes("seen") and all(values.ndim == 3 for values in scorer.signals())


def _masked(scorer: ScorerCase, given: list[np.ndarray], seen: np.ndarray) -> Columns | None:
    """The columns of what was seen; None if the scorer refuses missing presentations, as it may."""
    try:
        return scorer.columns(given, seen=seen)
    except OptionError:
        return None


@law("leave out values where `seen` is False: see scorers.presentations.", when=_takes_seen)
def unseen_presentations(scorer: ScorerCase) -> None:
    """A presentation that did not happen does not count, whatever its value."""
    given = scorer.signals()
    seen = generator(2, "datadiet.testing", "seen").random((SEEDS, EPOCHS, ROWS)) < 0.9
    seen[:, :11] = True
    found = _masked(scorer, given, seen)
    if found is None:
        return
    other = [np.where(seen, values, ~values if values.dtype == bool else np.nan) for values in given]
    said = "other numbers where seen is False"
    expect_same(scorer.columns(other, seen=seen), found, said, rtol=0.0)
    whole = scorer.columns(given)
    changed = any(not np.array_equal(found[suffix], values) for suffix, values in whole.items())
    expect(changed, "seen with False in a tenth of the last epochs", "the same as without seen")


@law("count the presentations that happened, not the epochs.", when=_takes_seen)
def unseen_epochs(scorer: ScorerCase) -> None:
    """An epoch in which no example was seen changes nothing."""
    given = scorer.signals()
    for missed in (1, 2):
        seen = np.zeros((SEEDS, EPOCHS, ROWS), dtype=bool)
        seen[:, missed:] = True
        found = _masked(scorer, given, seen)
        if found is not None:
            wanted = scorer.columns([values[:, missed:] for values in given])
            expect_same(found, wanted, f"seen is False in the first {missed} of {EPOCHS} epochs")


@law("check `seen` with scorers.presentations.as_runs or packed.", when=_takes_seen, ours=True)
def never_seen(scorer: ScorerCase) -> None:
    """An example that a run never saw is refused by its position, and a mask of the wrong shape by its shape."""
    given, seen = scorer.signals(), np.ones((SEEDS, EPOCHS, ROWS), dtype=bool)
    seen[1, :, 4] = False
    words = ("never presented", "position 4 in run 1") if _some_may_be_missing(scorer) else ()
    expect_refusal(partial(scorer.columns, given, seen=seen), "example 4 never seen in run 1", *words)
    short = np.ones((SEEDS, EPOCHS, ROWS - 1), dtype=bool)
    expect_refusal(partial(scorer.columns, given, seen=short), "seen for one example too few", "they must be the same")


def _some_may_be_missing(scorer: ScorerCase) -> bool:
    seen = np.ones((SEEDS, EPOCHS, ROWS), dtype=bool)
    seen[:, -1, ::2] = False
    return _masked(scorer, scorer.signals(), seen) is not None


_PLANTED = 11  # the row of the hard example


class _Ends(NamedTuple):
    """A signal of a hard and of an easy example, and what is added to the hard one in every other epoch."""

    hard: float
    easy: float
    swing: float


_ENDS = {
    "correct": _Ends(False, True, True),
    "error_norm": _Ends(2**0.5, 0.1, -0.5),
    "feature_norm": _Ends(1.0, 1.0, 0.0),
    "margin": _Ends(-8.0, 5.0, 4.0),
    "p_margin": _Ends(-0.9, 0.9, 0.5),
    "p_true": _Ends(0.0, 0.95, 0.4),
    "p_gap": _Ends(0.05, 0.9, 0.3),
    "doubt": _Ends(0.8, 0.05, -0.3),
    "entropy": _Ends(2.0, 0.1, -0.8),
    "loss": _Ends(9.0, 0.1, -4.0),
    "shift": _Ends(3.0, 0.5, -3.0),
    "grad_norm": _Ends(9.0, 0.1, -4.0),
    "ekfac": _Ends(9.0, 0.1, -4.0),
    "grad_dot": _Ends(9.0, 0.1, -4.0),
    "grad_cos": _Ends(0.9, 0.1, -0.4),
}


def _unknown(scorer: ScorerCase) -> str:
    names = [need.signal for need in scorer.spec.needs if need.signal not in _ENDS]
    return f"it is not known which values of {' and '.join(names)} are hard" if names else ""


@law(
    "give hardness=-1 if a low value is hard (ScorerSpec(…, hardness=-1)), or change the sign of the score.",
    when=_one_by_one,
    unknown=_unknown,
)
def planted_hard_example(scorer: ScorerCase) -> None:
    """An example with hard signals, in every epoch or in every other one, is the hardest of all in every column."""
    steady, alternating = (scorer.columns(_signals(scorer, alternating)) for alternating in (False, True))
    for suffix in steady:
        found = [scorer.spec.sign(suffix) * columns[suffix].astype(np.float64) for columns in (steady, alternating)]
        if not any(hardness[_PLANTED] > np.delete(hardness, _PLANTED).max() for hardness in found):
            hardest = np.delete(found[0], _PLANTED).max()
            column = f"column {suffix!r}: " if suffix else ""
            raise Broken(
                f"example {_PLANTED} of {ROWS} with hard signals, the others with easy ones",
                f"{column}hardness {shown(found[0][_PLANTED])}, and {shown(hardest)} for an easy example",
            )


def _signals(scorer: ScorerCase, alternating: bool) -> list[np.ndarray]:
    """Easy examples, and one whose signals are hard in every epoch or in every other one."""
    rng, out = generator(4, "datadiet.testing", "planted"), []
    for need in scorer.spec.needs:
        ends, shape = _ENDS[need.signal], scorer.shape(need, seeds=2)
        values = np.full(shape, ends.easy)
        values = values if values.dtype == bool else values + rng.uniform(-0.02, 0.02, shape)
        hard = np.full(shape[:-1], ends.hard)
        if alternating and len(shape) == 3:
            hard[:, 1::2] += ends.swing
        values[..., _PLANTED] = hard
        out.append(values if values.dtype == bool else values.astype(np.float32))
    return out


SCORER_LAWS = laws_in(globals())
