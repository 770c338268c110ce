"""Networks without some of their channels: built again from a list, with no need of torch-pruning."""

from __future__ import annotations

import copy
import json
import sys

import pytest
import torch
from torch import nn

from datadiet.errors import MissingExtra, OptionError
from datadiet.models.narrow import parameters_without, rebuilt, silenced
from datadiet.sparsity.structured import shrink


def network():
    return nn.Sequential(
        nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.BatchNorm2d(4),
        nn.Conv2d(4, 6, 1, groups=2), nn.Flatten(), nn.Linear(6 * 9, 3),
    )  # fmt: skip


# Channel 1 of the first layers, and 3 since both groups of the last convolution keep as many; of its outputs 0 and 3.
REMOVED = {
    "0": {"out": [1, 3]},
    "1": {"out": [1, 3]},
    "3": {"out": [1, 3]},
    "4": {"out": [1, 3]},
    "5": {"in": [1, 3], "out": [0, 3]},
    "7": {"in": [*range(9), *range(27, 36)]},
}


def test_layers_become_narrower_and_keep_the_right_weights():
    whole = network()
    small = rebuilt(copy.deepcopy(whole), json.loads(json.dumps(REMOVED)))
    kept = [0, 2]
    assert torch.equal(small[0].weight, whole[0].weight[kept])
    assert torch.equal(small[0].bias, whole[0].bias[kept])
    assert torch.equal(small[1].running_var, whole[1].running_var[kept])
    assert torch.equal(small[3].weight, whole[3].weight[kept])
    assert torch.equal(small[5].weight, whole[5].weight[[1, 2, 4, 5]][:, [0]])
    assert torch.equal(small[7].weight, whole[7].weight[:, [*range(9, 27), *range(36, 54)]])
    assert torch.equal(small[7].bias, whole[7].bias)
    assert (small[0].out_channels, small[1].num_features, small[7].in_features) == (2, 2, 36)
    assert (small[3].in_channels, small[3].out_channels, small[3].groups) == (2, 2, 2)
    assert (small[5].in_channels, small[5].out_channels, small[5].groups) == (2, 4, 2)


def test_it_computes_what_the_whole_network_does_with_these_channels_at_zero():
    whole, images = network().eval(), torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    small = rebuilt(copy.deepcopy(whole), REMOVED)
    with torch.no_grad():
        assert torch.allclose(small(images), silenced(copy.deepcopy(whole), REMOVED)(images), atol=1e-6)
        assert not torch.allclose(small(images), whole(images), atol=1e-2)


def test_parameters_are_counted_without_removing_any():
    whole = network()
    count = parameters_without(whole, REMOVED)
    assert count == sum(parameter.numel() for parameter in rebuilt(whole, REMOVED).parameters())
    assert parameters_without(whole, {}) == count


def test_parameters_keep_dtype_memory_format_and_whether_they_learn():
    whole = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 3))
    whole = whole.to(torch.bfloat16, memory_format=torch.channels_last)
    whole[0].weight.requires_grad_(False)
    small = rebuilt(whole, {"0": {"out": [1]}, "1": {"out": [1]}, "2": {"in": [1]}})
    assert {parameter.dtype for parameter in small.parameters()} == {torch.bfloat16}
    assert [parameter.requires_grad for parameter in small.parameters()] == [False] + [True] * 5
    assert all(small[place].weight.is_contiguous(memory_format=torch.channels_last) for place in (0, 2))
    assert not small[2].weight.is_contiguous()
    plain = rebuilt(nn.Sequential(nn.Conv2d(4, 8, 3)), {"0": {"out": [1]}})
    assert plain[0].weight.is_contiguous()


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ({"8": {"out": [0]}}, "'8' is not a layer of this network with channels"),
        ({"2": {"out": [0]}}, "'2' is not a layer of this network with channels"),
        ({"0": {"out": [4]}}, r"'0' has 4 channels \(out\), and 1 of them up to number 4"),
        ({"0": {"out": [-1]}}, "give a fresh network of the kind that was shrunk"),
        ({"0": {"out": [0, 1, 2, 3]}}, "4 of them up to number 3 are to go"),
        ({"1": {"in": [0]}}, "a BatchNorm2d has no channels called 'in': write out"),
        ({"3": {"in": [0]}}, "a Conv2d has no channels called 'in': write out"),  # depthwise
    ],
)
def test_what_does_not_fit_is_refused_before_anything_changes(removed, message):
    whole = network()
    with pytest.raises(OptionError, match=message):
        rebuilt(whole, {"5": {"out": [0, 3]}, **removed})
    assert whole[5].out_channels == 6


def test_layers_that_cannot_be_cut_are_refused():
    """The weight of a transposed convolution has its inputs first; that of a parametrised layer is computed."""
    for layer in (nn.ConvTranspose2d(4, 6, 3), nn.utils.parametrizations.weight_norm(nn.Linear(4, 6))):
        with pytest.raises(OptionError, match="'0' is not a layer of this network with channels"):
            rebuilt(nn.Sequential(layer), {"0": {"out": [5]}})


def test_only_shrinking_needs_torch_pruning(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(MissingExtra, match=r"pip install 'datadiet\[prune\]'"):
        shrink(network(), 0.3, torch.ones(1, 2, 3, 3))
    rebuilt(network(), REMOVED)
