"""What is one for all examples, given once to each: where the axis of examples goes.

A network broadcasts such a thing over the examples, and backpropagation sums its gradient over them. One copy per
example changes no number in the forward pass and leaves every example its own gradient, provided that the axis of
examples is where the network has it; which place that is is found by trying.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from datadiet.errors import OptionError

__all__ = ["UNFIT", "Repeat", "candidates"]

UNFIT = (RuntimeError, IndexError, ValueError, TypeError, AssertionError, OptionError)
"""What a network may raise for copies of a shape that it does not expect."""


class Repeat(NamedTuple):
    """How copies are arranged.

    Attributes:
        ndim: axes of all copies together; what is missing is put in front, of size 1.
        axis: the axis of size 1 that becomes that of the examples.
    """

    ndim: int
    axis: int

    def __call__(self, x: Tensor, batch: int) -> Tensor:
        """The copies, as a view."""
        x = x[(None,) * (self.ndim - x.ndim)]
        return x.expand(*(batch if axis == self.axis else size for axis, size in enumerate(x.shape)))


def candidates(shape: Sequence[int]) -> Iterator[Repeat]:
    """The ways to repeat something of a shape, the likeliest first."""
    ndim = len(shape)
    yield from (Repeat(ndim, axis) for axis, size in enumerate(shape) if size == 1)
    yield from (Repeat(ndim + ones, 0) for ones in range(1, 5))
