"""The task of classification: losses, divergence, evaluation, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from datadiet.data import Feed, open_data
from datadiet.data.batch import Batch
from datadiet.errors import DataError, OptionError
from datadiet.tasks import Classification, classification, output_signals
from datadiet.tasks.classification import jensen_shannon


def test_divergence_golden():
    """KL of the softmax at T = 2: sum_c p_c log(p_c / q_c), p from logits (2 log 3, 0), q from (0, 0).

    p = (3/4, 1/4), q = (1/2, 1/2): 3/4 log(3/2) + 1/4 log(1/2).
    """
    teacher, outputs = torch.tensor([[2 * np.log(3.0), 0.0]]), torch.zeros(1, 2)
    found = Classification(2).divergence(outputs, teacher, torch.tensor([0]), 2.0)
    assert found.tolist() == pytest.approx([0.75 * np.log(1.5) + 0.25 * np.log(0.5)])


def test_divergence_is_zero_from_itself_positive_from_others_and_differentiable():
    task, z = Classification(5), torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    assert task.divergence(z, z, torch.zeros(8), 4.0).abs().max() < 1e-6
    other = z.roll(1, 0).requires_grad_()
    found = task.divergence(other, z, torch.zeros(8), 4.0)
    assert found.shape == (8,) and (found > 0).all()
    torch.autograd.backward(found.sum())
    p, q = (z / 4).softmax(1), (other.detach() / 4).softmax(1)
    torch.testing.assert_close(other.grad, (q - p) / 4)  # by hand: d KL / d z = (q - p) / T


def test_the_task_is_posed_by_the_labels():
    digits = open_data("digits")
    task = Classification.of(digits, 0.1)
    assert task.outputs == task.classes == 10 and task.label_smoothing == 0.1
    assert task.class_names == digits.class_names

    class Bare:
        def __len__(self):
            return 4

        def __getitem__(self, i):
            return np.zeros(3, dtype=np.float32)

    with pytest.raises(DataError, match=r"has no labels.*--label COLUMN"):
        Classification.of(open_data(Bare()))
    with pytest.raises(DataError, match="has the single class '0'"):
        Classification.of(open_data("digits").subset(np.flatnonzero(digits.labels == 0)).with_classes(("0",)))


def test_outputs_of_another_shape_are_refused():
    batch = Batch(torch.zeros(2, 3), torch.tensor([0, 1]), torch.tensor([0, 1]))
    task = Classification(10)
    task.check("net", torch.zeros(2, 10), batch)
    for shape in ((2, 9), (2, 10, 1), (2,)):
        with pytest.raises(OptionError, match=r"net gives outputs of shape .* 10 classes need \(2, 10\)"):
            task.check("net", torch.zeros(shape), batch)


def test_an_evaluation_keeps_what_each_example_got():
    digits = open_data("digits", split="eval")
    feed, task = Feed(digits, None, torch.device("cpu")), Classification.of(digits)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    found = task.evaluate(model, feed)
    with torch.no_grad():
        logits = model(digits.take(np.arange(len(digits))).float())
    labels = torch.from_numpy(digits.labels)
    assert found.correct.tolist() == (logits.argmax(1) == labels).tolist()
    np.testing.assert_allclose(found.losses, output_signals(logits, labels)["loss"], rtol=1e-4, atol=1e-5)
    assert found.accuracy == pytest.approx(found.correct.mean()) and model.training
    recall = [found.correct[digits.labels == c].mean() for c in range(10)]
    assert found.class_recall == pytest.approx(recall)


def test_jensen_shannon_golden():
    """p = (3/4, 1/4), q = (1/4, 3/4), m = (1/2, 1/2): both KL are 3/4 log(3/2) + 1/4 log(1/2)."""
    z = torch.tensor([[np.log(3.0), 0.0]])
    assert jensen_shannon(z, z.flip(1)).tolist() == pytest.approx([0.75 * np.log(1.5) + 0.25 * np.log(0.5)], rel=1e-7)


@pytest.mark.parametrize("apart", [1e-3, 0.1, 1.0, 10.0, 100.0])
def test_oracle_jensen_shannon(apart):
    """Against exact sums of the definition, where float64 has enough digits for it."""
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(50, 7, generator=draw, dtype=torch.float64)
    other = z + apart * torch.randn(50, 7, generator=draw, dtype=torch.float64)
    found = jensen_shannon(z, other)
    for row, (a, b) in enumerate(zip(z.numpy(), other.numpy(), strict=True)):
        p, q = ([float(value) for value in np.exp(x - x.max()) / np.exp(x - x.max()).sum()] for x in (a, b))
        terms = [x * math.log(2 * x / (s + t)) / 2 for s, t in zip(p, q, strict=True) for x in (s, t) if x]
        assert float(found[row]) == pytest.approx(math.fsum(terms), rel=1e-6, abs=1e-14)


def test_jensen_shannon_is_symmetric_bounded_and_exactly_zero_between_equals():
    draw = torch.Generator().manual_seed(1)
    z = 1000 * torch.randn(400, 10, generator=draw) * torch.rand(400, 1, generator=draw)
    other = z.roll(1, 0)
    found = jensen_shannon(z, other)
    assert found.dtype == torch.float64 and torch.equal(found, jensen_shannon(other, z))
    assert (found >= 0).all() and (found <= np.log(2)).all() and found.max() == np.log(2)
    assert torch.equal(jensen_shannon(z, z), torch.zeros(400, dtype=torch.float64))
    assert jensen_shannon(z.bfloat16(), z.bfloat16()).max() == 0
    close = jensen_shannon(z.double(), z.double() + 1e-9 * torch.arange(10))
    assert (close >= 0).all() and close.max() < 1e-15


def test_jensen_shannon_ranks_networks_that_nearly_agree():
    """d^2 / 8 of the spread of d: the differences of entropies would give 0 or less."""
    z = torch.zeros(3, 2, dtype=torch.float64)
    moved = z + torch.tensor([[1e-9, 0.0], [2e-9, 0.0], [4e-9, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(
        jensen_shannon(z, moved), torch.tensor([1.0, 4, 16]).double() * 1e-18 / 32, rtol=1e-5, atol=0
    )


def test_jensen_shannon_where_a_class_is_ruled_out():
    z = torch.tensor([[0.0, -torch.inf, 0.0], [0.0, 0.0, -torch.inf], [torch.nan, 0.0, 0.0]])
    other = torch.tensor([[0.0, -torch.inf, 0.0], [0.0, -torch.inf, -torch.inf], [0.0, 0.0, 0.0]])
    same, half, unknown = jensen_shannon(z, other).tolist()
    assert same == 0 and math.isnan(unknown)
    # p = (1/2, 1/2), q = (1, 0), m = (3/4, 1/4): 1/4 log(2/3) + 1/4 log 2 + 1/2 log(4/3)
    assert half == pytest.approx(np.log(2 / 3) / 4 + np.log(2) / 4 + np.log(4 / 3) / 2)


def test_jensen_shannon_in_float32_keeps_its_laws(monkeypatch):
    """As on devices without float64."""
    monkeypatch.setattr(classification, "widest", lambda device: torch.float32)
    z = 30 * torch.randn(200, 10, generator=torch.Generator().manual_seed(2))
    found = jensen_shannon(z, z.roll(1, 0))
    assert found.dtype == torch.float32 and (found >= 0).all() and (found <= np.float32(np.log(2))).all()
    assert jensen_shannon(z, z).max() == 0
