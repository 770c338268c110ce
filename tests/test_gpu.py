"""The CUDA path: `pytest -m gpu` on a machine that has a device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.data import Feed, measure_normalisation, open_data, resident
from datadiet.models import HeadTap, open_model
from datadiet.runtime import settings
from datadiet.signals import Recorder, pending
from datadiet.tasks import Classification
from datadiet.training import Clock, Recipe, Trainer
from datadiet.training.hooks import Hook, Record

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]
FAST = {"batch_size": 128}


def test_scores_agree_with_those_of_the_cpu_from_the_same_checkpoint(tmp_path):
    run = dd.score("digits", "datadiet:mlp", "loss", epochs=2, recipe=FAST, device="cpu", out=tmp_path / "run")
    again = dd.score("digits", "datadiet:mlp", "loss", checkpoints=tmp_path / "run", device="cuda")
    np.testing.assert_allclose(again["loss"], run["loss"], rtol=1e-3, atol=1e-5)


def test_a_training_on_the_device_is_reproducible_and_leaves_the_random_state_alone():
    before = torch.cuda.get_rng_state()
    first, second = (dd.train("digits", "datadiet:mlp", epochs=2, recipe=FAST, device="cuda") for _ in range(2))
    assert torch.equal(torch.cuda.get_rng_state(), before)
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert a.device.type == "cuda" and torch.equal(a, b)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_learns(precision):
    recipe = {**FAST, "precision": precision}
    assert dd.train("digits", "datadiet:mlp", epochs=10, recipe=recipe, device="cuda").accuracy > 0.9


def test_a_recorder_takes_batches_that_live_on_the_device():
    rec = dd.Recorder(n=4)
    rec.update(
        torch.tensor([2, 0], device="cuda"), torch.randn(2, 3, device="cuda"), torch.tensor([0, 1], device="cuda")
    )
    rec.update(
        torch.tensor([1, 3], device="cuda"), torch.randn(2, 3, device="cuda"), torch.tensor([2, 1], device="cuda")
    )
    rec.end_epoch()
    assert rec.finish().array("correct", "train", [1])[1].all()


def images(n=512):
    rng = np.random.default_rng(0)
    return open_data((rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), np.arange(n) % 10))


def image_feed():
    source = images()
    return Feed(source, measure_normalisation(source), torch.device("cuda", 0), "flip,translate:2,crop:2")


class Strict(Hook):
    """From the first step of an epoch to its last, nothing may wait for the device."""

    def after_step(self, trainer):
        inside = trainer.clock.batch < trainer.clock.batches
        torch.cuda.set_sync_debug_mode("error" if inside else "default")


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"optimizer": "adamw", "lr": 0.01}])
def test_no_step_waits_for_the_device(precision, options):
    """Data on the device, augmentation there, and every output signal recorded with the features."""
    feed, recipe = image_feed(), Recipe(batch_size=64, precision=precision, **options)
    model = open_model("datadiet:resnet8", (3, 32, 32), 10).fresh(0).to("cuda", memory_format=torch.channels_last)
    recorder = Recorder(512, signals=Classification(10).signals, sink=lambda epoch, table: None)
    hooks = [Record(recorder, HeadTap(model, feed.first(2)).features), Strict()]
    order = dd.SubsetSampler(512, seed=0)
    try:
        with settings(1, precision):
            Trainer(model, Classification(10), feed, order, recipe, Clock(epochs=3), hooks=hooks).run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert recorder.epoch == 3


def test_data_kept_on_the_device_gives_the_batches_that_are_sent(monkeypatch):
    kept = image_feed()
    assert kept._resident is not None
    monkeypatch.setattr(resident, "_room", lambda device: 0)
    sent = image_feed()
    assert sent._resident is None
    order = np.random.default_rng(0).permutation(512)
    for view in (0, 1, 2):
        for a, b in zip(kept.batches(order, 100, view), sent.batches(order, 100, view), strict=True):
            assert a.inputs.is_cuda and torch.equal(a.inputs, b.inputs) and torch.equal(a.targets, b.targets)


def test_signals_of_many_batches_at_once_are_those_of_each(monkeypatch):
    tables = []
    for numbers in (1, 1 << 25):
        monkeypatch.setattr(pending, "working_set", lambda device, numbers=numbers: numbers)
        scores = dd.score(images(), "datadiet:resnet8", "el2n,aum,forgetting", epochs=2, device="cuda")
        tables.append(scores)
    for name in tables[0].columns:
        np.testing.assert_allclose(tables[0][name], tables[1][name], rtol=1e-5, atol=1e-6)


def test_tf32_is_off_unless_the_recipe_says_so():
    """Products of 1,024 numbers in TF32 differ from full ones in the fourth digit."""
    a, b = (torch.randn(1024, 1024, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    x, kernel = torch.randn(8, 64, 16, 16), torch.randn(64, 64, 3, 3)
    wanted = (a.double() @ b.double()).float(), torch.conv2d(x.double(), kernel.double()).float()
    worst = {}
    for precision in ("fp32", "tf32"):
        with settings(1, precision):
            found = (a.cuda() @ b.cuda()).cpu(), torch.conv2d(x.cuda(), kernel.cuda()).cpu()
        worst[precision] = [
            float((mine - right).abs().max() / right.abs().max()) for mine, right in zip(found, wanted, strict=True)
        ]
    assert max(worst["fp32"]) < 1e-5
    if torch.cuda.get_device_capability() >= (8, 0):
        assert min(worst["tf32"]) > 1e-5


def test_gradients_through_an_embedding_are_the_same_every_time():
    """Rows that occur often are added up in one order."""
    net = torch.nn.Sequential(torch.nn.Embedding(5, 64), torch.nn.Flatten(), torch.nn.Linear(64 * 500, 3)).cuda().eval()
    x, y = torch.randint(0, 5, (64, 500), device="cuda"), torch.arange(64, device="cuda") % 3
    first = dd.grad_norms(net, x, y, per_layer=True)["0"]
    assert all(torch.equal(dd.grad_norms(net, x, y, per_layer=True)["0"], first) for _ in range(5))


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_norms_of_gradients_are_those_of_the_cpu(layout):
    net = open_model("datadiet:resnet8", (3, 32, 32), 10).fresh(0).to(memory_format=layout).eval()
    x, y = torch.randn(64, 3, 32, 32).to(memory_format=layout), torch.arange(64) % 10
    wanted = dd.grad_norms(net, x, y, per_layer=True)
    with settings(1):
        found = dd.grad_norms(net.cuda(), x.cuda(), y.cuda(), per_layer=True)
    for name, norms in wanted.items():
        torch.testing.assert_close(found[name].cpu(), norms, rtol=1e-3, atol=1e-5)
