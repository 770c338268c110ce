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
