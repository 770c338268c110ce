"""The contract suite as functions: they check that a scorer or a selector, datadiet's or your own, keeps the laws.

pytest and hypothesis are not needed; torch, if installed, is used only to check that its random state does not change.
"""

from __future__ import annotations

from datadiet.testing.checks import check_scorer, check_selector, scorer_checks, selector_checks

__all__ = ["check_scorer", "check_selector", "scorer_checks", "selector_checks"]
