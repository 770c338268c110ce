"""BiP: the rule of the upper level against differentiation by torch, its scores, and the pace."""

from __future__ import annotations

import pytest
import torch

from datadiet.errors import OptionError
from datadiet.sparsity import read_pace
from datadiet.sparsity.allocation import k_largest
from datadiet.sparsity.bip import BiP, first_scores, moved_scores


def test_a_step_by_hand() -> None:
    # l(z) = (z1 + 2 z2 + 3 z3 - 2)² / 2 at t = (1, -1, 0.5), m = (1, 0, 1): z = (1, 0, 0.5), residual 0.5,
    # g = 0.5 (1, 2, 3). With 1/gamma = 0.2: t - 0.2 m g = (0.9, -1, 0.2); times g: (0.45, -1, 0.3).
    # Scores (0.5, 0.45, 0.9) - 0.4 (0.45, -1, 0.3) = (0.32, 0.85, 0.78): the mask becomes (0, 1, 1).
    weights, kept = torch.tensor([1.0, -1.0, 0.5]), torch.tensor([True, False, True])
    masked = (weights * kept).requires_grad_()
    loss = ((masked * torch.tensor([1.0, 2.0, 3.0])).sum() - 2).square() / 2
    (gradient,) = torch.autograd.grad(loss, masked)
    scores = moved_scores(torch.tensor([0.5, 0.45, 0.9]), weights, kept, gradient, lr=0.4, implicit=0.2)
    torch.testing.assert_close(scores, torch.tensor([0.32, 0.85, 0.78]))
    assert k_largest(scores, 2).tolist() == [False, True, True]


def test_the_formula_is_the_derivative_of_the_upper_level_where_the_loss_is_piecewise_linear() -> None:
    """The lower level solved in closed form, t*(m) = -m a / gamma for l(z) = a z, and differentiated by torch."""
    slope, gamma = torch.tensor([0.3, -2.0, 0.7, 0.1]).double(), 3.0
    mask = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    best = -mask * slope / gamma
    (expected,) = torch.autograd.grad((slope * mask * best).sum(), mask)
    scores = torch.full_like(slope, 0.5)
    after = moved_scores(scores, best.detach(), mask.detach() > 0, slope, lr=0.1, implicit=1 / gamma)
    torch.testing.assert_close((scores - after) / 0.1, expected)
    assert not torch.allclose(moved_scores(scores, best.detach(), mask.detach() > 0, slope, lr=0.1, implicit=0), after)


def test_scores_stay_between_0_and_1_and_do_not_follow_what_is_not_a_number() -> None:
    scores, weights, kept = torch.tensor([0.1, 0.9]), torch.tensor([1.0, -1.0]), torch.tensor([True, True])
    assert moved_scores(scores, weights, kept, torch.ones(2), lr=9, implicit=0).tolist() == [0.0, 1.0]
    for bad in (torch.inf, torch.nan):
        after = moved_scores(scores, weights, kept, torch.tensor([1.0, bad]), lr=1, implicit=1)
        assert torch.equal(after, scores)


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("rule", ["magnitude", "drawn", "all but one"])
def test_the_largest_first_scores_are_the_weights_kept_at_first(scale: float, rule: str) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = scale * torch.randn(200, generator=generator)
    kept = {
        "magnitude": k_largest(weights.abs(), 40),
        "drawn": k_largest(torch.rand(200, generator=generator), 40),
        "all but one": weights.abs() < weights.abs().amax(),
    }[rule]
    scores = first_scores(weights, kept)
    assert torch.equal(k_largest(scores, int(kept.sum())), kept)
    assert scores.amin() >= 0 and scores.amax() <= 1
    if rule == "magnitude":
        assert torch.equal(scores, weights.abs() / weights.abs().amax().clamp(min=1))


def test_the_pace() -> None:
    pace = read_pace("bip:0.1-0.5,lr=0.2,implicit=1e-3")
    assert pace == BiP("bip", 0.1, 0.5, 0.2, 1e-3) and read_pace("bip:lr=0.5") == BiP("bip", 0.0, 0.75, 0.5, 1e-4)
    assert read_pace("bip") == BiP("bip", 0.0, 0.75, 1.0, 1e-4)
    assert isinstance(pace, BiP) and not pace.rewinds
    assert [pace.moves(progress) for progress in (0.0, 0.1, 0.5, 0.6)] == [False, True, True, False]
    assert {pace.update(progress) for progress in (0.0, 1.0)} == {1} and pace.sparsity(0.9, 0.0) == 0.9


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("bip:0.5", "write bip or bip:0-0.75,lr=1,implicit=0.0001"),
        ("bip:share=0.3", "write bip or"),
        ("bip:0.8-0.2", "must be ascending"),
        ("bip:0-2", "must be ascending"),
        ("bip:lr=0", "lr positive"),
    ],
)
def test_paces_that_are_none(text: str, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        read_pace(text)
