"""Training weights and masks in turns: against a slow restatement, on other examples than the step's, exact counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import datadiet as dd
from datadiet.data import Feed, open_data
from datadiet.errors import OptionError
from datadiet.sampling import RS2Sampler, SubsetSampler
from datadiet.sparsity import Masks, read_pace
from datadiet.sparsity.global_magnitude import global_magnitude
from datadiet.sparsity.prunable import prunable
from datadiet.tasks import Classification
from datadiet.training import Clock, Recipe, Trainer
from datadiet.training.bilevel import Bilevel
from datadiet.training.hooks import Hook

pytestmark = pytest.mark.usefixtures("one_thread")
N, SPARSITY = 40, 0.6
X = (np.random.default_rng(0).standard_normal((N, 4)) + 2 * np.eye(4)[np.arange(N) % 4]).astype(np.float32)
Y = np.arange(N) % 4


class Watch(Hook):
    """Notes the rows of each step, the rows that decided on the masks, the masks and the weights."""

    def __init__(self) -> None:
        self.lower: list[list[int]] = [[]]
        self.upper: list[list[int]] = []
        self.masks: list[Masks] = []
        self.weights: list[dict[str, torch.Tensor]] = []

    def after_forward(self, trainer: Any) -> None:
        self.lower[-1] += trainer.latest.batch.rows.tolist()

    def after_step(self, trainer: Any) -> None:
        self.lower.append([])
        self.masks.append(trainer.hooks[0].masks)
        self.weights.append({name: w.detach().clone() for name, w in prunable(trainer.model).items()})


def train(net: nn.Module, pace: str, rows: Any = N, sampler: Any = None, **recipe: Any) -> tuple[Trainer, Watch]:
    feed = Feed(open_data((X, Y)), None, torch.device("cpu"))
    made = Recipe(**{"lr": 0.1, "batch_size": 8, "schedule": "constant"} | recipe)
    trainer = Trainer(net, Classification(4), feed, sampler or SubsetSampler(N), made, Clock(epochs=3), 0)
    watch = Watch()

    class Noting(Bilevel):
        def _gradient(self, batch: Any) -> torch.Tensor:
            watch.upper.append(batch.rows.tolist())
            return super()._gradient(batch)

    def choose(sparsity: float) -> Masks:
        return Masks(global_magnitude(prunable(net), sparsity))

    trainer.hooks = [Noting(trainer, choose, SPARSITY, read_pace(pace), np.arange(N)[:rows]), watch]  # type: ignore
    trainer.run()
    return trainer, watch


def linear() -> nn.Module:
    torch.manual_seed(1)
    return nn.Linear(4, 4, bias=False)


def deep() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 4))


def test_it_equals_a_slow_restatement() -> None:
    """The paper's algorithm, with weights and mask as two tensors whose product the network uses."""
    trainer, watch = train(linear(), "bip:0-1,lr=0.5,implicit=0.3", momentum=0.0, weight_decay=0.0)
    weights = linear().weight.detach()
    scores, kept = weights.abs(), round(16 * (1 - SPARSITY))
    mask = torch.zeros(16).index_fill(0, scores.flatten().argsort(descending=True, stable=True)[:kept], 1.0).view(4, 4)
    for lower, upper, masks in zip(watch.lower, watch.upper, watch.masks, strict=False):
        t = weights.clone().requires_grad_()
        functional.cross_entropy(torch.tensor(X[lower]) @ (mask * t).T, torch.tensor(Y[lower])).backward()
        weights = weights - 0.1 * t.grad
        z = (mask * weights).requires_grad_()
        functional.cross_entropy(torch.tensor(X[upper]) @ z.T, torch.tensor(Y[upper])).backward()
        scores = (scores - 0.5 * (weights * z.grad - 0.3 * mask * z.grad * z.grad)).clamp(0, 1)
        mask = torch.zeros(16).index_fill(0, scores.flatten().argsort(descending=True, stable=True)[:kept], 1.0)
        mask = mask.view(4, 4)
        assert torch.equal(masks["weight"], mask > 0)
    torch.testing.assert_close(trainer.model.weight.detach(), weights * mask)
    torch.testing.assert_close(trainer.hooks[0]._scores, scores.flatten())  # type: ignore[attr-defined]
    assert len({tuple(masks["weight"].flatten().tolist()) for masks in watch.masks}) > 2  # it did move


@pytest.mark.parametrize(
    ("rows", "sampler"), [(N, None), (9, None), (20, None), (N, RS2Sampler(N, keep=0.5)), (N, SubsetSampler(range(12)))]
)
@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_masks_read_other_examples_than_the_step(rows: int, sampler: Any, accumulate: int) -> None:
    _, watch = train(deep(), "bip:0-1", rows, sampler, accumulate=accumulate)
    steps = [set(lower) for lower in watch.lower[:-1]]
    assert len(steps) == len(watch.upper) > 5
    for lower, upper in zip(steps, watch.upper, strict=True):
        assert upper and set(upper) <= set(range(rows)) and not lower & set(upper)
        assert len(upper) == 8 or sampler is not None
        assert len(set(upper)) == len(upper) or rows < 16  # a small pool repeats its examples
    assert len({tuple(upper) for upper in watch.upper}) > len(steps) / 2


def test_the_count_is_exact_in_every_step_and_the_window_is_kept() -> None:
    _, watch = train(deep(), "bip:0.2-0.6", ema=0.9)
    n = 16 * 4 + 4 * 16
    for masks, weights in zip(watch.masks, watch.weights, strict=True):
        assert masks.counts() == (int(n * (1 - SPARSITY) + 0.5), n)
        assert all(torch.equal(weights[name] != 0, mask) for name, mask in masks.items())
    total = len(watch.masks)
    moved = [
        step / total
        for step, (before, after) in enumerate(zip(watch.masks, watch.masks[1:], strict=False), 2)
        if any(not torch.equal(before[name], after[name]) for name in before)
    ]
    assert moved and min(moved) >= 0.2 and max(moved) <= 0.6 and len(watch.upper) == 7


def test_weights_come_back_with_their_values_and_without_momentum(monkeypatch: pytest.MonkeyPatch) -> None:
    memory: dict[str, torch.Tensor] = {name: w.detach().clone() for name, w in prunable(deep()).items()}
    returned = []
    original = Bilevel._move

    def move(self: Any, gradient: torch.Tensor) -> None:
        weights, optimizer, before = prunable(self._trainer.model), self._trainer.optimizer, self.masks
        for name, mask in before.items():  # what the step made of the kept weights
            memory[name] = torch.where(mask, weights[name].detach(), memory[name])
        original(self, gradient)
        for name, mask in self.masks.items():
            assert torch.equal(weights[name], memory[name] * mask)
            stayed, momentum = mask & before[name], optimizer.state[weights[name]]["momentum_buffer"]
            assert not momentum[~stayed].any() and momentum[stayed].any()
            returned.append(int((mask & ~before[name]).sum()))

    monkeypatch.setattr(Bilevel, "_move", move)
    train(deep(), "bip:0-1,lr=3")
    assert sum(returned) > 5


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_at_half_precision_the_gradient_is_the_same_up_to_rounding(precision: str) -> None:
    trained, _ = train(deep(), "bip:0-1")
    gradients: dict[str, torch.Tensor] = {}
    for name in ("fp32", precision):
        trainer, watch = train(deep(), "bip:0-1", precision=name)
        assert all(masks.counts() == watch.masks[0].counts() for masks in watch.masks)
        trainer.model.load_state_dict(trained.model.state_dict())
        gradients[name] = trainer.hooks[0]._gradient(next(trainer.feed.batches(np.arange(8), 8)))  # type: ignore
        for key, value in trainer.model.state_dict().items():
            assert torch.equal(value, trained.model.state_dict()[key]), key  # the running statistics too
    off = (gradients[precision] - gradients["fp32"]).norm() / gradients["fp32"].norm()
    assert 0 < off < 0.05


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(OptionError, match="8 are not more than a batch of 8"):
        train(deep(), "bip", 8)


def test_a_selection_decides_on_the_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    original = Bilevel._gradient

    def noting(self: Bilevel, batch: Any) -> torch.Tensor:
        seen.update(batch.rows.tolist())
        return original(self, batch)

    monkeypatch.setattr(Bilevel, "_gradient", noting)
    chosen = dd.select(np.arange(1438.0), "top_k", keep=0.3, prefer="hardest")
    how: dict[str, Any] = {"epochs": 2, "recipe": {"lr": 0.05}, "sparsify": "global_magnitude:0.9"}
    result = dd.train("digits", "datadiet:mlp", sparsify_when="bip:0-1", sparsify_on=chosen, **how)
    assert result.masks is not None and result.masks.counts() == (2586, 25856)
    assert seen <= set(chosen.indices.tolist()) and len(seen) > 400
    other = dd.train("digits", "datadiet:mlp", sparsify_when="bip:0-1", **how)
    assert other.masks is not None and any(not torch.equal(other.masks[k], m) for k, m in result.masks.items())
    assert len(seen) > 1400


def test_floors_hold_while_the_masks_move() -> None:
    """Of 64 and 64 weights 25 are kept, and the smallest layer would lose nearly all of its own."""
    found = dd.train(
        (X, Y), "datadiet:mlp", epochs=4, start=dd.train((X, Y), "datadiet:mlp", epochs=1).model,
        sparsify="global_magnitude:0.98,min_per_layer=40", sparsify_when="bip:0-1", recipe={"batch_size": 8},
    )  # fmt: skip
    assert found.masks is not None and all(kept >= 40 for kept, _ in found.masks.layers().values())
    free = dd.train(
        (X, Y), "datadiet:mlp", epochs=4, start=dd.train((X, Y), "datadiet:mlp", epochs=1).model,
        sparsify="global_magnitude:0.98,min_per_layer=0", sparsify_when="bip:0-1", recipe={"batch_size": 8},
    )  # fmt: skip
    assert free.masks is not None and min(kept for kept, _ in free.masks.layers().values()) < 40
