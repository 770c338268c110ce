"""Self-influence under EK-FAC curvature, whose factors and eigenvalues come from two passes over all the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.randomness import derive
from datadiet.signals.passes.grad import naming
from datadiet.signals.passes.spec import Measure, Pass, Setup

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["PASS"]


def _prepare(setup: Setup) -> dict[str, Tensor]:
    """The curvature."""
    from datadiet.signals.gradients.kfac import KroneckerFactors

    with naming(setup, setup.data):
        factors = KroneckerFactors.collect(setup.engine(), setup.data.pairs(), _generator("factors"))
        factors.collect_lambda(setup.data.pairs(), _generator("eigenvalues"))
    return factors.state_dict()


def _measure(setup: Setup) -> Measure:
    from datadiet.signals.gradients.kfac import KroneckerFactors

    factors = KroneckerFactors.from_state(setup.engine(), setup.prepared)
    return lambda batch: {"ekfac": factors.self_influence(batch.inputs, batch.targets).float()}


def _generator(stream: str) -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(derive(0, "ekfac", stream))


PASS = Pass("ekfac", _measure, _prepare, gradients=True, forwards=10)
