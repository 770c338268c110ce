"""plan: what selecting or scoring will cost. Loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.lazy import lazy

if TYPE_CHECKING:
    from datadiet.workflow.planning.costs import plan

__all__ = ["plan"]

__getattr__ = lazy(__name__, {"plan": "costs"})
