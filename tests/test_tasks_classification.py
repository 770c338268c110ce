"""The task of classification: losses, divergence, evaluation, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from datadiet.data import Feed, open_data
from datadiet.data.batch import Batch
from datadiet.errors import DataError, OptionError
from datadiet.tasks import Classification, output_signals


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
