"""The laws of all schedules: what an epoch is, and how a training goes on from a saved state."""

from __future__ import annotations

import copy
import inspect
from functools import partial

import numpy as np

from datadiet.errors import DataError
from datadiet.testing.laws import Broken, expect, expect_sentence, law, laws_in, other_types, shown, untouched
from datadiet.testing.schedule_cases import EPOCHS, ScheduleCase, learns, numbers_in, same_epochs

__all__ = ["SCHEDULE_LAWS"]


def _iterates(schedule: ScheduleCase) -> bool:
    return hasattr(schedule.make(), "__iter__")


@law("let begin return a whole number of at least 1, and let order give that many int64 positions in 0..n-1.")
def epochs_of_examples(schedule: ScheduleCase) -> None:
    """Each epoch presents at least one example, as many as begin says, all of them in the data set."""
    for n in (1, 2, schedule.n):
        try:
            made = schedule.make(n=n)
        except (ValueError, DataError):
            expect(n < schedule.n, f"{n} examples", "a refusal")
            continue  # parameters may not fit so few
        for number, epoch in enumerate(schedule.train(made)):
            low, high = int(epoch.examples.min()), int(epoch.examples.max())
            expect(low >= 0 and high < n, f"epoch {number} of {n} examples", f"positions from {low} to {high}")


@law("let order be a function of the position alone.")
def any_positions(schedule: ScheduleCase) -> None:
    """The order can be read at any positions, in parts and more than once."""
    made = schedule.make()
    for number in range(3):
        whole = schedule.begin(made, number).examples
        order, some = made.order(number), np.array([len(whole) - 1, 0, len(whole) // 2], dtype=np.int64)
        expect(np.array_equal(order(some), whole[some]), f"positions {some.tolist()}", shown(order(some)))
        schedule.teach(made, whole, number)


@law("draw with datadiet.randomness, or Permutation, from the seed and the epoch.")
def seeds_of_epochs(schedule: ScheduleCase) -> None:
    """The same seed and values give the same epochs, and another seed gives others."""
    first, second, other = (schedule.train(schedule.make(seed=seed)) for seed in (3, 3, 4))
    same_epochs(second, first, "the same seed, twice")
    differs = any(not np.array_equal(a.examples, b.examples) for a, b in zip(first, other, strict=True))
    expect(differs or not schedule.takes("seed"), "two seeds", "the same epochs")


@law("mix the examples anew in each epoch.", ours=True)
def another_order_each_epoch(schedule: ScheduleCase) -> None:
    """No two epochs have the same order."""
    orders = {tuple(epoch.examples.tolist()) for epoch in schedule.train(schedule.make())}
    expect(len(orders) == EPOCHS, f"{EPOCHS} epochs", f"{len(orders)} different orders")


@law("draw with datadiet.randomness, or Permutation.")
def no_global_draws(schedule: ScheduleCase) -> None:
    """The schedule neither draws from nor seeds the random states of the process."""
    with untouched(f"{EPOCHS} epochs"):
        schedule.train(schedule.make())


@law("put into state_dict what was given in the epoch so far, and load all of it.")
def resuming(schedule: ScheduleCase) -> None:
    """A state that was saved anywhere in an epoch gives a new schedule the same rest of the training."""
    for stop in range(EPOCHS - 1):
        for parts_done in (0, 2, 4):
            made, copied = schedule.make(), schedule.make()
            schedule.train(made, range(stop))
            parts = np.array_split(schedule.begin(made, stop).examples, 4)
            for part in parts[:parts_done]:
                schedule.teach(made, part, stop)
            copied.load_state_dict(copy.deepcopy(made.state_dict()))
            said = f"a state of epoch {stop}, after {parts_done} of 4 parts"
            same_epochs([schedule.begin(copied, stop)], [schedule.begin(made, stop)], said)
            for part in parts[parts_done:]:
                schedule.teach(made, part, stop)
                schedule.teach(copied, part, stop)
            rest = range(stop + 1, EPOCHS)
            same_epochs(schedule.train(copied, rest), schedule.train(made, rest), said)


@law("return copies from state_dict.", when=learns)
def a_saved_state_stays(schedule: ScheduleCase) -> None:
    """A state does not change when the training goes on."""
    made, copied = schedule.make(), schedule.make()
    schedule.train(made, range(2))
    schedule.begin(made, 2)
    state = made.state_dict()
    wanted = copy.deepcopy(state)
    schedule.train(made, range(2, EPOCHS))
    copied.load_state_dict(state)
    other = schedule.make()
    other.load_state_dict(wanted)
    same_epochs(
        schedule.train(copied, range(2, 5)), schedule.train(other, range(2, 5)), "a state of epoch 2, used late"
    )


@law("iterate over order, from the position that was loaded; see datadiet.sampling.EpochSampler.", when=_iterates)
def iterating(schedule: ScheduleCase) -> None:
    """Iterating gives the order, from the start or from where a state was saved; the next iter is the next epoch."""
    made = schedule.make()
    for number in range(4):
        drawn: list[int] = []
        iterator = iter(made)
        for example in iterator:
            drawn.append(example)
            if len(drawn) % 17 == 1 and len(drawn) < len(made):
                resumed = schedule.make()
                resumed.load_state_dict(copy.deepcopy(made.state_dict()))
                whole = made.order(number)(np.arange(len(made), dtype=np.int64)).tolist()
                found = drawn + list(resumed)
                expect(found == whole, f"epoch {number}, stopped at position {len(drawn)}", shown(found))
            schedule.teach(made, np.array([example]), number)
        expect(len(drawn) == len(made), f"epoch {number}", f"{len(drawn)} examples, and a length of {len(made)}")


@law("hold one array of n numbers for each thing that is learned; JSON values, arrays and tensors only.")
def small_state(schedule: ScheduleCase) -> None:
    """A state holds at most a dozen numbers for each example, and JSON values, arrays of numbers and tensors only."""
    for n in (400, 1600):
        made = schedule.make(n=n)
        for number in range(4):
            examples = schedule.begin(made, number).examples
            for _ in range(12 if number == 3 else 1):
                schedule.teach(made, examples, number)
        try:
            found = numbers_in(made.state_dict())
        except TypeError as error:
            raise Broken("state_dict()", str(error)) from error
        expect(found <= 12 * n + 8300, f"{n} examples", f"a state of {found} numbers")


@law("decorate __init__ with datadiet.parameters.checked.", ours=True, once=True)
def bad_options(schedule: ScheduleCase) -> None:
    """Options of other types than their annotations say, and numbers out of range, are refused in one sentence."""
    base = {"n": 9, "epochs": 4, **schedule.spec.example}
    base = {name: value for name, value in base.items() if name in inspect.signature(schedule.spec.fn).parameters}
    for name, value in other_types(schedule):
        expect_sentence(partial(schedule.spec.fn, **{**base, name: value}), f"{name}={value!r}")
    for name in [key for key in ("n", "epochs", "seed") if key in schedule.spec.filled]:
        expect_sentence(partial(schedule.spec.fn, **{**base, name: -1}), f"{name}=-1")
    for name, default in schedule.spec.parameters.items():
        if isinstance(default, float):
            for value in (-0.1, float("inf")):
                expect_sentence(partial(schedule.spec.fn, **{**base, name: value}), f"{name}={value!r}")


@law("write the sections of the docstring, with every parameter under Args: see CONTRIBUTING.", ours=True, once=True)
def docstring_of_the_class(schedule: ScheduleCase) -> None:
    """The docstring of the class has Args, Raises and a doctest, and describes every parameter."""
    text = inspect.getdoc(schedule.spec.fn) or ""
    missing = [part for part in ("Args:", "Raises:", ">>> ") if part not in text]
    bare = [name for name in inspect.signature(schedule.spec.fn).parameters if f"\n    {name}: " not in text]
    expect(not missing and not bare, "the docstring of the class", f"no {', '.join([*missing, *bare])}")


SCHEDULE_LAWS = laws_in(globals())
