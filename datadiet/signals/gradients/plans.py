"""The plan of `grad_norms` for a network, kept from call to call: how it is instrumented, once that has been checked.

A plan holds names instead of modules, and the network and the loss are held weakly, so that nothing here keeps a
network alive. A plan is used for as long as the network is built as it was and is called in the same way; weights may
change, and so may the sizes of inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import ReferenceType, WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

from datadiet.signals.gradients.batch import ModelInputs
from datadiet.signals.gradients.engine import PerExample
from datadiet.signals.gradients.instrumentation import Instrumentation
from datadiet.signals.gradients.precision import allows_tf32, autocast_dtype

__all__ = ["Situation", "adopt", "keep", "situation_of"]

_MOST = 8  # plans of a network, the latest ones
_PLAIN = (bool, int, float, str, type(None))


class Situation(NamedTuple):
    """What a plan depends on.

    Attributes:
        network: its modules, hooks, modes, other plain attributes, parameters and buffers, without their values.
        inputs: their structure, without their sizes.
        loss: a weak reference; None if there can be none, so that no plan is kept.
        fallback: of the engine.
        autocast: the dtype of mixed precision, or None.
        tf32: whether TF32 is allowed: what was checked under its tolerance is not good enough without it.
    """

    network: tuple[Any, ...]
    inputs: Any
    loss: ReferenceType[Any] | None
    fallback: str | None
    autocast: torch.dtype | None
    tf32: bool


@dataclass(frozen=True)
class _Plan:
    situation: Situation
    instrumentation: Instrumentation
    checked: int


_PLANS: WeakKeyDictionary[nn.Module, list[_Plan]] = WeakKeyDictionary()


def situation_of(engine: PerExample, inputs: ModelInputs) -> Situation:
    """The situation of an engine that is about to run a batch."""
    device = next(iter(engine.parameters.values())).device
    try:
        loss = ref(engine.loss)
    except TypeError:
        loss = None
    network = tuple(_built(name, module) for name, module in engine.model.named_modules())
    precision = autocast_dtype(device), allows_tf32(device)
    return Situation(network, _structure(inputs), loss, engine.fallback, *precision)


def adopt(engine: PerExample, situation: Situation) -> bool:
    """Give a fresh engine the plan that was kept for its situation; whether there was one."""
    for plan in _PLANS.get(engine.model, []):
        if situation.loss is not None and plan.situation == situation:
            engine.adopt(plan.instrumentation, plan.checked)
            return True
    return False


def keep(engine: PerExample, situation: Situation) -> None:
    """Keep the plan of an engine that has run a batch, in place of an older one for the same situation."""
    found = engine.plan
    if situation.loss is None or found is None:
        return
    others = [plan for plan in _PLANS.get(engine.model, []) if plan.situation != situation]
    _PLANS[engine.model] = [*others, _Plan(situation, *found)][-_MOST:]


def _built(name: str, module: nn.Module) -> tuple[Any, ...]:
    """How a module is built, by identities, which keep nothing alive; those of parameters tell which are shared."""
    kinds = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    held = [(key, p) for key, p in module._parameters.items() if p is not None]
    parameters = [(key, id(p), p.requires_grad, p.shape, p.dtype, p.device) for key, p in held]
    buffers = [(key, b.shape, b.dtype, b.device) for key, b in module._buffers.items() if b is not None]
    attributes = [(key, value) for key, value in vars(module).items() if isinstance(value, _PLAIN)]  # modes, and flags
    own = id(vars(module).get("forward"))
    return name, ref(module), id(type(module)), attributes, own, [*map(tuple, kinds)], parameters, buffers


def _structure(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.dtype, value.ndim, value.device
    if isinstance(value, Mapping):
        return {name: _structure(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_structure(part) for part in value]
    return (type(value), value) if isinstance(value, _PLAIN) else type(value)
