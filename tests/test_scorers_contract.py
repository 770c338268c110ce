"""What every registered scorer keeps, whatever it measures: the laws of `datadiet.testing`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from datadiet.errors import OptionError
from datadiet.scorers import SCORERS, ScorerSpec
from datadiet.testing import scorer_checks
from datadiet.testing.laws import Check


def checks(spec: ScorerSpec) -> list[Check]:
    """None for a method with a parameter of which no value is known here."""
    try:
        return scorer_checks(spec)
    except OptionError:
        return []


CHECKS = {name: checks(spec) for name, spec in SCORERS.items()}


@pytest.mark.parametrize(
    "check", [pytest.param(check, id=f"{name}-{law}") for name, found in CHECKS.items() for law, check in found]
)
def test_it_keeps_the_law(check: Callable[[], None]) -> None:
    check()


def test_a_method_that_needs_a_parameter_is_checked_with_one_in_its_own_test() -> None:
    for name, found in CHECKS.items():
        own = Path(__file__).with_name(f"test_scorers_{name}.py")
        said = f"call check_scorer(SPEC, examples=[…]) in {own.name}"
        assert found or (own.exists() and "check_scorer(" in own.read_text("utf-8")), said
