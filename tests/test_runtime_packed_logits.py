"""Logits in few bytes: worked by hand, and how far the softmax moves."""

from __future__ import annotations

import math

import pytest
import torch

from datadiet.runtime.packed_logits import pack, packed_width, unpack


def test_by_hand():
    """z = (0, 4, 2, 0), top 2: the largest is class 1, class 2 is 2 below it, the others are 4 below it."""
    rows = pack(torch.tensor([[0.0, 4.0, 2.0, 0.0]]), 2)
    assert rows.shape == (1, packed_width(2)) == (1, 10) and rows.dtype == torch.uint8
    assert rows[0, :6].tolist() == [1, 2, 0, 0, 0, 255]  # low bytes, high bytes, steps
    torch.testing.assert_close(unpack(rows, 2, 4), torch.tensor([[-4.0, 0.0, -2.0, -4.0]]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("classes", "top"), [(3, 1), (10, 3), (1000, 10), (65_536, 5)])
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
def test_the_softmax_of_the_largest_hardly_moves_and_the_rest_keeps_its_mass(classes, top, scale):
    """A step is 1/255 of the largest distance, so that a logit moves by half of that and what float16 rounds."""
    logits = scale * torch.randn(50, classes, generator=torch.Generator().manual_seed(classes))
    values, places = logits.topk(top, dim=1)
    found = unpack(pack(logits, top), top, classes)
    wrong = (found.gather(1, places) - (values - values[:, :1])).abs()
    largest = values[:, :1] - values[:, -1:]
    assert (wrong <= largest / 510 + largest / 1000 + 1e-6).all()
    given, stored = logits.softmax(1).gather(1, places).sum(1), found.softmax(1).gather(1, places).sum(1)
    torch.testing.assert_close(given, stored, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    "logits", [torch.zeros(2, 5), torch.tensor([[1e4, -1e4, 0.0, 0.0, 0.0]]), torch.ones(1, 5) * -3]
)
def test_equal_and_extreme_logits_stay_finite(logits):
    found = unpack(pack(logits, 2), 2, 5)
    assert torch.isfinite(found).all() and (found.max(dim=1).values == 0).all()
    torch.testing.assert_close(found.softmax(1), logits.softmax(1), rtol=0, atol=1e-3)


def test_a_bfloat16_network_and_a_class_past_255():
    logits = torch.full((1, 300), -math.inf).to(torch.bfloat16)
    logits[0, 299], logits[0, 7] = 1.0, 0.0
    assert unpack(pack(logits.nan_to_num(neginf=-50.0), 1), 1, 300).argmax(1).item() == 299
