"""What a model spec opens: `datadiet:NAME`, `torchvision:NAME`, `timm:NAME`, `py:MODULE:ATTR`, or an object."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from datadiet.attributes import load_attribute, user_code
from datadiet.errors import DataError, OptionError, require, unknown_name
from datadiet.models import networks
from datadiet.models.catalog import check_spec
from datadiet.models.checkpoint import load_checkpoint
from datadiet.models.narrow import Removed, rebuilt
from datadiet.models.running import refuse_lazy, refuse_sharded
from datadiet.randomness import derive

__all__ = ["ModelSource", "open_model"]


@dataclass(frozen=True)
class ModelSource:
    """Where networks come from.

    Attributes:
        spec: how the user named it.
        build: makes a fresh network, or None when `trained` is given.
        trained: a network that is already trained: it can be evaluated, not trained again.
        size: the image size that the family expects, for images that differ in size; None = no preference.
        strip_prefix: what to remove from the names of weights in files; see `load_checkpoint`.
        removed: the channels that its networks lack, in the order in which they were removed.
    """

    spec: str
    build: Callable[[], nn.Module] | None
    trained: nn.Module | None = None
    size: int | None = None
    strip_prefix: str = ""
    removed: tuple[Removed, ...] = ()

    def loaded(self, path: Path, network: nn.Module) -> nn.Module:
        """A network of this kind with the weights of a file."""
        return load_checkpoint(network, path, self.strip_prefix)

    def fresh(self, seed: int) -> nn.Module:
        """A newly initialised network, a function of the seed; the global random state does not change.

        Raises:
            OptionError: the model is an instance, not a recipe for new ones, or what it makes cannot be used.
            DataError: the channels to remove are not those of this network.
        """
        if self.build is None:
            raise OptionError(
                f"{self.spec} is a trained model, and training needs fresh ones: pass a function that makes one, "
                "such as lambda: Net()."
            )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(seed, "init"))
            with user_code(f"{self.spec} makes no network", self.build):
                model = self.build()
        if not isinstance(model, nn.Module):
            raise OptionError(f"{self.spec} made a {type(model).__name__}: it must return a torch.nn.Module.")
        refuse_sharded(model)
        refuse_lazy(model)
        return self._narrowed(model)

    def _narrowed(self, network: nn.Module) -> nn.Module:
        """A network of full width without the removed channels."""
        try:
            for removed in self.removed:
                rebuilt(network, removed)
        except OptionError as error:
            raise DataError(
                f"a run removed channels from its network, which are not those of {self.spec} ({error}): name the "
                "network that it began with, at full width."
            ) from None
        return network


def open_model(
    spec: str | nn.Module | Callable[[], nn.Module] | ModelSource, shape: tuple[int, ...], classes: int
) -> ModelSource:
    """Resolve a model spec for inputs of a shape and a number of classes.

    Args:
        spec: "datadiet:mlp|cnn|resnet8|resnet20", "torchvision:NAME" or "timm:NAME" (random weights, a head of
            `classes`), "py:MODULE:ATTR" or "py:FILE.py:ATTR", a zero-argument callable that makes a network, such as a
            class, or a trained network.
        shape: of one input, such as (3, 32, 32).
        classes: number of classes.

    Raises:
        OptionError: an unknown scheme or name, or something that is not a model.
        MissingExtra: the library behind the scheme is not installed.
    """
    if isinstance(spec, ModelSource):
        return spec
    if isinstance(spec, nn.Module):
        refuse_sharded(spec)
        refuse_lazy(spec)
        return ModelSource(f"an instance of {type(spec).__name__}", None, spec)
    if callable(spec):
        return ModelSource(f"py:{spec.__module__}:{getattr(spec, '__qualname__', type(spec).__name__)}", spec)
    if not isinstance(spec, str):
        raise OptionError(
            f"{spec!r} is not a model: give a spec such as datadiet:cnn, a function that makes one, or a module."
        )
    check_spec(spec)
    scheme, _, name = spec.partition(":")
    return _OPENERS[scheme](name, shape, classes)


def _from_datadiet(name: str, shape: tuple[int, ...], classes: int) -> ModelSource:
    if name != "mlp" and len(shape) != 3:
        raise OptionError(f"datadiet:{name} takes images and the data has inputs of shape {shape}: use datadiet:mlp.")
    return ModelSource(f"datadiet:{name}", lambda: getattr(networks, name)(shape, classes), size=32)


def _from_torchvision(name: str, shape: tuple[int, ...], classes: int) -> ModelSource:
    models = require("torchvision.models", "vision")
    if name not in models.list_models():
        raise unknown_name("torchvision model", name, models.list_models())
    build = partial(models.get_model, name, weights=None, num_classes=classes)
    return ModelSource(f"torchvision:{name}", build, size=224)


def _from_timm(name: str, shape: tuple[int, ...], classes: int) -> ModelSource:
    timm = require("timm", "timm")
    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())
    build = partial(timm.create_model, name, pretrained=False, num_classes=classes, in_chans=shape[0])
    return ModelSource(f"timm:{name}", build, size=224)


def _from_python(name: str, shape: tuple[int, ...], classes: int) -> ModelSource:
    found = load_attribute(name)
    if isinstance(found, nn.Module):
        return ModelSource(f"py:{name}", None, found)
    if not callable(found):
        raise OptionError(f"py:{name} is a {type(found).__name__}: it must be a network, or a function that makes one.")
    return ModelSource(f"py:{name}", found)


_OPENERS = {"datadiet": _from_datadiet, "py": _from_python, "timm": _from_timm, "torchvision": _from_torchvision}
