"""Structured pruning: smaller networks that compute what the whole ones do with the removed channels at zero."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from datadiet.errors import OptionError
from datadiet.models import open_model
from datadiet.models.narrow import rebuilt
from datadiet.models.running import call
from datadiet.runtime.tensors import read_tensors, save_tensors
from datadiet.sparsity.channel_groups import Probe, channel_groups
from datadiet.sparsity.structured import _scores, shrink

pruning = pytest.importorskip("torch_pruning", reason="the extra prune is not installed")


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


class Blocks(nn.Module):
    """What networks for images are made of: a projected shortcut, a depthwise and a grouped convolution, a gate, a
    concatenation, without and with a bias."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(16, 24, 1), nn.BatchNorm2d(24), nn.SiLU(), nn.Conv2d(24, 24, 3, padding=1, groups=24), nn.GELU(),
            nn.Conv2d(24, 20, 3, stride=2, padding=1), nn.BatchNorm2d(20),
        )  # fmt: skip
        self.shortcut = nn.Conv2d(16, 20, 1, stride=2)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(20, 8, 1), nn.ReLU(), nn.Conv2d(8, 20, 1))
        self.grouped = nn.Conv2d(20, 20, 3, padding=1, groups=4)
        self.last = nn.Conv2d(20 + 20, 12, 1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(12 * 16, 10), nn.ReLU(), nn.Linear(10, 5))

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(self.body(x) + self.shortcut(x))
        x = x * torch.sigmoid(self.gate(x))
        return self.head(self.last(torch.cat([x, self.grouped(x)], dim=1)))


def made(name):
    """A network with BatchNorm statistics as after some training, and a batch for it."""
    if name == "blocks":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = Blocks()
    else:
        network = open_model(name, (64,) if "mlp" in name else (3, 32, 32), 7).fresh(0)
    images = draw(6, 64) if "mlp" in name else draw(6, 3, 8, 8) if name == "blocks" else draw(6, 3, 32, 32)
    with torch.no_grad():
        network.train()(2 * images)
    return network, images


def zeroed(network, fresh, removed):
    """The whole network with all weights at zero that the small one lacks, found without knowing how layers are cut.

    Each weight of a fresh network is its own number; those of the same network made narrow are the ones that are left.
    """
    numbered = fresh.double()
    for tensor in [*numbered.parameters(), *numbered.buffers()]:
        tensor.data = torch.arange(tensor.numel()).view(tensor.shape).double()
    left = {name: value.flatten().long() for name, value in rebuilt(numbered, removed).state_dict().items()}
    state = network.state_dict()
    for name, _ in network.named_parameters():
        kept = torch.zeros(state[name].numel(), dtype=torch.bool)
        kept[left[name]] = True
        if name.endswith("weight") and state[name].ndim > 1:  # the layer that reads a channel gets zeros from it
            rows = kept.view(state[name].shape).flatten(1).any(1)
            kept = rows.repeat_interleave(kept.numel() // len(rows))
        state[name].view(-1)[~kept] = 0
    return network


NETWORKS = {
    "datadiet:mlp": 0.6,
    "datadiet:cnn": 0.7,
    "datadiet:resnet20": 0.6,
    "blocks": 0.5,
    "timm:resnet18": 0.5,
    "timm:mobilenetv3_small_050": 0.3,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_small_network_computes_what_the_whole_one_does_with_these_channels_at_zero(name):
    if name.startswith("timm"):
        pytest.importorskip("timm", reason="the extra timm is not installed")
    network, images = made(name)
    small, removed = shrink(network, NETWORKS[name], images[:2])
    assert 0 <= parameters(network) * (1 - NETWORKS[name]) - parameters(small) < 0.04 * parameters(network)
    whole = zeroed(network, made(name)[0], removed)
    with torch.no_grad():
        outputs = small.eval()(images)
        assert torch.allclose(outputs, whole.eval()(images), rtol=1e-3, atol=1e-4 * float(outputs.abs().max()))
    assert outputs.shape[1] == (5 if name == "blocks" else 7)


def test_all_kinds_of_channels_go():
    """Each layer of the blocks loses some, inputs and outputs, but for the images and the classes."""
    network, images = made("blocks")
    _, removed = shrink(network, 0.8, images, importance="random")
    layers = {name for name, layer in network.named_modules() if getattr(layer, "weight", None) is not None}
    assert set(removed) == layers
    assert {name for name, axes in removed.items() if "out" not in axes} == {"head.3"}
    assert len(removed["grouped"]["out"]) % 4 == len(removed["grouped"]["in"]) % 4 == 0
    assert "in" not in removed["stem.0"]


def test_channels_that_a_shortcut_pads_are_left_whole():
    """torch-pruning takes the padding for an elementwise operation, and would remove the wrong partners."""
    network, images = made("datadiet:resnet20")
    _, removed = shrink(network, 0.6, images[:2])
    inner = {f"{place}.body.0" for place in range(3, 12)}
    assert {name for name, axes in removed.items() if name.endswith("body.0") or "out" not in axes} >= inner
    assert {name for name, axes in removed.items() if "out" in axes} == inner | {
        name.replace("body.0", "body.1") for name in inner
    }


class Shifted(nn.Module):
    """Its channels change places on the way, which no trace of operations tells."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.three(torch.relu(self.two(torch.relu(self.one(x)).roll(1, 1))))


def test_groups_with_the_wrong_partners_are_left_whole(monkeypatch):
    """Their shapes fit, so that only the values tell."""
    _, removed = shrink(Shifted(), 0.1, draw(3, 6))
    assert set(removed) == {"two", "three"}
    monkeypatch.setattr(Probe, "sound", lambda self, groups: list(groups))
    with pytest.raises(OptionError, match="cannot be removed together"):
        shrink(Shifted(), 0.4, draw(3, 6), importance="random")


def test_a_transformer_loses_hidden_units_of_its_perceptrons_only():
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    sizes = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 2}
    network = timm.models.VisionTransformer(**sizes, num_classes=5)
    small, removed = shrink(network, 0.3, draw(2, 3, 32, 32))
    assert set(removed) <= {f"blocks.{place}.mlp.{name}" for place in range(3) for name in ("fc1", "fc2")}
    whole = zeroed(network, timm.models.VisionTransformer(**sizes, num_classes=5), removed)
    with torch.no_grad():
        assert torch.allclose(small.eval()(draw(2, 3, 32, 32)), whole.eval()(draw(2, 3, 32, 32)), atol=1e-5)


def test_keyword_inputs_and_outputs_of_transformers():
    library = pytest.importorskip("transformers", reason="the extra transformers is not installed")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    network = library.BertForSequenceClassification(library.BertConfig(vocab_size=50, **sizes))
    ids = torch.arange(12).view(2, 6)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    small, _ = shrink(network, 0.2, inputs)
    assert small.bert.encoder.layer[0].intermediate.dense.out_features < 64
    assert call(small, inputs).shape == (2, 2)


def test_what_was_removed_and_the_weights_are_enough_to_build_it_again(tmp_path):
    network, images = made("datadiet:cnn")
    small, removed = shrink(network, 0.7, images)
    smaller, more = shrink(small, 0.3, images)
    save_tensors(tmp_path / "small.safetensors", smaller.state_dict(), {"removed": [removed, more]})
    state, about = read_tensors(tmp_path / "small.safetensors")
    again = open_model("datadiet:cnn", (3, 32, 32), 7).fresh(1)
    for one in json.loads(json.dumps(about["removed"])):
        again = rebuilt(again, one)
    again.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(again.eval()(images), smaller.eval()(images))


def test_the_given_network_and_the_random_state_are_left_as_they_were():
    network, images = made("blocks")
    network.gate.eval()
    call(network, images).sum().backward()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    grads = [parameter.grad.clone() for parameter in network.parameters()]
    modes, state = [module.training for module in network.modules()], torch.get_rng_state()
    small, removed = shrink(network, 0.4, images)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(parameter.grad, grad) for parameter, grad in zip(network.parameters(), grads, strict=True))
    assert [module.training for module in network.modules()] == modes
    assert [module.training for module in small.modules()] == modes
    assert all(parameter.grad is None for parameter in small.parameters())
    assert not {id(value) for value in small.parameters()} & {id(value) for value in network.parameters()}
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(9)
        assert shrink(network, 0.4, images)[1] == removed


def test_frozen_half_precision_networks():
    network, images = made("datadiet:cnn")
    network = network.to(torch.bfloat16, memory_format=torch.channels_last).requires_grad_(False)
    small, _ = shrink(network, 0.5, images.to(torch.bfloat16))
    assert {parameter.dtype for parameter in small.parameters()} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in small.parameters())
    assert small[3].weight.is_contiguous(memory_format=torch.channels_last) and not small[3].weight.is_contiguous()


def planted():
    """Of 8 hidden units, numbers 1, 4 and 6 have small weights."""
    network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
        network[0].weight[[1, 4, 6]] = 0.1
        network[2].weight[:, [1, 4, 6]] = 0.1
    return network


def test_the_least_important_channels_go():
    """A unit has 4 + 1 + 3 of 67 parameters, so a third of them are those of 3 units."""
    small, removed = shrink(planted(), 0.33, draw(2, 4))
    assert removed == {"0": {"out": [1, 4, 6]}, "2": {"in": [1, 4, 6]}}
    assert parameters(small) == 67 - 3 * 8
    assert len(shrink(planted(), 0.37, draw(2, 4))[1]["0"]["out"]) == 4


def test_channels_by_gradients_by_given_saliency_and_at_random():
    network, inputs = planted(), draw(2, 4)
    with pytest.raises(OptionError, match=r"importance='taylor' needs gradients, and '0.weight' has none"):
        shrink(network, 0.33, inputs, importance="taylor")
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    network[0].weight.grad[[0, 2, 3]] = network[2].weight.grad[:, [0, 2, 3]] = 0.01
    assert shrink(network, 0.33, inputs, importance="taylor")[1]["0"]["out"] == [0, 2, 3]
    saliency = {"0.weight": torch.ones(8, 4), "2.weight": torch.ones(3, 8)}
    saliency["2.weight"][:, 5:] = 0
    assert shrink(network, 0.33, inputs, importance=saliency)[1]["0"]["out"] == [5, 6, 7]
    drawn = [shrink(network, 0.33, inputs, importance="random", seed=seed)[1]["0"]["out"] for seed in range(6)]
    assert len(set(map(tuple, drawn))) > 2
    with pytest.raises(OptionError, match=r"no saliency for '2.weight' of shape \(3, 8\)"):
        shrink(network, 0.33, inputs, importance={"0.weight": torch.ones(8, 4), "2.weight": torch.ones(3, 7)})
    with pytest.raises(OptionError, match="importance of the channels of '0' is not finite"):
        shrink(network, 0.33, inputs, importance={**saliency, "0.weight": torch.full((8, 4), torch.nan)})
    with pytest.raises(OptionError, match="'magnitud' is not an importance: did you mean 'magnitude'"):
        shrink(network, 0.33, inputs, importance="magnitud")


def test_the_importance_of_channels_is_that_of_torch_pruning():
    """Its own scorer, on its own groups; it leaves depthwise convolutions out, and means the groups of convolutions."""
    network, images = made("blocks")
    graph, scorer = pruning.DependencyGraph(), pruning.importance.GroupMagnitudeImportance(p=2)
    graph.build_dependency(network, images, verbose=False)
    theirs = {group[0].dep.target.module: scorer(group).double() for group in graph.get_all_groups()}
    groups = channel_groups(network, images, Probe(network, images))
    compared = 0
    for group, ours in zip(groups, _scores(network, groups, "magnitude", 0), strict=True):
        layers = [network.get_submodule(name) for name, _ in group.members]
        if not any(getattr(layer, "groups", 1) > 1 for layer in layers):
            expected = next(theirs[layer] for layer in layers if layer in theirs)
            assert torch.allclose(ours, expected, rtol=1e-5)
            compared += 1
    assert compared == 4


def test_widths_are_rounded_and_groups_keep_a_part():
    network, images = made("datadiet:cnn")
    small, _ = shrink(network, 0.5, images, round_to=8)
    widths = [layer.out_channels for layer in small.modules() if isinstance(layer, nn.Conv2d)]
    assert all(width % 8 == 0 for width in widths) and parameters(small) <= parameters(network) / 2
    tiny, _ = shrink(network, 0.98, images)
    assert min(layer.out_channels for layer in tiny.modules() if isinstance(layer, nn.Conv2d)) >= 2
    with pytest.raises(OptionError, match=r"sparsity=0.999 is out of reach .* at most 9\d.\d% of its parameters"):
        shrink(network, 0.999, images)
    with pytest.raises(OptionError, match="a smaller round_to"):
        shrink(network, 0.95, images, round_to=16)


def test_layers_are_kept_dense():
    network, images = made("blocks")
    small, removed = shrink(network, 0.1, images, keep_dense=["body", "head.3"])
    assert not any(name.startswith(("body", "head.3")) for name in removed) and removed
    assert small.body[0].weight.shape == network.body[0].weight.shape
    with pytest.raises(OptionError, match="'bodies' is not a layer of the network: did you mean"):
        shrink(network, 0.4, images, keep_dense=["bodies"])


class Normalised(nn.Module):
    """The only channels that it could lose are averaged over."""

    def __init__(self):
        super().__init__()
        self.one, self.norm, self.two = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x):
        return self.two(self.norm(self.one(x)))


def test_what_cannot_be_pruned_is_refused():
    with pytest.raises(OptionError, match="no channels can be removed from Normalised without changing"):
        shrink(Normalised(), 0.3, draw(2, 6))
    with pytest.raises(OptionError, match="no channels can be removed from Linear"):
        shrink(nn.Linear(6, 4), 0.3, draw(2, 6))
    tied = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    tied[2].weight = tied[0].weight
    with pytest.raises(OptionError, match="no channels can be removed from Sequential"):
        shrink(tied, 0.3, draw(2, 6))
    for sparsity in (0.0, 1.0, -1, float("nan")):
        with pytest.raises(OptionError, match="between 0 and 1"):
            shrink(planted(), sparsity, draw(2, 4))
    with pytest.raises(OptionError, match="round_to"):
        shrink(planted(), 0.3, draw(2, 4), round_to=0)


class Kept(nn.Module):
    """Keeps a tensor with its graph, which cannot be copied."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 4)
        self.scaled = 2 * self.layer.weight

    def forward(self, x):
        return self.layer(x)


class Blind(nn.Module):
    """Its output has no graph to trace."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.two(self.one(x)).detach()


class Untraced(Blind):
    """Runs without gradients only."""

    def forward(self, x):
        assert not torch.is_grad_enabled()
        return super().forward(x)


def test_what_fails_becomes_a_sentence():
    with pytest.raises(OptionError, match=r"the network Kept cannot be copied .*: detach the tensors"):
        shrink(Kept(), 0.3, draw(2, 6))
    with pytest.raises(OptionError, match="no channels can be removed from Blind"):
        shrink(Blind(), 0.3, draw(2, 6))
    with pytest.raises(OptionError, match=r"torch-pruning cannot follow Untraced .*: prune this network with masks"):
        shrink(Untraced(), 0.3, draw(2, 6))
    with pytest.raises(OptionError, match="the network Sequential fails on the example"):
        shrink(planted(), 0.3, draw(2, 5))


@pytest.mark.gpu
def test_shrinking_on_a_gpu():
    network, images = made("datadiet:cnn")
    _, removed = shrink(network, 0.5, images)
    small, on_gpu = shrink(network.cuda(), 0.5, images.cuda())
    assert on_gpu == removed
    assert {value.device.type for value in small.state_dict().values()} == {"cuda"}
