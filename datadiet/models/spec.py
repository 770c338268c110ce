"""What a model spec opens: `datadiet:NAME`, `torchvision:NAME`, `timm:NAME`, `py:MODULE:ATTR`, or an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from datadiet.attributes import load_attribute
from datadiet.errors import DataError, OptionError, first_line, require, unknown_name
from datadiet.models import networks
from datadiet.models.catalog import check_spec
from datadiet.randomness import derive

__all__ = ["ModelSource", "classes_in", "load_checkpoint", "open_model"]


@dataclass(frozen=True)
class ModelSource:
    """Where networks come from.

    Attributes:
        spec: how the user named it.
        build: makes a fresh network, or None when `trained` is given.
        trained: a network that is already trained: it can be evaluated, not trained again.
        size: the image size that the family expects, for images that differ in size; None = no preference.
    """

    spec: str
    build: Callable[[], nn.Module] | None
    trained: nn.Module | None = None
    size: int | None = None

    def fresh(self, seed: int) -> nn.Module:
        """A newly initialised network, a function of the seed; the global random state does not change.

        Raises:
            OptionError: the model is an instance, not a recipe for new ones.
        """
        if self.build is None:
            raise OptionError(
                f"{self.spec} is a trained model, and training needs fresh ones: pass a function that makes one, "
                "such as lambda: Net()."
            )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(seed, "init"))
            model = self.build()
        if not isinstance(model, nn.Module):
            raise OptionError(f"{self.spec} made a {type(model).__name__}: it must return a torch.nn.Module.")
        return model


def open_model(
    spec: str | nn.Module | Callable[[], nn.Module] | ModelSource, shape: tuple[int, ...], classes: int
) -> ModelSource:
    """Resolve a model spec for inputs of a shape and a number of classes.

    Args:
        spec: "datadiet:mlp|cnn|resnet8|resnet20", "torchvision:NAME" or "timm:NAME" (random weights, a head of
            `classes`), "py:MODULE:ATTR" or "py:FILE.py:ATTR", a zero-argument callable that makes a network, or a
            trained network.
        shape: of one input, such as (3, 32, 32).
        classes: number of classes.

    Raises:
        OptionError: an unknown scheme or name, or something that is not a model.
        MissingExtra: the library behind the scheme is not installed.
    """
    if isinstance(spec, ModelSource):
        return spec
    if isinstance(spec, nn.Module):
        return ModelSource(f"a {type(spec).__name__} instance", None, spec)
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


def load_checkpoint(model: nn.Module, path: str | Path) -> nn.Module:
    """Load weights into a model: `.safetensors`, or `.pt`/`.pth`/`.ckpt` holding tensors (never unpickled objects).

    The state dict may be nested under "state_dict", "model" or "model_state_dict", and its names may carry one of the
    prefixes "module.", "model." or "_orig_mod.".

    Raises:
        DataError: a missing or damaged file, or names or shapes that do not match the model.
    """
    wanted = model.state_dict()
    state = _state_for(wanted, Path(path))
    for name, value in wanted.items():
        if name not in state:
            raise DataError(f"{path} has no weight {name!r}, which the model needs: give a checkpoint of this model.")
        if state[name].shape != value.shape:
            raise DataError(
                f"{path}: {name!r} has shape {tuple(state[name].shape)}, the model needs {tuple(value.shape)}: give a "
                "checkpoint of this model."
            )
    extra = sorted(set(state) - set(wanted))
    if extra:
        raise DataError(f"{path} has a weight {extra[0]!r}, which the model lacks: give a checkpoint of this model.")
    model.load_state_dict(state)
    return model


def classes_in(path: str | Path, make: Callable[[int], nn.Module]) -> int:
    """The number of classes of the network whose weights a file holds.

    Args:
        path: see `load_checkpoint`.
        make: number of classes -> a network.

    Raises:
        DataError: a missing or damaged file.
    """
    wanted = make(2).state_dict()
    state = _state_for(wanted, Path(path))
    resized = {
        len(state[name])
        for name, value in wanted.items()
        if name in state and value.ndim and state[name].ndim == value.ndim and state[name].shape != value.shape
        if state[name].shape[1:] == value.shape[1:]
    }
    return resized.pop() if len(resized) == 1 else 2


def _state_for(wanted: Mapping[str, Tensor], path: Path) -> Mapping[str, Tensor]:
    """The weights in a file, without any prefix that the network's names do not have."""
    try:
        state = _read_weights(path)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise DataError(
            f"{path} cannot be read as weights ({first_line(error)}): give a .safetensors or .pt file."
        ) from None
    for prefix in ("_orig_mod.", "module.", "model."):
        if set(state) != set(wanted) and all(name.startswith(prefix) for name in state):
            state = {name[len(prefix) :]: value for name, value in state.items()}
    return state


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ValueError(str(error)) from None
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError("it holds no table of tensors")
    return state
