"""The laws of what a schedule learns from, and of the weights that it gives."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from datadiet.testing.laws import expect, expect_refusal, law, laws_in, shown
from datadiet.testing.schedule_cases import EPOCHS, ScheduleCase, learns, same_epochs

__all__ = ["SCHEDULE_UPDATE_LAWS"]


@law("keep what update is given apart, and learn from it when the next epoch begins.", when=learns)
def an_epoch_under_way(schedule: ScheduleCase) -> None:
    """What is given during an epoch does not change its order, its weights or its length."""
    made = schedule.make()
    schedule.train(made, range(2))
    before = schedule.begin(made, 2)
    for batch in np.array_split(before.examples, 3):
        schedule.teach(made, batch, 2)
        same_epochs([schedule.begin(made, 2)], [before], "an epoch, before and after an update")


@law("let no sum depend on the order of the presentations.", when=learns)
def order_of_the_updates(schedule: ScheduleCase) -> None:
    """It does not matter in which order, and in how many batches, distinct examples are given."""
    whole, mixed = schedule.make(), schedule.make()
    for epoch in range(EPOCHS):
        one, other = schedule.begin(whole, epoch), schedule.begin(mixed, epoch)
        same_epochs([other], [one], f"epoch {epoch}, the earlier ones given in another order")
        examples = np.unique(one.examples)
        schedule.teach(whole, examples, epoch)
        for batch in np.array_split(schedule.shuffled(examples, epoch), 7):
            schedule.teach(mixed, batch, epoch)


@law("keep the first presentation of each example.", when=learns)
def repeated_examples(schedule: ScheduleCase) -> None:
    """Of an example that is given again in the same epoch, as padding does, the first value counts."""
    once, again = schedule.make(), schedule.make()
    for epoch in range(EPOCHS):
        one, other = schedule.begin(once, epoch), schedule.begin(again, epoch)
        same_epochs([other], [one], f"epoch {epoch}, some examples of the earlier ones given again")
        examples = np.unique(one.examples)
        schedule.teach(once, examples, epoch)
        schedule.teach(again, examples, epoch)
        schedule.give(again, examples[:5], 1 - schedule.values(examples[:5], epoch).clip(0, 1))


@law("read the values by their index; let nothing depend on how many processes there are.", when=learns)
def number_of_processes(schedule: ScheduleCase) -> None:
    """What 2 or 3 processes present, gathered step by step and padded, gives the epochs of one process."""
    alone = schedule.train(schedule.make())
    for world in (2, 3):
        made, found = schedule.make(), []
        for epoch in range(EPOCHS):
            found.append(schedule.begin(made, epoch))
            examples = found[-1].examples
            padded = np.concatenate([examples, examples[: -len(examples) % world]])
            steps = [padded[rank::world][lo : lo + 5] for lo in range(0, len(padded), 5) for rank in range(world)]
            schedule.teach(made, np.concatenate(steps), epoch)
        same_epochs(found, alone, f"{world} processes")


@law("index by int64; never put indices and values into one array of floats.", when=learns)
def large_positions(schedule: ScheduleCase) -> None:
    """Positions that a half float cannot hold are told apart, also beside values that are half floats."""
    n = 5000
    half, full = schedule.make(n=n), schedule.make(n=n)
    for epoch in range(3):
        one, other = schedule.begin(full, epoch), schedule.begin(half, epoch)
        same_epochs([other], [one], f"epoch {epoch}, values as float16 and the same as float32")
        examples = np.unique(one.examples)
        values = schedule.values(examples, epoch).astype(np.float16)
        schedule.give(full, examples, values.astype(np.float32))
        schedule.give(half, examples, values)


@law("return None, or a positive float32 weight for each index, in their order.")
def weights_of_an_epoch(schedule: ScheduleCase) -> None:
    """Weights are None, or one finite, positive float32 number for each example that is presented, in their order."""
    import torch

    made = schedule.make()
    for number in range(EPOCHS):
        epoch = schedule.begin(made, number)
        if epoch.weights is not None:
            given, found = f"the weights of epoch {number}", epoch.weights
            fits = found.dtype == np.float32 and found.shape == epoch.examples.shape
            expect(fits and np.isfinite(found).all() and found.min() > 0, given, shown(found))
            some = np.arange(len(found))[::-2].copy()
            alone = made.weights(torch.from_numpy(epoch.examples[some])).numpy()
            expect(np.array_equal(alone, found[some]), f"{given}, of some examples in another order", shown(alone))
        schedule.teach(made, epoch.examples, number)


@law("leave weights_sum out of the SPEC, or scale the weights.", when=lambda s: bool(s.spec.weights_sum))
def sum_of_the_weights(schedule: ScheduleCase) -> None:
    """The weights of an epoch sum to what the spec promises, and those of each example to 1 over many seeds."""
    exactly, seeds = schedule.spec.weights_sum == "examples", 300
    per_example = np.zeros(schedule.n)
    for seed in range(seeds):
        made = schedule.make(seed=seed)
        for number in range(2):
            everyone = np.arange(schedule.n)
            epoch = schedule.begin(made, number)
            if number:
                weights = np.ones(len(epoch.examples)) if epoch.weights is None else epoch.weights.astype(np.float64)
                share = schedule.n / len(weights) if not exactly else 1.0
                np.add.at(per_example, epoch.examples, weights * share / seeds)
                total = weights.sum()
                expect(not exactly or abs(total - schedule.n) < 1e-4 * schedule.n, f"{schedule.n} examples",
                       f"weights that sum to {total}")  # fmt: skip
            schedule.teach(made, everyone, number)
    if schedule.spec.weights_sum == "presentations" and schedule.begin(made, 1).weights is None:
        return  # without weights nothing makes up for unequal draws
    far = int(np.abs(per_example - 1).argmax())
    expect(abs(per_example[far] - 1) < 0.5 and abs(per_example.mean() - 1) < 0.02, f"{seeds} seeds",
           f"a mean weight of {per_example[far]:.3g} for example {far}")  # fmt: skip


@law("compare with a margin; leave equal_keep_all out of the SPEC if it is not meant.",
     when=lambda s: s.spec.equal_keep_all)  # fmt: skip
def equal_values(schedule: ScheduleCase) -> None:
    """If the values of all examples are equal, all are presented."""
    for value in (0.1, 1e-8, 3.0, 1e6):
        made = schedule.make(n=1000)
        for number in range(4):
            epoch = schedule.begin(made, number)
            found = np.unique(epoch.examples)
            expect(len(found) == 1000, f"values of {value}", f"{len(found)} of 1000 examples in epoch {number}")
            schedule.give(made, found, np.full(1000, value, dtype=np.float32))


@law("check index and values in update, or when the next epoch begins.", when=learns, ours=True)
def bad_updates(schedule: ScheduleCase) -> None:
    """What cannot be learned from is refused with an OptionError, at the latest when the next epoch begins."""
    few, ok = np.arange(3), np.ones(3, dtype=np.float32)
    wrong: dict[str, tuple[Any, Any]] = {
        "an index of floats": (few.astype(np.float32), ok),
        "an index of bools": (few > 0, ok),
        "an index of n": (np.array([0, 1, schedule.n]), ok),
        "an index of -1": (np.array([0, 1, -1]), ok),
        "an index that is not in numbers": (["a", "b", "c"], ok),
        "two values for three examples": (few, ok[:2]),
        "a table of values": (few, np.ones((3, 1), dtype=np.float32)),
        "a value of NaN": (few, np.array([1, np.nan, 1], dtype=np.float32)),
        "an infinite value": (few, np.array([1, 1, np.inf], dtype=np.float32)),
    }
    for given, (index, values) in wrong.items():
        expect_refusal(partial(_updated, schedule, index, values), given, ":")


def _updated(schedule: ScheduleCase, index: Any, values: Any) -> Any:
    made = schedule.make()
    schedule.begin(made, 0)
    made.update(index, values)
    return made.begin(1)


SCHEDULE_UPDATE_LAWS = laws_in(globals())
