"""What the schedules that learn share: when they learn, what they are given, loaders, ranks and states."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from datadiet.data import Indexed
from datadiet.errors import OptionError
from datadiet.sampling import InfoBatchSampler, SubsetSampler, UCBSampler, shard
from datadiet.sampling.pending_values import PendingValues
from datadiet.sampling.scored_sampler import random_subset
from datadiet.sampling.shares import check_share, count_of, epochs_before

N = 40
LOSSES = np.random.default_rng(0).exponential(1, (9, N)).astype(np.float32)


def loop(sampler, epochs, *, set_epoch, workers=0, whole=False, batch=7):
    """What a loop of one's own presents: lists of (index, weight) per epoch."""
    loader = DataLoader(Indexed(TensorDataset(torch.zeros(N))), batch_size=batch, sampler=sampler, num_workers=workers)
    found = []
    for epoch in epochs:
        if set_epoch:
            sampler.set_epoch(epoch)
        presented, given = [], []
        for _, index in loader:
            weights = sampler.weights(index)
            weights = torch.ones(len(index)) if weights is None else weights
            presented += list(zip(index.tolist(), weights.tolist(), strict=True))
            given.append(index)
            if not whole:
                sampler.update(index, torch.from_numpy(LOSSES[epoch])[index])
        if whole:
            index = torch.cat(given)
            sampler.update(index, torch.from_numpy(LOSSES[epoch])[index])
        found.append(presented)
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loop_of_ones_own(workers):
    """With set_epoch or plain iter, with an update for each batch or for the epoch, with loader workers or without."""
    wanted = loop(InfoBatchSampler(N, epochs=9), range(9), set_epoch=True)
    assert len(wanted[0]) == len(wanted[8]) == N and min(map(len, wanted)) < 35
    assert loop(InfoBatchSampler(N, epochs=9), range(9), set_epoch=False, workers=workers) == wanted
    assert loop(InfoBatchSampler(N, epochs=9), range(9), set_epoch=False, whole=True) == wanted


def test_the_length_is_that_of_the_epoch_under_way():
    sampler = InfoBatchSampler(N, epochs=9)
    loop(sampler, range(1), set_epoch=False)
    assert len(sampler) == N and sampler.epoch == 0  # the learning comes with the next epoch
    sampler.set_epoch(1)
    length = len(sampler)
    assert length < N and len(list(sampler)) == length == len(sampler)


def test_setting_the_epoch_under_way_again_changes_nothing():
    sampler = InfoBatchSampler(N, epochs=9)
    sampler.update(np.arange(N), LOSSES[0])
    sampler.set_epoch(0)
    assert len(sampler) == N
    sampler.set_epoch(1)
    kept = sorted(sampler)
    sampler.set_epoch(1)
    assert sorted(sampler) == kept and sampler.epoch == 1


@pytest.mark.parametrize("stop", [1, 3, 5])
@pytest.mark.parametrize("way", ["state", "pickle", "copy"])
def test_a_loop_that_stops_within_an_epoch_goes_on_exactly(stop, way):
    """The position is the number of examples trained on; the losses until then are in the state."""
    wanted = loop(InfoBatchSampler(N, epochs=9), range(9), set_epoch=True, batch=5)
    sampler = InfoBatchSampler(N, epochs=9)
    loop(sampler, range(2), set_epoch=True, batch=5)
    sampler.set_epoch(2)
    head, iterator = [], iter(sampler)
    for _ in range(stop):
        index = np.array([next(iterator) for _ in range(5)])
        head += list(zip(index.tolist(), sampler.weights(index).tolist(), strict=True))
        sampler.update(index, LOSSES[2][index])
    if way == "state":
        resumed = InfoBatchSampler(N, epochs=9)
        resumed.load_state_dict(pickle.loads(pickle.dumps(sampler.state_dict())))
    else:
        twin = copy.deepcopy(sampler) if way == "copy" else pickle.loads(pickle.dumps(sampler))
        resumed = InfoBatchSampler(N, epochs=9)
        resumed.load_state_dict(twin.state_dict())
    assert head + loop(resumed, [2], set_epoch=False, batch=5)[0] == wanted[2]
    assert loop(resumed, range(3, 9), set_epoch=True, batch=5) == wanted[3:]


def test_the_state_of_an_iterator_holds_what_was_learned():
    """torchdata's StatefulDataLoader asks the iterator."""
    wanted = loop(InfoBatchSampler(N, epochs=9), range(3), set_epoch=True)[2]
    sampler = InfoBatchSampler(N, epochs=9)
    loop(sampler, range(2), set_epoch=True)
    sampler.set_epoch(2)
    iterator = iter(sampler)
    head = [next(iterator) for _ in range(4)]
    resumed = iter(InfoBatchSampler(N, epochs=9))
    resumed.load_state_dict(iterator.state_dict())
    assert head + list(resumed) == [index for index, _ in wanted]


def test_a_state_of_a_finished_epoch_begins_the_next():
    wanted = loop(InfoBatchSampler(N, epochs=9), range(5), set_epoch=True)
    sampler, resumed = InfoBatchSampler(N, epochs=9), InfoBatchSampler(N, epochs=9)
    loop(sampler, range(3), set_epoch=False)
    resumed.load_state_dict(sampler.state_dict())
    assert resumed.epoch == 3
    assert loop(resumed, range(3, 5), set_epoch=False) == wanted[3:]


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_that_are_given_the_same_have_the_same_order(world):
    """Shares of one order, padded; each rank's sampler is given what all presented, and saves it."""
    whole = InfoBatchSampler(N, epochs=9)
    parts = [shard(InfoBatchSampler(N, epochs=9), rank, world) for rank in range(world)]
    for epoch in range(9):
        whole.set_epoch(epoch)
        wanted, shares = list(whole), []
        for rank, part in enumerate(parts):
            part.set_epoch(epoch)
            assert len(part) == -(-len(wanted) // world)
            iterator = iter(part)
            head = [next(iterator) for _ in range(3)]
            resumed = shard(InfoBatchSampler(N, epochs=9), rank, world)
            resumed.load_state_dict(copy.deepcopy(part.state_dict()))
            assert len(resumed) == len(part)
            shares.append(head + list(resumed))
            parts[rank] = resumed
        padded = np.stack(shares, axis=1).ravel()
        assert padded[: len(wanted)].tolist() == wanted and set(padded) == set(wanted)
        weights = parts[0].weights(padded)
        assert weights is None or torch.equal(weights, whole.weights(padded))
        whole.update(np.array(wanted), LOSSES[epoch][wanted])
        for part in parts:
            part.update(padded, LOSSES[epoch][padded])


def test_a_static_sampler_refuses_the_state_of_one_that_learns():
    state = InfoBatchSampler(N, epochs=9).state_dict()
    with pytest.raises(OptionError, match="that of a sampler that learns, which a SubsetSampler does not"):
        SubsetSampler(N).load_state_dict(state)


@pytest.mark.parametrize("other", [InfoBatchSampler(N + 1, epochs=9), UCBSampler(N, keep=5), SubsetSampler(N)])
def test_the_state_of_another_sampler_is_refused(other):
    with pytest.raises(OptionError, match="is not that of a sampler like this InfoBatchSampler"):
        InfoBatchSampler(N, epochs=9).load_state_dict(other.state_dict())


def test_an_epoch_without_an_update_is_told_once_it_is_over():
    sampler = InfoBatchSampler(N, epochs=9)
    list(sampler)
    with pytest.warns(UserWarning, match=r"was given nothing in epoch 0, so it cannot choose: call update"):
        list(sampler)
    sampler = InfoBatchSampler(N, epochs=9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sampler.begin(3)  # nothing was presented
        loop(sampler, [3, 4], set_epoch=True)


def test_losses_are_copied():
    """A loop may go on to weight them in place."""
    sampler, losses, index = UCBSampler(4, keep=1), torch.tensor([1.0, 2.0, 3.0, 4.0]), np.arange(4)
    sampler.update(index, losses)
    losses *= -1
    index[:] = 0
    sampler.set_epoch(1)
    assert list(sampler) == [3]


@pytest.mark.parametrize("kind", ["list", "array", "int32", "float16", "bfloat16", "graph", "bool"])
def test_index_and_values_of_any_kind(kind):
    sampler, index, values = UCBSampler(4, keep=1), [2, 0, 3, 1], [0.5, 1.0, 2.0, 0.0]
    given = {
        "list": (index, values),
        "array": (np.array(index), np.array(values)),
        "int32": (np.array(index, dtype=np.int32), np.array(values)),
        "float16": (np.array(index), np.array(values, dtype=np.float16)),
        "bfloat16": (torch.tensor(index), torch.tensor(values, dtype=torch.bfloat16)),
        "graph": (torch.tensor(index), torch.tensor(values, requires_grad=True) * 1),
        "bool": (torch.tensor(index), torch.tensor([False, False, True, False])),
    }[kind]
    sampler.update(*given)
    sampler.update([], [])
    sampler.set_epoch(1)
    assert list(sampler) == [3]


def test_pending_values_stay_small_however_often_an_epoch_is_presented():
    pending = PendingValues(10)
    for turn in range(3000):
        pending.add(np.arange(10), np.full(10, float(turn)))
    assert sum(len(v) for v in pending.state_dict().values() if isinstance(v, torch.Tensor)) < 20_000
    rows, values = pending.take()
    assert rows.tolist() == list(range(10)) and values.tolist() == [0.0] * 10
    assert len(pending.take()[0]) == 0


def test_shares_are_exact_for_decimals():
    assert [epochs_before(share, 100) for share in (0.07, 0.14, 0.28, 0.29, 0.57, 0.58)] == [7, 14, 28, 29, 57, 58]
    assert [count_of(share, 10) for share in (0.05, 0.15, 0.25, 0.35, 0.45)] == [1, 2, 3, 4, 5]
    for value in (float("nan"), -1e-9, 1 + 1e-9, float("inf")):
        with pytest.raises(OptionError, match="give a share from 0 to 1"):
            check_share("x", value)


def test_a_random_subset_has_exactly_k_and_each_example_equally_often():
    counts, examples = np.zeros(20), np.arange(100, 2100, 100)
    for number in range(2000):
        chosen = random_subset(examples, 5, 0, f"s{number}")
        assert chosen.sum() == 5
        counts += chosen
    assert np.abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)
    assert not random_subset(examples, 0, 0, "s").any() and random_subset(examples, 20, 0, "s").all()
