"""Instrumenting a model on its first batch: its layers, the batch axis of their inputs, and a check by autograd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from datadiet.attributes import user_code
from datadiet.errors import NotFinite, OptionError
from datadiet.signals.gradients.attention import Projection, projection_rule
from datadiet.signals.gradients.batch import ModelInputs, forward_pass, size_of, take_rows
from datadiet.signals.gradients.calls import calls_of, repeats_of
from datadiet.signals.gradients.checks import in_words_of
from datadiet.signals.gradients.losses import losses_of
from datadiet.signals.gradients.precision import Tolerance, tolerance_of
from datadiet.signals.gradients.repeat import Repeat, repeat_of
from datadiet.signals.gradients.rules import Vmapped, rule_for
from datadiet.signals.gradients.tape import Calls, Leaf, UnknownGradient
from datadiet.signals.gradients.terms import Term, squared_norm

if TYPE_CHECKING:
    from datadiet.signals.gradients.engine import PerExample

__all__ = ["CHECKED", "Instrumentation", "instrument", "one_at_a_time"]

CHECKED = 3  # examples
_NO_LAYER = nn.Identity()
_TINY = 1e-18  # its square underflows in float32

Gradients = list[dict[str, Tensor]]  # one per example; only the norm where the whole gradient is not needed


@dataclass(frozen=True)
class Instrumentation:
    """Where hooks and copies go in a model.

    Attributes:
        leaves: the layers with rules.
        bare: parameter outside these layers -> how its copies are arranged.
        calls: how those layers are called.
        unused: parameters outside these layers that no loss of the first batch depends on.
    """

    leaves: tuple[Leaf, ...]
    bare: Mapping[str, Repeat]
    calls: Calls
    unused: tuple[str, ...] = ()

    def unbound(self) -> Instrumentation:
        """The same without the modules, which it knows by name."""
        return replace(self, leaves=tuple(replace(leaf, layer=_NO_LAYER) for leaf in self.leaves))

    def bound(self, model: nn.Module, parts: Mapping[str, Projection]) -> Instrumentation:
        """The same with the modules of a model, and with the projections of its attentions."""
        modules: dict[str, nn.Module] = dict(model.named_modules())
        layers = (parts if leaf.rule is projection_rule else modules for leaf in self.leaves)
        pairs = zip(self.leaves, layers, strict=True)
        return replace(self, leaves=tuple(replace(leaf, layer=among[leaf.name]) for leaf, among in pairs))


def one_at_a_time(engine: PerExample, inputs: ModelInputs, targets: Any, size: int) -> Gradients:
    """The gradient of each example's loss, by plain autograd.

    All come from one forward pass, so that no unit near its threshold is on in one run and off in another. Each example
    must have the same loss when it runs alone, which shows that the other examples do not affect it.

    Raises:
        OptionError: an example's loss differs when it runs alone, or when it runs again.
        DataError: a gradient that is not finite; it names the row.
    """
    rows = range(size_of(inputs))
    with torch.enable_grad():  # for all of it: without gradients, attention takes another path
        with user_code(f"the model cannot take {_shown(inputs)}", advice="give what model(inputs) takes"):
            outputs = [forward_pass(engine.model, inputs) for _ in range(2)]
        losses, again = (losses_of(engine.loss, one, targets, len(rows)) for one in outputs)
        alone = [
            losses_of(engine.loss, forward_pass(engine.model, take_rows(inputs, [row])), take_rows(targets, [row]), 1)[
                0
            ]
            for row in rows
        ]
        found = [_gradients(engine, losses[row]) for row in rows]
        lone = [_gradients(engine, alone[row]) for row in rows]
    for row in rows:
        if not _finite(found[row]):  # perhaps another example's fault: 0 times NaN is NaN
            found[row] = lone[row]
        if not _finite(found[row]):
            raise NotFinite(row, size)
    allowed = tolerance_of(*engine.parameters.values())
    _check_losses(losses.detach(), again.detach(), torch.stack(alone).detach(), allowed)
    for row in rows:  # losses close to 0 do not show it
        among, by_itself = (float(_total(gradients)) for gradients in (found[row], lone[row]))
        if abs(among - by_itself) > 0.1 * max(among, by_itself) + _TINY:
            raise OptionError(
                f"an example has a gradient of norm {among:.6g} among others and {by_itself:.6g} alone: the loss is an "
                "average, or the model mixes the examples of a batch, so none has a gradient of its own."
            )
    return found


def _shown(inputs: ModelInputs) -> str:
    values = inputs.values() if isinstance(inputs, Mapping) else inputs
    return ", ".join(map(in_words_of, [inputs] if isinstance(inputs, Tensor) else values))


def _gradients(engine: PerExample, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of every parameter that the loss depends on; only its norm for parameters of layers with a rule."""
    parameters = list(engine.parameters.values())
    ruled = {id(p) for m in engine.model.modules() if rule_for(m) is not None for p in m.parameters(recurse=False)}
    values = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) if loss.requires_grad else ()
    return {
        name: _norm(value) if id(p) in ruled else value.to_dense()
        for (name, p), value in zip(engine.parameters.items(), values, strict=False)
        if value is not None
    }


def _finite(gradients: Mapping[str, Tensor]) -> bool:
    return all(bool(value.isfinite().all()) for value in gradients.values())


def _total(gradients: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([_norm(value) for value in gradients.values()]).norm() if gradients else torch.zeros(())


def _check_losses(losses: Tensor, again: Tensor, alone: Tensor, allowed: Tolerance) -> None:
    if not torch.allclose(again, losses, rtol=allowed.same, atol=allowed.same / 10, equal_nan=True):
        raise OptionError(
            "the same examples give different losses when they are run again: something in the model still draws "
            "random numbers in evaluation mode, switch it off."
        )
    other = ~torch.isclose(alone, losses, rtol=allowed.alone, atol=allowed.alone / 10, equal_nan=True)
    if other.any():
        row = int(other.nonzero()[0])
        raise OptionError(
            f"an example has loss {float(losses[row]):.6g} among others and {float(alone[row]):.6g} alone: something "
            "in the model mixes the examples of a batch, so none has a gradient of its own."
        )


def instrument(
    engine: PerExample, parts: Mapping[str, Projection], inputs: ModelInputs, targets: Any, wanted: Gradients
) -> Instrumentation:
    """Instrument a model so that it gives the right norms on a few examples.

    Args:
        engine: its model is frozen, and its attentions are split.
        parts: the projections of its attentions.
        inputs, targets: the examples.
        wanted: their gradients by plain autograd.

    Raises:
        OptionError: a layer whose per-example gradient does not exist or is not known.
    """
    leaves, allowed = _leaves(engine, parts), tolerance_of(*engine.parameters.values())
    held = {name for leaf in leaves for name in leaf.parameters.values()}
    bare: dict[str, Repeat] = {}
    unknown: dict[str, list[str]] = {}
    unused: list[str] = []
    for name in [name for name in engine.parameters if name not in held]:
        values = [gradients[name] for gradients in wanted if name in gradients]
        if len(values) < len(wanted):
            unused.append(name)  # no loss depends on it
            continue
        repeat = repeat_of(engine.model, engine.loss, inputs, targets, name, values, allowed.entry)
        if repeat is not None:
            bare[name] = repeat
        else:
            unknown.setdefault(name.rpartition(".")[0], []).append(name)
    leaves += [_unknown(engine, module, names) for module, names in unknown.items()]

    def run(size: int) -> Tensor:
        outputs = forward_pass(engine.model, take_rows(inputs, range(size)))
        return losses_of(engine.loss, outputs, take_rows(targets, range(size)), size)

    repeats = repeats_of(leaves, run, allowed.same)
    instrumentation = Instrumentation(tuple(leaves), bare, calls_of(leaves, run, repeats), tuple(unused))
    while (problem := _problem(engine, instrumentation, inputs, targets, wanted)) is not None:
        leaves = list(_with_fallback(engine, instrumentation.leaves, problem))
        instrumentation = Instrumentation(tuple(leaves), bare, calls_of(leaves, run, repeats), tuple(unused))
    return instrumentation


def _leaves(engine: PerExample, parts: Mapping[str, Projection]) -> list[Leaf]:
    names = {id(p): name for name, p in engine.parameters.items()}
    inside = {id(layer.whole(own)) for layer in parts.values() for own in layer.names}
    leaves = []
    for name, projection in parts.items():
        mine = {own: names[id(projection.whole(own))] for own in projection.names if id(projection.whole(own)) in names}
        leaves.append(Leaf(name, projection, projection_rule, mine))
    for name, layer in engine.model.named_modules():
        own = {key: names[id(p)] for key, p in layer.named_parameters(recurse=False) if id(p) in names}
        rule = rule_for(layer)
        if rule is not None and own and not any(id(layer.get_parameter(key)) in inside for key in own):
            leaves.append(Leaf(name, layer, rule, own))
    return [leaf for leaf in leaves if leaf.parameters]


def _unknown(engine: PerExample, name: str, parameters: Sequence[str]) -> Leaf:
    """The module of parameters that nothing else covers, to run under vmap if `fallback` allows it."""
    mine = {full.removeprefix(f"{name}."): full for full in parameters}
    leaf = Leaf(name, engine.model.get_submodule(name), Vmapped(tuple(mine)), mine)
    if engine.fallback is None:
        raise UnknownGradient(leaf, "it is not a layer of a known kind, and does not broadcast its parameters")
    return leaf


def _problem(
    engine: PerExample, instrumentation: Instrumentation, inputs: ModelInputs, targets: Any, wanted: Gradients
) -> UnknownGradient | OptionError | None:
    """What is wrong with the instrumentation, judged by the norm of every parameter; None if nothing is."""
    got = {name: torch.zeros(len(wanted)) for name in engine.parameters}

    def keep(name: str, terms: Sequence[Term]) -> None:
        assert not got[name].any(), f"{name} is counted twice"
        got[name] = squared_norm(terms).sqrt().cpu()

    try:
        engine.run(instrumentation, inputs, targets, keep)
    except UnknownGradient as error:
        return error
    right = {name: torch.stack([_norm(g.get(name)) for g in wanted]) for name in got}
    scale = torch.stack(list(right.values())).square().sum(0).sqrt()
    for name, norm in right.items():
        tolerance = tolerance_of(engine.parameters[name]).norm
        bad = (got[name] - norm).abs() > tolerance * (norm + 1e-2 * scale) + _TINY
        if bad.any():
            row = int(bad.nonzero()[0])
            why = f"for {name} it has norm {got[name][row]:.6g}, but plain autograd gives {norm[row]:.6g}"
            leaf = next((leaf for leaf in instrumentation.leaves if name in leaf.parameters.values()), None)
            return OptionError(f"{why}: the model mixes examples.") if leaf is None else UnknownGradient(leaf, why)
    return None


def _norm(gradient: Tensor | None) -> Tensor:
    return (
        torch.zeros(())
        if gradient is None
        else torch.linalg.vector_norm(gradient.to_dense(), dtype=torch.float64).cpu()
    )


def _with_fallback(engine: PerExample, leaves: Sequence[Leaf], problem: OptionError) -> tuple[Leaf, ...]:
    """The layers with one of them run under vmap; if it already was, the module around it."""
    if engine.fallback is None or not isinstance(problem, UnknownGradient):
        raise problem
    leaf = problem.leaf
    name, mine = leaf.name, dict(leaf.parameters)
    if isinstance(leaf.layer, Projection) or (isinstance(leaf.rule, Vmapped) and not name):
        raise problem
    if isinstance(leaf.rule, Vmapped):  # it is not called, or not with everything it needs
        name, _, inner = name.rpartition(".")
        mine = {f"{inner}.{own}": full for own, full in mine.items()}
    others = [other for other in leaves if other is not leaf]
    for other in [other for other in others if other.name == name]:
        others.remove(other)
        mine |= other.parameters
    return (*others, Leaf(name, engine.model.get_submodule(name), Vmapped(tuple(mine)), mine, leaf.label))
