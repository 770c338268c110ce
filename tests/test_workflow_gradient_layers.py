"""Scorers that read gradients: the norms of single layers, and networks with unusual ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.data import measure_normalisation
from datadiet.errors import OptionError
from datadiet.models import load_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_layers_add_up_to_the_whole(assert_close, score_small):
    scores = score_small(None, "grand,self_influence", params={"grand": {"per_layer": True}})
    assert set(scores.names) == {"grand", "grand.1", "grand.3", "self_influence"}
    whole, *layers = (scores[name].astype(float) ** 2 for name in ("grand", "grand.1", "grand.3"))
    assert_close(sum(layers), whole)
    np.testing.assert_array_equal(scores["grand"], score_small(None, "grand")["grand"])
    assert scores.meta["columns"]["grand.3"]["needs"][0]["per_layer"] is True
    assert scores.meta["columns"]["grand.3"]["hardness"] == 1


def test_layers_of_several_seeds_have_their_spread_and_can_be_rescored(tmp_path, assert_close, score_small):
    run, options = tmp_path / "run", {"params": {"grand": {"per_layer": True}}}
    scores = score_small(run, "grand", seeds=2, **options)
    assert {"grand.1.std", "grand.3.std"} <= set(scores.columns) and "grand.3" in scores.meta["stability"]
    again = dd.rescore(run, "grand", save_as="again", **options)
    assert np.array_equal(again["again.3"], scores["grand.3"])
    whole = dd.Signals.open(run, 120).array("grad_norm", "grad@per_layer=True", [2])[0]
    assert_close(scores["grand"], whole[:, 0].mean(axis=0))


class Shifted(nn.Module):
    """A network that holds a parameter itself, as vision transformers do."""

    def __init__(self):
        super().__init__()
        self.shift, self.flat, self.head = nn.Parameter(torch.zeros(10)), nn.Flatten(), nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.flat(x)) + self.shift


def test_parameters_of_the_network_itself_are_a_layer_and_not_the_whole(score_small, some_digits):
    options = {"model": Shifted, "data": some_digits(0, 40)}
    np.testing.assert_allclose(
        score_small(None, "grand", params={"grand": {"per_layer": True}}, **options)["grand"],
        score_small(None, "grand", **options)["grand"],
        rtol=1e-6,
    )


class Odd(nn.Module):
    """A layer that no rule knows: its weight comes in twice."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((16, 16), 0.1))

    def forward(self, x):
        return x @ (self.weight @ self.weight)


def unusual(layer):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), layer(), nn.ReLU(), nn.Linear(16, 10))


def odd():
    return unusual(Odd)


@pytest.mark.parametrize("name", ["grand", "ekfac_self_influence", "grad_dot", "trak"])
def test_a_layer_of_unknown_kind_is_refused_by_name_and_runs_with_the_fallback(
    tmp_path, name, assert_close, score_small, some_digits, stamps, mean_gradient
):
    """The folder keeps what was trained, so that the same command with the fallback goes on."""
    run = tmp_path / "run"
    with pytest.raises(OptionError, match=r'2 \(Odd\) is not known.*fallback="vmap" \(--fallback vmap\)'):
        score_small(run, name, model=odd)
    assert not (run / "scores.parquet").exists() and not list(run.rglob("part-*.npy"))
    trained = stamps(run)
    scores = score_small(run, name, model=odd, fallback="vmap")
    assert stamps(run).items() >= trained.items() and np.isfinite(scores[name]).all()
    if name == "grand":
        net, part = load_checkpoint(odd(), run / "checkpoints/seed-0/epoch-2.safetensors").eval(), some_digits()
        x, y = measure_normalisation(part)(part.take(np.arange(120))), torch.from_numpy(part.labels)
        wanted = [float(mean_gradient(net, x[i : i + 1], y[i : i + 1]).norm()) for i in range(20)]
        assert_close(scores["grand"][:20], np.array(wanted))


class Twice(nn.Bilinear):
    """A layer of two inputs."""

    def __init__(self):
        super().__init__(16, 16, 16)


class Pairs(nn.Module):
    """A network with a layer of two inputs."""

    def __init__(self):
        super().__init__()
        self.flat, self.first, self.pair, self.head = nn.Flatten(), nn.Linear(64, 16), Twice(), nn.Linear(16, 10)

    def forward(self, x):
        h = self.first(self.flat(x))
        return self.head(self.pair(h, h.relu()))


class Recurrent(nn.Module):
    """A network with a layer whose output is no tensor."""

    def __init__(self):
        super().__init__()
        self.rows, self.head = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.rows(x[:, 0])[0][:, -1])


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_layer_of_two_inputs_is_run_with_the_module_around_it(score_small):
    assert np.isfinite(score_small(None, "grand", model=Pairs, fallback="vmap")["grand"]).all()


def test_a_layer_that_the_fallback_cannot_run_is_refused_by_name(tmp_path, score_small):
    with pytest.raises(OptionError, match=r"rows \(GRU\)") as refused:
        score_small(tmp_path / "run", "grand", model=Recurrent, fallback="vmap")
    assert "Pass fallback" not in str(refused.value)  # it was passed
    assert not (tmp_path / "run").exists()


def test_what_needs_no_gradient_per_parameter_takes_any_layer(score_small):
    assert np.isfinite(score_small(None, "vog,knn_shapley,influence", model=odd)["vog"]).all()


def by_batch_1d():
    return unusual(lambda: nn.BatchNorm1d(16, track_running_stats=False))


def by_batch_2d():
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), norm, nn.Flatten(), nn.Linear(144, 10))


@pytest.mark.parametrize("name", ["grand", "vog", "ekfac_self_influence", "grad_dot"])
@pytest.mark.parametrize("model", [by_batch_1d, by_batch_2d])
def test_batch_statistics_are_refused_by_name(tmp_path, name, model, score_small, some_digits):
    """They mix the examples, so no example has a gradient of its own."""
    for fallback in (None, "vmap"):
        with pytest.raises(OptionError, match=r"2 .*normalises by the statistics of the batch"):
            score_small(tmp_path / "run", name, model=model, fallback=fallback, data=some_digits(0, 60))
    assert not (tmp_path / "run/scores.parquet").exists() and not list((tmp_path / "run").rglob("part-*.npy"))


def test_batchnorm_with_running_statistics_is_an_ordinary_layer(score_small):
    scores = score_small(None, "grand,vog,grad_dot,datainf", model=lambda: unusual(lambda: nn.BatchNorm1d(16)))
    assert all(np.isfinite(scores[name]).all() for name in scores.names)
