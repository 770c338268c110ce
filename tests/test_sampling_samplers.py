"""SubsetSampler and RS2Sampler: what an epoch holds, which epoch comes next, and going on where one stopped."""

from __future__ import annotations

import copy
import math
import pickle
import random
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from itertools import chain, pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from datadiet.errors import DataError, OptionError
from datadiet.sampling import Permutation, RS2Sampler, SubsetSampler, shard
from datadiet.sampling.epoch_sampler import EpochSampler
from datadiet.selectors.budget import allocate

LABELS = np.repeat([0, 1, 2], [50, 30, 20])[np.random.default_rng(0).permutation(100)]
BUILD: dict[str, Callable[[int], EpochSampler]] = {
    "subset": lambda seed: SubsetSampler(np.arange(0, 200, 5), seed=seed),
    "subset, int": lambda seed: SubsetSampler(40, seed=seed),
    "rs2": lambda seed: RS2Sampler(100, 0.4, seed=seed),
    "rs2, replacement": lambda seed: RS2Sampler(100, 0.4, seed=seed, replacement=True),
    "rs2, stratified": lambda seed: RS2Sampler(100, 0.4, seed=seed, labels=LABELS),
    "shard": lambda seed: shard(RS2Sampler(100, 0.8, seed=seed), 1, 2),
}
every_sampler = pytest.mark.parametrize("build", BUILD.values(), ids=BUILD.keys())


def epochs(sampler: EpochSampler, count: int) -> list[list[int]]:
    return [list(sampler) for _ in range(count)]


# What an epoch holds


@given(n=st.integers(1, 60), data=st.data(), seed=st.integers(0, 99), replacement=st.booleans())
@settings(max_examples=60, deadline=None)
def test_rs2_epoch_is_exactly_k_distinct_examples(n: int, data: st.DataObject, seed: int, replacement: bool) -> None:
    k = data.draw(st.integers(1, n))
    sampler = RS2Sampler(n, k, seed=seed, replacement=replacement)
    for epoch in epochs(sampler, 4):
        assert len(epoch) == len(set(epoch)) == len(sampler) == k
        assert set(epoch) <= set(range(n))


@given(n=st.integers(1, 40), data=st.data(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_rs2_without_replacement_covers_all_equally_in_a_cycle(n: int, data: st.DataObject, seed: int) -> None:
    k = data.draw(st.integers(1, n))
    cycle = math.lcm(n, k) // k
    sampler = RS2Sampler(n, k, seed=seed)
    for _ in range(2):
        counts = Counter(chain(*epochs(sampler, cycle)))
        assert counts == dict.fromkeys(range(n), math.lcm(n, k) // n)


def test_rs2_follows_its_formula() -> None:
    n, k, seed = 10, 4, 3
    sampler = RS2Sampler(n, k, seed=seed)
    for epoch, got in enumerate(epochs(sampler, 11)):
        # c = lcm(10, 4) / 4 = 5 epochs to a circle.
        circle, mixed = Permutation(n, seed, "rs2", epoch // 5), Permutation(k, seed, "rs2 order", epoch)
        expected = [int(circle(np.array([(epoch * k + int(q)) % n]))[0]) for q in mixed(np.arange(k))]
        assert got == expected


def test_rs2_draws_a_new_circle_when_one_is_used_up() -> None:
    first, second = (set(map(frozenset, epochs_)) for epochs_ in np.split(np.array(epochs(RS2Sampler(60, 6), 20)), 2))
    assert len(first) == len(second) == 10
    assert not first & second


def test_rs2_with_replacement_is_fresh_every_epoch() -> None:
    sampler = RS2Sampler(1000, 100, replacement=True)
    subsets = [set(epoch) for epoch in epochs(sampler, 41)]
    overlaps = [len(a & b) for a, b in pairwise(subsets)]
    # Hypergeometric: mean 10, standard deviation 2.85; of the mean of 40, 0.45.
    assert 8 < np.mean(overlaps) < 12
    assert min(overlaps) > 0 and max(overlaps) < 25
    # Without replacement, epochs of one circle have nothing in common.
    assert not set.intersection(*map(set, epochs(RS2Sampler(1000, 100), 2)))


@given(sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5), data=st.data(), replacement=st.booleans())
@settings(max_examples=40, deadline=None)
def test_rs2_stratified_counts(sizes: list[int], data: st.DataObject, replacement: bool) -> None:
    n = sum(sizes)
    k = data.draw(st.integers(1, n))
    counts = allocate(k * np.array(sizes) / n, k, upper=np.array(sizes))
    assume(counts.all())
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    sampler = RS2Sampler(n, k, labels=labels, replacement=replacement)
    for epoch in epochs(sampler, 3):
        assert len(set(epoch)) == k
        assert np.array_equal(np.bincount(labels[epoch], minlength=len(sizes)), counts)


def test_rs2_stratified_covers_each_class_equally() -> None:
    # 50, 30 and 20 examples at 40 %: 20, 12 and 8 an epoch; all are back where they began after 5 epochs, twice round.
    counts = Counter(chain(*epochs(RS2Sampler(100, 0.4, labels=LABELS), 5)))
    assert counts == dict.fromkeys(range(100), 2)


def test_rs2_stratified_mixes_the_classes() -> None:
    runs = np.diff(LABELS[list(RS2Sampler(100, 0.4, labels=LABELS))]).astype(bool).sum()
    # Sorted by class there would be 2 changes; at random, 39 x (1 - .5^2 - .3^2 - .2^2) = 24 are expected.
    assert runs > 12


def test_rs2_says_which_classes_are_never_seen() -> None:
    with pytest.warns(UserWarning, match="1 of 2 classes are too small"):
        sampler = RS2Sampler(100, 10, labels=np.repeat([0, 1], [98, 2]))
    assert len(list(sampler)) == 10


def test_rs2_is_exact_for_numbers_beyond_64_bits() -> None:
    n, k, epoch = 2**62, 3, 2**63 + 1
    sampler = RS2Sampler(n, k)
    sampler.set_epoch(epoch)
    circle = Permutation(n, 0, "rs2", epoch // n)
    assert set(sampler) == set(circle((np.arange(k) + epoch * k % n) % n).tolist())


def test_subset_has_each_index_once_in_a_new_order() -> None:
    indices = np.array([7, 3, 11, 5, 2, 13, 17, 19])
    first, second = epochs(SubsetSampler(indices), 2)
    assert sorted(first) == sorted(second) == sorted(indices.tolist())
    assert first != second
    assert epochs(SubsetSampler(indices, shuffle=False), 2) == [indices.tolist()] * 2


def test_subset_of_an_int_is_the_same_as_of_a_range() -> None:
    assert epochs(SubsetSampler(50_000, seed=4), 2) == epochs(SubsetSampler(np.arange(50_000), seed=4), 2)
    assert list(SubsetSampler(np.int64(3), shuffle=False)) == [0, 1, 2]


# Which epoch comes next


@every_sampler
def test_order_is_a_function_of_seed_and_epoch(build: Callable[[int], EpochSampler]) -> None:
    one, two, other = build(0), build(0), build(1)
    assert epochs(one, 4) == epochs(two, 4)
    one.set_epoch(2)
    two.set_epoch(2)
    other.set_epoch(2)
    assert list(one) == list(two) != list(other)


@every_sampler
def test_iter_without_set_epoch_advances(build: Callable[[int], EpochSampler]) -> None:
    sampler, by_hand = build(0), build(0)
    seen = []
    for epoch in range(4):
        seen.append(list(sampler))
        assert sampler.epoch == epoch
        by_hand.set_epoch(epoch)
        assert list(by_hand) == seen[-1]
    assert len(set(map(tuple, seen))) == 4
    sampler.set_epoch(1)
    assert list(sampler) == seen[1]
    assert list(sampler) == seen[2]
    sampler.set_epoch(2)
    assert list(sampler) == seen[2]


@every_sampler
def test_len_is_constant_and_items_are_ints(build: Callable[[int], EpochSampler]) -> None:
    sampler = build(0)
    for _ in range(3):
        assert len(sampler) == 40
        items = list(sampler)
        assert len(items) == 40
        assert {type(item) for item in items} == {int}
    assert not hasattr(sampler, "generator")


@every_sampler
def test_a_broken_off_epoch_counts_and_an_untouched_iterator_does_not(build: Callable[[int], EpochSampler]) -> None:
    reference = epochs(build(0), 2)
    sampler = build(0)
    iter(sampler)
    assert next(iter(sampler)) == reference[0][0]
    assert list(sampler) == reference[1]


# Going on where one stopped


@given(name=st.sampled_from(sorted(BUILD)), epoch=st.integers(0, 5), position=st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_iterator_state_resumes_exactly(name: str, epoch: int, position: int) -> None:
    reference = epochs(BUILD[name](5), epoch + 2)
    sampler = BUILD[name](5)
    sampler.set_epoch(epoch)
    iterator = iter(sampler)
    head = [next(iterator) for _ in range(position)]
    state = iterator.state_dict()
    assert state == sampler.state_dict() == {"seed": 5, "epoch": epoch, "pos": position}

    resumed = BUILD[name](5)
    fresh = iter(resumed)
    fresh.load_state_dict(state)
    assert head + list(fresh) == reference[epoch]
    assert list(resumed) == reference[epoch + 1]


@every_sampler
@pytest.mark.parametrize("with_set_epoch", [False, True])
def test_sampler_state_resumes_exactly(build: Callable[[int], EpochSampler], with_set_epoch: bool) -> None:
    reference = epochs(build(0), 4)
    sampler = build(0)
    sampler.set_epoch(2)
    head = [item for item, _ in zip(sampler, range(15), strict=False)]
    # zip asks for one more than it gives: what was consumed is less than what was drawn, as with loader workers.
    assert sampler.state_dict()["pos"] == 16
    state = {**sampler.state_dict(), "pos": len(head)}

    resumed = build(0)
    resumed.load_state_dict(state)
    if with_set_epoch:
        resumed.set_epoch(2)
    assert head + list(resumed) == reference[2]
    assert list(resumed) == reference[3]


@every_sampler
def test_a_finished_epoch_is_followed_by_the_next(build: Callable[[int], EpochSampler]) -> None:
    sampler, resumed = build(0), build(0)
    epochs(sampler, 2)
    resumed.load_state_dict(sampler.state_dict())
    assert list(resumed) == list(sampler)
    assert resumed.epoch == 2


def test_resume_is_exact_across_chunks() -> None:
    reference = list(RS2Sampler(100_000, 0.9))
    for position in (63, 64, 65, 16_000, 50_000, 89_999):
        sampler = RS2Sampler(100_000, 0.9)
        iterator = iter(sampler)
        for _ in range(position):
            next(iterator)
        assert iterator.state_dict()["pos"] == position
        resumed = iter(RS2Sampler(100_000, 0.9))
        resumed.load_state_dict(iterator.state_dict())
        assert list(resumed) == reference[position:]


def test_a_state_of_another_sampler_is_refused() -> None:
    state = RS2Sampler(100, 0.4, seed=1).state_dict()
    with pytest.raises(OptionError, match="build it with seed=1"):
        RS2Sampler(100, 0.4, seed=2).load_state_dict(state)
    with pytest.raises(OptionError, match="build it with seed=1"):
        iter(RS2Sampler(100, 0.4, seed=2)).load_state_dict(state)
    with pytest.raises(OptionError, match="epochs of 10"):
        RS2Sampler(100, 10).load_state_dict({"seed": 0, "epoch": 0, "pos": 11})
    iterator = iter(RS2Sampler(100, 10))
    next(iterator)
    with pytest.raises(OptionError, match="under way"):
        iterator.load_state_dict({"seed": 0, "epoch": 0, "pos": 5})


@every_sampler
def test_samplers_can_be_pickled_and_copied_in_mid_epoch(build: Callable[[int], EpochSampler]) -> None:
    sampler = build(0)
    next(iter(sampler))
    for twin in (copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        assert twin.state_dict() == {"seed": 0, "epoch": 0, "pos": 1}
        assert list(twin) == epochs(build(0), 2)[1]


# In a loader, at scale, and beside other random numbers


@every_sampler
@pytest.mark.parametrize("workers", [0, 2])
def test_data_loader(build: Callable[[int], EpochSampler], workers: int) -> None:
    reference = epochs(build(0), 2)
    loader = DataLoader(list(range(200)), batch_size=6, sampler=build(0), num_workers=workers)
    assert len(loader) == 7
    for expected in reference:
        assert torch.cat(list(loader)).tolist() == expected


def test_data_loader_without_batches_skips_no_epoch() -> None:
    # With batch_size=None and workers, the loader makes two iterators an epoch and uses the second.
    loader = DataLoader(list(range(40)), batch_size=None, sampler=SubsetSampler(40), num_workers=1)
    reference = epochs(SubsetSampler(40), 2)
    assert [[int(item) for item in loader] for _ in range(2)] == reference


@pytest.mark.parametrize("replacement", [False, True])
def test_a_thousand_million_examples_start_at_once(replacement: bool) -> None:
    tracemalloc.start()
    begin = time.perf_counter()
    sampler = RS2Sampler(10**9, 0.1, replacement=replacement)
    iterator = iter(sampler)
    batch = [next(iterator) for _ in range(256)]
    seconds = time.perf_counter() - begin
    early = tracemalloc.get_traced_memory()[1]
    for _ in range(100_000):
        next(iterator)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(sampler) == 10**8 and len(set(batch)) == 256 and max(batch) > 10**8
    assert seconds < 0.5 and early < 200_000 and peak < 4_000_000


@every_sampler
def test_global_random_states_are_untouched(build: Callable[[int], EpochSampler]) -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    epochs(build(0), 2)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SubsetSampler([]), "at least one"),
        (lambda: SubsetSampler(0), "at least one"),
        (lambda: SubsetSampler([1, -2]), "negative index, -2"),
        (lambda: SubsetSampler(np.array([True, False])), "flatnonzero"),
        (lambda: SubsetSampler(np.array([0.5, 1.0])), "give .k,. integers"),
        (lambda: SubsetSampler(np.zeros((2, 2), dtype=np.int64)), "give .k,. integers"),
        (lambda: RS2Sampler(10, 11), "between 1 and 10"),
        (lambda: RS2Sampler(10, 5, labels=np.zeros(9, dtype=np.int64)), "one label per example"),
        (lambda: RS2Sampler(10, 5).set_epoch(-1), "epoch=-1: give a whole number of at least 0"),
    ],
)
def test_refusals(make: Callable[[], object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([-1] * 5 + [0] * 5, "which means unlabelled"), ([np.nan] * 5 + [0.0] * 5, "missing|NaN"),
        ([0.3, 0.7] * 5, "whole number"), ([""] * 5 + ["a"] * 5, "empty|missing"), ([-5] * 10, "-1|negative|below"),
        ([np.inf] * 10, "too large to be a class"), (np.array([None] * 10), "missing|null|label"),
        ([2**63 - 1] * 10, "2\\^31"),
    ],
)  # fmt: skip
def test_labels_of_rs2_are_checked_as_everywhere(labels, words):
    with pytest.raises((DataError, OptionError), match=words):
        RS2Sampler(10, 0.5, labels=labels)


def test_names_of_classes_are_labels_of_rs2():
    by_name = RS2Sampler(10, 4, labels=["b", "a"] * 5)
    assert list(by_name) == list(RS2Sampler(10, 4, labels=np.array([1, 0] * 5)))
