"""What every registered selector keeps, whatever it prefers."""

from __future__ import annotations

import inspect
import random as python_random
import re
import sys
from typing import Any

import numpy as np
import pytest
import torch

from datadiet.errors import OptionError
from datadiet.randomness import Keys
from datadiet.selectors import SELECTORS

N = 120
REQUIRED: dict[str, dict[str, Any]] = {"top_k": {"prefer": "hardest"}, "class_quota": {"recall": [0.6, 0.5, 0.7, 0.8]}}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("top_k", {"prefer": "easiest"}),
    ("band", {"skip": 0.1}),
    ("band", {"skip": 7}),
    ("ccs", {"beta": 0.2, "strata": 6}),
    ("beta", {"c": 11.0}),
    ("class_quota", {"weighting": "density"}),
]
SCALAR = [name for name, spec in SELECTORS.items() if spec.first in ("hardness", "n", "labels")]
CASES = [(name, {}) for name in SCALAR] + VARIANTS
every_case = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=[name + "".join(f"-{v}" for v in o.values()) for name, o in CASES]
)
by_hardness = pytest.mark.parametrize("name", [name for name, spec in SELECTORS.items() if spec.first == "hardness"])
DRAWN_AT_RANDOM = ("random", "ccs", "beta", "class_quota")


def data(n: int = N, seed: int = 0) -> dict[str, np.ndarray]:
    """Distinct hardness, a second column, and labels of four classes stored class after class."""
    rng = np.random.default_rng(seed)
    return {"hardness": rng.uniform(0, 1, n), "further": rng.uniform(0, 1, n), "labels": np.arange(n) * 4 // n}


def call(
    name: str, k: int, given: dict[str, np.ndarray], options: dict[str, Any] | None = None, **random: Any
) -> np.ndarray:
    spec = SELECTORS[name]
    first = {"hardness": given["hardness"], "n": len(given["hardness"]), "labels": given["labels"]}[spec.first]
    further = dict.fromkeys(spec.columns, given["further"])
    return spec.fn(first, k, **further, **{**REQUIRED.get(name, {}), **(options or {})}, **random)


def keys(seed: int, n: int = N, index: np.ndarray | None = None) -> Keys:
    return Keys(seed, "contract", n, index)


@every_case
@pytest.mark.parametrize("k", [1, 2, 37, 84])
def test_keeps_exactly_k_different_examples(name: str, options: dict, k: int) -> None:
    chosen = call(name, k, data(), options)
    assert chosen.dtype == np.int64 and chosen.shape == (k,)
    assert len(set(chosen.tolist())) == k and chosen.min() >= 0 and chosen.max() < N


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize("n", [1, 2, N])
def test_keeping_all_keeps_all(name: str, n: int) -> None:
    assert sorted(call(name, n, data(n)).tolist()) == list(range(n))


@every_case
def test_the_same_keys_give_the_same_and_leave_the_input_alone(name: str, options: dict) -> None:
    given, before = data(), data()
    for values in given.values():
        values.flags.writeable = False
    first, second = (call(name, 30, given, options, keys=keys(5)) for _ in range(2))
    assert first.tolist() == second.tolist()
    assert all(np.array_equal(given[c], before[c]) for c in given)


@every_case
def test_only_what_is_drawn_depends_on_the_seed(name: str, options: dict) -> None:
    differ = [call(name, 30, data(), options, keys=keys(s)).tolist() for s in range(4)]
    assert len(set(map(tuple, differ))) == (4 if name in DRAWN_AT_RANDOM else 1)
    subsets = {frozenset(chosen) for chosen in differ}
    assert len(subsets) == (4 if name in DRAWN_AT_RANDOM else 1)


@every_case
def test_takes_a_generator_and_nothing_at_all(name: str, options: dict) -> None:
    given = data()
    given["hardness"] = np.round(given["hardness"])
    results = [call(name, 30, given, options, rng=np.random.default_rng(s)).tolist() for s in (1, 1, 2)]
    assert results[0] == results[1] != results[2]
    assert call(name, 30, given, options).tolist() == call(name, 30, given, options).tolist()


@every_case
def test_leaves_the_global_random_states_alone(name: str, options: dict) -> None:
    states = np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist(), python_random.getstate()  # noqa: NPY002
    call(name, 30, data(), options)
    call(name, 30, data(), options, rng=np.random.default_rng(0))
    assert states == (np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist(), python_random.getstate())  # noqa: NPY002


@every_case
@pytest.mark.parametrize("values", ["equal", "binary"])
def test_ties_are_not_broken_by_position(name: str, options: dict, values: str) -> None:
    n, k, seeds = 400, 100, 20
    given = data(n)
    given["hardness"] = np.full(n, 0.5) if values == "equal" else np.arange(n) % 2 * 0.5 + 0.25
    given["further"] = np.full(n, 0.5)
    options = {**options, **({"recall": [0.5] * 4} if name == "class_quota" else {})}
    chosen = np.concatenate([call(name, k, given, options, keys=keys(s, n)) for s in range(seeds)])
    for parts in (2, 4, 8):  # 8 parts are halves of classes
        shares = np.bincount(chosen * parts // n, minlength=parts) / len(chosen)
        np.testing.assert_allclose(shares, 1 / parts, atol=0.05)
    ranks = np.arange(len(chosen)) % k
    assert abs(np.corrcoef(ranks, chosen)[0, 1]) < 0.1


@every_case
@pytest.mark.parametrize("decimals", [8, 1, 0])
def test_the_order_of_the_rows_does_not_matter(name: str, options: dict, decimals: int) -> None:
    given = {c: np.round(v, decimals) if c == "hardness" else v for c, v in data().items()}
    perm = np.random.default_rng(1).permutation(N)
    shuffled = {c: v[perm] for c, v in given.items()}
    chosen = call(name, 40, given, options, keys=keys(3))
    assert perm[call(name, 40, shuffled, options, keys=keys(3, index=perm))].tolist() == chosen.tolist()


@every_case
def test_positions_far_into_the_source_are_only_names(name: str, options: dict) -> None:
    index = 2**32 - 1 - 7 * np.arange(N)[::-1]
    chosen = call(name, 40, data(), options, keys=keys(3, index=index))
    assert len(set(chosen.tolist())) == 40 and chosen.max() < N


@pytest.mark.parametrize("name", [name for name in SCALAR if SELECTORS[name].nested])
@pytest.mark.parametrize("options", [{"prefer": "hardest"}, {"prefer": "easiest"}], ids=lambda o: o["prefer"])
def test_a_nested_method_keeps_the_prefix_of_a_larger_budget(name: str, options: dict) -> None:
    options = options if name in REQUIRED else {}
    for decimals in (8, 1):
        given = {c: np.round(v, decimals) for c, v in data().items()}
        whole = call(name, N, given, options, keys=keys(2)).tolist()
        for k in (1, 5, 60, 119):
            assert call(name, k, given, options, keys=keys(2)).tolist() == whole[:k]


@every_case
@pytest.mark.parametrize("k", [0, -1, N + 1])
def test_a_budget_that_cannot_be_met_is_refused(name: str, options: dict, k: int) -> None:
    with pytest.raises(OptionError, match=f"k={k} of {N} examples"):
        call(name, k, data(), options)


@every_case
def test_keys_of_another_number_are_refused(name: str, options: dict) -> None:
    with pytest.raises(OptionError, match=f"keys for {N - 1} rows and {N} examples"):
        call(name, 30, data(), options, keys=keys(0, N - 1))


@by_hardness
def test_nan_is_refused_and_located(name: str) -> None:
    given = data()
    given["hardness"][[17, 40]] = np.nan
    with pytest.raises(OptionError, match="hardness is NaN for 2 of 120 examples, the first at position 17"):
        call(name, 30, given)
    for parameter in SELECTORS[name].columns:
        given = data()
        given["further"][3] = np.nan
        with pytest.raises(OptionError, match=f"{parameter} is NaN for 1 of 120 examples, the first at position 3"):
            call(name, 30, given)


@by_hardness
def test_a_table_of_scores_is_refused(name: str) -> None:
    given = data()
    given["hardness"] = given["hardness"][:, None]
    with pytest.raises(OptionError, match=r"hardness has shape \(120, 1\)"):
        call(name, 30, given)


@by_hardness
@pytest.mark.parametrize("kind", ["float16", "float32", "int64", "int8", "uint8", "bool"])
def test_numbers_of_any_kind_mean_the_same(name: str, kind: str) -> None:
    given = data()
    whole = np.floor(given["hardness"] * (2 if kind == "bool" else 100))
    given["hardness"] = whole
    expected = call(name, 30, given, keys=keys(1)).tolist()
    given["hardness"] = whole.astype(kind)
    assert call(name, 30, given, keys=keys(1)).tolist() == expected


@pytest.mark.parametrize("name", SCALAR)
def test_the_file_says_where_the_method_comes_from_and_what_it_costs(name: str) -> None:
    spec = SELECTORS[name]
    head = sys.modules[spec.fn.__module__].__doc__ or ""
    assert "Cost:" in head and spec.reference
    assert spec.reference == "baseline" or re.search(r"arXiv\s+\d{4}\.\d{5}", head)
    text = inspect.getdoc(spec.fn) or ""
    for part in ("Args:", "Returns:", "Raises:", ">>> "):
        assert part in text
    assert spec.nested == bool(re.search(r"[^t] ?Nested", text[text.index("Returns:") : text.index("Raises:")]))
    arguments = text[text.index("Args:") : text.index("Returns:")]
    for parameter in inspect.signature(spec.fn).parameters:
        assert re.search(rf"\b{parameter}\b.*:", arguments), parameter
