"""Products of each example's gradient with the gradient of the mean reference loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.signals.passes.grad import naming
from datadiet.signals.passes.spec import Measure, Pass, Setup

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PASS"]


def _prepare(setup: Setup) -> dict[str, Tensor]:
    """The gradient of the reference data."""
    from datadiet.signals.gradients.dots import reference_gradient

    assert setup.reference is not None, "checked earlier"
    with naming(setup, setup.reference):
        return reference_gradient(setup.engine(), setup.reference.pairs())


def _measure(setup: Setup) -> Measure:
    from datadiet.signals.gradients.dots import gradient_dots

    engine = setup.engine()
    return lambda batch: gradient_dots(engine, setup.prepared, batch.inputs, batch.targets)


PASS = Pass("dots", _measure, _prepare, compares=True, gradients=True, forwards=4)
