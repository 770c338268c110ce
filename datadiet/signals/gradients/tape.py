"""Watching one forward and backward pass of a frozen network: what went into each layer, what came back to it.

Weights are frozen, so that autograd computes no weight gradient; forward hooks keep each layer's input by reference,
and a hook on its output tensor receives the gradient. (Module backward hooks break on in-place activations and on
`out += x`.) A layer whose output needs no gradient begins the graph there, so the gradient of the network's input is
never computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from datadiet.errors import OptionError, first_line
from datadiet.signals.gradients.rules import Rule
from datadiet.signals.gradients.terms import Term

__all__ = ["Leaf", "Tape", "UnknownGradient", "Visit", "frozen", "ordinary_attention", "watched"]

Visit = Callable[[str, Sequence[Term]], None]


@dataclass(frozen=True)
class Leaf:
    """A layer that holds parameters of its own.

    Attributes:
        name: in the model.
        layer: the module.
        rule: what its gradients are made of.
        parameters: its own name of a trainable parameter -> the model's name.
        origin: the label of the layer that could not be followed, where this one is run under vmap for it.
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


class UnknownGradient(OptionError):
    """The gradient of a layer per example is not known."""

    def __init__(self, leaf: Leaf, why: str) -> None:
        ask = "" if leaf.origin else 'pass fallback="vmap", or '
        advice = f"{ask}leave the layer out (requires_grad_(False))."
        super().__init__(
            f"the gradient per example of {leaf.label} is not known: {why}. {advice[0].upper()}{advice[1:]}"
        )
        self.leaf = leaf


@dataclass
class Tape:
    """One pass.

    Attributes:
        visit: called once per parameter with all its terms, as soon as the last of them is known.
        axes: (leaf, number of its call) -> axis of the examples in its input.
        changed: the calls whose output is changed in place later.
        batch: number of examples.
        starts: handles by which autograd reaches the layers where the graph begins.
    """

    visit: Visit
    axes: Mapping[tuple[str, int], int]
    changed: Set[tuple[str, int]]
    batch: int
    starts: list[Tensor] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    terms: dict[str, list[Term]] = field(default_factory=dict)
    backward: bool = False
    rerunning: bool = False

    def record(self, leaf: Leaf, inputs: tuple[Any, ...], output: Any) -> Any:
        """The forward hook of a leaf."""
        if self.rerunning:
            return output
        if self.backward:
            raise OptionError(
                f"{leaf.name} ran again during the backward pass: switch activation checkpointing off for scoring."
            )
        if not torch.is_grad_enabled():  # part of the model runs under no_grad
            self.calls[leaf.name] = self.calls.get(leaf.name, 0) + 1
            return output
        if not isinstance(output, Tensor) or not inputs or not isinstance(inputs[0], Tensor):
            raise UnknownGradient(leaf, "it does not map one tensor to one tensor")
        call = self.calls[leaf.name] = self.calls.get(leaf.name, 0) + 1
        if not output.requires_grad:
            start = torch.zeros((), requires_grad=True, device=output.device)
            self.starts.append(start)
            output = _Start.apply(output, start)
        held, version = [inputs[0]], inputs[0]._version
        for name in leaf.parameters.values():
            self.waiting[name] = self.waiting.get(name, 0) + 1

        def receive(grad: Tensor) -> None:
            x = held.pop()  # which frees it before the graph is
            if x._version != version:
                raise OptionError(
                    f"the input of {leaf.name} was changed in place after it was read: use the copying form."
                )
            self._received(leaf, call, x.detach(), grad)

        if (leaf.name, call) in self.changed and output._is_view():
            output = output.clone()  # the hook of a view does not survive a change in place
        output.register_hook(receive)
        return output

    def _received(self, leaf: Leaf, call: int, x: Tensor, grad: Tensor) -> None:
        axis = self.axes.get((leaf.name, call), 0)
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
        """A further term of a parameter; the last one hands them on."""
        terms = self.terms.setdefault(name, [])
        terms.append(term)
        self.waiting[name] -= 1
        if not self.waiting[name]:
            self.visit(name, self.terms.pop(name))

    def finish(self, called: Set[str]) -> None:
        """Hand on what still waits for uses on which the loss does not depend.

        Raises:
            OptionError: a leaf among `called` was not called this time, so its gradients would be missing.
        """
        missing = sorted(called - set(self.calls))
        if missing:
            raise OptionError(f"{missing[0]} ran on the first batch and not on this one: score with a fixed network.")
        with torch.no_grad():
            for name in list(self.terms):
                self.visit(name, self.terms.pop(name))


class _Start(torch.autograd.Function):
    """The identity, from which a graph begins: it makes a tensor require a gradient that nobody computes further."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, start: Tensor) -> Tensor:
        ctx.mark_dirty(x)  # the tensor itself and no view of it, so that in-place activations may follow
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None]:
        return None, None


@contextmanager
def ordinary_attention() -> Iterator[None]:
    """Attention runs through its modules, as in training; the fast path of inference gives zeros at the padding."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """No parameter requires a gradient meanwhile."""
    trainable = [p for p in model.parameters() if p.requires_grad]
    for p in trainable:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trainable:
            p.requires_grad_(True)


@contextmanager
def watched(leaves: Sequence[Leaf], record: Callable[[Leaf, tuple[Any, ...], Any], Any]) -> Iterator[None]:
    """Call `record` after each forward call of a leaf; what it returns takes the place of the output."""
    with ExitStack() as stack:
        for leaf in leaves:
            handle = leaf.layer.register_forward_hook(lambda _, inputs, out, leaf=leaf: record(leaf, inputs, out))
            stack.callback(handle.remove)
        yield
