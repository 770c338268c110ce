"""Running any network: what it is called with, and where its logits are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.models.running import call, logits_of

X = torch.arange(6.0).view(3, 2)


@dataclass
class Output:
    """What transformers returns: attributes, and more than logits."""

    logits: torch.Tensor
    loss: torch.Tensor | None = None


class Returning(nn.Module):
    """Twice its input, packed as a network may pack it."""

    def __init__(self, pack):
        super().__init__()
        self.pack = pack

    def forward(self, inputs, mask=None):
        out = 2 * inputs if mask is None else 2 * inputs * mask
        return self.pack(out)


PACKS = {
    "tensor": lambda out: out,
    "attribute": Output,
    "dict": lambda out: {"loss": None, "logits": out},
    "tuple": lambda out: (out, "hidden states"),
}


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize(
    "inputs", [X, {"inputs": X}, {"inputs": X, "mask": torch.ones(3, 1)}, [X], Batch({"inputs": X}, X[:, 0], X[:, 0])],
    ids=["tensor", "keyword", "keywords", "positions", "batch"],
)  # fmt: skip
def test_the_logits_of_any_network_on_any_inputs(pack, inputs):
    assert torch.equal(call(Returning(PACKS[pack]), inputs), 2 * X)


@pytest.mark.parametrize("pack", [lambda out: None, lambda out: {"scores": out}, lambda out: (), lambda out: "text"])
def test_an_output_without_logits_is_refused(pack):
    with pytest.raises(OptionError, match=r"the model returns a \w+ without logits: return a tensor"):
        call(Returning(pack), X)


def test_parts_of_a_batch_and_other_devices():
    batch = Batch({"a": X, "b": X + 1}, torch.tensor([1, 0, 1]), torch.tensor([7, 8, 9]), view=2)
    part = batch.part(slice(1, 3))
    assert len(batch) == 3 and len(part) == 2 and part.view == 2
    assert part.rows.tolist() == [8, 9] and part.targets.tolist() == [0, 1]
    assert torch.equal(part.inputs["b"], X[1:] + 1)
    moved = batch.to(torch.device("meta"))
    assert moved.inputs["a"].is_meta and moved.targets.is_meta and not moved.rows.is_meta


def test_logits_of_a_model_output_that_is_a_mapping_with_attributes():
    """transformers' ModelOutput is both."""

    class Both(dict):
        logits = X

    assert logits_of(Both(loss=1)) is X


def test_a_layer_without_sizes_is_refused() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.LazyLinear(2))
    with pytest.raises(
        OptionError, match=r"the sizes of Sequential are not known yet \(1.weight is lazy\): run it on a"
    ):
        dd.sparsify(net)
    for model in (net, lambda: net):
        with pytest.raises(OptionError, match="the sizes of Sequential are not known yet"):
            dd.score((np.eye(3, dtype=np.float32), np.arange(3) % 2), model, "el2n")
    net(torch.ones(1, 3))
    assert dd.sparsify(net).counts() == (2, 20)
