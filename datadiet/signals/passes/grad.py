"""Gradient norms: the norm of each example's loss gradient over all parameters, and of each layer on request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from datadiet.errors import DataError
from datadiet.signals.passes.spec import Examples, Measure, Pass, Setup

if TYPE_CHECKING:
    from torch import Tensor

    from datadiet.data.batch import Batch

__all__ = ["PASS", "naming"]


def _measure(setup: Setup) -> Measure:
    import torch

    from datadiet.signals.gradients import layer_norms
    from datadiet.signals.gradients.checks import finite_rows

    engine = setup.engine()

    def measure(batch: Batch) -> dict[str, Tensor]:
        squares = layer_norms(engine, batch.inputs, batch.targets)
        total = torch.stack(list(squares.values())).sum(0)
        finite_rows(total)
        out = {"grad_norm": total.sqrt().float()}
        if setup.options.get("per_layer"):
            named = {layer or "network": square for layer, square in squares.items()}  # which may hold some itself
            out |= {f"grad_norm/{layer}": square.sqrt().float() for layer, square in named.items()}
        return out

    return measure


@contextmanager
def naming(setup: Setup, examples: Examples) -> Iterator[None]:
    """Make an error about a value that is not finite name its example."""
    from datadiet.signals.record import measured

    try:
        yield
    except DataError:
        measured(_measure(setup), examples.batches(), examples.name_of)
        raise  # no gradient is to blame


PASS = Pass("grad", _measure, gradients=True, options={"per_layer": False}, forwards=3)
