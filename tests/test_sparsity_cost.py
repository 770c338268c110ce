"""What a network costs: counts against counts by hand, and a latency that is measured."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.models import open_model
from datadiet.sparsity import cost
from datadiet.sparsity.cost import ModelCost, cost_of, costs_of, latencies


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(cost, "_ROUNDS", (2, 2))


def conv(groups=1):
    """8 channels to 12, 3x3 on 5x5 images, stride 2: 3x3 places."""
    return nn.Sequential(nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=groups), nn.ReLU(), nn.Flatten())


class Products(nn.Module):
    """A linear layer by its function, and a product of two activations."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(7, 6))

    def forward(self, x):
        y = functional.linear(x, self.weight)  # (B, 5, 6) by (6, 7)
        return (y @ y.transpose(1, 2)).flatten(1)  # (B, 5, 7) by (B, 7, 5)


class Attention(nn.Module):
    """Attention between 2 heads of 3 queries and 4 keys of width 5; values are 6 wide."""

    def forward(self, q, k, v):
        return functional.scaled_dot_product_attention(q, k, v, enable_gqa=True).flatten(1)


BY_HAND = {
    # network, inputs, multiply-adds for one example
    "linear": (nn.Linear(6, 7), torch.ones(2, 6), 6 * 7),
    "linear without bias": (nn.Linear(6, 7, bias=False), torch.ones(2, 6), 6 * 7),
    "linear on tokens": (nn.Linear(6, 7), torch.ones(2, 5, 6), 5 * 6 * 7),
    "convolution": (conv(), torch.ones(2, 8, 5, 5), 9 * 12 * 8 * 9),
    "grouped": (conv(4), torch.ones(2, 8, 5, 5), 9 * 12 * 2 * 9),
    "depthwise": (nn.Conv2d(8, 8, 3, padding=1, groups=8), torch.ones(2, 8, 5, 5), 25 * 8 * 9),
    "1d": (nn.Conv1d(8, 12, 3), torch.ones(2, 8, 6), 4 * 12 * 8 * 3),
    "functional": (Products(), torch.ones(2, 5, 6), 5 * 6 * 7 + 5 * 7 * 5),
    "attention": (Attention(), [torch.ones(3, 2, 3, 5), torch.ones(3, 2, 4, 5), torch.ones(3, 2, 4, 6)],
                  2 * 3 * 4 * (5 + 6)),
    "shared key heads": (Attention(), [torch.ones(3, 2, 3, 5), torch.ones(3, 1, 4, 5), torch.ones(3, 1, 4, 6)],
                         2 * 3 * 4 * (5 + 6)),
    # 3 projections in, 2 products, 1 projection out, 2 layers of the perceptron; 3 tokens of width 8
    "encoder": (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.ones(2, 3, 8),
                4 * 3 * 8 * 8 + 2 * 3 * 3 * 8 + 2 * 3 * 8 * 16),
}  # fmt: skip


@pytest.mark.parametrize("case", BY_HAND)
def test_multiply_adds_are_those_counted_by_hand(case):
    model, inputs, macs = BY_HAND[case]
    assert cost_of(model, inputs).macs == macs
    with torch.inference_mode():
        assert cost_of(model.eval(), inputs).macs == macs


def test_the_multiply_adds_of_a_vision_transformer():
    timm = pytest.importorskip("timm", reason="the extra timm is not installed")
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=10)
    # 4 patches and a token of the class: 5 tokens of width 192, 3 heads of 64
    layer = 5 * 192 * (3 * 192) + 2 * 5 * 5 * 192 + 5 * 192 * 192 + 2 * 5 * 192 * 768
    assert cost_of(model, torch.ones(2, 3, 32, 32)).macs == 4 * 192 * 3 * 16 * 16 + 2 * layer + 192 * 10


def test_keyword_inputs_and_outputs_of_transformers():
    library = pytest.importorskip("transformers", reason="the extra transformers is not installed")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    model = library.BertForSequenceClassification(library.BertConfig(vocab_size=50, **sizes))
    ids = torch.arange(21).view(3, 7)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    layer = 4 * 7 * 32 * 32 + 2 * 7 * 7 * 32 + 2 * 7 * 32 * 64
    found = cost_of(model, Batch(inputs, ids[:, 0], ids[:, 0]))
    assert found.macs == 2 * layer + 32 * 32 + 32 * 2
    assert found.batch_size == 3


def test_parameters_and_those_that_are_not_zero():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))  # 15 and 8 parameters, 12 and 6 products
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        model[0].weight[:2] = 0  # a third of the weights is left
        model[2].bias.zero_()  # which no product has
    found = cost_of(model, torch.ones(5, 4))
    assert (found.parameters, found.nonzero, found.macs, found.sparse_macs) == (23, 13, 18, 10)


def test_masks_count_without_being_applied():
    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False))
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[0, :2] = True
    found = cost_of(model, torch.ones(5, 4), masks={"0.weight": mask})
    assert (found.parameters, found.nonzero, found.macs, found.sparse_macs) == (18, 8, 18, 8)
    assert cost_of(model, torch.ones(5, 4)).nonzero == 18


def test_a_weight_that_a_function_uses_counts_by_its_density():
    model = Products()
    with torch.no_grad():
        model.weight[:, :3] = 0
    found = cost_of(model, torch.ones(2, 5, 6))
    assert (found.macs, found.sparse_macs) == (210 + 175, 105 + 175)
    attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    with torch.no_grad():
        attention.self_attn.in_proj_weight[:12] = 0
    found = cost_of(attention, torch.ones(2, 3, 8))
    assert found.macs - found.sparse_macs == 3 * 3 * 8 * 8 // 2


def test_a_shared_weight_counts_once_as_parameter_and_each_time_it_multiplies():
    layer = nn.Linear(4, 4, bias=False)
    model = nn.Sequential(layer, nn.Linear(4, 4, bias=False), layer)
    model[1].weight = layer.weight
    found = cost_of(model, torch.ones(2, 4))
    assert (found.parameters, found.nonzero, found.macs) == (16, 16, 48)


def test_masks_of_another_network_are_refused():
    model, inputs = nn.Linear(4, 3), torch.ones(2, 4)
    with pytest.raises(OptionError, match=r"'weigth' is not a parameter of the network: did you mean 'weight'"):
        cost_of(model, inputs, masks={"weigth": torch.ones(3, 4, dtype=torch.bool)})
    with pytest.raises(OptionError, match=r"'weight' has shape \(4, 3\), and the parameter \(3, 4\)"):
        cost_of(model, inputs, masks={"weight": torch.ones(4, 3, dtype=torch.bool)})
    with pytest.raises(OptionError, match="give a batch of at least one"):
        cost_of(model, inputs[:0])


def test_the_network_and_the_random_state_are_left_as_they_were():
    model = open_model("datadiet:cnn", (3, 16, 16), 4).fresh(0)
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    state, fast = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    cost_of(model, torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.backends.mha.get_fastpath_enabled() is fast


class Sleeping(nn.Module):
    """Takes its time, and notes who ran."""

    def __init__(self, name, seconds, ran):
        super().__init__()
        self.name, self.seconds, self.ran = name, seconds, ran

    def forward(self, x):
        assert not self.training and torch.is_inference_mode_enabled()
        self.ran.append(self.name)
        time.sleep(self.seconds)
        return x


def test_latencies_are_measured_in_turn():
    ran = []
    quick, slow = latencies([Sleeping("a", 0.0, ran), Sleeping("b", 0.02, ran)], torch.ones(1, 2), seconds=0.0)
    assert ran == ["a"] * 3 + ["b"] * 3 + ["a", "b"] * 2  # after the warm-up
    assert 20 <= slow < 500
    assert quick < slow


class Device:
    """A device that returns from calls at once, with a clock that runs only while someone waits for it."""

    def __init__(self, durations):
        self.durations, self.queue, self.now = iter(durations), [], 0.0

    def run(self, x):
        self.queue.append(next(self.durations))
        return x

    def finish(self, device):
        self.now += sum(self.queue)
        self.queue.clear()


def test_a_latency_is_a_median_and_waits_for_the_device(monkeypatch):
    device = Device([100.0, 100.0, 100.0, 9.0, 1.0, 2.0])  # the warm-up, and three calls
    model = nn.Identity()
    monkeypatch.setattr(model, "forward", device.run)
    monkeypatch.setattr(cost, "_ROUNDS", (3, 3))
    monkeypatch.setattr(cost, "_finish", device.finish)
    monkeypatch.setattr(cost, "time", SimpleNamespace(perf_counter=lambda: device.now))
    assert latencies([model], torch.ones(1)) == [2000.0]


def test_several_networks_have_a_cost_each():
    small, large = costs_of(
        [nn.Linear(4, 2), nn.Linear(4, 3)], torch.ones(2, 4), masks=[{"bias": torch.zeros(2, dtype=torch.bool)}, None]
    )
    assert (small.parameters, small.nonzero, large.parameters, large.macs) == (10, 8, 15, 12)
    assert small.latency > 0


def test_a_cost_is_a_line_and_a_dict():
    found = ModelCost(26_122, 26_122, 556_400_000, 556_400_001, 0.5, 1)
    assert str(found) == "26,100 parameters, 556 M multiply-adds, 0.5 ms for a batch of 1"
    assert found.as_dict()["latency"] == 0.5
    assert set(found.as_dict()) == {"parameters", "nonzero", "macs", "sparse_macs", "latency", "batch_size"}
    assert str(ModelCost(999_999, 3, 12, 0, 1234.5, 8)).startswith("1 M parameters (3 not zero), 12 multiply-adds (0 ")


@pytest.mark.gpu
def test_costs_on_a_gpu():
    model = open_model("datadiet:resnet20", (3, 32, 32), 10).fresh(0)
    on_cpu = cost_of(model, torch.ones(4, 3, 32, 32))
    found = cost_of(model.cuda(), torch.ones(4, 3, 32, 32, device="cuda"))
    assert (found.macs, found.nonzero) == (on_cpu.macs, on_cpu.nonzero)
    assert found.latency > 0
