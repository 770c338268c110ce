"""Each law of `check_schedule` can be broken, and says so: schedules that are wrong in one way each."""

from __future__ import annotations

import random as python_random
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch

from datadiet.errors import OptionError
from datadiet.parameters import checked
from datadiet.randomness import generator
from datadiet.sampling import InfoBatchSampler, ScheduleSpec
from datadiet.testing import check_schedule, schedule_checks
from datadiet.testing.schedule_laws import SCHEDULE_LAWS
from datadiet.testing.schedule_update_laws import SCHEDULE_UPDATE_LAWS

CALLS = count()


class InOrder:
    """The half with the highest latest losses, after an epoch of all; in order.

    Args:
        n: examples.
        seed: of the order.

    Raises:
        OptionError: never.

    >>> InOrder(3).begin(0)
    3
    """

    reads = "loss"

    def __init__(self, n: int, seed: int = 0) -> None:
        self.n, self.seed, self.epoch = n, seed, 0
        self.known, self.given = np.zeros(n), np.full(n, np.nan)
        self.kept = np.arange(n)

    def begin(self, epoch: int) -> int:
        if epoch != self.epoch:
            fresh = ~np.isnan(self.given)
            self.known[fresh] = self.given[fresh]
            self.given[:] = np.nan
            self.kept, self.epoch = np.argsort(-self.known, kind="stable")[: -(-self.n // 2)], epoch
        return len(self.kept)

    def order(self, epoch: int) -> Callable[[np.ndarray], np.ndarray]:
        mixed = generator(self.seed, "order", epoch).permutation(self.kept)
        return lambda positions: mixed[positions]

    def update(self, index: torch.Tensor, values: torch.Tensor) -> None:
        rows, values = index.numpy()[::-1], values.float().numpy()[::-1]
        fresh = np.isnan(self.given[rows])
        self.given[rows[fresh]] = values[fresh]

    def weights(self, index: torch.Tensor) -> torch.Tensor | None:
        return 1 + index.float() / self.n

    def state_dict(self) -> dict[str, Any]:
        arrays = {name: getattr(self, name).copy() for name in ("known", "given", "kept")}
        return {**arrays, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("known", "given", "kept"):
            setattr(self, name, state[name].copy())
        self.epoch = state["epoch"]


def broken(**changes: Any) -> type[InOrder]:
    """The schedule in order with other methods."""
    return type("Broken", (InOrder,), changes)


def ordered(change: Callable[[InOrder, int], np.ndarray]) -> type[InOrder]:
    return broken(order=lambda self, epoch: change(self, epoch).__getitem__)


def mixed(self: InOrder, epoch: int) -> np.ndarray:
    return InOrder.order(self, epoch)(np.arange(len(self.kept)))


def drawn_globally(draw: Callable[[], object]) -> type[InOrder]:
    def order(self: InOrder, epoch: int) -> Callable[[np.ndarray], np.ndarray]:
        draw()
        return InOrder.order(self, epoch)

    return broken(order=order)


def in_batches(self: InOrder, positions: np.ndarray) -> np.ndarray:
    return np.sort(InOrder.order(self, self.epoch)(positions))


def at_once(self: InOrder, index: torch.Tensor, values: torch.Tensor) -> None:
    self.known[index.numpy()] = values.numpy()
    self.kept = np.argsort(-self.known, kind="stable")[: len(self.kept)]


def latest(self: InOrder, index: torch.Tensor, values: torch.Tensor) -> None:
    self.given[index.numpy()] = values.float().numpy()


def moving(self: InOrder, index: torch.Tensor, values: torch.Tensor) -> None:
    InOrder.update(self, index, values)
    self.given[index.numpy()] += 0.01 * self.given[~np.isnan(self.given)].mean()


def by_batches(self: InOrder, index: torch.Tensor, values: torch.Tensor) -> None:
    InOrder.update(self, index, values - values.mean())


def as_floats(self: InOrder, index: torch.Tensor, values: torch.Tensor) -> None:
    both = torch.stack([index.to(values.dtype), values])
    InOrder.update(self, both[0].long().clamp(0, self.n - 1), both[1])


def without_given(self: InOrder) -> dict[str, Any]:
    return {**InOrder.state_dict(self), "given": np.full(self.n, np.nan)}


def references(self: InOrder) -> dict[str, Any]:
    return {"known": self.known, "given": self.given, "kept": self.kept, "epoch": self.epoch}


def unchecked_iter(self: InOrder) -> Any:
    return iter(InOrder.order(self, self.epoch)(np.arange(len(self.kept))).tolist())


class Bare(InOrder):
    """Nothing about it."""

    @checked
    def __init__(self, n: int, seed: int = 0, share: float = 0.5) -> None:
        super().__init__(n, seed)


SCHEDULES: list[tuple[str, Any]] = [
    ("epochs_of_examples", broken(begin=lambda self, epoch: 0)),
    ("epochs_of_examples", broken(begin=lambda self, epoch: 2.0)),
    ("epochs_of_examples", ordered(lambda self, epoch: mixed(self, epoch).astype(np.int32))),
    ("epochs_of_examples", ordered(lambda self, epoch: mixed(self, epoch) + 1)),
    ("epochs_of_examples", broken(order=lambda self, epoch: lambda positions: positions.tolist())),
    ("any_positions", broken(order=lambda self, epoch: lambda positions: in_batches(self, positions))),
    ("seeds_of_epochs", ordered(lambda self, epoch: generator(next(CALLS), "x").permutation(self.kept))),
    ("seeds_of_epochs", ordered(lambda self, epoch: self.kept)),
    ("another_order_each_epoch", broken(reads=None, order=lambda self, epoch: self.kept.__getitem__)),
    ("no_global_draws", drawn_globally(python_random.random)),
    ("no_global_draws", drawn_globally(lambda: np.random.permutation(3))),  # noqa: NPY002
    ("no_global_draws", drawn_globally(lambda: torch.randperm(3))),
    ("an_epoch_under_way", broken(update=at_once)),
    ("order_of_the_updates", broken(update=moving)),
    ("repeated_examples", broken(update=latest)),
    ("number_of_processes", broken(update=by_batches)),
    ("large_positions", broken(update=as_floats)),
    ("resuming", broken(state_dict=without_given)),
    ("a_saved_state_stays", broken(state_dict=references)),
    ("iterating", broken(__iter__=unchecked_iter, __len__=lambda self: len(self.kept))),
    ("weights_of_an_epoch", broken(weights=lambda self, index: torch.zeros(len(index)))),
    ("weights_of_an_epoch", broken(weights=lambda self, index: 1 + index.double())),
    ("weights_of_an_epoch", broken(weights=lambda self, index: torch.full((len(index),), torch.inf))),
    ("weights_of_an_epoch", broken(weights=lambda self, index: 1 + torch.arange(len(index)).float())),
    ("sum_of_the_weights", ScheduleSpec(InOrder, weights_sum="examples")),
    ("sum_of_the_weights", ScheduleSpec(InOrder, weights_sum="presentations")),
    ("equal_values", ScheduleSpec(InOrder, equal_keep_all=True)),
    ("small_state", broken(state_dict=lambda self: {"pairs": np.zeros((self.n, 40))})),
    ("small_state", broken(state_dict=lambda self: {"n": np.int64(3)})),
    ("bad_updates", broken(update=lambda self, index, values: None)),
    ("bad_options", Bare),
    ("docstring_of_the_class", Bare),
]


@pytest.mark.parametrize(("law", "wrong"), SCHEDULES, ids=[f"{law}-{n}" for n, (law, _) in enumerate(SCHEDULES)])
def test_a_broken_schedule_is_told_which_law_it_breaks(law: str, wrong: Any) -> None:
    with pytest.raises(AssertionError) as error:
        dict(schedule_checks(wrong, strict=True))[law]()
    assert f"breaks the law {law}: " in str(error.value)
    assert all(f"\n  {part}: " in str(error.value) for part in ("given", "result", "to do"))


def test_every_law_is_broken_by_something() -> None:
    assert {law.name for law in (*SCHEDULE_LAWS, *SCHEDULE_UPDATE_LAWS)} == {law for law, _ in SCHEDULES}


def test_a_schedule_in_order_passes() -> None:
    check_schedule(InOrder)
    check_schedule(lambda n, seed, epochs: InfoBatchSampler(n, epochs=epochs, seed=seed))


def test_what_a_function_makes_says_what_it_reads() -> None:
    names = {name for name, _ in schedule_checks(lambda n: InOrder(n))}
    assert {"order_of_the_updates", "repeated_examples"} <= names and "iterating" not in names


def test_a_parameter_of_which_no_value_is_known_is_asked_for() -> None:
    def make(n: int, *, share: float) -> InOrder:
        return InOrder(n)

    with pytest.raises(OptionError, match=r"make has no default for share: pass examples=\[\{'share': …\}\]"):
        check_schedule(make)
    check_schedule(make, examples=[{"share": 0.5}])
