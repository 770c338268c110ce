"""The authors' code of BiP: one step of the upper level, on a network with BatchNorm."""

from __future__ import annotations

from functools import partial
from typing import Any

from conformance.case import Arrays, Case, Peer, checkout, relative_difference
from conformance.pruned_networks import images

KEPT = 0.125  # a whole number of the weights


def layers(into: Any = ()) -> Any:
    """A convolution and a linear layer, the same each time, or their weights put into other layers."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    for given, layer in zip((model[0], model[-1]), into, strict=False):
        layer.load_state_dict(given.state_dict(), strict=False)
    return model


def ours(data: Arrays, *, lr: float, implicit: float = 0, squared: bool = False) -> Arrays:
    """The scores and the mask after a step; `squared` with their implicit gradient in place of ours."""
    import torch

    from datadiet.data.batch import Batch
    from datadiet.sparsity.allocation import k_largest
    from datadiet.sparsity.bip import first_scores, moved_scores
    from datadiet.sparsity.gradients import as_training_begins, mean_gradient

    model, x, y = layers(), torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    named = {"conv": model[0].weight, "head": model[-1].weight}
    before = torch.cat([weight.detach().flatten() for weight in named.values()])
    kept = k_largest(before.abs(), int(KEPT * len(before)))
    with torch.no_grad():
        for weight, mask in zip(named.values(), kept.split([weight.numel() for weight in named.values()]), strict=True):
            weight.mul_(mask.view(weight.shape))

    def total(batch: Batch) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(batch.inputs), batch.targets, reduction="sum")

    with as_training_begins(model, named):
        found = mean_gradient(named, [Batch(x, y, torch.arange(len(x)))], total)
    gradient = torch.cat([one.flatten() for one in found.values()])
    scores = moved_scores(
        first_scores(before, kept), before, kept, gradient, lr=lr, implicit=0 if squared else implicit
    )
    if squared:
        scores = scores + lr * implicit * (before * gradient).square() * before.sign()
    after = k_largest(scores, int(kept.sum()))
    return {
        "step": (scores - before.abs()).numpy(),
        "inside": (scores > 0).numpy(),
        "kept": after.numpy(),
        "changed": (after & ~kept).numpy(),
    }


def theirs(data: Arrays, *, lr: float, implicit: float = 0, apart: bool = True) -> Arrays:
    """The same by their loop over one batch, with a rate of 0 for the weights; `apart` with scores of their own."""
    import sys
    from types import SimpleNamespace

    import torch

    sys.path.insert(0, str(checkout()))
    from models.layers import GetSubnetUnstructured, SubnetConvUnstructured, SubnetLinear
    from models.resnet_cifar import BasicBlock, ResNet
    from trainer.bilevel import train
    from utils.model import initialize_scaled_score

    model = ResNet(SubnetConvUnstructured, SubnetLinear, BasicBlock, [1, 1, 1, 1], k=KEPT)
    model.layer1 = model.layer2 = model.layer3 = model.layer4 = torch.nn.Identity()
    model.linear = SubnetLinear(64, 10)
    layers(into=(model.conv1, model.linear))
    initialize_scaled_score(model)
    found = (model.conv1, model.linear)
    for layer in found if apart else ():
        layer.popup_scores.data = layer.weight.data.clone()
    before = torch.cat([layer.weight.detach().flatten().clone() for layer in found])
    weights, masks = (torch.optim.SGD(model.parameters(), lr=lr) for lr in (0.0, lr))
    masks.zero_grad = partial(masks.zero_grad, set_to_none=False)  # as in the torch that they wrote it for
    batch = [(torch.from_numpy(data["x"]), torch.from_numpy(data["y"]))]
    how = SimpleNamespace(accelerate=False, lr2=implicit, print_freq=1)
    train(model, "cpu", (batch, batch), torch.nn.CrossEntropyLoss(), (weights, masks), 0, how)
    scores, after = (
        torch.cat([getattr(layer, name).detach().flatten() for layer in found]) for name in ("popup_scores", "weight")
    )
    kept = GetSubnetUnstructured.apply(scores.abs(), KEPT).bool()
    moved = (after - before).abs().max()[None]
    return {"step": (scores.abs() - before.abs()).numpy(), "kept": kept.numpy(), "moved": moved.numpy()}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """By how much scores move that ours does not clip at 0, the masks, and whether the weights move too."""
    steps = [side["step"][a["inside"]] for side in (a, b)]
    return {
        "largest relative difference": relative_difference(*steps),
        "scores of ours clipped at 0": (~a["inside"]).mean(),
        "equal entries of the mask": (a["kept"] == b["kept"]).mean(),
        "newly kept by ours": a["changed"].sum(),
        "weights moved by theirs": b["moved"][0],
    }


def case(what: str, expected: dict[str, tuple[float, float]], why: str = "", lr: float = 100, **how: Any) -> Case:
    """A step of the upper level; `squared` is for ours, `apart` for theirs."""
    a, b = ({key: how[key] for key in ("implicit", own) if key in how} for own in ("squared", "apart"))
    return Case("bip", what, 256, images, partial(ours, lr=lr, **a), partial(theirs, lr=lr, **b), agreement,
                expected, why)  # fmt: skip


SAME = {
    "largest relative difference": (0, 1e-5),
    "equal entries of the mask": (1, 1),
    "weights moved by theirs": (0, 0),
}
PEER = Peer(
    "BiP",
    (
        case("a step of the masks, implicit=0", SAME),
        case("the same with implicit=10", {**SAME, "largest relative difference": (1e-4, 0.1),
                                           "equal entries of the mask": (0.99, 1)},
             "the square of the gradient of the scores there, with the sign of the weight", implicit=10),
        case("the same, with theirs in place of ours", SAME, implicit=10, squared=True),
        case("implicit=0, ten times as large a step", {**SAME, "equal entries of the mask": (0.8, 0.99)},
             "a score that falls below 0 counts by its size there, and stays at 0 here", lr=1000),
        case("implicit=0, scores as their loop begins", {**SAME, "weights moved by theirs": (1e-3, 10)},
             "weights and scores are in the same memory there, so that a step of the masks moves the weights",
             apart=False),
    ),
    repository="OPTML-Group/BiP",
)  # fmt: skip
