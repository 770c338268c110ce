"""Low-rank updates that leave zeros alone: against autograd through W0 + s (B A) * M, alone and within a training."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import datadiet as dd
from datadiet.errors import OptionError
from datadiet.sparsity.mask_lora import MaskLoRA, without_adapters
from datadiet.sparsity.perp import perp
from datadiet.sparsity.prunable import prunable
from datadiet.training import loop as loop_module
from datadiet.training.adapting import Adapting
from datadiet.workflow.fitting import training_job

pytestmark = pytest.mark.usefixtures("one_thread")
RECIPE = {"lr": 0.01, "optimizer": "adamw", "schedule": "constant"}


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4, 8), nn.ReLU(), nn.Linear(8, 3)]
    net = nn.Sequential(*layers).to(memory_format=torch.channels_last)
    dd.sparsify(net, "layer_magnitude", sparsity=0.6)
    return net


def test_it_equals_autograd_through_the_formula() -> None:
    rank, alpha, net = 3, 12.0, network()
    weights = prunable(net)
    adapters = MaskLoRA(weights, rank, alpha, seed=5)
    base = {name: weight.detach().clone() for name, weight in weights.items()}
    slow = {
        k: [f.detach().clone().requires_grad_() for f in pair] for k, pair in adapters.state_dict()["factors"].items()
    }
    optimizer = torch.optim.SGD(adapters.parameters(), lr=0.1, momentum=0.9)
    other = torch.optim.SGD([factor for pair in slow.values() for factor in pair], lr=0.1, momentum=0.9)
    x, y = torch.randn(16, 2, 4, 4), torch.arange(16) % 3
    for step in range(5):
        optimizer.zero_grad()
        for part in (slice(0, 10), slice(10, 16)):  # a batch in two parts
            functional.cross_entropy(net(x[part]), y[part], reduction="sum").backward()
            assert all(weight.grad is None for weight in weights.values())
        optimizer.step()
        adapters.merge_()
        other.zero_grad()
        merged = {
            k: base[k] + alpha / rank * (b @ a).view(base[k].shape) * (base[k] != 0) for k, (b, a) in slow.items()
        }
        functional.cross_entropy(torch.func.functional_call(net, merged, x), y, reduction="sum").backward()
        gradients = [factor.grad for factor in adapters.parameters()]
        assert step == 0 or all(bool(gradient.any()) for gradient in gradients)  # dA = 0 as long as B = 0
        torch.testing.assert_close(gradients, [factor.grad for pair in slow.values() for factor in pair])
        other.step()
    for name, (b, a) in slow.items():
        expected = base[name] + alpha / rank * (b @ a).view(base[name].shape) * (base[name] != 0)
        torch.testing.assert_close(weights[name].detach(), expected)
        assert torch.equal(weights[name] != 0, base[name] != 0) and not torch.equal(weights[name], base[name])
    adapters.close()
    net(x).sum().backward()
    assert all(weight.grad is not None for weight in weights.values())


def test_it_begins_at_the_weights_with_a_of_the_published_distribution() -> None:
    net = network()
    before = copy.deepcopy(net.state_dict())
    adapters = MaskLoRA(prunable(net), 3, seed=1)
    adapters.merge_()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    factors = adapters.state_dict()["factors"]
    assert [tuple(f.shape for f in pair) for pair in factors.values()] == [
        ((6, 3), (3, 18)), ((8, 3), (3, 24)), ((3, 3), (3, 8))
    ]  # fmt: skip
    for b, a in factors.values():
        bound = a.shape[1] ** -0.5
        assert not b.any() and 0.8 * bound < a.abs().amax() <= bound and a.mean().abs() < 0.5 * bound
    again = MaskLoRA(prunable(network()), 3, seed=1).state_dict()["factors"]
    other = MaskLoRA(prunable(network()), 3, seed=2).state_dict()["factors"]
    assert all(torch.equal(again[k][1], a) and not torch.equal(other[k][1], a) for k, (_, a) in factors.items())


def test_a_rank_above_a_side_becomes_that_side() -> None:
    adapters = MaskLoRA(prunable(network()))
    ranks = [b.shape[1] for b, _ in adapters.state_dict()["factors"].values()]
    assert ranks == [6, 8, 3] and adapters.scale == 32 / 16
    with pytest.raises(OptionError, match="rank"):
        MaskLoRA(prunable(network()), 0)


def test_closing_leaves_weights_frozen_that_were() -> None:
    net = network()
    with perp(net, ["5"]):
        adapters = MaskLoRA({name: w for name, w in prunable(net).items() if not w.requires_grad})
        assert all(w.requires_grad for w in prunable(net).values())
        adapters.close()
        assert [name for name, w in prunable(net).items() if w.requires_grad] == ["5.weight"]
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["biases", "norms"], (("biases", "norms"), 0)),
        (["adapters"], ((), 16)),
        (["adapters:8", "5"], (("5",), 8)),
        (["adapters:0"], None),
        (["adapters:x"], None),
        (["adapters", "adapters:8"], None),
    ],
)
def test_words_for_adapters(words: list[str], expected: Any) -> None:
    if expected is None:
        with pytest.raises(OptionError, match="write adapters, or adapters:8"):
            without_adapters(words)
    else:
        assert without_adapters(words) == expected


def train(trainable: Any, out: Path | None = None, **more: Any) -> dd.TrainResult:
    options = {"start": more.pop("start", None) or dense(), "sparsify": "global_magnitude:0.9", "steps": 6, "out": out}
    recipe = RECIPE | more.pop("recipe", {})
    return dd.train("digits", "datadiet:resnet8", trainable=trainable, recipe=recipe, **options | more)  # type: ignore


def dense() -> nn.Module:
    return dd.train("digits", "datadiet:resnet8", steps=4).model


def test_train_moves_what_is_left_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    trainers: list[Any] = []
    original = Adapting.__init__

    def noting(self: Any, trainer: Any, rank: int) -> None:
        assert all(
            len(g["params"]) == sum(p.requires_grad for p in g["params"]) for g in trainer.optimizer.param_groups
        )
        original(self, trainer, rank)
        trainers.append(trainer)

    monkeypatch.setattr(Adapting, "__init__", noting)
    start = dense()
    result = train(["norms", "8.bias", "adapters:4"], start=start, recipe={"ema": 0.5})
    before, parameters = dict(start.named_parameters()), dict(result.model.named_parameters())
    assert result.masks is not None and result.masks.counts() == (7451, 74512)
    assert [*result.model.state_dict()] == [*start.state_dict()]
    for name, parameter in parameters.items():
        assert parameter.requires_grad and not parameter._post_accumulate_grad_hooks  # type: ignore[attr-defined]
        if name in result.masks:
            mask = result.masks[name]
            assert torch.equal(parameter != 0, mask) and not torch.equal(parameter[mask], before[name][mask])
        else:
            assert not torch.equal(parameter, before[name])
    groups = trainers[0].optimizer.param_groups
    assert groups[-1]["weight_decay"] == 0 and len(groups[-1]["params"]) == 2 * len(result.masks)
    assert not {id(p) for group in groups for p in group["params"]} & {id(parameters[name]) for name in result.masks}


def test_adapters_alone_and_layers_that_train_themselves() -> None:
    start = dense()
    result = train("adapters", start=start)
    names = {
        name for name, p in result.model.named_parameters() if not torch.equal(p, dict(start.named_parameters())[name])
    }
    assert result.masks is not None and names == set(result.masks)
    with pytest.raises(OptionError, match="all of them train"):
        train(["adapters", *prunable(start)], start=start)


def test_several_processes_need_a_parameter_besides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_job, "process_group", lambda: (2, 0))
    with pytest.raises(OptionError, match="add biases"):
        train("adapters")


def test_gradients_are_clipped_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []

    def note(self: torch.optim.Optimizer, *_: Any) -> None:
        found = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(found)))

    original = Adapting.__init__

    def noting(self: Any, trainer: Any, rank: int) -> None:
        original(self, trainer, rank)
        trainer.optimizer.register_step_pre_hook(note)

    monkeypatch.setattr(Adapting, "__init__", noting)
    train(["biases", "adapters"], recipe={"clip_norm": 0.01})
    assert len(norms) == 6 and norms == pytest.approx([0.01] * 6, rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision(precision: str) -> None:
    """The scale of the loss, which fp16 needs, is not in the update."""
    start = dense()
    recipe = {"optimizer": "sgd", "lr": 0.02, "momentum": 0.0, "weight_decay": 0.0}
    models = [
        train("adapters", start=start, steps=3, recipe=recipe | {"precision": p}).model for p in ("fp32", precision)
    ]
    begin, full, half = (torch.cat([w.detach().flatten() for w in prunable(m).values()]) for m in (start, *models))
    kept = full != 0
    moved = (full - begin)[kept]
    assert 0 < ((half - begin)[kept] - moved).norm() / moved.norm() < 0.1


def test_a_killed_training_resumes_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "_SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop_module, "_SAVE_SHARE", float("inf"))
    start, how = dense(), {"recipe": {"ema": 0.8, "clip_norm": 0.5, "accumulate": 2}}
    words = ["biases", "adapters:4"]
    whole = train(words, start=start, **how)
    for killed_after in (1, 3, 5):
        left, original = [killed_after], Adapting.after_step

        def killed(self: Any, trainer: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Adapting, "after_step", killed)
            train(words, tmp_path / str(killed_after), start=start, **how)
        assert Adapting.after_step is original and all(p.requires_grad for p in start.parameters())
        again = train(words, tmp_path / str(killed_after), start=start, **how)
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, again.model.state_dict()[name]), (killed_after, name)
    loaded = train(words, tmp_path / "5", start=start, **how)  # a finished run; its checkpoint is an ordinary one
    assert loaded.accuracy == whole.accuracy
    assert all(not p._post_accumulate_grad_hooks for p in loaded.model.parameters())  # type: ignore[attr-defined]


def test_a_pruned_network_needs_no_pruning() -> None:
    net = dense()
    masks = dd.sparsify(net, "global_magnitude", sparsity=0.8)
    result = train("adapters", start=net, sparsify=None)
    for name, weight in prunable(result.model).items():
        assert torch.equal(weight != 0, masks[name])


@pytest.mark.parametrize("when", ["cubic", "rigl", "rewind", "bip"])
def test_zeros_that_move_are_refused(when: str) -> None:
    with pytest.raises(OptionError, match=f"sparsify_when={when} moves them"):
        train("adapters", sparsify_when=when)
