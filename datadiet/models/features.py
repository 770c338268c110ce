"""Classifiers as encoders: the input of the last layer of a trained network.

The weights come from a checkpoint, from the library's own hub together with their transform, or from a trained network
that the caller passes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datadiet.data.batch import Inputs
from datadiet.errors import DataError, OptionError, first_line, require, unknown_name
from datadiet.models.checkpoint import classes_in, load_checkpoint
from datadiet.models.encoders import Encoder, pooled
from datadiet.models.head import HeadTap
from datadiet.models.narrow import Removed
from datadiet.models.running import call
from datadiet.models.spec import ModelSource, open_model
from datadiet.models.transformer import as_colour

__all__ = ["Features", "pretrained_encoder", "trained_network"]

PRETRAINED = ("timm", "torchvision")


class Features:
    """Batch -> penultimate features of a classifier.

    Args:
        spec: what to call it.
        model: a network in evaluation mode.
        inputs: a small batch, for finding the last layer.
        head: the name of the layer whose input to take; None = the linear layer that gives the output.
        pool: how features of several positions become one vector. None = those of the token that gives the logits, or,
            if there is none, the mean. Refused if there is nothing to pool.

    Attributes:
        layer: the name of the layer whose input it takes; None if it takes the output.
        close: leaves the network as it was.

    Raises:
        OptionError: no such layer, or no linear layer gives the output and the output is not one vector per example.
    """

    def __init__(
        self, spec: str, model: nn.Module, inputs: Inputs, head: str | None = None, pool: str | None = None
    ) -> None:
        self.model, self.pool = model, pool or "mean"
        self._kept: Tensor | None = None
        layers = dict(model.named_modules())
        if head is not None and head not in layers:
            raise OptionError(str(unknown_name(f"layer of {spec}", head, layers)))
        self._of_logits = pool is None  # of the tokens of a text, the one that gives the logits
        self._tap: HeadTap | None = None
        if head is None:
            self._tap = HeadTap(model, inputs)
            self.layer, self.close = self._tap.name, self._tap.close
        else:
            self.layer, self.close = head, layers[head].register_forward_pre_hook(self._keep).remove
        with torch.inference_mode():
            found = self._raw(inputs)
        if self.layer is None and (not isinstance(found, Tensor) or found.ndim != 2):
            raise OptionError(
                f"no linear layer gives the output of {spec}: name the layer whose input is the vector with head= "
                f"(--head NAME), one of {', '.join(name for name in layers if name)}."
            )
        if pool is not None and found.ndim == 2:
            raise OptionError(f"the features of {spec} are one vector each, and pool={pool!r} was given: leave it out.")

    def __call__(self, inputs: Inputs) -> Tensor:
        return pooled(self._raw(inputs), self.pool).float()

    def _raw(self, inputs: Inputs) -> Tensor:
        output = call(self.model, inputs)
        if self.layer is None:
            return output
        if self._tap is not None:
            kept = self._tap.features(output if self._of_logits else None)
        else:
            kept, self._kept = self._kept, None
        if kept is None:
            raise OptionError(f"the layer {self.layer!r} did not run: name another with head= (--head NAME).")
        return kept

    def _keep(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._kept = inputs[0].detach()


def trained_network(
    model: Any,
    checkpoint: str | Path | None,
    shape: tuple[int, ...],
    strip_prefix: str = "",
    removed: tuple[Removed, ...] = (),
) -> tuple[ModelSource, nn.Module]:
    """A network with weights that mean something.

    Args:
        model: see `open_model`.
        checkpoint: the file with its weights, which also give the number of classes. None for a trained network.
        shape: of one input.
        strip_prefix: see `load_checkpoint`.
        removed: the channels that the network of the checkpoint lacks, see `ModelSource`.

    Raises:
        OptionError: a network with random weights, or a trained one with a checkpoint.
        DataError: a checkpoint that does not fit.
    """
    found = open_model(model, shape, 2)
    if found.trained is not None:
        if checkpoint is not None:
            raise OptionError(
                f"{found.spec} is already trained, and checkpoint={str(checkpoint)!r} was given: leave one out."
            )
        return found, found.trained
    if checkpoint is None:
        hub = " or pretrained" if found.spec.partition(":")[0] in PRETRAINED else ""
        raise OptionError(
            f"{found.spec} has random weights, whose features mean little: name trained weights with "
            f"checkpoint=FILE, RUN{hub} (--checkpoint)."
        )

    def fresh(classes: int) -> nn.Module:
        return replace(open_model(model, shape, classes), removed=removed).fresh(0)

    return found, load_checkpoint(fresh(classes_in(checkpoint, fresh, strip_prefix)), checkpoint, strip_prefix)


def pretrained_encoder(spec: str, head: str | None, pool: str | None, device: torch.device) -> Encoder:
    """A classifier of timm or torchvision with the weights of its hub and the transform that belongs to them.

    Args:
        spec: "timm:NAME" or "torchvision:NAME".
        head: see `Features`.
        pool: see `Features`.
        device: where to run it.

    Raises:
        OptionError: another scheme, or a model without pretrained weights.
        DataError: the weights are not on this machine and cannot be downloaded.
    """
    scheme, _, name = spec.partition(":")
    if scheme not in PRETRAINED:
        raise OptionError(f"{spec} has no pretrained weights: name a file or a run with --checkpoint (checkpoint=).")
    open_model(spec, (3, 224, 224), 2)  # refuses an unknown name, with near ones
    try:
        model, transform = (_from_timm if scheme == "timm" else _from_torchvision)(spec, name)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise DataError(
            f"the pretrained weights of {spec} are not here and cannot be downloaded ({first_line(error)}): name a "
            "file with --checkpoint (checkpoint=)."
        ) from None
    model = model.to(device).eval()
    prepare = partial(_prepared, transform=transform, spec=spec, device=device)
    features = Features(spec, model, prepare([np.zeros((3, 64, 64), dtype=np.uint8)] * 2), head, pool)
    about = {"transform": str(transform), "layer": features.layer, "pool": features.pool}
    return Encoder(spec, "images", lambda images: features(prepare(images)), about, model, 64)


def _prepared(images: list[np.ndarray], transform: Callable[[Any], Tensor], spec: str, device: torch.device) -> Tensor:
    from PIL import Image

    opened = [Image.fromarray(np.ascontiguousarray(as_colour(image, spec).transpose(1, 2, 0))) for image in images]
    return torch.stack([transform(image) for image in opened]).to(device)


def _from_timm(spec: str, name: str) -> tuple[nn.Module, Callable[[Any], Tensor]]:
    timm = require("timm", "timm")
    if not timm.is_model_pretrained(name):
        raise OptionError(f"{spec} has no pretrained weights: name a file or a run with --checkpoint (checkpoint=).")
    model = timm.create_model(name, pretrained=True)
    return model, timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)


def _from_torchvision(spec: str, name: str) -> tuple[nn.Module, Callable[[Any], Tensor]]:
    models = require("torchvision.models", "vision")
    weights = models.get_model_weights(name).DEFAULT
    return models.get_model(name, weights=weights), weights.transforms()
