"""One copy per example of a tensor that all examples share, and where its batch axis goes.

A network broadcasts such a tensor over the batch, and backpropagation sums its gradient over the examples. One copy per
example changes no number in the forward pass and gives every example its own gradient, if the batch axis is where the
network expects it; the place is found by trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from datadiet.errors import OptionError

__all__ = ["UNFIT", "Repeat", "possible_repeats"]

UNFIT = (RuntimeError, IndexError, ValueError, TypeError, AssertionError, OptionError)
"""What a network may raise on copies of a shape that it does not expect."""


class Repeat(NamedTuple):
    """How copies are arranged.

    Attributes:
        ndim: the number of axes of the stacked copies; missing axes are added in front, of size 1.
        axis: the axis of size 1 that becomes the batch axis.
    """

    ndim: int
    axis: int

    def __call__(self, x: Tensor, batch: int) -> Tensor:
        """The copies, as a view."""
        x = x[(None,) * (self.ndim - x.ndim)]
        return x.expand(*(batch if axis == self.axis else size for axis, size in enumerate(x.shape)))


def possible_repeats(shape: Sequence[int]) -> Iterator[Repeat]:
    """The ways to repeat a tensor of this shape, the likeliest first."""
    ndim = len(shape)
    yield from (Repeat(ndim, axis) for axis, size in enumerate(shape) if size == 1)
    yield from (Repeat(ndim + ones, 0) for ones in range(1, 5))
