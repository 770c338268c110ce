"""Which weights are kept: exact numbers, floors, ties, and shares of layers."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations

import datadiet as dd
from datadiet.errors import DataError, OptionError
from datadiet.sparsity import PRUNING, read_sparsify
from datadiet.sparsity.allocation import check_sparsity, floors, kept_of, largest_everywhere, largest_in_each, shares
from datadiet.sparsity.global_magnitude import global_magnitude
from datadiet.sparsity.n_m import n_m
from datadiet.sparsity.prunable import prunable
from datadiet.sparsity.random_weights import random_weights
from datadiet.sparsity.spec import Context
from datadiet.workflow.fitting.axes import Axes

SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=4)


def layers(sizes: list[int], seed: int = 0, values: int = 4) -> dict[str, torch.Tensor]:
    """Layers of one row each, with many equal values."""
    rng = np.random.default_rng(seed)
    return {f"l{i}": torch.from_numpy(rng.integers(0, values, (1, n)).astype(np.float32)) for i, n in enumerate(sizes)}


def total(kept: dict[str, torch.Tensor]) -> int:
    return sum(int(mask.sum()) for mask in kept.values())


@settings(deadline=None)
@given(SIZES, st.integers(0, 99), st.data())
def test_the_largest_with_floors_have_the_largest_sum(sizes: list[int], seed: int, data: Any) -> None:
    """Among all ways to keep k weights that respect the floors, by trying all numbers for each layer."""
    scores = layers(sizes, seed)
    least = {name: data.draw(st.integers(0, len(one[0]))) for name, one in scores.items()}
    k = data.draw(st.integers(sum(least.values()), sum(sizes)))
    kept = largest_everywhere(scores, k, least)
    assert total(kept) == k and all(int(kept[name].sum()) >= least[name] for name in scores)
    prefix = {name: np.concatenate([[0], np.cumsum(np.sort(one[0].numpy())[::-1])]) for name, one in scores.items()}
    every = itertools.product(*(range(least[name], len(one[0]) + 1) for name, one in scores.items()))
    best = max(sum(prefix[n][c] for n, c in zip(scores, counts, strict=True)) for counts in every if sum(counts) == k)
    assert sum(float(scores[name][mask].sum()) for name, mask in kept.items()) == best


def test_equal_scores_are_kept_in_the_order_of_the_network() -> None:
    scores = {"a": torch.ones(2, 2), "b": torch.tensor([[2.0, 1.0]])}
    kept = largest_everywhere(scores, 3, {"a": 0, "b": 0})
    assert kept["a"].tolist() == [[True, True], [False, False]] and kept["b"].tolist() == [[True, False]]
    assert largest_in_each(scores, {"a": 1, "b": 1})["a"].tolist() == [[True, False], [False, False]]


def test_a_floor_by_hand() -> None:
    """Of 8 weights 4 stay. Without floors all of `a`; with two each, the two largest of both."""
    scores = {"a": torch.tensor([[5.0, -6.0, 7.0, 8.0]]), "b": torch.tensor([[1.0, 2.0, -4.0, 3.0]])}
    assert global_magnitude(scores, 0.5, min_per_layer=0)["b"].sum() == 0
    kept = global_magnitude(scores, 0.5, min_per_layer=2)
    assert kept["a"].tolist() == [[False, False, True, True]] and kept["b"].tolist() == [[False, False, True, True]]
    assert global_magnitude(scores, 0.5, min_per_layer=0.125)["b"].tolist() == [[False, False, True, False]]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)), min_size=1, max_size=5), st.data())
def test_shares_by_shape_are_those_of_a_bisection(dims: list[tuple[int, int, int]], data: Any) -> None:
    """min(n, scale * density * n) with the scale found by bisection; whole numbers are within one of it."""
    weights = {f"l{i}": torch.empty(out, into, kernel) for i, (out, into, kernel) in enumerate(dims)}
    sizes = np.array([w.numel() for w in weights.values()])
    k = data.draw(st.integers(len(dims), int(sizes.sum())))
    for by in ("uniform", "er", "erk"):
        ratio = np.array(
            [1.0 if by == "uniform" else sum(d) / np.prod(d) for d in ((d if by == "erk" else d[:2]) for d in dims)]
        )
        low, high = 0.0, 1e6
        for _ in range(200):
            scale = (low + high) / 2
            low, high = (scale, high) if np.minimum(sizes, scale * ratio * sizes).sum() < k else (low, scale)
        wanted = np.minimum(sizes, low * ratio * sizes)
        found = np.array([*shares(weights, k, by).values()])  # type: ignore[arg-type]
        assert found.sum() == k and (found >= 1).all() and (found <= sizes).all()
        if (wanted >= 1).all():
            assert (np.abs(found - wanted) <= 1 + 1e-6).all()


def test_groups_of_n_of_m_by_hand() -> None:
    weight = torch.tensor([[[[1.0, -3.0]], [[2.0, 0.5]]], [[[0.0, 0.0]], [[0.0, 0.0]]]])  # (2, 2, 1, 2)
    kept = n_m({"w": weight}, 0.5)["w"]
    assert kept.view(2, 4).int().tolist() == [[0, 1, 1, 0], [1, 1, 0, 0]]
    assert n_m({"w": weight}, 0.9)["w"].view(2, 4).sum(1).tolist() == [1, 1]  # never none
    assert n_m({"w": weight}, 0.25)["w"].view(2, 4).sum(1).tolist() == [3, 3]
    assert n_m({"w": torch.randn(3, 7)}, 0.5, m=3)["w"].sum(1).tolist() == [5, 5, 5]  # 2 of 3, 2 of 3, 1 of 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("n_m:0.9", "sparsity=0.9 leaves no whole number of every m=4 weights: give 0.75, or a larger m, such as m=10"),
        ("n_m:60%", "give 0.5 or 0.75, or a larger m, such as m=5"),
        ("n_m:0.05", "give 0.25, or a larger m, such as m=20"),
        ("n_m:0.618", r"give 0.5 or 0.75, or a larger m\."),
        ("wanda:0.9,m=4", "give 0.75, or a larger m"),
    ],
)
def test_a_pattern_has_the_sparsity_that_a_user_gives_or_none(text: str, said: str) -> None:
    name, _, rest = text.partition(":")
    given: dict[str, Any] = {"m": 4} if "m=" in rest else {}
    with pytest.raises(OptionError, match=said):
        read_sparsify(text)
    with pytest.raises(OptionError, match=said):
        dd.sparsify(nn.Linear(8, 8), name, rest.split(",")[0], **given)
    with pytest.raises(OptionError, match=said):
        Axes({"sparsity": [0, rest.split(",")[0]]}, {"sparsify": ":".join(filter(None, [name, *rest.split(",")[1:]]))})


def test_patterns_that_fit_and_the_sparsities_that_a_pace_passes_through() -> None:
    for text in ("n_m:0.5", "n_m:75%", "n_m:0.333,m=3", "n_m:0.667,m=3", "n_m:0.9,m=10", "wanda:0.9", "wanda:0.5,m=2"):
        read_sparsify(text)
    weights, (spec, given) = {"w": torch.randn(2, 8)}, read_sparsify("n_m:0.75")
    kept = [
        spec.keep(weights, given | {"sparsity": sparsity}, Context(nn.Identity()))["w"].sum()
        for sparsity in (0.05, 0.3, 0.6, 0.75)
    ]
    assert kept == [16, 12, 8, 4]


def test_ways_to_write_a_sparsity() -> None:
    written = ("global_magnitude:0.9", "global_magnitude:90%", "global_magnitude:min_per_layer=2,sparsity=90%")
    assert [read_sparsify(text)[1]["sparsity"] for text in written] == [0.9] * 3
    assert check_sparsity("12.3%") == 0.123 and dd.sparsify(nn.Linear(10, 10), sparsity="90%").counts() == (10, 100)
    assert [one.sparsity for one in Axes({"sparsity": ["0%", "80%", 0.5]}, {}).values()] == [0.0, 0.8, 0.5]
    for wrong in ("90", "-5%", "100%", "0%", "ten%", "%"):
        with pytest.raises(OptionError, match="the share of the weights to prune"):
            read_sparsify(f"global_magnitude:{wrong}")
    for spec in ("global_magnitude:0.8", "global_magnitude:80%,min_per_layer=3"):
        with pytest.raises(OptionError, match=r"sparsify\(model, 'global_magnitude', sparsity=0.8\)"):
            dd.sparsify(nn.Linear(10, 10), spec)


def test_random_weights_are_nested_and_depend_on_the_seed() -> None:
    weights = {"a": torch.zeros(20, 30), "b": torch.zeros(5, 6)}
    few, many = (random_weights(weights, s, layers="uniform", seed=3) for s in (0.9, 0.5))
    assert all((many[name] | ~few[name]).all() for name in weights)
    assert not torch.equal(random_weights(weights, 0.5, seed=4)["a"], random_weights(weights, 0.5, seed=3)["a"])


class Net(nn.Module):
    """An embedding, a convolution, a norm, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.conv = nn.Embedding(7, 4), nn.Conv2d(2, 3, 3)
        self.norm, self.head = nn.BatchNorm2d(3), nn.Linear(4, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(x).mean(1))


@pytest.mark.parametrize("name", [name for name, spec in PRUNING.items() if "batches" not in spec.filled])
def test_every_method_keeps_what_it_promises(name: str) -> None:
    torch.manual_seed(0)
    model, spec = Net(), PRUNING[name]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = torch.get_rng_state()
    for sparsity in (0.1, 0.5, 0.75):
        kept = spec.fn(prunable(model), sparsity)
        assert [*kept] == ["conv.weight", "head.weight"]
        assert all(mask.dtype == torch.bool and mask.shape == before[key].shape for key, mask in kept.items())
        if spec.exact:
            assert total(kept) == int(82 * (1 - sparsity) + 0.5)
        again = spec.fn(prunable(model), sparsity)
        assert all(torch.equal(kept[key], again[key]) for key in kept)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", [name for name, spec in PRUNING.items() if "batches" not in spec.filled])
def test_shuffled_masks_keep_the_numbers_of_each_layer(name: str) -> None:
    torch.manual_seed(0)
    ordered, drawn = Net(), Net()
    drawn.load_state_dict(ordered.state_dict())
    one, other = dd.sparsify(ordered, name, 0.5), dd.sparsify(drawn, name, 0.5, shuffle=True, seed=1)
    assert one.layers() == other.layers() and not torch.equal(one["conv.weight"], other["conv.weight"])


def test_what_counts() -> None:
    model = Net()
    assert [*prunable(model, embeddings=True)] == ["table.weight", "conv.weight", "head.weight"]
    assert [*prunable(model, keep_dense=["conv"])] == ["head.weight"] == [*prunable(model, keep_dense="conv.weight")]
    model.head.weight = model.table.weight  # tied, as in language models
    assert [*prunable(model)] == ["conv.weight"]


def sizes(**of: tuple[int, ...]) -> nn.Module:
    """A module with parameters of these names and sizes beside a linear layer."""
    module = nn.Module()
    module.head = nn.Linear(4, 7)
    for name, size in of.items():
        setattr(module, name, nn.Parameter(torch.ones(size)))
    return module


def test_what_is_added_or_looked_up_is_not_a_weight() -> None:
    """Names and sizes are those of networks of torchvision, timm and transformers."""
    embeddings = sizes(
        pos_embed=(1, 17, 8), cls_token=(1, 1, 8), position_embeddings=(1, 17, 8), rel_pos_h=(27, 8), height_rel=(31, 8)
    )
    others = sizes(
        relative_position_bias_table=(169, 3), attention_biases=(4, 49), logit_scale=(3, 1, 1), gamma=(48, 1, 1),
        gain=(16, 1, 1, 1), latent=(1, 5, 8), layer_scale=(8, 2),
    )  # fmt: skip
    matrices = sizes(text_projection=(8, 4), gate_up_proj=(2, 8, 4), w1=(3, 5), kernel_weight=(1, 4), posterior=(3, 4))
    assert [*prunable(embeddings)] == [*prunable(others)] == [*prunable(others, embeddings=True)] == ["head.weight"]
    assert {*prunable(embeddings, embeddings=True)} == {
        "head.weight",
        *dict(embeddings.named_parameters(recurse=False)),
    }
    assert {*prunable(matrices)} == {"head.weight", "text_projection", "gate_up_proj", "w1", "kernel_weight"}
    norms = nn.Sequential(
        nn.LayerNorm([3, 8, 8]), nn.Conv2d(3, 3, 1), nn.RMSNorm([8, 8]), nn.LSTM(8, 5), nn.Bilinear(2, 3, 1)
    )
    assert [*prunable(norms, embeddings=True)] == ["1.weight", "3.weight_ih_l0", "3.weight_hh_l0", "4.weight"]
    attention = nn.MultiheadAttention(8, 2, add_bias_kv=True)
    assert [*prunable(attention)] == ["in_proj_weight", "out_proj.weight"]


def test_a_vision_transformer_keeps_its_positions_and_its_class_token() -> None:
    models = pytest.importorskip("torchvision.models")
    net = models.VisionTransformer(8, 4, 2, 2, 8, 16, num_classes=3)
    left = {name for name, value in net.named_parameters() if value.ndim > 1} - {*prunable(net)}
    assert left == {"class_token", "encoder.pos_embedding"}
    assert left < {*prunable(net, embeddings=True)} and {"conv_proj.weight", "heads.head.weight"} < {*prunable(net)}


WRAPPED = {
    "weight_norm": (parametrizations.weight_norm, "parametrizations.weight.original1"),
    "spectral_norm": (parametrizations.spectral_norm, "parametrizations.weight.original"),
    "both": (lambda layer: parametrizations.spectral_norm(parametrizations.weight_norm(layer)),
             "parametrizations.weight.original1"),
    "old weight_norm": (nn.utils.weight_norm, "weight_v"),
    "old spectral_norm": (nn.utils.spectral_norm, "weight_orig"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv2d(3, 4, 3)], ids=["linear", "convolution"])
@pytest.mark.parametrize("name", WRAPPED)
def test_of_a_weight_that_is_computed_the_part_counts_whose_zeros_are_zeros_of_it(name: str, layer: nn.Module) -> None:
    wrap, counts = WRAPPED[name]
    net = nn.Sequential(wrap(copy.deepcopy(layer))).eval()
    assert [*prunable(net)] == [f"0.{counts}"]
    masks = dd.sparsify(net, "layer_magnitude", 0.5)
    net(torch.ones(1, 3, 5, 5) if isinstance(layer, nn.Conv2d) else torch.ones(1, 6))  # which computes the weight
    (mask,) = masks.values()
    assert (net[0].weight[~mask] == 0).all() and net[0].weight.count_nonzero() == mask.sum()


def test_other_parametrizations_are_left_alone() -> None:
    net = nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 4)), nn.Linear(4, 2))
    assert [*prunable(net)] == ["1.weight"]
    table = parametrizations.weight_norm(nn.Embedding(5, 4))
    assert [*prunable(nn.Sequential(table, nn.Linear(4, 2)))] == ["1.weight"]


def test_what_cannot_be_pruned() -> None:
    model = Net()
    for wrong in (0, 1, 1.5, -0.1, "half", float("nan"), True):
        with pytest.raises(OptionError, match="the share of the weights to prune"):
            dd.sparsify(model, sparsity=wrong)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="'hed' is not a layer to keep dense"):
        dd.sparsify(model, keep_dense=["hed"])
    with pytest.raises(OptionError, match="no weights to prune"):
        dd.sparsify(nn.BatchNorm1d(3))
    with pytest.raises(OptionError, match="each of 2 layers keeps its minimum"):
        dd.sparsify(model, sparsity=0.9, min_per_layer=20)
    with pytest.raises(OptionError, match=r"min_per_layer=1.5"):
        dd.sparsify(model, min_per_layer=1.5)
    with pytest.raises(OptionError, match="leaves none of the 82 weights"):
        dd.sparsify(model, sparsity=0.999)
    with pytest.raises(OptionError, match="'magnitude' is not a pruning method: did you mean"):
        dd.sparsify(model, "magnitude")
    with pytest.raises(OptionError, match="parameter of n_m"):
        dd.sparsify(model, "n_m", 0.5, n=2)
    model.head.weight.data[0, 0] = float("nan")
    for name in ("global_magnitude", "layer_magnitude", "n_m"):
        with pytest.raises(DataError, match=r"head.weight has weights"):
            dd.sparsify(model, name, 0.5)


def test_numbers_of_a_network() -> None:
    weights = {"a": torch.empty(3, 5), "b": torch.empty(1, 2)}
    assert kept_of(weights, 0.9) == 2 and kept_of(weights, 0.5) == 9  # 1.7 and 8.5, half up
    assert floors(weights, 4) == {"a": 4, "b": 2} and floors(weights, 0.1) == {"a": 2, "b": 2}
