"""Whether the orientation of a scorer is right: an example with hard signals must get the hardest score."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from datadiet.randomness import generator
from datadiet.testing.laws import Broken, law, shown
from datadiet.testing.scorer_cases import ROWS, ScorerCase

__all__ = ["planted_hard_example"]

_PLANTED = 11


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
    when=lambda scorer: not scorer.compares,
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
