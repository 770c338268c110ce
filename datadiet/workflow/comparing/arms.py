"""The arms of a comparison: what each network of a seed is trained on, and for how long.

Two tables, never mixed. At equal steps, all networks take the steps of all the data: what are the chosen examples
worth? At reduced steps, each takes those that its examples need: how best to spend a small budget? Random choice is in
both; new random examples each epoch (RS2) and a shortened training on all the data are in the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from datadiet.errors import OptionError, counted
from datadiet.files import digest
from datadiet.workflow.selecting.choice import RANDOM, Choice

__all__ = ["BUDGETS", "FULL", "Arm", "affordable", "arms_of"]

BUDGETS = ("equal", "reduced")
FULL = "full data"


@dataclass(frozen=True)
class Arm:
    """One row of a table.

    Attributes:
        name: what it is called: a method as the user wrote it, or a baseline.
        budget: "equal" or "reduced".
        kept: examples per epoch.
        choice: how a selection is made; None = there is none.
        training: what `train` is told: epochs, steps, match, sampler.
    """

    name: str
    budget: str
    kept: int
    choice: Choice | None
    training: Mapping[str, Any]

    def cell(self, seed: int) -> str:
        """The name of its training with a seed."""
        return f"{self.budget}-{self.selected(seed)}"

    def selected(self, seed: int) -> str:
        """The name of its selection with a seed."""
        words = "".join(letter if letter.isalnum() else "-" for letter in self.name.lower())
        return f"{words}-{digest(self.name)[:6]}-keep-{self.kept}-seed-{seed}"

    def steps(self, batch_size: int, full: int) -> int:
        """Optimizer steps of a training, if all the data takes `full`."""
        given = self.training
        if given.get("match"):
            return full
        return int(given.get("steps") or given["epochs"] * ceil(self.kept / batch_size))


def arms_of(
    methods: Mapping[str, Choice], kept: Sequence[int], budgets: Sequence[str], epochs: int, batch_size: int
) -> list[Arm]:
    """All arms but the full data, in the order of the tables: the largest share first.

    Args:
        methods: name -> choice; random choice is added where it is missing.
        kept: numbers of examples.
        budgets: those of the tables.
        epochs: of the full data.
        batch_size: examples per step.
    """
    static = {"random": RANDOM, **methods}
    found = []
    for k in sorted(kept, reverse=True):
        if "equal" in budgets:
            equal = {"epochs": epochs, "match": "full-steps"}
            found += [Arm(name, "equal", k, choice, equal) for name, choice in static.items()]
        if "reduced" in budgets:
            shortened = {"steps": epochs * ceil(k / batch_size)}
            found += [
                Arm("RS2", "reduced", k, None, {"epochs": epochs, "sampler": f"rs2:keep=n={k}"}),
                Arm("full data, shortened", "reduced", k, None, shortened),
                *(Arm(name, "reduced", k, choice, {"epochs": epochs}) for name, choice in static.items()),
            ]
    return found


def affordable(
    arms: Sequence[Arm], seeds: Sequence[int], batch_size: int, full: int, seconds: float, max_hours: float | None
) -> tuple[list[Arm], list[int], tuple[str, ...]]:
    """The arms and seeds whose trainings take at most some hours, and what was left out.

    Args:
        arms, seeds: all of them.
        batch_size: examples per step.
        full: steps of a training on all the data.
        seconds: that it took.
        max_hours: the limit; None = there is none.

    Raises:
        OptionError: even the largest share with two seeds would take longer.
    """
    shares, number = sorted({arm.kept for arm in arms}), len(seeds)

    def hours(least: int, number: int) -> float:
        steps = sum(arm.steps(batch_size, full) for arm in arms if arm.kept >= least)
        return number * steps * seconds / full / 3600

    if max_hours is None or hours(shares[0], number) <= max_hours:
        return list(arms), list(seeds), ()
    while number > 2 and hours(shares[0], number) > max_hours:
        number -= 1
    while len(shares) > 1 and hours(shares[0], number) > max_hours:
        shares.pop(0)
    if hours(shares[0], number) > max_hours:
        raise OptionError(
            f"max_hours={max_hours:g} (--max-hours): the largest share with two seeds would take "
            f"{hours(shares[0], 2):.2g} hours; give more, fewer methods, or fewer epochs."
        )
    dropped = counted(len(seeds) - number, "seed") + (
        f" and shares below {shares[0]:,} examples" if number == 2 else ""
    )
    return (
        [arm for arm in arms if arm.kept >= shares[0]],
        list(seeds[:number]),
        (f"Left out, to stay within {max_hours:g} hours of training: {dropped}.",),
    )
