"""What a model spec opens: `datadiet:NAME`, `torchvision:NAME`, `timm:NAME`, `py:MODULE:ATTR`, or an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datadiet.attributes import load_attribute
from datadiet.errors import DataError, OptionError, require, unknown_name
from datadiet.models import networks
from datadiet.models.catalog import check_spec
from datadiet.randomness import derive
from datadiet.runtime.tensors import load_weights

__all__ = ["ModelSource", "classes_in", "load_checkpoint", "open_model"]

_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.")
_NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")


@dataclass(frozen=True)
class ModelSource:
    """Where networks come from.

    Attributes:
        spec: how the user named it.
        build: makes a fresh network, or None when `trained` is given.
        trained: a network that is already trained: it can be evaluated, not trained again.
        size: the image size that the family expects, for images that differ in size; None = no preference.
        strip_prefix: what to remove from the names of weights in files; see `load_checkpoint`.
    """

    spec: str
    build: Callable[[], nn.Module] | None
    trained: nn.Module | None = None
    size: int | None = None
    strip_prefix: str = ""

    def loaded(self, path: Path, network: nn.Module) -> nn.Module:
        """A network of this kind with the weights of a file."""
        return load_checkpoint(network, path, self.strip_prefix)

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
        _refuse_sharded(model)
        return model


def _refuse_sharded(module: nn.Module) -> None:
    """Refuse networks whose parameters are spread over processes: none of them holds the gradient of an example."""
    for part in module.modules():
        if "fsdp" in type(part).__module__ or any(base.__name__ == "FSDPModule" for base in type(part).__mro__):
            raise OptionError(
                "this network is sharded (FSDP), so no process holds all its weights: save a full state dict, and "
                "score the plain network with it as a checkpoint."
            )


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
        _refuse_sharded(spec)
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


def load_checkpoint(model: nn.Module, path: str | Path, strip_prefix: str = "") -> nn.Module:
    """Load weights into a model: `.safetensors`, or `.pt`/`.pth`/`.ckpt` holding tensors (never unpickled objects).

    The state dict may be nested one level, under a name such as "state_dict", "model" or "net"; prefixes that wrappers
    add ("module.", "_orig_mod.", "model.", "net.", in any order) are removed.

    Args:
        model: what to load them into.
        path: the file.
        strip_prefix: a further prefix of the names to remove, such as "backbone.".

    Raises:
        DataError: a missing or damaged file, or names or shapes that do not match the model.
    """
    wanted = model.state_dict()
    state = _state_for(wanted, Path(path), strip_prefix)
    for name, value in wanted.items():
        if name not in state:
            hint = _unknown_prefix(wanted, state)
            advice = (
                f"its names begin with {hint!r}, which --strip-prefix {hint} (strip_prefix=) removes" if hint else ""
            )
            raise DataError(
                f"{path} has no weight {name!r}, which the model needs: {advice or 'give a checkpoint of this model'}."
            )
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


def classes_in(path: str | Path, make: Callable[[int], nn.Module], strip_prefix: str = "") -> int:
    """The number of classes of the network whose weights a file holds.

    Args:
        path: see `load_checkpoint`.
        make: number of classes -> a network.
        strip_prefix: see `load_checkpoint`.

    Raises:
        DataError: a missing or damaged file.
    """
    wanted = make(2).state_dict()
    state = _state_for(wanted, Path(path), strip_prefix)
    resized = {
        len(state[name])
        for name, value in wanted.items()
        if name in state and value.ndim and state[name].ndim == value.ndim and state[name].shape != value.shape
        if state[name].shape[1:] == value.shape[1:]
    }
    return resized.pop() if len(resized) == 1 else 2


def _state_for(wanted: Mapping[str, Tensor], path: Path, strip_prefix: str = "") -> Mapping[str, Tensor]:
    """The weights in a file, without what wrappers put before or between the names of the network's weights."""
    state = _table_of_tensors(load_weights(path))
    if state is None:
        raise DataError(f"{path} holds no table of tensors: give a .safetensors or .pt file with a state dict.")
    forms = _forms(state)
    if strip_prefix:
        given = [form for form in forms if any(name.startswith(strip_prefix) for name in form)]
        if not given:
            near = ", ".join(sorted({name.partition(".")[0] + "." for name in forms[-1]})[:5])
            raise DataError(f"{path} has no name that begins with {strip_prefix!r}: they begin with {near}.")
        forms = [bare for form in given for bare in _forms(_without(strip_prefix, form))]
    # Names of the network itself may begin like a wrapper's: take the form in which most names fit.
    return max(forms, key=lambda form: (len(form.keys() & wanted.keys()), -len(form)))


def _forms(state: Mapping[str, Tensor]) -> list[Mapping[str, Tensor]]:
    """The weights under their names, and with more and more of what wrappers added left out."""
    forms = [state]
    while prefix := _prefix_of(forms[-1]):
        forms.append(_without(prefix, forms[-1]))
    inside = [{_unwrapped(name): value for name, value in form.items() if name != "n_averaged"} for form in forms]
    return [*forms, *inside]


def _without(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items()}


def _prefix_of(state: Mapping[str, Tensor]) -> str:
    """The prefix of a wrapper that all names have; "" if there is none. (An averaged model also counts its updates.)"""
    names = [name for name in state if name != "n_averaged"]
    found = (prefix for prefix in _WRAPPERS if names and all(name.startswith(prefix) for name in names))
    return next(found, "")


def _unwrapped(name: str) -> str:
    """A name without the parts that compiled or distributed sub-modules add inside it."""
    return ".".join(part for part in name.split(".") if part not in ("_orig_mod", "module"))


def _unknown_prefix(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """The first part of the names, if without it most of them would fit."""
    state = _forms(state)[-1]
    heads = {name.partition(".")[0] + "." for name in state if "." in name}
    fits = {head: len({name.removeprefix(head) for name in state} & wanted.keys()) for head in heads}
    best = max(fits, key=lambda head: fits[head], default="")
    return best if best and fits[best] > max(len(state.keys() & wanted.keys()), len(wanted) // 2) else ""


def _table_of_tensors(found: Any) -> Mapping[str, Tensor] | None:
    """The state dict in what a file holds: the whole, or one of its entries, which may have one of its own."""
    for _ in range(3):
        if not isinstance(found, Mapping) or not found:
            return None
        if all(isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()):
            return found
        inside = {name: value for name, value in found.items() if isinstance(value, Mapping) and value}
        known = [inside[name] for name in _NESTED if name in inside]
        tables = [value for value in inside.values() if all(isinstance(one, Tensor) for one in value.values())]
        found = known[0] if known else tables[0] if len(tables) == 1 else None
    return None
