"""HeadTap: finding the last linear layer, and reading its input."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from datadiet.errors import OptionError
from datadiet.models import HeadTap, call, open_model


def mlp(*, bias=True):
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3, bias=bias))


class Reordered(nn.Module):
    """The head is registered first, and another Linear of the same width last."""

    def __init__(self):
        super().__init__()
        self.classifier, self.body, self.gate = nn.Linear(3, 3), nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.classifier(self.gate(self.body(x)))


def test_the_features_are_the_input_of_the_head_in_the_latest_pass():
    model = mlp()
    tap = HeadTap(model, torch.randn(2, 4))
    assert (tap.name, tap.head) == ("2", model[2])
    for _ in range(2):
        x = torch.randn(5, 4)
        model(x)
        torch.testing.assert_close(tap.features(), model[:2](x).detach())
        assert not tap.features().requires_grad


def test_the_head_is_found_by_its_output_not_by_its_place():
    assert HeadTap(Reordered(), torch.randn(2, 4)).name == "classifier"


def test_a_head_without_bias():
    assert HeadTap(mlp(bias=False), torch.randn(2, 4)).name == "2"


@pytest.mark.parametrize("tail", [nn.LogSoftmax(dim=1), nn.Softmax(dim=1), nn.Hardtanh(-0.01, 0.01), nn.LayerNorm(3)])
def test_a_model_that_does_not_end_in_a_linear_layer_has_no_head(tail):
    model = nn.Sequential(mlp(), tail)
    tap = HeadTap(model, torch.randn(2, 4))
    assert (tap.name, tap.head, tap.features()) == (None, None, None)
    tap.close()


def test_a_model_that_returns_something_else_has_no_head():
    class Output(nn.Linear):
        def forward(self, x):
            return {"logits": super().forward(x)}

    assert HeadTap(nn.Sequential(Output(4, 3)), torch.randn(2, 4)).head is None


def test_a_head_that_is_named_is_taken():
    model = nn.Sequential(mlp(), nn.Hardtanh(-0.01, 0.01))
    tap = HeadTap(model, torch.randn(2, 4), head="0.2")
    model(torch.randn(3, 4))
    assert tap.features().shape == (3, 6)
    with pytest.raises(OptionError, match=r"head='1' is not a Linear layer of the model: choose one of 0.0, 0.2"):
        HeadTap(model, torch.randn(2, 4), head="1")


@pytest.mark.parametrize(
    ("library", "name", "head"),
    [("torchvision", "resnet18", "fc"), ("timm", "resnet18", "fc"), ("timm", "vit_tiny_patch16_224", "head")],
)
def test_the_heads_of_known_libraries(library, name, head):
    pytest.importorskip(library, reason=f"{library} is not installed")
    size = 224 if "224" in name else 32
    model = open_model(f"{library}:{name}", (3, size, size), 7).fresh(0)
    tap = HeadTap(model, torch.randn(1, 3, size, size))
    assert tap.name == head and tap.head.out_features == 7


@pytest.mark.parametrize("training", [True, False])
def test_looking_for_the_head_changes_nothing(training):
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 3)).train(training)
    x, before, state = torch.randn(2, 4), {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    tap = HeadTap(model, x)
    assert model.training is training and all(m.training is training for m in model.modules())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    tap.close()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_frozen_part_stays_frozen():
    """Fine-tuning often keeps BatchNorm in evaluation mode while the rest trains."""
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3)).train()
    model[1].eval()
    HeadTap(model, torch.randn(2, 4)).close()
    assert [m.training for m in model] == [True, False, True]


class Tokens(nn.Module):
    """A tiny text classifier as transformers builds them: keyword arguments in, an output with logits."""

    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.embed, self.mix = nn.Embedding(9, 8, padding_idx=0), nn.Linear(8, 8)
        self.pooler, self.dropout = nn.Linear(8, 8), nn.Dropout(0.1)
        self.score = nn.Linear(8, 3, bias=False)

    def forward(self, input_ids, attention_mask):
        hidden = torch.tanh(self.mix(self.embed(input_ids).cumsum(1)))
        if self.kind == "bert":  # the first token, pooled
            return SimpleNamespace(logits=self.score(self.dropout(torch.tanh(self.pooler(hidden[:, 0])))))
        every = self.score(hidden)  # llama: all tokens are scored, and the last one that is not padding is taken
        if self.kind == "llama":
            last = attention_mask.sum(1) - 1
            return SimpleNamespace(logits=every[torch.arange(len(every)), last])
        return SimpleNamespace(logits=every)  # a language model: logits of every token


def texts():
    ids = torch.tensor([[3, 1, 4, 0], [1, 5, 0, 0], [2, 6, 5, 3]])
    return {"input_ids": ids, "attention_mask": (ids != 0).long()}


@pytest.mark.parametrize("kind", ["bert", "llama", "lm"])
def test_the_head_of_a_text_model_is_found_and_its_input_kept(kind):
    model = Tokens(kind)
    tap = HeadTap(model, texts())
    assert tap.name == "score" and model.training
    model.eval()
    logits = call(model, texts())
    features = tap.features(logits)
    assert features.shape == ((3, 4, 8) if kind == "lm" else (3, 8))
    torch.testing.assert_close(features @ model.score.weight.T, logits)
    tap.close()


def test_a_head_whose_output_is_changed_afterwards_is_not_taken_for_the_head():
    class Scaled(Tokens):
        def forward(self, **inputs):
            return SimpleNamespace(logits=2 * super().forward(**inputs).logits)

    tap = HeadTap(Scaled("llama"), texts())
    assert tap.head is None and tap.features(torch.zeros(3, 3)) is None
