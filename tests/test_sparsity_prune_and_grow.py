"""Prune and grow: exact counts, the published rule against a slow restatement, and the paces."""

from __future__ import annotations

import math

import pytest
import torch

from datadiet.errors import DataError, OptionError
from datadiet.sparsity import GROWTH, Pace, read_pace
from datadiet.sparsity.prune_and_grow import Growth, prune_and_grow


def slowly(weight: torch.Tensor, mask: torch.Tensor, score: torch.Tensor, share: float) -> tuple[list[bool], list[int]]:
    """Algorithm 1 of Evci et al. for one layer: the kept weights afterwards, and those that were grown."""
    kept = [i for i, one in enumerate(mask.flatten().tolist()) if one]
    drop = math.floor(share * len(kept))
    sizes, scores = weight.abs().flatten().tolist(), score.flatten().tolist()
    stay = sorted(kept, key=lambda i: (-sizes[i], i))[: len(kept) - drop]
    others = [i for i in range(weight.numel()) if i not in stay]
    grown = sorted(others, key=lambda i: (-scores[i], i))[:drop]
    return [i in stay or i in grown for i in range(weight.numel())], grown


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("ties", [False, True])
def test_it_equals_a_slow_restatement(share: float, ties: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = {"a": (7, 5), "conv": (4, 3, 2, 2), "dense": (3, 3), "one": (1, 6)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    scores = {name: torch.randn(shape, generator=generator).abs() for name, shape in shapes.items()}
    masks = {name: torch.rand(shape, generator=generator) < 0.4 for name, shape in shapes.items()}
    masks["dense"][:], masks["one"][:] = True, torch.arange(6) == 2
    if ties:
        weights = {name: (2 * weight).round() for name, weight in weights.items()}
        scores = {name: (2 * score).round() for name, score in scores.items()}
    weights = {name: weight * masks[name] for name, weight in weights.items()}
    after = prune_and_grow(weights, masks, scores, share)
    for name, mask in masks.items():
        expected, grown = slowly(weights[name], mask, scores[name], share)
        assert after[name].flatten().tolist() == expected, name
        assert after[name].sum() == mask.sum() and after[name].shape == mask.shape
        assert name != "a" or share < 0.3 or any(not mask.flatten()[i] for i in grown)  # some are really new
    assert after["dense"].all()  # nothing else can grow


def test_scores_that_are_not_numbers_are_refused() -> None:
    weights, masks = {"a": torch.ones(2, 2)}, {"a": torch.eye(2) > 0}
    with pytest.raises(DataError, match="NaN or infinite"):
        prune_and_grow(weights, masks, {"a": torch.full((2, 2), torch.nan)}, 0.5)


def test_the_share_and_the_sparsity_follow_the_papers() -> None:
    rigl, granet = read_pace("rigl"), read_pace("granet:0.2-0.6,share=0.4")
    assert isinstance(rigl, Growth) and isinstance(granet, Growth)
    for progress in (0.0, 0.1, 0.375, 0.6, 0.75):  # alpha / 2 (1 + cos(pi t / T_end))
        assert rigl.exchanged(progress) == pytest.approx(0.3 / 2 * (1 + math.cos(math.pi * progress / 0.75)))
        assert rigl.sparsity(0.9, progress) == 0.9
    assert granet.exchanged(0.2) == 0.4 and granet.exchanged(0.6) == granet.exchanged(0.9) == 0.0
    cubic = Pace.read("cubic:0.2-0.6")
    for progress in (0.0, 0.2, 0.3, 0.6, 1.0):
        assert granet.sparsity(0.9, progress) == cubic.sparsity(0.9, progress)
        assert granet.update(progress) == cubic.update(progress)
    # The first masks are those of the start; then a hundred more until the end of the window.
    assert [rigl.update(progress) for progress in (0.0, 0.0076, 0.375, 0.75, 1.0)] == [1, 2, 51, 101, 101]
    assert {name: (spec.share, spec.gradual) for name, spec in GROWTH.items()} == {
        "granet": (0.5, True),
        "rigl": (0.3, False),
        "set": (0.3, False),
    }
    assert read_pace("set:share=0.1") == Growth("set", 0.0, 0.75, 0.1) and read_pace("cubic") == Pace.read("cubic")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rigl:0.5", "write rigl or rigl:0-0.75,share=0.3"),
        ("set:alpha=0.3", "write set or set:0-0.75"),
        ("granet:0.8-0.2", "must be ascending"),
        ("rigl:0-1.5", "must be ascending"),
        ("rigl:share=1", "between 0 and 1"),
        ("rigl:share=0", "between 0 and 1"),
        ("grow", "rigl, set, granet or bip"),
    ],
)
def test_paces_that_are_none(text: str, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        read_pace(text)
