"""The authors' code of PERP: which parameters train, and some steps with their MaskLoRA on layers of peft."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout, relative_difference

D, RANK, ALPHA, STEPS, LR = 64, 8, 32, 20, 0.02


def rows(n: int) -> Arrays:
    """Inputs, labels, and the A of two layers."""
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(size=(n, D)).astype(np.float32),
        "y": rng.integers(0, 10, n),
        "a": rng.uniform(-1 / 8, 1 / 8, (2, RANK, D)).astype(np.float32),
    }


def network(norm: str = "LayerNorm") -> Any:
    """Two layers with the names that they look for, half of whose weights are 0, with a normalisation between them."""
    import torch
    from torch import nn

    class Network(nn.Module):
        prepare_inputs_for_generation = None  # which peft wants of a language model

        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.norm, self.fc2 = nn.Linear(D, D), getattr(nn, norm)(D), nn.Linear(D, 10)

        def forward(self, x: Any) -> Any:
            return self.fc2(torch.relu(self.norm(self.fc1(x))))

    torch.manual_seed(0)
    model = Network()
    with torch.no_grad():
        for layer in (model.fc1, model.fc2):
            layer.weight.mul_(layer.weight.abs() > layer.weight.abs().median())
    return model


def trained(data: Arrays, model: Any, parameters: Any, after_step: Any) -> None:
    """Steps on all rows."""
    import torch

    optimizer = torch.optim.SGD(parameters, lr=LR)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(torch.from_numpy(data["x"])), torch.from_numpy(data["y"])).backward()
        optimizer.step()
        after_step()


def result(model: Any) -> Arrays:
    """All parameters."""
    return {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}


def our_training(data: Arrays) -> Arrays:
    """Biases, norms and adapters."""
    import torch

    from datadiet.sparsity.mask_lora import MaskLoRA
    from datadiet.sparsity.perp import perp

    model = network()
    with perp(model):
        adapters = MaskLoRA({"fc1.weight": model.fc1.weight, "fc2.weight": model.fc2.weight}, RANK, ALPHA)
        factors = adapters.parameters()
        with torch.no_grad():
            for place, a in enumerate(factors[1::2]):
                a.copy_(torch.from_numpy(data["a"][place]))
        few = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim < 2]
        trained(data, model, [*factors, *few], adapters.merge_)
        adapters.close()
    return result(model)


def their_code(model: Any, **use: Any) -> Any:
    """Their class of chosen parameters."""
    import sys

    sys.path.insert(0, str(checkout()))
    from peft_methods import SelectivePEFT

    how = {"peft_use_bias": True, "peft_use_ln": True, "peft_use_lm_head": False, "peft_use_lora": False,
           "lora_r": RANK, "lora_alpha": ALPHA, "lora_dropout": 0.0, "lora_type": "mask_lora"}  # fmt: skip
    method = SelectivePEFT(model=model, runner=None, config=SimpleNamespace(**how | use), is_reconstruct=False)
    method.select_peft_layers()
    return method


def their_training(data: Arrays) -> Arrays:
    """The same, merged at the end."""
    import torch

    model = network()
    method = their_code(model, peft_use_lora=True)
    for layer, a in zip((model.fc1, model.fc2), data["a"], strict=True):
        layer.lora_layer.lora_A["default"].weight.data.copy_(torch.from_numpy(a))
    trained(data, model, [parameter for parameter in model.parameters() if parameter.requires_grad], lambda: None)
    method.at_train_end()
    return result(model)


def our_choice(data: Arrays, *, norm: str) -> Arrays:
    """Which parameters train."""
    from datadiet.sparsity.perp import perp

    model = network(norm)
    with perp(model) as chosen:
        return {name: np.array(name in chosen) for name, _ in model.named_parameters()}


def their_choice(data: Arrays, *, norm: str) -> Arrays:
    """The same."""
    model = network(norm)
    their_code(model)
    return {name: np.array(parameter.requires_grad) for name, parameter in model.named_parameters()}


def choices(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Parameters that train in one and not in the other."""
    return {
        "only in ours": sum(a[name] & ~b[name] for name in a),
        "only in theirs": sum(b[name] & ~a[name] for name in a),
        "in both": sum(a[name] & b[name] for name in a),
    }


def parameters(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Their values, and by how much training moved them."""
    import torch

    start = result(network())
    with torch.no_grad():
        moved = min(relative_difference(a[name], start[name]) for name in a if name != "norm.bias")
    return {
        "largest relative difference": max(relative_difference(a[name], b[name]) for name in a),
        "least movement of ours": moved,
        "zeros that stay": min((b[name][start[name] == 0] == 0).mean() for name in ("fc1.weight", "fc2.weight")),
    }


PEER = Peer(
    "PERP",
    (
        Case("perp", "what trains, with LayerNorm", 100, rows, partial(our_choice, norm="LayerNorm"),
             partial(their_choice, norm="LayerNorm"), choices, {"only in ours": (0, 0), "only in theirs": (0, 0)}),
        Case("perp", "what trains, with BatchNorm", 100, rows, partial(our_choice, norm="BatchNorm1d"),
             partial(their_choice, norm="BatchNorm1d"), choices, {"only in ours": (1, 1), "only in theirs": (0, 0)},
             "norms are LayerNorm and RMSNorm there, and all of them here"),
        Case("perp", "20 steps with biases, norms and adapters", 1000, rows, our_training, their_training, parameters,
             {"largest relative difference": (0, 1e-4), "zeros that stay": (1, 1),
              "least movement of ours": (1e-3, 10)}),
    ),
    ("peft==0.21.2",),
    "ZIB-IOL/PERP",
)  # fmt: skip
