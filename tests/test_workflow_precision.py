"""The precision of a recipe: what it sets while networks run, what it changes, and what the plan says of it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.runtime.hardware import Hardware
from datadiet.training import Recipe


class Watching(nn.Module):
    """A network that keeps, for each forward pass, the two TF32 switches, its mode and the type of its outputs."""

    seen: ClassVar[list[tuple[bool, bool, bool, torch.dtype]]] = []

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        outputs = self.head(x.flatten(1))
        switches = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        self.seen.append((*switches, self.training, outputs.dtype))
        return outputs


def seen_in_training(precision, run):
    """(TF32 switches, type of the outputs), while `run` trains with a recipe."""
    Watching.seen.clear()
    run({"precision": precision, "batch_size": 512})
    return {(products, convolutions, dtype) for products, convolutions, training, dtype in Watching.seen if training}


@pytest.mark.parametrize(
    ("precision", "tf32", "dtype"),
    [
        ("fp32", False, torch.float32),
        ("tf32", True, torch.float32),
        ("bf16", False, torch.bfloat16),
        ("fp16", False, torch.float16),
    ],
)
def test_the_switches_hold_in_training_and_mixed_precision_stays_out_of_passes(precision, tf32, dtype):
    """A session tries its network before anything is set; the last pass of all is the evaluation."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    for run in (
        lambda recipe: dd.train("digits", Watching, epochs=1, recipe=recipe),
        lambda recipe: dd.score("digits", Watching, "aum,loss", epochs=1, recipe=recipe),
    ):
        assert seen_in_training(precision, run) == {(tf32, tf32, dtype)}
        assert Watching.seen[-1] == (tf32, tf32, False, torch.float32)
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_tf32_is_fp32_on_a_processor_and_says_so(caplog):
    caplog.set_level("INFO", logger="datadiet")
    scores = [
        dd.score("digits", "datadiet:mlp", "aum,loss", epochs=2, recipe={"precision": precision}, device="cpu")
        for precision in ("fp32", "tf32")
    ]
    for name in scores[0].columns:
        np.testing.assert_array_equal(scores[0][name], scores[1][name])
    notes = [record.getMessage() for record in caplog.records if "TF32" in record.getMessage()]
    assert notes == ["precision=tf32 has no effect on cpu: only CUDA devices have TF32"]


def test_plans_on_cuda_say_whether_tf32_is_used_and_others_are_as_they_were():
    here, there = (Hardware(device, "model", 1, "2.14").for_plan for device in ("cpu", "cuda"))
    assert "tf32" not in here("tf32")
    assert there()["tf32"] is False and there("tf32")["tf32"] is True


@pytest.mark.parametrize("channels_last", [True, False])
def test_kernels_and_images_have_the_layout_of_the_recipe(channels_last):
    layouts = set()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x):
            layouts.add(x.is_contiguous(memory_format=torch.channels_last))
            layouts.add(self.conv.weight.is_contiguous(memory_format=torch.channels_last))
            return self.head(self.conv(x).mean((2, 3)))

    images = np.random.default_rng(0).integers(0, 255, (24, 3, 8, 8), dtype=np.uint8)
    dd.train((images, np.arange(24) % 2), Net, epochs=1, recipe={"channels_last": channels_last})
    assert layouts == {channels_last}


def test_a_run_begun_before_the_latest_fields_goes_on_and_one_in_another_layout_does_not(tmp_path):
    """The plan of default values is as it was; anything else is another run."""
    dd.score("digits", "datadiet:mlp", "aum", epochs=1, out=tmp_path / "run", device="cpu")
    manifest = (tmp_path / "run" / "manifest.json").read_text()
    assert "channels_last" not in manifest and "tf32" not in manifest
    with pytest.raises(dd.OptionError, match=r"recipe\.channels_last = nothing, and this one has false"):
        dd.score(
            "digits", "datadiet:mlp", "aum", epochs=1, out=tmp_path / "run", device="cpu",
            recipe=Recipe(channels_last=False),
        )  # fmt: skip
