"""The recipe: how a network is trained, the same for scoring and for training on a selection."""

from __future__ import annotations

import math
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from datadiet.errors import OptionError, unknown_name

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Recipe", "lr_factor"]

# Fields that plans of format 2 did not have at first: runs without them go on.
_LATEST = ("compile", "channels_last", "clip_norm", "ema")


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        optimizer: "sgd" (Nesterov) or "adamw".
        lr: the highest learning rate of the schedule; AdamW needs about 0.001.
        momentum: of SGD; AdamW uses (0.9, 0.999).
        weight_decay: on weights of two or more dimensions; biases and norms are left out.
        batch_size: most examples per step, over all ranks; an epoch is split into ceil(k / batch_size) even batches.
        accumulate: how many parts a batch is passed through the network in, one after the other, to save memory; their
            gradients add up to that of the whole. Batch normalisation sees the parts.
        schedule: "onecycle", "cosine" or "constant", always over the steps actually taken.
        warmup: share of the steps in which the rate of "onecycle" rises linearly.
        augment: such as "flip,translate:2" or "none"; "auto" flips and shifts colour images of 24 pixels or more and
            leaves everything else alone (a mirrored digit is another digit).
        integers: what whole numbers are that are not images: "tokens" stay whole numbers, for a network that embeds
            them; "numbers" are standardised, as features are.
        label_smoothing: in [0, 1).
        clip_norm: the largest norm of the gradient of all weights in a step; a longer one is scaled down. 0 = no limit.
        ema: decay of the exponential moving average of the weights, which becomes the trained network and its
            checkpoints, such as 0.999; see `datadiet.training.average`. 0 = no average.
        precision: "fp32"; "tf32": TF32 matrix products and convolutions on CUDA, in training and in passes (elsewhere
            the same as "fp32"); "bf16", "fp16": mixed precision in training only; passes stay in "fp32". "fp16" waits
            for the device at every step, "bf16" does not.
        compile: whether training uses torch.compile (passes do not). Compiling takes seconds to minutes at the first
            step of each seed; results agree up to rounding, and checkpoints have the same format.
        channels_last: whether images and convolution weights use the channels-last memory format, in which most
            convolutions are faster; volumes keep theirs.
        workers: loader processes for data that is too big to hold decoded.
        threads: of the CPU; 0 = torch's default, but one for inputs of at most 1024 numbers. The last digits of results
            depend on it.
        augment_seed: of the augmented views, independent of the training seed, so that runs with several seeds and a
            cached teacher see the same views.
        views: how many augmented views alternate; 0 = a new one every epoch.
    """

    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 128
    accumulate: int = 1
    schedule: Literal["onecycle", "cosine", "constant"] = "onecycle"
    warmup: float = 0.25
    augment: str = "auto"
    integers: Literal["tokens", "numbers"] = "tokens"
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    ema: float = 0.0
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    compile: bool = False
    channels_last: bool = True
    workers: int = 0
    threads: int = 0
    augment_seed: int = 0
    views: int = 0

    def __post_init__(self) -> None:
        for name, hint in typing.get_type_hints(type(self)).items():
            choices = typing.get_args(hint)
            value = getattr(self, name)
            if hint is int and (not isinstance(value, int) or isinstance(value, bool)):
                raise OptionError(f"recipe.{name}={value!r} is not a whole number: give one.")
            if hint is bool and not isinstance(value, bool):
                raise OptionError(f"recipe.{name}={value!r}: give true or false.")
            if choices and value not in choices:
                raise OptionError(f"recipe.{name}={value!r}: choose one of {', '.join(choices)}.")
            if hint is str and not isinstance(value, str):
                raise OptionError(f"recipe.{name}={value!r} is not a string: give one.")
            if hint is float and not isinstance(value, float):
                object.__setattr__(self, name, float(value))
        ranges = {
            "lr > 0": 0 < self.lr < float("inf"),
            "momentum in [0, 1)": 0 <= self.momentum < 1,
            "weight_decay >= 0": 0 <= self.weight_decay < float("inf"),
            "batch_size >= 1": self.batch_size >= 1,
            "accumulate >= 1": self.accumulate >= 1,
            "warmup in [0, 1)": 0 <= self.warmup < 1,
            "label_smoothing in [0, 1)": 0 <= self.label_smoothing < 1,
            "clip_norm >= 0": 0 <= self.clip_norm < float("inf"),
            "ema in [0, 1)": 0 <= self.ema < 1,
            "augment_seed >= 0": self.augment_seed >= 0,
            "views >= 0": self.views >= 0,
            "workers >= 0": self.workers >= 0,
            "threads >= 0": self.threads >= 0,
        }
        for need, met in ranges.items():
            if not met:
                name = need.split()[0]
                raise OptionError(f"recipe.{name}={getattr(self, name)!r}: a recipe needs {need}.")

    def with_options(self, options: Mapping[str, Any]) -> Recipe:
        """A copy with some fields replaced; strings are read as numbers if the field is one.

        >>> Recipe().with_options({"lr": "0.2", "batch_size": "64"}).batch_size
        64
        """
        hints = typing.get_type_hints(type(self))
        changes: dict[str, Any] = {}
        for name, value in options.items():
            if name not in hints:
                raise unknown_name("recipe option", name, hints)
            if hints[name] is bool:
                changes[name] = {"true": True, "false": False}.get(str(value).lower(), value)
                continue
            kind = hints[name] if hints[name] in (int, float, str) else str
            try:
                changes[name] = kind(value) if isinstance(value, str) or kind is float else value
            except (TypeError, ValueError):
                raise OptionError(f"recipe.{name}={value!r} is not a number: give one.") from None
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """The fields."""
        return asdict(self)

    def as_plan(self) -> dict[str, Any]:
        """The fields that determine bytes. The latest ones are left out where they say what was always done."""
        usual = Recipe()
        left_out = {"workers", *(name for name in _LATEST if getattr(self, name) == getattr(usual, name))}
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer, with weight decay on matrices and kernels only."""
        import torch

        trained = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": self.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        if self.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=self.momentum > 0)
        return torch.optim.AdamW(groups, lr=self.lr)


def lr_factor(schedule: str, step: int, total: int, warmup: float = 0.25) -> float:
    """The learning rate as a fraction of the highest one, for step 0..total-1.

    The curve spans the steps actually taken. RS2 or a small subset compresses it, so that the rate reaches its end
    within the reduced number of steps, as the RS2 paper prescribes (Okanovic et al. 2024, arXiv 2305.18424): cosine
    over rounds x ceil(k / B) steps.

    Args:
        schedule: "onecycle": a linear rise from 1/25 over the first `warmup` share, then half a cosine to 0;
            "cosine": half a cosine to 0; "constant": 1.
        step: the step about to be taken.
        total: all steps of the training.
        warmup: the rise of "onecycle", in [0, 1).

    >>> [round(lr_factor("cosine", step, 4), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    if not 0 <= step < total:
        raise OptionError(f"step {step} is outside the schedule of {total} steps.")
    if schedule == "constant":
        return 1.0
    rise = warmup * total if schedule == "onecycle" else 0.0
    if step < rise:
        return 1 / 25 + (1 - 1 / 25) * step / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / (total - rise)))
