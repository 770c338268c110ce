"""Gradients of single examples: their norms, inner products and projections, at the cost of one pass over the batch."""

from __future__ import annotations

from datadiet.signals.gradients.engine import PerExample
from datadiet.signals.gradients.norms import grad_norms, layer_norms
from datadiet.signals.gradients.terms import Explicit, Lookup, Product, Term, squared_norm

__all__ = ["Explicit", "Lookup", "PerExample", "Product", "Term", "grad_norms", "layer_norms", "squared_norm"]
