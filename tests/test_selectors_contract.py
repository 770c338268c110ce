"""What every registered selector keeps, whatever it prefers: the laws of `datadiet.testing`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from datadiet.errors import OptionError
from datadiet.selectors import SELECTORS, SelectorSpec
from datadiet.testing import selector_checks
from datadiet.testing.laws import Check


def checks(spec: SelectorSpec) -> list[Check]:
    """None for a method with a parameter of which no value is known here."""
    try:
        return selector_checks(spec)
    except OptionError:
        return []


CHECKS = {name: checks(spec) for name, spec in SELECTORS.items()}


@pytest.mark.parametrize(
    "check", [pytest.param(check, id=f"{name}-{law}") for name, found in CHECKS.items() for law, check in found]
)
def test_it_keeps_the_law(check: Callable[[], None]) -> None:
    check()


def test_a_method_that_needs_a_parameter_is_checked_with_one_in_its_own_test() -> None:
    for name, found in CHECKS.items():
        own = Path(__file__).with_name(f"test_selectors_{name}.py")
        said = f"call check_selector(SPEC, examples=[…]) in {own.name}"
        assert found or (own.exists() and "check_selector(" in own.read_text("utf-8")), said
