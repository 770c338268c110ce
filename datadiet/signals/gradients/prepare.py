"""Getting to know a model on its first batch: what holds its parameters, where the examples are, if all is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from datadiet.errors import OptionError
from datadiet.signals.gradients.attention import Projection, projection_rule
from datadiet.signals.gradients.bare import shape_of_copies
from datadiet.signals.gradients.batch import Inputs, call, rows_of, size_of
from datadiet.signals.gradients.losses import losses_of
from datadiet.signals.gradients.rules import refusal, rule_for
from datadiet.signals.gradients.tape import Leaf, UnknownGradient, watched
from datadiet.signals.gradients.terms import Term, squared_norm
from datadiet.signals.gradients.vmapped import Vmapped

if TYPE_CHECKING:
    from datadiet.signals.gradients.engine import PerExample

__all__ = ["CHECKED", "Plan", "one_at_a_time", "prepared"]

CHECKED = 3  # examples
_TOLERANCE = {torch.float64: 1e-8, torch.float32: 2e-3}

Gradients = list[dict[str, Tensor]]
Call = tuple[str, int]


@dataclass(frozen=True)
class Plan:
    """How a model is watched.

    Attributes:
        leaves: the layers with rules.
        bare: parameter -> shape of its copies, for those that no such layer holds.
        axes: (leaf, number of its call) -> axis of the examples in its input, where that is not the first.
        changed: the calls whose output is changed in place later.
    """

    leaves: tuple[Leaf, ...]
    bare: Mapping[str, tuple[int, ...]]
    axes: Mapping[Call, int]
    changed: Set[Call]


def one_at_a_time(engine: PerExample, inputs: Inputs, targets: Any) -> Gradients:
    """The gradients of each of some examples by plain autograd.

    Raises:
        OptionError: an example has another loss alone than among the others, or another when it is run again.
    """
    batch, found = size_of(inputs), []
    with torch.enable_grad():
        losses = losses_of(engine.loss, call(engine.model, inputs), targets, batch)
        for row in range(batch):
            values = torch.autograd.grad(
                losses[row], list(engine.parameters.values()), retain_graph=True, allow_unused=True
            )
            found.append({name: v for name, v in zip(engine.parameters, values, strict=True) if v is not None})
    with torch.no_grad():
        again = losses_of(engine.loss, call(engine.model, inputs), targets, batch)
        alone = losses_of(engine.loss, call(engine.model, rows_of(inputs, [0])), rows_of(targets, [0]), 1)
    if not torch.allclose(again, losses, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise OptionError(
            "the same examples give different losses when they are run again: something in the model draws at random "
            "also in evaluation mode, switch it off."
        )
    if not torch.allclose(alone, losses[:1], rtol=1e-2, atol=1e-3, equal_nan=True):
        raise OptionError(
            f"an example has loss {float(losses[0]):.6g} among others and {float(alone[0]):.6g} alone: something in "
            "the model mixes the examples of a batch, so none has a gradient of its own."
        )
    return found


def prepared(
    engine: PerExample, parts: Mapping[str, Projection], inputs: Inputs, targets: Any, wanted: Gradients
) -> Plan:
    """A plan that gives the right norms on a few examples.

    Args:
        engine: whose model is frozen and taken apart now.
        parts: the projections of its attentions.
        inputs, targets: the examples.
        wanted: their gradients.

    Raises:
        OptionError: a layer that has no gradient per example, or none that is known.
    """
    leaves = _leaves(engine, parts)
    held = {name for leaf in leaves for name in leaf.parameters.values()}
    bare: dict[str, tuple[int, ...]] = {}
    for name in [name for name in engine.parameters if name not in held]:
        values = [gradients[name] for gradients in wanted if name in gradients]
        if len(values) < len(wanted):
            continue  # the loss does not depend on it
        shape = shape_of_copies(engine.model, engine.loss, inputs, targets, name, values)
        if shape is not None:
            bare[name] = shape
        elif not any(name in leaf.parameters.values() for leaf in leaves):
            leaves.append(_unknown(engine, name))
    plan = Plan(tuple(leaves), bare, *_calls(engine, leaves, inputs))
    while (problem := _problem(engine, plan, inputs, targets, wanted)) is not None:
        plan = replace(plan, leaves=_with_fallback(engine, plan.leaves, problem))
    return plan


def _leaves(engine: PerExample, parts: Mapping[str, Projection]) -> list[Leaf]:
    names = {id(p): name for name, p in engine.parameters.items()}
    inside = {id(layer.whole(own)) for layer in parts.values() for own in layer.names}
    leaves = []
    for name, projection in parts.items():
        mine = {own: names[id(projection.whole(own))] for own in projection.names if id(projection.whole(own)) in names}
        leaves.append(Leaf(name, projection, projection_rule, mine))
    for name, layer in engine.model.named_modules():
        own = {key: names[id(p)] for key, p in layer.named_parameters(recurse=False) if id(p) in names}
        rule, why = rule_for(layer), refusal(layer)
        if why is not None:
            raise OptionError(
                f"{name} ({type(layer).__name__}) {why}, so an example has no gradient of its own: replace it."
            )
        if rule is not None and own and not any(id(layer.get_parameter(key)) in inside for key in own):
            leaves.append(Leaf(name, layer, rule, own))
    return [leaf for leaf in leaves if leaf.parameters]


def _unknown(engine: PerExample, parameter: str) -> Leaf:
    """The module of a parameter that nothing else covers, to be run under vmap if that was asked for."""
    name, _, _ = parameter.rpartition(".")
    module = engine.model.get_submodule(name)
    names = {key: f"{name}.{key}".lstrip(".") for key, _ in module.named_parameters(recurse=False)}
    mine = {key: full for key, full in names.items() if full in engine.parameters}
    leaf = Leaf(name, module, Vmapped(tuple(mine)), mine)
    if engine.fallback is None:
        raise UnknownGradient(leaf, "it is no layer of a known kind, and does not broadcast its parameters")
    return leaf


def _calls(engine: PerExample, leaves: Sequence[Leaf], inputs: Inputs) -> tuple[dict[Call, int], set[Call]]:
    """Where the examples are in the input of each call (the axis that grows), and whose outputs change in place."""
    shapes: list[dict[Call, torch.Size]] = []
    changed: set[Call] = set()
    for batch in (2, 3):
        seen: dict[Call, torch.Size] = {}
        outputs: dict[Call, tuple[Tensor, int]] = {}

        def note(leaf: Leaf, given: tuple[Any, ...], output: Any, seen: Any = seen, outputs: Any = outputs) -> None:
            number = 1 + sum(name == leaf.name for name, _ in seen)
            if given and isinstance(given[0], Tensor) and isinstance(output, Tensor):
                seen[leaf.name, number] = given[0].shape
                outputs[leaf.name, number] = output, output._version

        with torch.no_grad(), watched(leaves, note):
            call(engine.model, rows_of(inputs, [0] * batch))
        shapes.append(seen)
        changed |= {key for key, (output, version) in outputs.items() if output._version != version}
    grown = {
        key: next((axis for axis, (a, b) in enumerate(zip(two, shapes[1].get(key, two), strict=True)) if a != b), 0)
        for key, two in shapes[0].items()
    }
    return {key: axis for key, axis in grown.items() if axis}, changed


def _problem(
    engine: PerExample, plan: Plan, inputs: Inputs, targets: Any, wanted: Gradients
) -> UnknownGradient | OptionError | None:
    """What is wrong with a plan, by the norms of every parameter."""
    got = {name: torch.zeros(len(wanted)) for name in engine.parameters}

    def keep(name: str, terms: Sequence[Term]) -> None:
        got[name] = squared_norm(terms).sqrt().cpu()

    try:
        engine.run(plan, inputs, targets, keep)
    except UnknownGradient as error:
        return error
    right = {name: torch.stack([_norm(g.get(name)) for g in wanted]) for name in got}
    scale = torch.stack(list(right.values())).square().sum(0).sqrt()
    for name, norm in right.items():
        tolerance = _TOLERANCE.get(engine.parameters[name].dtype, 5e-2)
        bad = (got[name] - norm).abs() > tolerance * (norm + 1e-2 * scale)
        if bad.any():
            row = int(bad.nonzero()[0])
            why = f"for {name} it came out with norm {got[name][row]:.6g}, and plain autograd gives {norm[row]:.6g}"
            leaf = next((leaf for leaf in plan.leaves if name in leaf.parameters.values()), None)
            return OptionError(f"{why}: the model mixes examples.") if leaf is None else UnknownGradient(leaf, why)
    return None


def _norm(gradient: Tensor | None) -> Tensor:
    return torch.zeros(()) if gradient is None else torch.linalg.vector_norm(gradient, dtype=torch.float64).cpu()


def _with_fallback(engine: PerExample, leaves: Sequence[Leaf], problem: OptionError) -> tuple[Leaf, ...]:
    """The layers with one of them run under vmap; where that was not enough, the module around it."""
    if engine.fallback is None or not isinstance(problem, UnknownGradient):
        raise problem
    leaf = problem.leaf
    name, mine = leaf.name, dict(leaf.parameters)
    if isinstance(leaf.rule, Vmapped):  # it is not called, or not with all that it needs
        name, _, inner = name.rpartition(".")
        mine = {f"{inner}.{own}": full for own, full in mine.items()}
    if not name or isinstance(leaf.layer, Projection):
        raise problem
    others = [other for other in leaves if other is not leaf]
    for other in [other for other in others if other.name == name]:
        others.remove(other)
        mine |= other.parameters
    return (*others, Leaf(name, engine.model.get_submodule(name), Vmapped(tuple(mine)), mine))
