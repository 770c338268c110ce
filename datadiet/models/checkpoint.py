"""Weights from a file, under the names that a network has for them: the one door for checkpoints of any origin."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datadiet.errors import DataError
from datadiet.runtime.tensors import load_weights

__all__ = ["classes_in", "load_checkpoint"]

_log = logging.getLogger("datadiet")

_INNER = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_WRAPPERS = ("module.", *(f"{part}." for part in _INNER), "model.", "net.")
_NESTED = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params")
_COUNT = "n_averaged"  # an averaged model also counts its updates
_WITHOUT_RUN = (
    "; if channels were removed from its network (sparsify=, --sparsify channels), only its run says which, so give "
    "the file in its run folder"
)

Weights = Mapping[str, Tensor]


def load_checkpoint(model: nn.Module, path: str | Path, strip_prefix: str = "") -> nn.Module:
    """Load weights into a model: `.safetensors`, or `.pt`/`.pth`/`.ckpt` holding tensors (never unpickled objects).

    The state dict may be nested, under names such as "state_dict", "model" or "net". What wrappers add to the names
    ("module.", "_orig_mod.", "model.", "net.", the parts of FSDP and of activation checkpointing, in any order) is
    removed, also where only a part of the weights has it and that part is the whole model; the rest is left out, and so
    is what stands beside the weights and is not a tensor, such as the number of the epoch.

    Args:
        model: what to load them into.
        path: the file.
        strip_prefix: a further prefix of the names to remove, such as "backbone."; weights without it are left out.

    Raises:
        DataError: a missing or damaged file, or weights whose names, shapes or kinds do not match the model.
    """
    wanted, path = model.state_dict(), Path(path)
    table, state = _state_for(wanted, path, strip_prefix)
    for name, value in wanted.items():
        if name not in state:
            advice = _hint(wanted, table, strip_prefix) or "give a checkpoint of this model"
            raise DataError(f"{path} has no weight {name!r}, which the model needs: {advice}.")
        if state[name].shape != value.shape:
            raise DataError(
                f"{path}: {name!r} has shape {tuple(state[name].shape)}, the model needs {tuple(value.shape)}: give a "
                f"checkpoint of this model{_WITHOUT_RUN if _is_narrower(state, wanted) else ''}."
            )
        kind = _unusual(state[name], value)
        if kind:
            raise DataError(f"{path}: {name!r} is {kind}: save the weights as ordinary dense tensors of real numbers.")
    coarse = sorted(name for name in wanted if state[name].dtype.itemsize < 2 and state[name].is_floating_point())
    if coarse:
        _log.warning("%s: %d weights have 8 bits (%s …), so they are rounded", path, len(coarse), coarse[0])
    extra = sorted(set(state) - set(wanted))
    if extra:
        raise DataError(f"{path} has a weight {extra[0]!r}, which the model lacks: give a checkpoint of this model.")
    left_out = len(table.keys() - {_COUNT}) - len(state.keys() - {_COUNT})
    if left_out:
        _log.warning("%s: %d weights of other parts of the checkpoint are left out", path, left_out)
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
    _, state = _state_for(wanted, Path(path), strip_prefix)
    resized = {
        len(state[name])
        for name, value in wanted.items()
        if name in state and value.ndim and state[name].ndim == value.ndim and state[name].shape != value.shape
        if state[name].shape[1:] == value.shape[1:]
    }
    return resized.pop() if len(resized) == 1 else 2


def _is_narrower(state: Weights, wanted: Weights) -> bool:
    """Whether some weights read fewer inputs than the network's, and none more."""
    inputs = [(state[name].shape[1:2], value.shape[1:2]) for name, value in wanted.items() if name in state]
    return all(one <= other for one, other in inputs) and any(one < other for one, other in inputs)


def _state_for(wanted: Weights, path: Path, strip_prefix: str) -> tuple[Weights, Weights]:
    """The weights of a file, and those of them that fit, without what wrappers put before or between their names."""
    table = _table_for(wanted, path, strip_prefix)
    forms = _forms(table)
    if strip_prefix:
        forms = _stripped(wanted, forms, strip_prefix)
        if not forms:
            near = ", ".join(sorted({name.partition(".")[0] + "." for name in _forms(table)[-1]})[:5])
            raise DataError(f"{path} has no name that begins with {strip_prefix!r}: they begin with {near}.")
    best = _best(wanted, forms)
    if best.keys() == wanted.keys():
        return table, best
    parts = {
        prefix: form
        for whole in forms
        for prefix in _WRAPPERS
        for form in _forms(_part(prefix, whole))
        if form.keys() == wanted.keys()
    }
    if len(parts) > 1:
        names = " and ".join(map(repr, sorted(parts)))
        raise DataError(
            f"{path} holds the weights of several networks that fit, under {names}: choose one with --strip-prefix "
            f"{min(parts)} (strip_prefix=)."
        )
    return table, next(iter(parts.values()), best)


def _best(wanted: Weights, forms: list[Weights]) -> Weights:
    """The form in which most names fit: names of the network itself may begin like a wrapper's."""
    return max(forms, key=lambda form: (len(form.keys() & wanted.keys()), -len(form)))


def _forms(state: Weights) -> list[Weights]:
    """The weights under their names, and with more and more of what wrappers added left out."""
    forms = [state]
    while prefix := _prefix_of(forms[-1]):
        forms.append({name.removeprefix(prefix): value for name, value in forms[-1].items()})
    parts = (_INNER, (*_INNER, "module"))
    return [*forms, *(_unwrapped(form, inner) for inner in parts for form in forms)]


def _part(prefix: str, state: Weights) -> Weights:
    """The weights whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _prefix_of(state: Weights) -> str:
    """The prefix of a wrapper that all names have; "" if there is none."""
    names = [name for name in state if name != _COUNT]
    found = (prefix for prefix in _WRAPPERS if names and all(name.startswith(prefix) for name in names))
    return next(found, "")


def _unwrapped(state: Weights, inner: tuple[str, ...]) -> Weights:
    """The weights without the parts of names that compiled, sharded or distributed sub-modules add inside them."""
    return {
        ".".join(part for part in name.split(".") if part not in inner): value
        for name, value in state.items()
        if name != _COUNT
    }


def _stripped(wanted: Weights, forms: list[Weights], prefix: str) -> list[Weights]:
    """The forms in which some names have the prefix, without it and without the weights that lack it.

    The latter stay where the network has them too: its head may stand beside a backbone with a prefix.
    """
    if any(name.startswith(f"{prefix}.") for form in forms for name in form):
        prefix = f"{prefix}."
    found: list[Weights] = []
    for form in forms:
        part = _part(prefix, form)
        rest = {name: value for name, value in form.items() if not name.startswith(prefix)}
        together = [] if part.keys() & rest.keys() else _forms({**part, **rest})
        found += [*_forms(part), *(one for one in together if one.keys() == wanted.keys())] if part else []
    return found


def _hint(wanted: Weights, table: Weights, strip_prefix: str) -> str:
    """What to strip from the names, if most of them would fit without it."""
    state = _forms(table)[-1]
    fits: dict[str, int] = {}
    for name in state:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            if ".".join(parts[depth:]) in wanted:
                head = ".".join(parts[:depth]) + "."
                fits[head] = fits.get(head, 0) + 1
    most = max(fits.values(), default=0)
    heads = [head for head in fits if fits[head] == most]
    if most <= max(len(state.keys() & wanted.keys()), len(wanted) // 2) or strip_prefix.rstrip(".") + "." in heads:
        return ""
    listed = " or ".join(map(repr, heads[:5]))
    return f"its names begin with {listed}, which --strip-prefix {heads[0]} (strip_prefix=) removes"


def _table_for(wanted: Weights, path: Path, strip_prefix: str) -> Weights:
    """The state dict in a file; of several, the one that fits best."""
    tables = _tables(load_weights(path), wanted)
    if not tables:
        raise DataError(f"{path} holds no table of tensors: give a .safetensors or .pt file with a state dict.")
    if len(tables) == 1:
        return next(iter(tables.values()))
    chosen = [place for place in tables if place == strip_prefix.rstrip(".")]
    if chosen:
        return {f"{chosen[0]}.{name}": value for name, value in tables[chosen[0]].items()}
    counts = {place: _fit(wanted, _best(wanted, _forms(table))) for place, table in tables.items()}
    fits = {place: (count, 0 if count else len(tables[place])) for place, count in counts.items()}
    best = [place for place in fits if fits[place] == max(fits.values())]
    if len(best) > 1:
        listed = ", ".join(sorted(best)[:5])
        raise DataError(
            f"{path} holds several tables of tensors ({listed}) that fit the model equally well: name one with "
            f"--strip-prefix {min(best)} (strip_prefix=)."
        )
    return tables[best[0]]


def _fit(wanted: Weights, state: Weights) -> int:
    """How many weights have the name and the shape of one of the network's."""
    return sum(name in state and state[name].shape == value.shape for name, value in wanted.items())


def _tables(found: Any, wanted: Weights, place: str = "", depth: int = 4) -> dict[str, Weights]:
    """The tables of tensors in what a file holds, by the names that lead to them; of usual names, if there are any.

    Tensors beside other values are a table if some fit the network, or if there is no other table.
    """
    if not isinstance(found, Mapping) or not found or not depth:
        return {}
    own = {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)}
    fitting = _best(wanted, _forms(own)).keys() & wanted.keys()
    if len(own) == len(found) or fitting == wanted.keys():
        return {place: own}
    inside = {
        str(name): _tables(value, wanted, f"{place}.{name}" if place else str(name), depth - 1)
        for name, value in found.items()
    }
    known = {where: table for name in _NESTED for where, table in inside.get(name, {}).items()}
    every = known or {where: table for tables in inside.values() for where, table in tables.items()}
    return every if known or not own or (every and not fitting) else {**every, place: own}


def _unusual(given: Tensor, wanted: Tensor) -> str:
    """What a weight is that cannot be copied into the network as it is; "" for a dense tensor of real numbers."""
    if type(given).__name__ in ("DTensor", "ShardedTensor"):
        return "spread over processes"
    if given.is_meta:
        return "on the meta device, so without values"
    if given.is_quantized:
        return "quantised"
    if given.layout != torch.strided:
        return "sparse"
    if given.is_complex() and not wanted.is_complex():
        return "complex"
    small = given.dtype.itemsize < 2 and not str(given.dtype).startswith("torch.float8")
    if wanted.is_floating_point() and (small or (not given.is_floating_point() and not given.is_complex())):
        return f"of dtype {given.dtype}, and {wanted.dtype} in the model"
    return ""
