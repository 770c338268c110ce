"""What every registered schedule keeps, whatever it chooses by: the laws of `datadiet.testing`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from datadiet.errors import OptionError
from datadiet.sampling import SCHEDULES
from datadiet.testing import schedule_checks

CHECKS = {name: schedule_checks(spec) for name, spec in SCHEDULES.items()}


@pytest.mark.parametrize(
    "check", [pytest.param(check, id=f"{name}-{law}") for name, found in CHECKS.items() for law, check in found]
)
def test_it_keeps_the_law(check: Callable[[], None]) -> None:
    check()


def test_what_a_run_fills_in_is_not_the_users() -> None:
    for name, spec in SCHEDULES.items():
        assert {"n", "seed"} <= set(spec.filled) and not set(spec.filled) & set(spec.parameters), name
        assert set(spec.required) == set(spec.example), name
    assert SCHEDULES["rs2"].parameters["stratified"] is False


def test_stratified_without_labels_is_refused() -> None:
    with pytest.raises(OptionError, match="stratified=true: the data has no labels, so leave it out"):
        SCHEDULES["rs2"].make({"keep": 0.5, "stratified": True}, n=9, seed=0, epochs=None)
