"""What every registered schedule keeps, whatever it chooses by: the laws of `datadiet.testing`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from datadiet.sampling import SCHEDULES
from datadiet.testing import schedule_checks

CHECKS = {name: schedule_checks(spec) for name, spec in SCHEDULES.items()}


@pytest.mark.parametrize(
    "check", [pytest.param(check, id=f"{name}-{law}") for name, found in CHECKS.items() for law, check in found]
)
def test_it_keeps_the_law(check: Callable[[], None]) -> None:
    check()
