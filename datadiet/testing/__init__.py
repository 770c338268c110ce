"""The contract suite as functions: they check that a method, datadiet's or your own, keeps the laws.

pytest and hypothesis are not needed. torch is needed to check schedules; otherwise it is used, if installed, only to
check that its random state does not change.
"""

from __future__ import annotations

from datadiet.testing.checks import (
    check_schedule,
    check_scorer,
    check_selector,
    schedule_checks,
    scorer_checks,
    selector_checks,
)

__all__ = [
    "check_schedule", "check_scorer", "check_selector", "schedule_checks", "scorer_checks", "selector_checks",
]  # fmt: skip
