"""Signals on an accelerator: computed for many batches at once, with the results of one at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.errors import DataError, OptionError
from datadiet.signals import pending
from datadiet.tasks import Classification

N, C = 40, 3


@pytest.fixture
def far(monkeypatch):
    """As on an accelerator, where 100 numbers are as much as should be computed at once."""
    monkeypatch.setattr(pending, "_far_away", lambda given: all(v is None or torch.is_tensor(v) for v in given))
    monkeypatch.setattr(pending, "working_set", lambda device: 100)


def batches(epoch=0, size=7):
    rng = torch.Generator().manual_seed(epoch)
    order = torch.randperm(N, generator=rng)
    z, h = torch.randn(N, C, generator=rng), torch.randn(N, 4, generator=rng)
    for rows in order.split(size):
        yield rows, z[rows], rows % C, h[rows]


def recorded(recorder, epochs=2, features=True):
    for epoch in range(epochs):
        for rows, z, y, h in batches(epoch):
            recorder.update(rows, z, y, h if features else None)
        recorder.end_epoch()
    return recorder


def counted(sizes):
    """A function of ours that notes how many rows it is given."""

    def signals(outputs, targets, features):
        sizes.append(len(outputs))
        return Classification(C).signals(outputs, targets, features)

    signals.__module__ = "datadiet.tests"
    return signals


def tables(recorder):
    return {key: table.to_pandas() for key, (table,) in recorder._tables.items()}


def assert_equal(some, others):
    assert some.keys() == others.keys()
    for key, table in some.items():
        assert list(table) == list(others[key])
        for name in table:
            np.testing.assert_array_equal(table[name], others[key][name])


@pytest.mark.parametrize("features", [True, False])
def test_the_same_tables_from_fewer_computations(far, features):
    sizes = []
    later = recorded(dd.Recorder(N, signals=counted(sizes)), features=features)
    plain = recorded(dd.Recorder(N), features=features)
    # 7 rows of 3 + 1 (+ 4) numbers: full with 100 after 2 (4) batches; 40 rows are 5 batches of 7 and one of 5
    assert sizes == ([14, 14, 12] if features else [28, 12]) * 2
    now = {}
    for epoch in range(2):
        for rows, z, y, h in batches(epoch):
            for name, values in signals_of(z, y, h if features else None).items():
                now.setdefault((epoch + 1, name), np.empty(N, values.numpy().dtype))[rows.numpy()] = values.numpy()
    for table in (tables(later), tables(plain)):
        for (epoch, name), values in now.items():
            np.testing.assert_allclose(table["train", 0, epoch][name], values, rtol=1e-6)


def signals_of(z, y, h):
    return Classification(C).signals(z, y, h)


def test_a_caller_may_overwrite_what_it_passed(far):
    """Loops that prefetch, and captured graphs, use the same memory at every step."""
    wanted, own = recorded(dd.Recorder(N)), dd.Recorder(N)
    for epoch in range(2):
        for rows, z, y, h in batches(epoch):
            own.update(rows, z, y, h)
            z.zero_(), y.zero_(), h.zero_()
        own.end_epoch()
    assert_equal(tables(own), tables(wanted))


@pytest.mark.parametrize("stop", range(1, 6))
def test_a_resumed_recording_computes_the_same_batches_together(far, stop):
    whole, sizes, kept = [], [], {}
    recorded(dd.Recorder(N, signals=counted(whole)), epochs=1)
    first = dd.Recorder(N, signals=counted(sizes))
    second = dd.Recorder(N, signals=counted(sizes), sink=lambda epoch, table: kept.update({epoch: table}))
    parts = list(batches())
    for part in parts[:stop]:
        first.update(*part)
    second.load_state_dict(first.state_dict())
    for part in parts[stop:]:
        second.update(*part)
    second.end_epoch()
    assert sizes == whole == [14, 14, 12]
    for name, values in tables(recorded(dd.Recorder(N), epochs=1))["train", 0, 1].items():
        np.testing.assert_array_equal(kept[1][name].to_numpy(), values)


def test_what_is_measured_is_where_the_training_is(far):
    """A loaded state is on the CPU; measured there, before the next batch comes, sums would round otherwise."""
    first = dd.Recorder(N)
    for part in list(batches())[:2]:  # 14 rows of 8 numbers: full
        first.update(*part)
    assert not first._pending and "pending" not in first.state_dict()


def test_an_error_names_the_same_example_at_the_end_of_the_epoch(far):
    recorder = dd.Recorder(4)
    recorder.update([3, 1], torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), torch.tensor([0, 1]))
    recorder.update([0, 2], torch.zeros(2, 2), torch.tensor([0, 1]))
    with pytest.raises(DataError, match="is NaN for the example at row 1: training diverged in epoch 1"):
        recorder.end_epoch()


def test_features_sometimes_and_rows_outside_are_refused_as_ever(far):
    recorder = dd.Recorder(4)
    recorder.update([0], torch.zeros(1, 2), torch.tensor([0]), torch.zeros(1, 3))
    recorder.update([1], torch.zeros(1, 2), torch.tensor([0]))
    with pytest.raises(OptionError, match="give the same, and features always or never"):
        recorder.end_epoch()
    recorder = dd.Recorder(4)
    recorder.update([7], torch.zeros(1, 2), torch.tensor([0]))
    with pytest.raises(OptionError, match=r"index 7 is outside 0\.\.3"):
        recorder.end_epoch()


def test_other_types_and_shapes_follow_each_other(far):
    """A last batch in another precision, or with more classes, is computed apart."""
    recorder = dd.Recorder(6)
    for place, z in enumerate((torch.randn(2, 3), torch.randn(2, 3).bfloat16(), torch.randn(2, 5))):
        recorder.update([2 * place, 2 * place + 1], z, torch.tensor([0, 1]))
    recorder.end_epoch()
    assert recorder.finish().array("loss", "train", [1])[1].all()


def test_what_is_the_users_own_or_compares_epochs_is_computed_at_once(far):
    calls = []
    mine = dd.Recorder(N, signals=lambda z, y, h: calls.append(len(z)) or {"loss": z.sum(1)})
    shifted = dd.Recorder(N, shift=True)
    for rows, z, y, _ in batches():
        mine.update(rows, z, y)
        shifted.update(rows, z, y)
        assert not mine._pending and not shifted._pending
    assert calls == [7] * 5 + [5]


def test_on_a_processor_nothing_waits():
    recorder = dd.Recorder(N)
    recorder.update(*next(batches()))
    assert not recorder._pending and "pending" not in recorder.state_dict()


def test_an_epoch_that_was_not_closed_is_not_finished(far):
    recorder = recorded(dd.Recorder(N), epochs=1)
    recorder.update(*next(batches()))
    with pytest.raises(OptionError, match="end_epoch"):
        recorder.finish()


@pytest.mark.parametrize("damage", [{"rows": torch.zeros(2)}, {"lengths": torch.tensor([9])}, {"columns": {"z": [1]}}])
def test_a_damaged_state_is_refused(far, damage):
    recorder = dd.Recorder(N)
    recorder.update(*next(batches()))
    state = recorder.state_dict()
    with pytest.raises(OptionError, match="the state of this Recorder is damaged"):
        dd.Recorder(N).load_state_dict({**state, "pending": {**state["pending"], **damage}})
