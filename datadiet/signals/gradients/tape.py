"""Recording one forward and backward pass of a frozen network: each layer's input and the gradient of its output.

Weights are frozen, so that autograd computes no weight gradient; forward hooks keep each layer's input by reference,
and a hook on its output tensor receives the gradient. (Module backward hooks break on in-place activations and on
`out += x`.) Where a layer's output needs no gradient, the graph begins there, so the gradient of the network's input
is never computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from datadiet.errors import OptionError, first_line
from datadiet.signals.gradients.precision import autocast_dtype
from datadiet.signals.gradients.repeat import Repeat
from datadiet.signals.gradients.rules import Rule
from datadiet.signals.gradients.terms import Term

__all__ = ["Call", "Calls", "Leaf", "Tape", "UnknownGradient", "Visit", "frozen", "watched"]

Visit = Callable[[str, Sequence[Term]], None]
Call = tuple[str, int]  # the name of a leaf, and the number of the call, from 1


@dataclass(frozen=True)
class Leaf:
    """A layer that holds parameters of its own.

    Attributes:
        name: in the model.
        layer: the module.
        rule: turns its input and output gradient into terms.
        parameters: its own name of a trainable parameter -> the model's name.
        origin: the label of the layer whose rule failed, if this one runs under vmap in its place.
    """

    name: str
    layer: nn.Module
    rule: Rule
    parameters: dict[str, str]
    origin: str = ""

    @property
    def label(self) -> str:
        """Name and kind, for messages."""
        return self.origin or f"{self.name or 'the model'} ({type(self.layer).__name__})"


@dataclass(frozen=True)
class Calls:
    """How the leaves of a model are called.

    Attributes:
        axes: call -> batch axis of its input, if that is not the first.
        repeats: the calls whose input all examples share -> how each gets its own copy; None if no way fits.
        changed: the calls whose output is changed in place later.
        names: the leaves that were called.
    """

    axes: Mapping[Call, int]
    repeats: Mapping[Call, Repeat | None]
    changed: Set[Call]
    names: Set[str]


class UnknownGradient(OptionError):
    """The per-example gradient of a layer is not known."""

    def __init__(self, leaf: Leaf, why: str) -> None:
        ask = "" if leaf.origin else 'pass fallback="vmap" (--fallback vmap), or '
        advice = f"{ask}leave the layer out (requires_grad_(False))."
        super().__init__(
            f"the per-example gradient of {leaf.label} is not known: {why}. {advice[0].upper()}{advice[1:]}"
        )
        self.leaf = leaf


@dataclass
class Tape:
    """The record of one pass.

    Attributes:
        visit: called once per parameter with all its terms, as soon as the last of them is known.
        calls: how the leaves are called.
        batch: number of examples.
        autocast: the dtype of mixed precision of the whole pass, or None.
        starts: handles by which autograd reaches the layers where the graph begins.
        seen: leaf -> number of its calls so far.
    """

    visit: Visit
    calls: Calls
    batch: int
    autocast: torch.dtype | None = None
    starts: list[Tensor] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    terms: dict[str, list[Term]] = field(default_factory=dict)
    backward: bool = False
    rerunning: bool = False

    def enter(self, leaf: Leaf, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The forward pre-hook of a leaf."""
        repeat = self.calls.repeats.get((leaf.name, self.seen.get(leaf.name, 0) + 1))
        if self.rerunning or repeat is None:
            return inputs
        return repeat(inputs[0], self.batch), *inputs[1:]

    def record(self, leaf: Leaf, inputs: tuple[Any, ...], output: Any) -> Any:
        """The forward hook of a leaf."""
        if self.rerunning:
            return output
        if self.backward:
            raise OptionError(
                f"{leaf.name} ran again during the backward pass: switch activation checkpointing off for scoring."
            )
        if not torch.is_grad_enabled():  # part of the model runs under no_grad
            self.seen[leaf.name] = self.seen.get(leaf.name, 0) + 1
            return output
        if not isinstance(output, Tensor) or not inputs or not isinstance(inputs[0], Tensor):
            raise UnknownGradient(leaf, "it does not map one tensor to one tensor")
        if autocast_dtype(output.device) not in (None, self.autocast):
            raise OptionError(
                f"{leaf.name or 'the model'} runs under torch.autocast but the rest of the model does not, and the "
                "check needs one precision: call this under the same torch.autocast."
            )
        call = self.seen[leaf.name] = self.seen.get(leaf.name, 0) + 1
        if not output.requires_grad:
            start = torch.zeros((), requires_grad=True, device=output.device)
            self.starts.append(start)
            output = _Start.apply(output, start)
        held, version = [inputs[0]], inputs[0]._version
        for name in leaf.parameters.values():
            self.waiting[name] = self.waiting.get(name, 0) + 1

        def receive(grad: Tensor) -> None:
            x = held.pop()  # frees it before the graph is freed
            if x._version != version:
                raise OptionError(
                    f"the input of {leaf.name} was changed in place after it was read: use an operation that copies."
                )
            self._received(leaf, call, x.detach(), grad)

        if (leaf.name, call) in self.calls.changed and output._is_view():
            output = output.clone()  # a hook on a view does not survive a change in place
        output.register_hook(receive)
        return output

    def _received(self, leaf: Leaf, call: int, x: Tensor, grad: Tensor) -> None:
        if (leaf.name, call) in self.calls.repeats and self.calls.repeats[leaf.name, call] is None:
            why = "is one for all examples and cannot be repeated for each: expand it in the model"
            raise UnknownGradient(leaf, f"its input, of shape {tuple(x.shape)}, {why}")
        axis = self.calls.axes.get((leaf.name, call), 0)
        x, grad = x.movedim(axis, 0), grad.movedim(axis, 0)
        with torch.no_grad():
            self.rerunning = True  # some rules run their layer again
            try:
                found = leaf.rule(leaf.layer, x, grad)
                terms = {name: found[own]() for own, name in leaf.parameters.items()}
                terms = {name: t if t.batch == self.batch else t.merged(self.batch) for name, t in terms.items()}
            except (ValueError, RuntimeError, KeyError, TypeError) as error:
                raise UnknownGradient(leaf, first_line(error)) from error
            finally:
                self.rerunning = False
            for name, term in terms.items():
                self.add(name, term)

    def add(self, name: str, term: Term) -> None:
        """Add a term of a parameter; the last one passes all of them to `visit`."""
        terms = self.terms.setdefault(name, [])
        terms.append(term)
        self.waiting[name] -= 1
        if not self.waiting[name]:
            self.visit(name, self.terms.pop(name))

    def finish(self) -> None:
        """Pass on the terms that still wait for uses that the loss does not depend on.

        Raises:
            OptionError: a leaf that ran on the first batch did not run on this one, so its gradients would be missing.
        """
        missing = sorted(self.calls.names - set(self.seen))
        if missing:
            raise OptionError(f"{missing[0]} ran on the first batch but not on this one: score with a fixed network.")
        with torch.no_grad():
            for name in list(self.terms):
                self.visit(name, self.terms.pop(name))


class _Start(torch.autograd.Function):
    """The identity, where a graph begins: its output requires a gradient that is not propagated any further."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, start: Tensor) -> Tensor:
        ctx.mark_dirty(x)  # the tensor itself, not a view of it, so that in-place activations may follow
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        return None, None


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Freeze all parameters for a while."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    for p in trainable:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trainable:
            p.requires_grad_(True)


@contextmanager
def watched(
    leaves: Sequence[Leaf],
    enter: Callable[[Leaf, tuple[Any, ...]], tuple[Any, ...]],
    record: Callable[[Leaf, tuple[Any, ...], Any], Any],
) -> Iterator[None]:
    """Call `enter` before and `record` after each forward call of a leaf; what they return takes the place of the
    arguments and of the output.
    """

    def before(leaf: Leaf, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if kwargs:  # pass by position whatever has one, the input first
            bound = signature(leaf.layer.forward).bind(*args, **kwargs)
            args, kwargs = bound.args, bound.kwargs
        return enter(leaf, args), kwargs

    with ExitStack() as stack:
        for leaf in leaves:
            for handle in (
                leaf.layer.register_forward_pre_hook(
                    lambda _, args, kwargs, leaf=leaf: before(leaf, args, kwargs), with_kwargs=True
                ),
                leaf.layer.register_forward_hook(lambda _, args, out, leaf=leaf: record(leaf, args, out)),
            ):
                stack.callback(handle.remove)
        yield
