"""VoG's probe: the input gradients of several checkpoints, reduced while they are there."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from datadiet.errors import DataError, OptionError
from datadiet.scorers.vog import vog
from datadiet.signals.input_gradients import input_gradient_maps, input_gradient_spread


def network():
    return nn.Sequential(
        nn.ReLU(inplace=True), nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.Dropout(0.5), nn.Flatten(), nn.Linear(6 * 5 * 4, 4),
    ).eval()  # fmt: skip


def case(checkpoints=3, batch=7):
    x, y = torch.randn(batch, 3, 5, 4), torch.arange(batch) % 4
    return [network() for _ in range(checkpoints)], x, y


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_golden_a_linear_model_has_its_own_rows():
    # d z_y / d x = row y of the weight. One channel-pair image: weights of channel 0 and 1 are averaged.
    # Pixels: (2 + 4) / 2 = 3 and (-1 + 1) / 2 = 0 for class 0; (0 + 2) / 2 = 1 and (6 + 0) / 2 = 3 for class 1.
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    model[1].weight.data = torch.tensor([[2.0, -1.0, 4.0, 1.0], [0.0, 6.0, 2.0, 0.0]])
    x = torch.randn(2, 2, 1, 2)
    assert input_gradient_maps(model, x, torch.tensor([0, 1])).tolist() == [[[3.0, 0.0]], [[1.0, 3.0]]]
    # A second checkpoint with all weights twice as large: deviations of (3, 6) and (0, 0): 1.5 and 0; mean .75. Class
    # 1: of (1, 2) and (3, 6): .5 and 1.5, mean 1.
    other = copy.deepcopy(model)
    other[1].weight.data *= 2
    assert input_gradient_spread([model, other], x, torch.tensor([0, 1])).tolist() == [0.75, 1.0]


def test_vectors_have_no_channels():
    model = nn.Linear(3, 2).eval()
    maps = input_gradient_maps(model, torch.randn(2, 3), torch.tensor([1, 0]))
    assert torch.equal(maps, model.weight.detach()[[1, 0]])


def test_oracle_one_example_at_a_time():
    (model, *_), x, y = case()
    maps = input_gradient_maps(model, x, y)
    assert maps.shape == (7, 5, 4) and maps.dtype == torch.float32
    for i in range(7):
        one = x[[i]].clone().requires_grad_()
        model(one * 1)[0, y[i]].backward()
        torch.testing.assert_close(maps[i], one.grad[0].mean(0), rtol=1e-5, atol=1e-6)


def test_oracle_two_passes_in_numpy():
    models, x, y = case(checkpoints=4)
    maps = np.stack([input_gradient_maps(model, x, y).numpy() for model in models]).astype(np.float64)
    spread = input_gradient_spread(models, x, y)
    expected = []
    for i in range(7):
        own = maps[:, i].reshape(4, -1)
        mean = sum(own) / 4
        expected.append(np.sqrt(sum((s - mean) ** 2 for s in own) / 4).sum() / 20)
    assert spread.dtype == torch.float32
    np.testing.assert_allclose(spread.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(spread.numpy(), vog(maps), rtol=1e-5)


def test_the_same_for_any_batch():
    models, x, y = case()
    whole = input_gradient_spread(models, x, y)
    order = torch.tensor([6, 0, 3, 5, 1, 2, 4])
    for cuts in ([1] * 7, [3, 4], [6, 1]):
        parts = [input_gradient_spread(models, x[rows], y[rows]) for rows in order.split(cuts)]
        torch.testing.assert_close(torch.cat(parts), whole[order], rtol=1e-5, atol=0)


def test_checkpoints_may_be_loaded_one_after_the_other():
    models, x, y = case()
    one = network()

    def loaded():
        for model in models:
            one.load_state_dict(model.state_dict())
            yield one

    assert torch.equal(input_gradient_spread(loaded(), x, y), input_gradient_spread(models, x, y))


def test_everything_is_left_as_it_was():
    models, x, y = case()
    models[0][1].weight.requires_grad_(False)
    models[1][6].bias.grad = torch.ones(4)
    wanted = [[p.requires_grad for p in model.parameters()] for model in models]
    states, inputs, random = [copy.deepcopy(m.state_dict()) for m in models], x.clone(), torch.get_rng_state()
    with torch.no_grad():
        input_gradient_spread(models, x, y)
    assert [[p.requires_grad for p in model.parameters()] for model in models] == wanted
    for model, state in zip(models, states, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert not any(module.training for module in model.modules())
    assert torch.equal(models[1][6].bias.grad, torch.ones(4)) and models[0][6].bias.grad is None
    assert torch.equal(x, inputs) and not x.requires_grad and torch.equal(torch.get_rng_state(), random)


def test_a_logit_that_does_not_depend_on_the_input_has_gradient_0():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.z = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return self.z.expand(len(x), 2)

    assert (
        input_gradient_maps(Constant().eval(), torch.randn(3, 5), torch.zeros(3, dtype=int)).tolist() == [[0] * 5] * 3
    )


def test_equal_checkpoints_have_no_spread():
    (model, *_), x, y = case()
    assert not input_gradient_spread([model, copy.deepcopy(model)], x, y).any()


def test_one_checkpoint_is_refused():
    (model, *_), x, y = case()
    for models in ([], [model]):
        with pytest.raises(OptionError, match="needs at least 2"):
            input_gradient_spread(models, x, y)


def test_training_mode_and_batch_statistics_are_refused():
    (model, *_), x, y = case()
    model[4].train()
    with pytest.raises(OptionError, match="4 is in training mode"):
        input_gradient_maps(model, x, y)
    model[4].eval()
    model[2] = nn.BatchNorm2d(6, track_running_stats=False).eval()
    with pytest.raises(OptionError, match=r"2 \(BatchNorm2d\) normalises by the statistics of the batch"):
        input_gradient_maps(model, x, y)


@pytest.mark.parametrize("inputs", [torch.zeros(2, 3, 5, 4, dtype=torch.uint8), torch.zeros(4), torch.zeros(2, 0)])
def test_inputs_without_a_gradient_are_refused(inputs):
    with pytest.raises(OptionError, match="give non-empty floating-point"):
        input_gradient_maps(nn.Identity().eval(), inputs, torch.zeros(len(inputs), dtype=torch.int64))


def test_outputs_and_labels_that_do_not_fit_are_refused():
    (model, *_), x, y = case()
    with pytest.raises(OptionError, match="label 4 and 4 logits"):
        input_gradient_maps(model, x, y + 1)
    with pytest.raises(OptionError, match="label -1 and 4 logits"):
        input_gradient_maps(model, x, y - 1)
    with pytest.raises(OptionError, match=r"the labels \(6,\) for 7 examples"):
        input_gradient_maps(model, x, y[:6])
    with pytest.raises(OptionError, match=r"outputs are \(7, 3, 5, 4\)"):
        input_gradient_maps(nn.Identity().eval(), x, y)


def test_what_is_not_finite_is_refused():
    (model, *_), x, y = case()
    model[1].weight.data[0] = torch.nan
    with pytest.raises(DataError, match="row 0 of 7"):
        input_gradient_maps(model, x, y)
