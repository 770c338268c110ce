"""A scorer with parameters, and made-up signals of the kinds that a run would provide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from datadiet.errors import unknown_name
from datadiet.randomness import Keys, generator
from datadiet.scorers.spec import Need, Of, ScorerSpec
from datadiet.signals.passes import PASSES, Pass
from datadiet.testing.laws import Broken, Case, expect, shown

__all__ = ["EPOCHS", "ROWS", "SEEDS", "Columns", "ScorerCase", "expect_same"]

ROWS, OTHER_ROWS, SEEDS, EPOCHS, WIDTH = 30, 12, 3, 14, 6

Columns = dict[str, np.ndarray]

# Signals that are not between 0 and 1.
_DRAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "correct": lambda rng, shape: rng.random(shape) < 0.6,
    "margin": lambda rng, shape: rng.normal(1, 3, shape),
    "p_margin": lambda rng, shape: rng.uniform(-1, 1, shape),
    "loss": lambda rng, shape: rng.exponential(1.0, shape),
    "shift": lambda rng, shape: rng.exponential(1.0, shape),
    "divergence": lambda rng, shape: rng.uniform(0, np.log(2), shape),
    "predicted": lambda rng, shape: rng.integers(0, 4, shape),
}


class ScorerCase(Case):
    """A scorer with parameters."""

    spec: ScorerSpec

    @cached_property
    def compares(self) -> bool:
        """Whether it compares examples with each other: by their vectors, or within classes."""
        return any(need.signal == "labels" or _pass(need).vectors for need in self.spec.needs)

    def shape(self, need: Need, seeds: int = SEEDS, rows: int = ROWS) -> tuple[int, ...]:
        """The shape of a signal."""
        if need.signal == "labels":
            return (rows,)
        if _pass(need).vectors:
            return (seeds, rows, WIDTH)
        one_epoch = need.at in ("early", "last") or need.at.isdigit() or _pass(need).together
        return (seeds, rows) if one_epoch else (seeds, EPOCHS, rows)

    def signals(self, seeds: int = SEEDS) -> list[np.ndarray]:
        """The arguments for 30 examples, and for 12 reference examples if the scorer reads them."""
        rng = generator(0, "datadiet.testing", "signals")
        out: list[np.ndarray] = []
        for need in self.spec.needs:
            shape = self.shape(need, seeds, ROWS if need.of == "data" else OTHER_ROWS)
            if need.signal == "labels":
                out.append(np.arange(shape[0]) % 3)
                continue
            values = _DRAWS[need.signal](rng, shape) if need.signal in _DRAWS else rng.uniform(0, 1, shape)
            values = values if values.dtype == bool else values.astype(np.float32)
            out.append(values[0] if self.spec.each else values)
        return out

    def of_rows(self, given: Sequence[np.ndarray], rows: Any, of: Of = "data") -> list[np.ndarray]:
        """The arguments for some of the examples, or for some of the reference examples."""
        out = []
        for need, values in zip(self.spec.needs, given, strict=True):
            axis = -2 if need.signal != "labels" and _pass(need).vectors else -1
            out.append(np.take(values, np.asarray(rows, dtype=np.int64), axis) if need.of == of else values)
        return out

    def columns(self, given: Sequence[np.ndarray], **more: Any) -> Columns:
        """All columns of the spec: the score, or the scores by suffix, and the extra columns."""
        found: Any = self.spec.fn(*given, **self.params, **more)
        masks = {key: value for key, value in more.items() if key == "seen"}
        extras = {suffix: np.asarray(fn(*given, **masks)) for suffix, fn in self.spec.extras.items()}
        return {s: np.asarray(v) for s, v in (found if isinstance(found, dict) else {"": found}).items()} | extras

    def keys(self, rows: np.ndarray | None = None) -> dict[str, Keys]:
        """Keys of the examples, in this order, if the scorer takes keys."""
        return {"keys": Keys(1, "datadiet.testing", ROWS, rows)} if self.takes("keys") else {}


def expect_same(found: Columns, wanted: Columns, given: str, rtol: float = 1e-5, atol: float = 1e-7) -> None:
    """Raise Broken if the columns of two calls differ."""
    expect(found.keys() == wanted.keys(), given, f"the columns {sorted(found)}, not {sorted(wanted)}")
    for suffix, values in wanted.items():
        column, now = f"column {suffix!r}: " * bool(suffix), found[suffix]
        expect(now.shape == values.shape, given, f"{column}{shown(now)}, not {shown(values)}")
        close = np.isclose(now, values, rtol=rtol, atol=atol)
        if not close.all():
            at = int(np.argmin(close))
            raise Broken(given, f"{column}{shown(now[at].item())} in row {at}, not {shown(values[at].item())}")


def _pass(need: Need) -> Pass:
    """The record of the pass that measures a signal."""
    if need.pass_name not in PASSES:
        raise unknown_name("pass", need.pass_name, PASSES)
    return PASSES[need.pass_name]
