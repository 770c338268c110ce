"""recipe.compile: the same training through torch.compile, with the checkpoints, recordings and passes of any other."""

from __future__ import annotations

import re
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import datadiet as dd
from datadiet.errors import OptionError
from datadiet.training import Recipe

RECIPE = {"batch_size": 300}  # of 1,438 examples: batches of 288 and of 287
ASKED = {"scorers": "aum,grand_last,el2n", "epochs": 2, "params": {"grand_last": {"mode": "train"}}}


@pytest.fixture
def traced(monkeypatch):
    """torch.compile as far as tracing: no compiler is needed, and each graph that it makes is listed with its calls."""
    graphs, compile = [], torch.compile

    def backend(graph, examples):
        calls = []
        graphs.append(calls)

        def run(*args):
            calls.append(torch.is_grad_enabled())
            return graph(*args)

        return run

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(compile, backend=backend))
    yield graphs
    torch._dynamo.reset()


def test_bits_checkpoints_and_names_are_those_of_a_training_without_it(traced, tmp_path, caplog):
    caplog.set_level("INFO", logger="datadiet")
    plain = dd.score("digits", "datadiet:mlp", **ASKED, recipe=RECIPE, out=tmp_path / "plain")
    mine = dd.score("digits", "datadiet:mlp", **ASKED, recipe={**RECIPE, "compile": True}, out=tmp_path / "compiled")
    for name in plain.columns:
        np.testing.assert_array_equal(plain[name], mine[name])
    files = [tmp_path / run / "checkpoints" / "seed-0" / "epoch-2.safetensors" for run in ("plain", "compiled")]
    weights = [load_file(file) for file in files]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    notes = [r.getMessage() for r in caplog.records if "compiling" in r.getMessage()]
    assert len(notes) == 1 and re.fullmatch(r"compiling the network took \d+ s", notes[0])


def test_one_graph_serves_all_sizes_of_a_batch_and_passes_do_not_go_through_it(traced):
    dd.score("digits", "datadiet:mlp", **ASKED, recipe={**RECIPE, "compile": True})
    assert traced == [[True] * 10]  # 5 batches in each of 2 epochs


def test_dropout_and_running_statistics_are_as_without_it(traced):
    """The trained network that comes back is the user's own."""

    def network():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Dropout(), nn.Linear(32, 10))

    states = []
    for compile in (False, True):
        result = dd.train("digits", network, epochs=2, recipe={**RECIPE, "compile": compile})
        states.append(result.model.state_dict())
        assert type(result.model) is nn.Sequential
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_cannot_be_compiled_is_one_sentence(monkeypatch):
    def broken(graph, examples):
        raise RuntimeError("no compiler\nand a long story")

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    with pytest.raises(
        OptionError, match=r"torch\.compile failed \(.*\): install a C\+\+ compiler .* or leave compile out"
    ):
        dd.train("digits", "datadiet:mlp", epochs=1, recipe={"compile": True})
    torch._dynamo.reset()


def test_what_the_network_itself_raises_stays_its_own(traced):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, x):
            if self.training:
                raise RuntimeError("mine")
            return self.layer(x.flatten(1))

    with pytest.raises(OptionError, match=r"the network Broken fails on a batch \(.*mine"):
        dd.train("digits", Broken, epochs=1, recipe={"compile": True})


def test_it_is_off_by_default_and_in_the_plan_if_it_is_on():
    assert not Recipe().compile and "compile" not in Recipe().as_plan()
    assert Recipe(compile=True).as_plan()["compile"] is True


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler here")
def test_kernels_of_its_own_agree_up_to_rounding():
    images = np.random.default_rng(0).integers(0, 256, (90, 3, 12, 12), dtype=np.uint8)
    results = [
        dd.score(
            (images, np.arange(90) % 3), "datadiet:resnet8", "aum,el2n", epochs=2,
            recipe={"batch_size": 40, "lr": 0.01, "compile": compile},
        )
        for compile in (False, True)
    ]  # fmt: skip
    for name in results[0].columns:
        np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-3, atol=1e-4)
