"""Model specs: what they open, what they refuse, and seeds."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch
from torch import nn

from datadiet.errors import DataError, MissingExtra, OptionError
from datadiet.models import open_model

SHAPE = (3, 32, 32)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("datadiet:resnet9", "'resnet9' is not a network of datadiet: did you mean 'resnet8'"),
        ("datadiet:nothing-like-it", "there are cnn, mlp, resnet20, resnet8"),
        ("cnn", "'cnn' has no scheme: write datadiet:cnn, timm:cnn, torchvision:cnn"),
        ("datadiet:", "does not name a network: write datadiet:NAME"),
        ("datadeit:cnn", "'datadeit' is not a model scheme: did you mean 'datadiet'"),
        (7, "7 is not a model"),
        (None, "None is not a model"),
        ("py:nosuchmodule:make", "nosuchmodule cannot be imported"),
        ("py:torch.nn:Linaer", "torch.nn has no 'Linaer'"),
        ("py:torch", "does not name an object: write py:module:attr"),
        ("py:torch:__version__", "is a .*: it must be a network, or a function that makes one"),
        ("py:nosuchfile.py:make", "there is no file nosuchfile.py"),
    ],
)
def test_a_spec_that_cannot_be_opened_gets_one_sentence(spec, words):
    with pytest.raises(OptionError, match=words):
        open_model(spec, SHAPE, 10)


def test_image_networks_refuse_vectors():
    with pytest.raises(OptionError, match=r"shape \(64,\): use datadiet:mlp"):
        open_model("datadiet:cnn", (64,), 10)


@pytest.mark.parametrize("scheme", ["torchvision", "timm"])
def test_libraries_of_models(scheme):
    pytest.importorskip(scheme, reason=f"the extra of {scheme}: models is not installed")
    model = open_model(f"{scheme}:resnet18", SHAPE, 7).fresh(0)
    assert model.eval()(torch.zeros(1, *SHAPE)).shape == (1, 7)
    with pytest.raises(OptionError, match=r"'resnet81' is not a .* model: did you mean .*resnet18"):
        open_model(f"{scheme}:resnet81", SHAPE, 7)


def test_timm_takes_the_channels_of_the_data():
    pytest.importorskip("timm", reason="the extra timm is not installed")
    assert open_model("timm:resnet18", (1, 32, 32), 3).fresh(0)(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize(("scheme", "module"), [("torchvision", "torchvision.models"), ("timm", "timm")])
def test_a_missing_library_names_its_extra(monkeypatch, scheme, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    extra = {"torchvision": "vision", "timm": "timm"}[scheme]
    with pytest.raises(MissingExtra, match=rf"pip install 'datadiet\[{extra}\]'"):
        open_model(f"{scheme}:resnet18", SHAPE, 7)


FILE = """
from torch import nn

class Family:
    @staticmethod
    def make():
        return nn.Linear(4, 2)

trained = nn.Linear(4, 2)

def not_a_model():
    return [1, 2]
"""


def test_a_python_file(tmp_path):
    (tmp_path / "net.py").write_text(FILE)
    source = open_model(f"py:{tmp_path}/net.py:Family.make", (4,), 2)
    assert isinstance(source.fresh(0), nn.Linear) and source.trained is None
    assert isinstance(open_model(f"py:{tmp_path}/net.py:trained", (4,), 2).trained, nn.Linear)
    with pytest.raises(OptionError, match=r"made a list: it must return a torch.nn.Module"):
        open_model(f"py:{tmp_path}/net.py:not_a_model", (4,), 2).fresh(0)


def test_a_python_module_in_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "my_own_net_of_this_test.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    assert isinstance(open_model("py:my_own_net_of_this_test:Family.make", (4,), 2).fresh(0), nn.Linear)


@pytest.mark.parametrize("make", [lambda: nn.Linear(4, 2), functools.partial(nn.Linear, 4, 2)])
def test_a_callable_makes_fresh_networks(make):
    source = open_model(make, (4,), 2)
    assert source.trained is None and source.fresh(0) is not source.fresh(0)


def test_a_module_is_a_trained_model():
    model = nn.Linear(4, 2)
    source = open_model(model, (4,), 2)
    assert source.trained is model
    with pytest.raises(OptionError, match=r"^an instance of Linear is a trained model, and training needs fresh ones"):
        source.fresh(0)


@pytest.mark.parametrize("spec", ["datadiet:mlp", "datadiet:cnn", lambda: nn.Linear(4, 2)])
def test_a_fresh_network_is_a_function_of_the_seed(spec):
    source = open_model(spec, SHAPE, 10)
    first, again, other = (source.fresh(seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_making_a_network_leaves_the_global_random_state_alone():
    source = open_model("datadiet:cnn", SHAPE, 10)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = source.fresh(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(source.fresh(0)[0].weight, first[0].weight)


@pytest.mark.parametrize("wrapped", [False, True])
def test_sharded_networks_are_refused_with_what_to_do_instead(wrapped):
    sharded = type("FullyShardedDataParallel", (nn.Linear,), {"__module__": "torch.distributed.fsdp.fully_sharded"})
    network = nn.Sequential(sharded(3, 2)) if wrapped else sharded(3, 2)
    for given in (network, lambda: network):
        with pytest.raises(OptionError, match=r"sharded \(FSDP\).*save a full state dict"):
            found = open_model(given, (3,), 2)
            found.fresh(0)


def test_networks_without_some_channels(tmp_path):
    """The full network of a seed, cut twice; the second time the channels count in the narrow one."""
    source = open_model("datadiet:mlp", (1, 8, 8), 10)
    whole = source.fresh(3)
    one, two = {"1": {"out": [0, 2]}, "3": {"in": [0, 2]}}, {"1": {"out": [0]}, "3": {"in": [0]}}
    small = replace(source, removed=(one, two)).fresh(3)
    assert torch.equal(small[1].weight, whole[1].weight[[3, *range(4, 128)]])
    assert torch.equal(small[3].weight, whole[3].weight[:, 3:]) and small[3].in_features == 125
    with pytest.raises(DataError, match=r"not those of datadiet:mlp \('9' is not a layer.*at full width"):
        replace(source, removed=({"9": {"out": [0]}},)).fresh(0)
