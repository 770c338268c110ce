"""Where the batch axis is in the input of each layer, found by forward passes of two and of three examples.

The batch axis is the one that grows. Where none does, as for positions looked up by `arange`, all examples share the
input; it is then repeated for each before the layer runs, and the layer is like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from datadiet.signals.gradients.repeat import UNFIT, Repeat, possible_repeats
from datadiet.signals.gradients.tape import Call, Calls, Leaf, watched

__all__ = ["calls_of", "repeats_of"]

Run = Callable[[int], Tensor]  # number of examples -> the losses of the first ones
Repeats = Mapping[Call, Repeat | None]


@dataclass
class _Forward:
    """One forward pass.

    Attributes:
        repeats: as in `Calls`.
        batch: number of examples.
        losses: theirs.
        shapes: call -> shape of its input, in the order of the calls.
        outputs: call -> its output, and the version of the tensor.
    """

    repeats: Repeats
    batch: int
    losses: Tensor | None = None
    shapes: dict[Call, torch.Size] = field(default_factory=dict)
    outputs: dict[Call, tuple[Tensor, int]] = field(default_factory=dict)

    def enter(self, leaf: Leaf, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The forward pre-hook of a leaf."""
        repeat = self.repeats.get(self._next(leaf))
        return inputs if repeat is None else (repeat(inputs[0], self.batch), *inputs[1:])

    def record(self, leaf: Leaf, inputs: tuple[Any, ...], output: Any) -> None:
        """The forward hook of a leaf."""
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            key = self._next(leaf)
            self.shapes[key] = inputs[0].shape
            self.outputs[key] = output, output._version

    def _next(self, leaf: Leaf) -> Call:
        return leaf.name, 1 + sum(name == leaf.name for name, _ in self.shapes)


def _forward(leaves: Sequence[Leaf], run: Run, repeats: Repeats, batch: int) -> _Forward:
    forward = _Forward(repeats, batch)
    with torch.no_grad(), watched(leaves, forward.enter, forward.record):
        forward.losses = run(batch)
    return forward


def calls_of(leaves: Sequence[Leaf], run: Run, repeats: Repeats) -> Calls:
    """How some layers are called, once the inputs that all examples share are repeated."""
    two, three = (_forward(leaves, run, repeats, batch) for batch in (2, 3))
    axes, changed = {}, set()
    for key, shape in two.shapes.items():
        grown = [axis for axis, (a, b) in enumerate(zip(shape, three.shapes.get(key, shape), strict=True)) if a != b]
        if grown and grown[0]:
            axes[key] = grown[0]
    for outputs in (two.outputs, three.outputs):
        changed |= {key for key, (output, version) in outputs.items() if output._version != version}
    return Calls(axes, repeats, changed, {name for name, _ in two.shapes})


def repeats_of(leaves: Sequence[Leaf], run: Run, allowed: float) -> Repeats:
    """The calls whose input all examples share, and how to repeat it without changing a loss.

    They are found one at a time, since whatever follows a repeated input has a batch axis.

    Args:
        leaves: the layers.
        run: see `Run`.
        allowed: the relative difference of a loss that may be rounding.
    """
    found: dict[Call, Repeat | None] = {}
    while True:
        two, three = (_forward(leaves, run, found, batch) for batch in (2, 3))
        loops = {name for name, _ in two.shapes.keys() ^ three.shapes.keys()}  # one call per example
        for key, shape in two.shapes.items():
            if key in found or key[0] in loops or shape != three.shapes[key]:
                continue
            fits = (
                r
                for r in possible_repeats(shape)
                if all(_same(leaves, run, found | {key: r}, at, allowed) for at in (two, three))
            )
            found[key] = next(fits, None)
            if found[key] is not None:
                break
        else:
            return found


def _same(leaves: Sequence[Leaf], run: Run, repeats: Repeats, before: _Forward, allowed: float) -> bool:
    try:
        after = _forward(leaves, run, repeats, before.batch)
    except UNFIT:
        return False
    assert after.losses is not None and before.losses is not None
    return torch.allclose(after.losses, before.losses, rtol=allowed, atol=allowed / 10, equal_nan=True)
