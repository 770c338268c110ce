"""Targets and logits of users' own loops: read where their meaning is certain, else refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.errors import OptionError
from datadiet.signals.targets import as_classes

Z = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
Y = torch.tensor([0, 2, 1])
ONE_HOT = torch.eye(3)[Y]


def recorded(logits, targets, **options):
    recorder = dd.Recorder(n=3, **options)
    recorder.update([0, 1, 2], logits, targets)
    recorder.end_epoch()
    return recorder.finish().array("loss", "train", [1])[0][0, 0]


WANTED = -Z.log_softmax(1)[torch.arange(3), Y].numpy()


@pytest.mark.parametrize(
    "targets",
    [
        Y, Y.int(), Y.to(torch.uint8), Y.float(), Y.double(), Y[:, None], Y[:, None].float(), Y.numpy(), Y.tolist(),
        np.asarray(Y, dtype=">i4"), ONE_HOT, ONE_HOT.bool(), ONE_HOT.long(), ONE_HOT.numpy(), ONE_HOT.tolist(),
    ],
)  # fmt: skip
@pytest.mark.parametrize("logits", [Z, Z.double(), Z.numpy(), Z.tolist(), Z.clone().requires_grad_(), Z.bfloat16()])
def test_what_is_certain_is_read(logits, targets):
    np.testing.assert_allclose(recorded(logits, targets), WANTED, rtol=1e-5)


REFUSED = {
    "soft": (Z, torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5], [0.0, 1.0, 0.0]]), "are probabilities.*soft_targets"),
    "smoothed": (Z, 0.9 * ONE_HOT + 0.1 / 3, "are probabilities.*soft_targets"),
    "multi-label": (Z, torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 1]]), "several classes, or none"),
    "no label": (Z, torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 1]]), "several classes, or none"),
    "ignored": (Z, torch.tensor([0, -100, 1]), "a target is -100.*leave ignored examples out"),
    "beyond": (Z, torch.tensor([0, 1, 3]), "a target is 3, but the logits have classes 0 to 2"),
    "fractions": (Z, torch.tensor([0.5, 1.0, 2.0]), "not whole numbers"),
    "complex": (Z, torch.tensor([0j, 1, 2]), "not whole numbers"),
    "segmentation": (torch.zeros(3, 4, 8, 8), torch.zeros(3, 8, 8, dtype=torch.long), "one label per example.*pool"),
    "tokens": (torch.zeros(3, 5, 7), torch.zeros(3, 5, dtype=torch.long), "one label per example.*pool"),
    "squeezed batch": (Z[0], Y[:1], r"floats of shape \(B, C\), also for a batch of one"),
    "single output": (Z[:, :1], Y % 2, r"single output z pass \(B, 2\)"),
    "squeezed output": (Z[:, 0], Y % 2, r"single output z pass \(B, 2\)"),
    "integer logits": (Z.long(), Y, "dtype torch.int64"),
    "wide targets": (Z, torch.zeros(3, 2), r"targets of shape \(3, 2\)"),
    "fewer targets": (Z, Y[:2], r"targets of shape \(2,\)"),
    "strings": (Z, ["a", "b", "c"], "targets are a list: give a tensor"),
    "nothing": (Z, None, "targets are a NoneType"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_certain_is_one_sentence(kind):
    logits, targets, words = REFUSED[kind]
    with pytest.raises(OptionError, match=words) as caught:
        recorded(logits, targets)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("index", [[0.0, 1.0, 2.0], [[0], [1], [2]], torch.tensor([True, False, True])])
def test_indices_are_whole_numbers(index):
    with pytest.raises(OptionError, match=r"index has dtype .*give \(B,\) whole numbers"):
        dd.Recorder(n=3).update(index, Z, Y)


def test_soft_targets_count_by_their_largest_only_when_asked_for():
    soft = 0.8 * ONE_HOT + 0.2 / 3
    np.testing.assert_allclose(recorded(Z, soft, soft_targets=True), WANTED, rtol=1e-5)


def test_a_recording_goes_on_from_its_state():
    whole, first, second = dd.Recorder(n=3), dd.Recorder(n=3), dd.Recorder(n=3)
    for recorder in (whole, first):
        recorder.update([0, 1], Z[:2], Y[:2])
    second.load_state_dict(first.state_dict())
    for recorder in (whole, second):
        recorder.update([2], Z[2:], ONE_HOT[2:])
        recorder.end_epoch()
    for name in ("loss", "margin"):
        assert np.array_equal(*(r.finish().array(name, "train", [1])[0] for r in (whole, second)))


def test_the_door_gives_tensors_on_the_device_of_the_logits():
    z, y = as_classes(Z.numpy(), [0, 1, 2])
    assert z.dtype == torch.float32 and y.dtype == torch.int64 and y.device == z.device


# Whatever else a loop may give: one sentence, or nothing recorded.

SPARSE, META = Z.to_sparse(), Z.to("meta")


def hidden(values, mask):
    return np.ma.masked_array(np.asarray(values), mask=mask)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    ("logits", "targets", "words"),
    [
        (Z, [[np.nan, 0.5, 0.5]] * 3, "neither one-hot nor probabilities"),
        (Z, [[-5.0, 2.0, 9.0]] * 3, r"neither one-hot nor probabilities.*sum 6 and the smallest entry -5"),
        (Z, [[5, 2, 9]] * 3, r"neither one-hot nor probabilities.*sum 16"),
        (Z, [[0.5, 0.2, 0.1]] * 3, "neither one-hot nor probabilities"),
        (Z, [[np.inf, 0, 0]] * 3, "neither one-hot nor probabilities"),
        (Z, hidden(Y, [0, 1, 0]), "targets has 1 masked"),
        (hidden(Z, Z > 1), Y, "logits has 2 masked"),
        (SPARSE, Y, "sparse"),
        (META, Y, "meta"),
        (Z, SPARSE, "sparse"),
        (Z, META, "meta"),
        (Z, torch.tensor([np.inf, 0, 1]), "a target is inf"),
        (Z, np.array([1 << 63, 0, 1], dtype=np.uint64), "a target is 9223372036854775808"),
        (Z, torch.tensor([5, 0, 1]).to(torch.uint64), "a target is 5"),
    ],
)
def test_nothing_is_recorded_as_a_class_that_is_not_one(logits, targets, words, soft):
    with pytest.raises(OptionError, match=words) as caught:
        recorded(logits, targets, soft_targets=soft)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "index",
    ["abc", None, {0, 1, 2}, (i for i in range(3)), [1 << 63, 0, 1], [1 << 64, 0, 1], 3, hidden([0, 1, 2], [0, 1, 0]),
     torch.arange(3).to_sparse(), torch.arange(3, device="meta"), np.array(["a", "b", "c"]), [0, 1],
     [0, 1, 3], [-1, 0, 1]],
)  # fmt: skip
@pytest.mark.parametrize("shift", [False, True])
def test_an_index_is_positions(index, shift):
    recorder = dd.Recorder(n=3, shift=shift)
    with pytest.raises(OptionError) as caught:
        recorder.update(index, Z, Y)
        recorder.end_epoch()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("options", [{"n": 10.0}, {"n": "a"}, {"n": None}, {"n": True}, {"n": 3, "seed": "a"}])
def test_a_recorder_is_made_of_whole_numbers(options):
    with pytest.raises(OptionError, match="give a whole number of at least"):
        dd.Recorder(**options)


@pytest.mark.parametrize(
    "columns",
    [
        None, {}, [], Z[:, 0], {"index": Z[:, 0]}, {"a": Z[:2, 0]}, {"a": [1.0, 2.0, 3.0]}, {"a": None}, {"a": Z},
        {"a": Z[:, 0].numpy()}, {1: Z[:, 0]},
    ],
)  # fmt: skip
def test_signals_of_ones_own_are_one_number_per_example(columns):
    recorder = dd.Recorder(n=3, signals=lambda logits, targets, features: columns)
    with pytest.raises(OptionError, match=r"function given as signals= returned.*return a dict"):
        recorder.update([0, 1, 2], Z, Y)


@pytest.mark.parametrize("features", [Z, Z.numpy(), Z.bfloat16(), Z.tolist(), Z[:, :, None], Z.long()])
def test_features_of_every_kind_have_a_norm(features):
    recorder = dd.Recorder(n=3)
    recorder.update([0, 1, 2], Z, Y, features)
    recorder.end_epoch()
    assert recorder.finish().array("feature_norm", "train", [1])[0][0, 0].tolist() == [2, 1, 3]


@pytest.mark.parametrize("features", [Z[:, 0], Z[:2], "abc", 5, SPARSE, META, hidden(Z, Z > 1), Z * 1j])
def test_other_features_are_one_sentence(features):
    with pytest.raises(OptionError, match="features") as caught:
        dd.Recorder(n=3).update([0, 1, 2], Z, Y, features)
    assert "\n" not in str(caught.value)


def test_classes_do_not_change_while_their_shift_is_recorded():
    recorder = dd.Recorder(n=3, shift=True)
    recorder.update([0, 1], Z[:2], Y[:2] % 2)
    with pytest.raises(OptionError, match="logits of 2 classes after logits of 3"):
        recorder.update([2], Z[2:, :2], Y[2:] % 2)


@pytest.mark.parametrize("labels", [(i for i in range(3)), 5, "abc", np.array(5), torch.tensor(5), [0, 1]])
@pytest.mark.parametrize("name", ["labels", "ids"])
def test_what_names_the_examples_is_a_sequence(labels, name):
    recorder = dd.Recorder(n=3)
    recorder.update([0, 1, 2], Z, Y)
    recorder.end_epoch()
    with pytest.raises(OptionError, match=name):
        recorder.finish(**{name: labels})


def saved(n=3, epochs=1, sink=lambda epoch, table: None, **options):
    """The state of a Recorder within an epoch, after `epochs` others."""
    recorder = dd.Recorder(n=n, sink=sink, **options)
    for _ in range(epochs):
        recorder.update([0, 1, 2], Z, Y)
        recorder.end_epoch()
    recorder.update([0, 1], Z[:2], Y[:2])
    return recorder.state_dict()


@pytest.mark.parametrize("state", [{}, None, 5, {"epoch": 1}])
def test_a_state_is_that_of_a_recorder(state):
    with pytest.raises(OptionError, match="not the state of a Recorder"):
        dd.Recorder(n=3).load_state_dict(state)


@pytest.mark.parametrize("shift", [False, True])
def test_a_state_is_continued(shift):
    tables = {}
    recorder = dd.Recorder(n=3, shift=shift, sink=tables.__setitem__)
    recorder.load_state_dict(saved(shift=shift))
    recorder.update([2], Z[2:], Y[2:])
    recorder.end_epoch()
    np.testing.assert_allclose(tables[2]["loss"], WANTED, rtol=1e-5)
    assert ("shift" in tables[2].column_names) == shift and not (shift and np.abs(tables[2]["shift"]).max())


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (saved(n=4), "with n=4, and this one has n=3"),
        (saved(seed=1), "with seed=1, and this one has seed=0"),
        (saved() | {"n": torch.ones(2)}, "with n=tensor"),
        (saved() | {"epoch": -1}, "epoch in the state=-1"),
        (saved() | {"epoch": "1"}, "epoch in the state='1'"),
        (saved() | {"repeats": None}, "repeats in the state=None"),
        (saved() | {"shift": 1}, "damaged"),
        (saved() | {"previous": torch.zeros(3, 3)}, "belongs to shift=True"),
        (saved(shift=True) | {"previous": torch.zeros(4, 3)}, r"shape \(4, 3\): it belongs"),
        (saved(shift=True) | {"previous": np.zeros((3, 3))}, "is a ndarray: it belongs"),
        *((saved() | {"closed": closed}, "damaged") for closed in [
            [], {"one": {}}, {"1": {}}, {"1": {"index": torch.arange(3), "loss": torch.zeros(2)}},
        ]),
        *((saved() | {"batches": batches}, "damaged") for batches in [
            None, [], {"rows": torch.arange(2)},
            saved()["batches"] | {"rows": torch.zeros(2)}, saved()["batches"] | {"rows": torch.arange(3)},
            saved()["batches"] | {"lengths": torch.tensor([1])}, saved()["batches"] | {"lengths": [2]},
            saved()["batches"] | {"columns": {}}, saved()["batches"] | {"columns": {"loss": torch.zeros(5)}},
            saved()["batches"] | {"columns": {"loss": [0.0, 1.0]}},
        ]),
    ],
)  # fmt: skip
def test_a_state_of_another_recorder_changes_nothing(state, words):
    recorder = dd.Recorder(n=3, sink=lambda epoch, table: None)
    with pytest.raises(OptionError, match=words):
        recorder.load_state_dict(state)
    assert recorder.state_dict() == dd.Recorder(n=3).state_dict()


def test_closed_epochs_are_not_lost_without_a_sink():
    with pytest.raises(OptionError, match=r"saved after epoch 2, and epochs that are over are not in it.*sink="):
        dd.Recorder(n=3).load_state_dict(saved(epochs=2))
    dd.Recorder(n=3).load_state_dict(saved(epochs=0))
    recorder = dd.Recorder(n=3)
    states = []
    for _ in range(3):
        recorder.update([0, 1, 2], Z, Y)
        recorder.end_epoch()
        states.append(recorder.state_dict())
    recorder.load_state_dict(states[1])  # back to what is still in memory
    assert recorder.finish().epochs("train") == [1, 2]
    fresh = dd.Recorder(n=3)
    fresh.load_state_dict(states[1])  # without a sink, closed epochs are part of the state
    assert fresh.finish().epochs("train") == [1, 2]
    for signal in ("loss", "correct"):
        one, other = (rec.finish().array(signal, "train", [1, 2])[0] for rec in (recorder, fresh))
        np.testing.assert_array_equal(one, other)
    kept = dd.Recorder(n=3, sink=lambda epoch, table: None)
    kept.load_state_dict(states[1])
    assert kept.epoch == 2 and "closed" not in kept.state_dict()


def test_logits_of_other_classes_after_a_state():
    recorder = dd.Recorder(n=3, sink=lambda epoch, table: None)
    recorder.load_state_dict(saved(shift=True))
    with pytest.raises(OptionError, match="logits of 2 classes after logits of 3"):
        recorder.update([2], Z[2:, :2], Y[2:] % 2)


def test_every_update_of_an_epoch_gives_the_same_signals():
    recorder = dd.Recorder(n=3, shift=True)
    recorder.update([0, 1], Z[:2], Y[:2], torch.ones(2, 4))
    before = recorder.previous.clone()
    with pytest.raises(OptionError, match="give the same, and features always or never"):
        recorder.update([2], Z[2:], Y[2:])
    assert torch.equal(before.nan_to_num(9), recorder.previous.nan_to_num(9))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"])
def test_numbers_of_8_bits_are_read(name):
    kind = getattr(torch, name)
    recorder, wide = dd.Recorder(n=3), dd.Recorder(n=3)
    recorder.update([0, 1, 2], Z.to(kind), Y.float().to(kind), torch.ones(3, 2).to(kind))
    wide.update([0, 1, 2], Z.to(kind).float(), Y, torch.ones(3, 2))
    for one in (recorder, wide):
        one.end_epoch()
    for signal in ("loss", "margin", "feature_norm"):
        found, expected = (one.finish().array(signal, "train", [1])[0] for one in (recorder, wide))
        np.testing.assert_array_equal(found, expected)


def test_packed_numbers_are_refused_in_a_sentence():
    if not hasattr(torch, "float4_e2m1fn_x2"):
        pytest.skip("this torch has no such type")
    packed = torch.zeros(3, 3, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    with pytest.raises(OptionError, match=r"logits have dtype torch.float4_e2m1fn_x2, which torch cannot compute with"):
        dd.Recorder(n=3).update([0, 1, 2], packed, Y)


@pytest.mark.parametrize("index", [[], torch.zeros(0), torch.zeros(0, dtype=torch.long), np.zeros(0)])
@pytest.mark.parametrize("shift", [False, True])
def test_an_empty_batch_records_nothing(index, shift):
    recorder = dd.Recorder(n=3, shift=shift)
    recorder.update(index, torch.zeros(0, 3), torch.zeros(0))
    recorder.end_epoch()
    recorder.update(index, torch.zeros(0, 3), [])
    recorder.update([0, 1, 2], Z, Y)
    recorder.end_epoch()
    values, seen = recorder.finish().array("loss", "train", [1, 2])
    assert seen.tolist() == [[[False] * 3, [True] * 3]]
    np.testing.assert_allclose(values[0, 1], WANTED, rtol=1e-5)
