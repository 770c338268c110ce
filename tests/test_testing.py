"""Each law of `datadiet.testing` can be broken, and says so: methods that are wrong in one way each."""

from __future__ import annotations

import doctest
import random as python_random
import re
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pytest
import torch

from datadiet.errors import OptionError
from datadiet.geometry import Matrix, cost
from datadiet.scorers import Need, ScorerSpec
from datadiet.scorers.presentations import mean_over_presentations
from datadiet.scorers.spec import class_labels, outputs, presentations, vectors
from datadiet.selectors import Explained, SelectorSpec, explained
from datadiet.selectors.ordering import as_scores, check_k, choose_keys, first_k
from datadiet.testing import check_schedule, check_scorer, check_selector, laws, scorer_checks, selector_checks
from datadiet.testing.scorer_array_laws import SCORER_ARRAY_LAWS
from datadiet.testing.scorer_laws import SCORER_LAWS
from datadiet.testing.selector_array_laws import SELECTOR_ARRAY_LAWS
from datadiet.testing.selector_laws import SELECTOR_LAWS
from datadiet.testing.spec_laws import SPEC_LAWS
from datadiet.testing.vector_laws import VECTOR_LAWS

ROOT = Path(__file__).parents[1]
CALLS = count()


def mean_loss(loss, *, seen=None):
    """A scorer in order.

    Args:
        loss: (seeds, epochs, n).
        seen: of the same shape.

    Returns:
        (n,) float32.

    Raises:
        OptionError: no seed.

    >>> mean_loss(np.ones((1, 2, 1))).tolist()
    [1.0]
    """
    return mean_over_presentations(loss, seen, "loss").astype(np.float32)


def spec(fn: Callable[..., Any], **more: Any) -> ScorerSpec:
    return ScorerSpec(fn, presentations("loss"), **more)


def of_correct(fn: Callable[..., Any]) -> ScorerSpec:
    return ScorerSpec(fn, presentations("correct"))


def of_reference(fn: Callable[..., Any]) -> ScorerSpec:
    return ScorerSpec(fn, (vectors("features"), vectors("features", "reference")), each=True)


def with_labels(fn: Callable[..., Any]) -> ScorerSpec:
    return ScorerSpec(fn, (vectors("features"), class_labels()), each=True)


def changed(values: np.ndarray) -> np.ndarray:
    values += 1
    return values.mean(axis=(0, 1))


def drawn(draw: Callable[[], object]) -> Callable[[np.ndarray], np.ndarray]:
    def fn(loss):
        draw()
        return loss.mean(axis=(0, 1))

    return fn


def at_all_epochs(loss, *, seen=None):
    seen = np.ones(loss.shape, bool) if seen is None else seen
    return np.where(seen, loss, 0).mean(axis=(0, 1))


def at_presentations(loss, *, seen=None):
    seen = np.ones(loss.shape, bool) if seen is None else seen
    return (np.where(seen, loss, 0).sum(axis=1) / seen.sum(axis=1)).mean(axis=0)


def with_stages(*stages: cost.Stage) -> ScorerSpec:
    return spec(mean_loss, cost=lambda n, d, k, **more: list(stages))


def bare(loss):
    """Nothing about it."""
    return mean_loss(loss)


def any_option(loss, *, times: float = 2.0):
    """It ignores what is not a float."""
    return mean_loss(loss)


def any_share(hardness, k, *, share: float = 0.5, rng=None, keys=None):
    """It ignores what is not a float."""
    return hardest(hardness, k, rng=rng, keys=keys)


SCORERS: list[tuple[str, ScorerSpec]] = [
    ("options_of_other_types", spec(any_option)),
    ("one_number_per_example", spec(lambda loss: loss.mean(axis=0))),
    ("one_number_per_example", spec(lambda loss: np.log(-1 - loss.mean(axis=(0, 1)) * 0))),
    ("one_number_per_example", spec(lambda loss: loss[0, 0] * 0)),
    ("one_number_per_example", spec(lambda loss: {"low": loss[0, 0]}, hardness={"high": 1})),
    ("one_number_per_example", spec(lambda loss: loss[0, 0], hardness=0)),
    ("float32_columns", spec(lambda loss: loss.mean(axis=(0, 1), dtype=np.float64))),
    ("the_same_twice", spec(lambda loss: loss.mean(axis=(0, 1)) + next(CALLS))),
    ("the_same_twice", spec(changed)),
    ("global_random_states", spec(drawn(python_random.random))),
    ("global_random_states", spec(drawn(np.random.standard_normal))),
    ("global_random_states", spec(drawn(lambda: torch.rand(1)))),
    ("order_of_the_examples", spec(lambda loss: loss.mean(axis=(0, 1)) + np.arange(loss.shape[-1]))),
    ("order_of_the_examples", ScorerSpec(lambda v: v[:, 0] + np.arange(len(v)), (vectors("features"),), each=True)),
    ("alone_as_among_others", spec(lambda loss: loss.mean(axis=(0, 1)) - loss.mean())),
    ("order_of_the_reference", of_reference(lambda v, other: v @ other[0])),
    ("float64_signals", of_correct(lambda correct: (~correct).mean(axis=(0, 1)))),
    ("mean_over_seeds", spec(lambda loss: loss.max(axis=(0, 1)))),
    ("one_run", spec(lambda loss: loss.mean(axis=(0, 1)))),
    ("empty_shard", spec(lambda loss: np.stack([loss[..., i].mean() for i in range(loss.shape[-1])]))),
    ("no_seed", spec(lambda loss: loss.sum(axis=(0, 1)))),
    ("unseen_presentations", spec(lambda loss, *, seen=None: loss.mean(axis=(0, 1)))),
    ("unseen_presentations", spec(lambda loss, *, seen=None: np.nanmean(loss, axis=(0, 1)))),
    ("unseen_epochs", spec(at_all_epochs)),
    ("never_seen", spec(at_presentations)),
    ("planted_hard_example", spec(lambda loss: -loss.mean(axis=(0, 1)))),
    ("planted_hard_example", spec(mean_loss, hardness=-1)),
    ("arrays_of_any_kind", spec(lambda loss: loss.mean(axis=(0, 1)))),
    ("no_array_of_numbers", spec(lambda loss: np.asarray(loss).mean(axis=(0, 1)))),
    ("no_array_of_numbers", spec(lambda loss, *, seen=None: mean_loss(loss, seen=np.ravel(seen)[0] or None))),
    ("not_finite", spec(lambda loss: np.asarray(loss).mean(axis=(0, 1)))),
    ("out_of_range", spec(lambda loss, *, seen=None: mean_over_presentations(loss, seen))),
    ("no_class_numbers", with_labels(lambda v, labels: np.asarray(v)[:, 0])),
    ("huge_class_numbers", with_labels(lambda v, labels: np.asarray(v)[:, 0] + np.asarray(labels))),
    ("another_number_of_examples", with_labels(lambda v, labels: np.asarray(v)[:, 0])),
    ("docstring", spec(bare)),
    ("source_and_cost", spec(mean_loss)),
    ("source_and_cost", spec(mean_loss, reference="Somebody 2020")),
    ("cost_formula", with_stages()),
    ("cost_formula", with_stages(cost.Stage("idle", moved=-1.0))),
    ("cost_formula", with_stages(cost.Stage("the same for all", moved=1.0))),
]


@pytest.mark.parametrize(("law", "broken"), SCORERS, ids=[f"{law}-{n}" for n, (law, _) in enumerate(SCORERS)])
def test_a_broken_scorer_is_told_which_law_it_breaks(law: str, broken: ScorerSpec) -> None:
    with np.errstate(all="ignore"), pytest.raises(AssertionError) as error:
        dict(scorer_checks(broken, strict=True))[law]()
    assert_told(error.value, law)


def hardest(hardness, k, *, rng=None, keys=None):
    """A selector in order.

    Args:
        hardness: (n,).
        k: how many.
        rng, keys: break ties.

    Returns:
        (k,) int64. Nested.

    Raises:
        OptionError: NaN.

    >>> hardest(np.array([1.0, 2.0]), 1).tolist()
    [1]
    """
    values = as_scores(hardness, k)
    return first_k(-values, k, choose_keys(len(values), rng, keys))


def by_order(of: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """A selector that takes the k with the smallest values of a function, of equal ones the one in front."""
    return lambda hardness, k, *, rng=None, keys=None: np.argsort(of(hardness, keys), kind="stable")[:k]


def then(change: Callable[..., Any]) -> Callable[..., Any]:
    """The selector in order, and then something else."""
    return lambda hardness, k, *, rng=None, keys=None: change(
        hardest(hardness, k, rng=rng, keys=keys), hardness, k, keys
    )


def sorts_in_place(hardness, k, *, rng=None, keys=None):
    hardness.sort()
    return hardest(hardness, k, rng=rng, keys=keys)


def not_all(hardness, k, *, rng=None, keys=None):
    if k == len(hardness):
        raise OptionError("keep fewer")
    return hardest(hardness, k, rng=rng, keys=keys)


def middle(hardness, k, *, rng=None, keys=None):
    start = (len(hardness) - k) // 2
    return hardest(hardness, start + k, rng=rng, keys=keys)[start:]


def unchecked(hardness, k, *, rng=None, keys=None):
    keys = choose_keys(len(hardness), rng, None if keys is None or keys.n != len(hardness) else keys)
    codes = np.unique(-np.ravel(hardness), return_inverse=True)[1].astype(np.uint32)
    return keys.sort(codes)[:k]


def other_reasons(**reasons: Any) -> Callable[..., Any]:
    @explained
    def fn(hardness, k, *, rng=None, keys=None):
        return Explained(hardest(hardness, k, rng=rng, keys=keys), **reasons)

    return fn


def undecided(explain_more: bool) -> Callable[..., Any]:
    def fn(hardness, k, *, rng=None, keys=None):
        return hardest(hardness, k, rng=rng, keys=keys)

    def explain(hardness, k, *, rng=None, keys=None, more=None):
        return Explained(hardest(hardness if explain_more else -hardness, k, rng=rng, keys=keys))

    fn.explain = explain if explain_more else other(explain)
    return fn


def other(explain: Callable[..., Explained]) -> Callable[..., Explained]:
    return lambda hardness, k, *, rng=None, keys=None: explain(hardness, k, rng=rng, keys=keys)


def lengths(embeddings, k, *, rng=None, keys=None):
    """A selector of vectors that keeps the longest."""
    matrix = Matrix.open(embeddings)
    check_k(k, len(matrix))
    length = np.concatenate([np.square(block.astype(np.float64)).sum(axis=1) for _, block in matrix.blocks(4096)])
    return first_k(-length, k, choose_keys(len(matrix), rng, keys))


def of_arrays(dtype: Any, check: bool = True) -> Callable[..., Any]:
    def fn(embeddings, k, *, rng=None, keys=None):
        rows = embeddings.take(slice(None)) if isinstance(embeddings, Matrix) and not check else np.asarray(embeddings)
        length = np.square(rows.astype(dtype or rows.dtype)).sum(axis=1)
        return first_k(-length.astype(np.float64), k, choose_keys(len(rows), rng, keys))

    return fn


@explained
def half_a_cosine(embeddings, k, *, rng=None, keys=None):
    chosen = lengths(embeddings, k, rng=rng, keys=keys)
    witness = np.full(len(embeddings), chosen[0])
    witness[chosen] = -1
    return Explained(chosen, witness=witness, similarity=np.where(witness < 0, np.nan, 0.5).astype(np.float32))


def in_file_order_when_many(embeddings, k, *, clusters=2, rng=None, keys=None):
    return np.arange(k) if len(embeddings) > 10_000 else lengths(embeddings, k, rng=rng, keys=keys)


SELECTORS: list[tuple[str, Callable[..., Any] | SelectorSpec]] = [
    ("exactly_k", then(lambda chosen, *_: chosen[:-1])),
    ("exactly_k", then(lambda chosen, *_: np.repeat(chosen[:1], len(chosen)))),
    ("exactly_k", then(lambda chosen, *_: chosen + 1)),
    ("exactly_k", then(lambda chosen, *_: chosen.astype(float))),
    ("all_of_them", not_all),
    ("int64_and_keys", then(lambda chosen, *_: chosen.astype(np.int32))),
    ("int64_and_keys", lambda hardness, k, keys=None: hardest(hardness, k, keys=keys)),
    ("weights_fit", then(lambda chosen, hardness, *_: (chosen, np.ones(len(hardness))))),
    ("weights_fit", then(lambda chosen, *_: (chosen, np.zeros(len(chosen))))),
    ("the_same_twice", by_order(lambda hardness, keys: hardness * (-1) ** next(CALLS))),
    ("the_same_twice", sorts_in_place),
    ("global_random_states", by_order(lambda hardness, keys: np.random.permutation(len(hardness)))),  # noqa: NPY002
    ("global_random_states", by_order(lambda hardness, keys: hardness + python_random.random())),
    ("a_generator", lambda hardness, k, *, rng=None, keys=None: hardest(hardness, k, keys=keys)),
    ("another_seed", lambda n, k, *, rng=None, keys=None: np.arange(k)),
    ("another_seed", lambda labels, k, *, rng=None, keys=None: np.argsort(labels, kind="stable")[:k]),
    ("ties", by_order(lambda hardness, keys: -hardness)),
    ("ties", then(lambda chosen, *_: np.sort(chosen))),
    ("order_of_the_examples", by_order(lambda hardness, keys: hardness + np.arange(len(hardness)))),
    ("far_into_the_source", then(lambda chosen, h, k, keys: chosen if keys.index is None else keys.index[chosen])),
    ("nested", SelectorSpec(middle, nested=True)),
    ("impossible_budgets", unchecked),
    ("keys_of_another_number", unchecked),
    ("nan_scores", unchecked),
    ("a_table_of_scores", unchecked),
    ("scores_of_any_type", unchecked),
    ("reasons", undecided(explain_more=False)),
    ("reasons", undecided(explain_more=True)),
    ("reasons", other_reasons(stratum=np.zeros(3, dtype=np.int32))),
    ("reasons", other_reasons(witness=np.full(120, -1), similarity=np.full(120, np.nan, dtype=np.float32))),
    ("reasons", other_reasons(witness=np.zeros(120, dtype=int), similarity=np.zeros(120, dtype=np.float32))),
    ("scores_of_any_kind", by_order(lambda hardness, keys: -hardness)),
    ("no_scores", by_order(lambda hardness, keys: -np.asarray(hardness))),
    ("extreme_scores", by_order(lambda hardness, keys: np.histogram(hardness)[0].sum() - np.asarray(hardness))),
    ("vectors_of_any_kind", of_arrays(np.float32)),
    ("no_vectors", of_arrays(np.float32)),
    ("options_of_other_kinds", any_share),
    ("labels_of_any_kind", lambda labels, k, *, rng=None, keys=None: labels.argsort()[:k]),
    ("bad_labels", lambda labels, k, *, rng=None, keys=None: np.argsort(labels, kind="stable")[:k]),
    ("huge_labels", lambda labels, k, *, rng=None, keys=None: np.argsort(labels % 7, kind="stable")[:k]),
    ("a_matrix", of_arrays(np.float32)),
    ("half_floats_on_disk", of_arrays(None, check=False)),
    ("bad_vectors", of_arrays(np.float32)),
    ("similarity_is_a_cosine", half_a_cosine),
    ("order_of_many_examples", in_file_order_when_many),
    ("a_cost_formula", lengths),
    ("said_to_be_nested", hardest),
    ("said_to_be_nested", SelectorSpec(lengths, nested=True)),
]  # fmt: skip


@pytest.mark.parametrize(("law", "broken"), SELECTORS, ids=[f"{law}-{n}" for n, (law, _) in enumerate(SELECTORS)])
def test_a_broken_selector_is_told_which_law_it_breaks(law: str, broken: Callable[..., Any] | SelectorSpec) -> None:
    with pytest.raises(AssertionError) as error:
        dict(selector_checks(broken, strict=True))[law]()
    assert_told(error.value, law)


def assert_told(error: AssertionError, law: str) -> None:
    text = str(error)
    assert f"breaks the law {law}: " in text
    assert all(f"\n  {part}: " in text for part in ("given", "result", "to do"))


def test_every_law_is_broken_by_something() -> None:
    of_scorers, of_selectors = {law for law, _ in SCORERS}, {law for law, _ in SELECTORS}
    assert {law.name for law in (*SCORER_LAWS, *SCORER_ARRAY_LAWS)} <= of_scorers
    assert {law.name for law in (*SELECTOR_LAWS, *SELECTOR_ARRAY_LAWS, *VECTOR_LAWS)} <= of_selectors
    assert {law.name for law in SPEC_LAWS} <= of_scorers | of_selectors


def test_methods_in_order_pass() -> None:
    check_scorer(mean_loss)
    check_scorer(spec(mean_loss))
    check_selector(hardest)
    check_selector(SelectorSpec(hardest, nested=True))
    check_selector(lengths)
    in_order = SelectorSpec(hardest, nested=True)
    for name, check in (*scorer_checks(mean_loss, strict=True), *selector_checks(in_order, strict=True)):
        if name != "source_and_cost":  # the docstring of this file says nothing about them
            check()


def test_the_message() -> None:
    def worst(loss, *, share=0.5):
        return -np.quantile(loss, share, axis=(0, 1))

    with pytest.raises(AssertionError) as error:
        check_scorer(worst, examples=[{"share": 0.25}])
    assert str(error.value).splitlines()[0] == (
        "worst(share=0.25) breaks the law planted_hard_example: An example with hard signals, in every epoch or in "
        "every other one, is the hardest of all in every column."
    )
    assert "to do: give hardness=-1 if a low value is hard" in str(error.value)


def test_all_broken_laws_are_reported_but_only_the_first_where_nothing_else_makes_sense() -> None:
    with pytest.raises(AssertionError, match=r"^4 laws are broken") as error:
        check_selector(by_order(lambda hardness, keys: -hardness))
    assert all(
        f"law {law}" in str(error.value) for law in ("ties", "a_generator", "order_of_the_examples", "nan_scores")
    )
    with pytest.raises(AssertionError, match=r"^<lambda>\(\) breaks the law exactly_k") as error:
        check_selector(lambda hardness, k: [0])
    assert str(error.value).count("breaks the law") == 1


def test_an_error_of_the_method_is_told_with_its_name() -> None:
    def needs_many(loss, *, window=20):
        if loss.shape[1] < window:
            raise OptionError(f"window={window}: only {loss.shape[1]} epochs.")
        return loss.mean(axis=(0, 1))

    with pytest.raises(AssertionError, match=r"result: OptionError: window=20: only 14 epochs\n.*examples=\["):
        check_scorer(needs_many)
    check_scorer(needs_many, examples=[{"window": 5}])


def test_the_parameters_to_check_come_from_the_signature() -> None:
    def fn(hardness, k, *, end: Literal["hard", "easy"], whole: bool = False, share=0.5, keys):
        return keys.sort(np.unique(hardness if end == "easy" else -hardness, return_inverse=True)[1].astype(np.uint32))[
            :k
        ]

    names = [name for name, _ in selector_checks(fn)]
    cases = ("exactly_k[end='hard']", "exactly_k[end='easy']", "exactly_k[end='hard', whole=True]")
    assert [name for name in names if name.startswith("exactly_k")] == [cases[0], cases[1], cases[2]]
    assert "exactly_k[end='easy', share=0.1]" in dict(selector_checks(fn, examples=[{"end": "easy", "share": 0.1}]))


def test_a_parameter_of_which_no_value_is_known_is_asked_for() -> None:
    def fn(hardness, k, *, temperature, keys=None):
        return np.arange(k)

    with pytest.raises(OptionError, match=r"fn has no default for temperature: pass examples=\[\{'temperature': …\}\]"):
        check_selector(fn)
    assert selector_checks(fn, examples=[{"temperature": 1}])


def test_a_check_that_cannot_be_run_says_why_in_its_name() -> None:
    def fn(my_signal):
        return my_signal.mean(axis=(0, 1))

    checks = dict(scorer_checks(fn))
    assert "planted_hard_example (not run: it is not known which values of my_signal are hard)" in checks
    check_scorer(fn)


def test_an_unknown_pass_is_refused() -> None:
    with pytest.raises(OptionError, match="'evall' is not a pass: did you mean 'eval'"):
        check_scorer(ScorerSpec(mean_loss, (Need("loss", "evall", "last"),)))


def test_epochs_may_be_named() -> None:
    dimensions: set[int] = set()

    def last(loss):
        dimensions.add(loss.ndim)
        return (loss[:, -1] if loss.ndim == 3 else loss).mean(axis=0)

    for at, number in (("early", 2), ("7", 2), ("1-14", 3), ("every", 3)):
        dimensions.clear()
        check_scorer(ScorerSpec(last, outputs("loss", at=at)))
        assert dimensions == {number}


def test_without_torch_the_other_states_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(laws, "find_spec", lambda name: None)
    dict(scorer_checks(drawn(lambda: torch.rand(1))))["global_random_states"]()
    with pytest.raises(AssertionError, match="a changed global state of random"):
        dict(scorer_checks(drawn(python_random.random)))["global_random_states"]()


def test_the_methods_in_contributing_keep_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the patterns that a new method is made after."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    files = [block for block in blocks if "\nSPEC = " in block]
    for number, (text, check) in enumerate(zip(files, (check_scorer, check_selector, check_schedule), strict=True)):
        module = ModuleType(f"datadiet.pattern{number}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(text, "CONTRIBUTING.md", "exec"), module.__dict__)
        assert doctest.testmod(module).attempted and not doctest.testmod(module).failed
        check(module.SPEC)
