"""Per-example gradients: their norms, inner products and projections, at the cost of one pass over the batch."""

from __future__ import annotations

from datadiet.signals.gradients.dots import gradient_dots, reference_gradient
from datadiet.signals.gradients.engine import PerExample
from datadiet.signals.gradients.kfac import KroneckerFactors
from datadiet.signals.gradients.lookup import Lookup
from datadiet.signals.gradients.norms import grad_norms, layer_norms
from datadiet.signals.gradients.projection import Projector, projected
from datadiet.signals.gradients.terms import Explicit, OuterProduct, Term, squared_norm

__all__ = [
    "Explicit",
    "KroneckerFactors",
    "Lookup",
    "PerExample",
    "OuterProduct",
    "Projector",
    "Term",
    "grad_norms",
    "gradient_dots",
    "layer_norms",
    "projected",
    "squared_norm",
    "reference_gradient",
]
