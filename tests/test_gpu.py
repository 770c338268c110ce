"""The CUDA path: `pytest -m gpu` on a machine that has a device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import datadiet as dd

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
