"""The contract of scorers, selectors and schedules, for the methods of datadiet and for your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datadiet.sampling.spec import ScheduleSpec
from datadiet.scorers.spec import ScorerSpec
from datadiet.selectors.spec import SelectorSpec
from datadiet.testing.laws import Check, checks_of, keep_all
from datadiet.testing.parameter_sets import home_of, parameter_sets
from datadiet.testing.schedule_cases import ScheduleCase
from datadiet.testing.schedule_laws import SCHEDULE_LAWS
from datadiet.testing.schedule_update_laws import SCHEDULE_UPDATE_LAWS
from datadiet.testing.scorer_array_laws import SCORER_ARRAY_LAWS
from datadiet.testing.scorer_cases import ScorerCase
from datadiet.testing.scorer_laws import SCORER_LAWS
from datadiet.testing.selector_array_laws import SELECTOR_ARRAY_LAWS
from datadiet.testing.selector_cases import SelectorCase, filled_by_the_check
from datadiet.testing.selector_laws import SELECTOR_LAWS
from datadiet.testing.spec_laws import SPEC_LAWS, source_and_cost
from datadiet.testing.vector_laws import VECTOR_LAWS

__all__ = [
    "check_schedule", "check_scorer", "check_selector", "schedule_checks", "scorer_checks", "selector_checks",
]  # fmt: skip

Examples = Sequence[Mapping[str, Any]] | None


def check_scorer(
    scorer: Callable[..., Any] | ScorerSpec, *, examples: Examples = None, strict: bool | None = None
) -> None:
    """Check that a scorer keeps the contract.

    Args:
        scorer: its SPEC, or a function whose leading parameters are signals of a training run.
        examples: parameters to check it with, one dict each; None = its defaults, and each choice of a `Literal` or
            bool parameter.
        strict: whether it must also keep the laws for datadiet's own scorers: float32, the mean over seeds, empty
            shards, arrays of every kind, its own refusals, the docstring. None = if it is one of them.

    Raises:
        AssertionError: it says which laws are broken, what was given, the result, and what to do.
        OptionError: a parameter without a default, and no examples.

    >>> def worst(loss):
    ...     return loss.max(axis=(0, 1))
    >>> check_scorer(worst)
    """
    keep_all(scorer_checks(scorer, examples=examples, strict=strict))


def check_selector(
    selector: Callable[..., Any] | SelectorSpec, *, examples: Examples = None, strict: bool | None = None
) -> None:
    """Check that a selector keeps the contract.

    Args:
        selector: its SPEC, or a function `fn(hardness, k, *, keys, …)`.
        examples: parameters to check it with, one dict each; None = its defaults, and each choice of a `Literal` or
            bool parameter.
        strict: whether it must also keep the laws for datadiet's own selectors: int64, `rng`, arrays of every kind,
            its own refusals, the docstring. None = if it is one of them.

    Raises:
        AssertionError: it says which laws are broken, what was given, the result, and what to do.
        OptionError: a parameter without a default, and no examples.

    >>> def first(hardness, k):
    ...     return list(range(k))
    >>> try:
    ...     check_selector(first)
    ... except AssertionError as error:
    ...     print("break ties by key" in str(error))
    True
    """
    keep_all(selector_checks(selector, examples=examples, strict=strict))


def check_schedule(
    schedule: Callable[..., Any] | ScheduleSpec, *, examples: Examples = None, strict: bool | None = None
) -> None:
    """Check that a schedule keeps the contract. This needs torch.

    Args:
        schedule: its SPEC, or a class or function that makes one; it is given `n`, `seed`, `epochs` and `labels`, where
            it takes them.
        examples: parameters to check it with, one dict each; None = its defaults, and each choice of a `Literal` or
            bool parameter.
        strict: whether it must also keep the laws for datadiet's own schedules: another order in each epoch, its own
            refusals, the docstring. None = if it is one of them.

    Raises:
        AssertionError: it says which laws are broken, what was given, the result, and what to do.
        OptionError: a parameter without a default, and no examples.

    >>> from datadiet.sampling import SubsetSampler
    >>> check_schedule(lambda n, seed: SubsetSampler(n, seed=seed))
    """
    keep_all(schedule_checks(schedule, examples=examples, strict=strict))


def scorer_checks(
    scorer: Callable[..., Any] | ScorerSpec, *, examples: Examples = None, strict: bool | None = None
) -> list[Check]:
    """The checks of `check_scorer` one by one: (name, function without arguments), for pytest.mark.parametrize.

    A check that cannot be run, because nothing is known about a signal, says so in its name and does nothing.
    """
    spec = scorer if isinstance(scorer, ScorerSpec) else ScorerSpec.of(scorer)
    sets = parameter_sets(spec.fn, spec.parameters, set(spec.facts), examples)
    laws = (*SCORER_LAWS, *SCORER_ARRAY_LAWS, *SPEC_LAWS)
    return checks_of(laws, [ScorerCase(spec, params) for params in sets], _is_ours(spec.fn, strict))


def selector_checks(
    selector: Callable[..., Any] | SelectorSpec, *, examples: Examples = None, strict: bool | None = None
) -> list[Check]:
    """The checks of `check_selector` one by one: (name, function without arguments), for pytest.mark.parametrize."""
    spec = selector if isinstance(selector, SelectorSpec) else SelectorSpec(selector)
    sets = parameter_sets(spec.fn, spec.parameters, filled_by_the_check(spec), examples)
    laws = (*SELECTOR_LAWS, *SELECTOR_ARRAY_LAWS, *VECTOR_LAWS, *SPEC_LAWS)
    return checks_of(laws, [SelectorCase(spec, params) for params in sets], _is_ours(spec.fn, strict))


def schedule_checks(
    schedule: Callable[..., Any] | ScheduleSpec, *, examples: Examples = None, strict: bool | None = None
) -> list[Check]:
    """The checks of `check_schedule` one by one: (name, function without arguments), for pytest.mark.parametrize."""
    spec = schedule if isinstance(schedule, ScheduleSpec) else ScheduleSpec(schedule)
    sets = parameter_sets(spec.fn, spec.parameters, set(spec.example), examples)
    cases = [ScheduleCase(spec, {**spec.example, **params}) for params in sets]
    return checks_of((*SCHEDULE_LAWS, *SCHEDULE_UPDATE_LAWS, source_and_cost), cases, _is_ours(spec.fn, strict))


def _is_ours(fn: Callable[..., Any], strict: bool | None) -> bool:
    return (
        home_of(fn).startswith(("datadiet.scorers.", "datadiet.selectors.", "datadiet.sampling."))
        if strict is None
        else strict
    )
