"""The Recorder: in anyone's own loop, with partial epochs and repeats, and what it refuses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import datadiet as dd
from datadiet.errors import DataError, MissingSignal, OptionError
from datadiet.scorers import aum, forgetting, tdds


def one_epoch(rec, *batches):
    """Each batch is {row: logit of class 1}; the label is always 1, so a row is right if its logit is positive."""
    for rows in batches:
        logits = torch.tensor([[0.0, z] for z in rows.values()])
        rec.update(list(rows), logits, torch.ones(len(rows), dtype=torch.int64))
    rec.end_epoch()


def test_golden():
    # Row 0 is learned, forgotten, learned; row 1 never learned; row 2 learned at once.
    rec = dd.Recorder(n=3)
    one_epoch(rec, {0: 1.0, 2: 3.0}, {1: -1.0})
    one_epoch(rec, {1: -2.0, 0: -4.0}, {2: 5.0})
    one_epoch(rec, {2: 1.0}, {1: -3.0}, {0: 6.0})
    margin, seen = rec.finish().array("margin", "train", [1, 2, 3])
    assert margin.tolist() == [[[1, -1, 3], [-4, -2, 5], [6, -3, 1]]] and seen.all()
    scores = dd.score(rec.finish(), scorers=["forgetting", "aum"])
    assert scores["forgetting"].tolist() == [1.0, 3.0, 0.0]
    assert scores["aum"].tolist() == [1.0, -2.0, 3.0]
    assert scores["forgetting.never_learned"].tolist() == [False, True, False]
    assert scores["forgetting.first_learned"].tolist() == [1.0, 4.0, 1.0]


def test_a_repeat_keeps_the_first_presentation_and_is_counted():
    rec = dd.Recorder(n=2)
    one_epoch(rec, {1: 7.0, 0: 1.0}, {1: -9.0}, {0: -9.0, 1: -9.0})
    assert rec.finish().array("margin", "train", [1])[0].tolist() == [[[1.0, 7.0]]]
    assert rec.repeats == 3


def test_an_example_that_an_epoch_leaves_out_was_not_seen_there():
    """drop_last: row 2 is missing in epoch 1, row 0 in epoch 2. Its neighbours in time are then consecutive."""
    rec = dd.Recorder(n=3)
    one_epoch(rec, {0: 1.0, 1: 1.0})
    one_epoch(rec, {1: -1.0, 2: 2.0})
    one_epoch(rec, {0: -1.0, 1: 1.0, 2: 4.0})
    signals = rec.finish()
    assert signals.array("margin", "train", [1, 2, 3])[1].tolist() == [[[1, 1, 0], [0, 1, 1], [1, 1, 1]]]
    scores = dd.score(signals, scorers=["forgetting", "aum"])
    assert scores["forgetting"].tolist() == [1.0, 1.0, 0.0]
    np.testing.assert_allclose(scores["aum"], [0.0, 1 / 3, 3.0], atol=1e-7)


def test_an_example_that_was_never_presented_is_an_error():
    rec = dd.Recorder(n=3)
    one_epoch(rec, {0: 1.0, 1: 1.0})
    with pytest.raises(OptionError, match=r"row|example|present"):
        dd.score(rec.finish(), scorers=["aum"])


def train_on_rs2(n=24, keep=0.25, epochs=8):
    """A user's own loop on random subsets, recorded by hand as well: rows -> list of (margin, correct)."""
    torch.manual_seed(0)
    x, y = torch.randn(n, 5), torch.randint(0, 3, (n,))
    data, model, by_hand = TensorDataset(x, y), nn.Linear(5, 3), {row: [] for row in range(n)}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    sampler, rec = dd.RS2Sampler(n, keep=keep, seed=1), dd.Recorder(n=n)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        for inputs, targets, index in DataLoader(dd.Indexed(data), batch_size=4, sampler=sampler):
            logits = model(inputs)
            rec.update(index, logits, targets)
            for row, z, label in zip(index.tolist(), logits.detach(), targets.tolist(), strict=True):
                rival = max(z[c].item() for c in range(3) if c != label)
                by_hand[row].append((z[label].item() - rival, int(z.argmax()) == label))
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, targets).backward()
            optimizer.step()
        rec.end_epoch()
    return rec, by_hand


def test_a_loop_on_random_subsets_gives_the_scores_of_a_hand_written_record():
    rec, by_hand = train_on_rs2()
    scores = dd.score(rec.finish(), scorers=["forgetting", "aum"])
    events = []
    for record in by_hand.values():
        right = [r for _, r in record]
        lost = sum(a and not b for a, b in itertools.pairwise(right))
        events.append(lost if any(right) else len(right))
    assert scores["forgetting"].tolist() == events and len(set(events)) > 1
    np.testing.assert_allclose(scores["aum"], [np.mean([m for m, _ in r]) for r in by_hand.values()], rtol=1e-5)


def test_five_lines_in_a_plain_loop():
    """The lines that a user adds, apart from wrapping the data, are 1 to 4."""
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(20, 4), torch.randint(0, 2, (20,)))
    model = nn.Linear(4, 2)
    rec = dd.Recorder(n=len(data))  # 1
    correct, margins = np.zeros((3, 20), dtype=bool), np.zeros((3, 20))
    for epoch in range(3):
        for x, y, index in DataLoader(dd.Indexed(data), batch_size=6, shuffle=True):
            logits = model(x)
            rec.update(index, logits, y)  # 2
            correct[epoch, index] = (logits.argmax(1) == y).numpy()
            margins[epoch, index] = (logits[range(len(y)), y] - logits[range(len(y)), 1 - y]).detach().numpy()
            nn.functional.cross_entropy(logits, y).backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 2.0 * p.grad
                    p.grad = None
        rec.end_epoch()  # 3
    scores = dd.score(rec.finish(), scorers=["forgetting", "aum"])  # 4
    assert np.array_equal(scores["forgetting"], forgetting(correct))
    np.testing.assert_allclose(scores["aum"], aum(margins), rtol=1e-5, atol=1e-6)
    assert len(np.unique(scores["aum"])) > 10


def test_the_shift_is_that_of_consecutive_presentations():
    """TDDS: sum_c |p_c (log p_c - log p'_c)|, with p' of the epoch before; nothing if it was not presented in that."""
    rng = np.random.default_rng(2)
    n, epochs, rec = 12, 5, dd.Recorder(n=12, shift=True)
    wanted, before = np.full((epochs, n), np.nan), {}
    for epoch in range(epochs):
        rows = rng.permutation(n)[: 12 if epoch in (0, 4) else 7]
        logits = torch.from_numpy(rng.standard_normal((len(rows), 4)).astype(np.float32))
        for row, z in zip(rows, logits.double().numpy(), strict=True):
            p = np.exp(z) / np.exp(z).sum()
            if row in before:
                wanted[epoch, row] = sum(
                    abs(a * (np.log(a + 1e-8) - np.log(b + 1e-8))) for a, b in zip(p, before[row], strict=True)
                )
            before[row] = p
        before = {row: before[row] for row in rows}
        half = len(rows) // 2
        for part in (slice(0, half), slice(half, None)):
            rec.update(rows[part], logits[part], torch.zeros(len(rows[part]), dtype=torch.int64))
        rec.end_epoch()
    got, seen = rec.finish().array("shift", "train", range(1, epochs + 1))
    assert np.array_equal(seen[0], ~np.isnan(wanted))
    np.testing.assert_allclose(got[0], np.nan_to_num(wanted), rtol=1e-4, atol=1e-6)
    with pytest.raises(OptionError):  # a window is longer than what some rows have
        tdds(got[:, :2], seen=seen[:, :2])


def test_without_shift_no_probabilities_are_kept():
    rec = dd.Recorder(n=2)
    one_epoch(rec, {0: 1.0, 1: 1.0})
    assert rec.previous is None
    with pytest.raises(MissingSignal, match="'shift' was not recorded in train mode"):
        rec.finish().array("shift", "train", [1])


def test_features_give_last_layer_grand_in_train_mode():
    rec = dd.Recorder(n=2)
    rec.update([0, 1], torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    rec.end_epoch()
    scores = dd.score(rec.finish(), scorers=["grand_last"], params={"grand_last": {"mode": "train", "at": 1}})
    # ||p - y|| = sqrt(1/2) for p = (1/2, 1/2); the head has a bias unless told otherwise
    np.testing.assert_allclose(scores["grand_last"], np.sqrt([26 / 2, 2 / 2]), rtol=1e-6)


def test_a_sink_gets_each_epoch_and_nothing_is_kept():
    got = {}
    rec = dd.Recorder(n=3, sink=got.__setitem__)
    one_epoch(rec, {2: 1.0, 0: 1.0})
    one_epoch(rec, {1: 1.0})
    assert {epoch: table["index"].to_pylist() for epoch, table in got.items()} == {1: [0, 2], 2: [1]}
    assert not rec.finish().parts


def test_recording_leaves_the_loop_alone():
    """No gradient, no change of the logits, and no draw from the global random state."""
    logits = torch.randn(4, 3, requires_grad=True)
    before, state = logits.detach().clone(), torch.get_rng_state()
    rec = dd.Recorder(n=4, shift=True)
    rec.update(torch.arange(4), logits, torch.zeros(4, dtype=torch.int64), torch.ones(4, 2))
    rec.end_epoch()
    assert torch.equal(logits.detach(), before) and logits.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_recordings_of_several_seeds_are_scored_together():
    recs = []
    for seed in (0, 1):
        rec = dd.Recorder(n=2, seed=seed)
        one_epoch(rec, {0: 1.0 + seed, 1: -1.0})
        recs.append(rec.finish())
    scores = dd.score(recs, scorers="aum")
    assert scores["aum"].tolist() == [1.5, -1.0]
    np.testing.assert_allclose(scores["aum.std"], [np.sqrt(0.5), 0.0], rtol=1e-6)
    with pytest.raises(OptionError, match="same seed"):
        dd.score([recs[0], recs[0]], scorers="aum")


def test_recorded_scores_are_written_where_asked(tmp_path):
    rec = dd.Recorder(n=2)
    one_epoch(rec, {0: 1.0, 1: -1.0})
    dd.score(rec.finish(), scorers="aum", out=tmp_path / "mine")
    assert dd.Scores.read(tmp_path / "mine")["aum"].tolist() == [1.0, -1.0]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_diverged_logits_are_refused_naming_the_row(bad):
    rec = dd.Recorder(n=9)
    one_epoch(rec, dict.fromkeys(range(9), 1.0))
    logits = torch.zeros(3, 2)
    logits[1] = bad
    rec.update([8, 5, 2], logits, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(DataError, match=r"NaN for the example at row 5: training diverged in epoch 2"):
        rec.end_epoch()


def misuse_lengths(rec):
    rec.update([0, 1], torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))


def misuse_outside(rec):
    one_epoch(rec, {0: 1.0, 4: 1.0})


def misuse_negative(rec):
    one_epoch(rec, {-1: 1.0, 0: 1.0})


@pytest.mark.parametrize(
    ("misuse", "words"),
    [
        (lambda rec: rec.end_epoch(), r"end_epoch\(\) without an update\(\)"),
        (lambda rec: rec.finish(), r"call end_epoch\(\)"),
        (misuse_lengths, "2 indices, 3 logits and 3 targets"),
        (misuse_outside, "index 4 is outside 0..2"),
        (misuse_negative, "index -1 is outside 0..2"),
    ],
)
def test_misuse_gets_one_sentence(misuse, words):
    with pytest.raises(OptionError, match=words):
        misuse(dd.Recorder(n=3))


def test_an_open_epoch_cannot_be_finished():
    rec = dd.Recorder(n=3)
    one_epoch(rec, {0: 1.0, 1: 1.0, 2: 1.0})
    rec.update([0], torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(OptionError, match="including the last"):
        rec.finish()


def test_a_recorder_needs_the_number_of_examples():
    with pytest.raises(OptionError, match="n=0"):
        dd.Recorder(n=0)
