"""The laws of all selectors, whatever they prefer."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from datadiet.parameters import default_of
from datadiet.randomness import generator
from datadiet.selectors.explained import Explained
from datadiet.testing.laws import Broken, expect, expect_refusal, law, laws_in, shown, untouched
from datadiet.testing.selector_cases import CLASSES, SelectorCase, SelectorInput

__all__ = ["SELECTOR_LAWS"]


def _by_scores(selector: SelectorCase) -> bool:
    return selector.spec.first == "hardness"


def _by_numbers(selector: SelectorCase) -> bool:
    return selector.spec.first in ("hardness", "labels", "n")


@law("return k different positions in 0..n-1, the most preferred first, as an integer array.")
def exactly_k(selector: SelectorCase) -> None:
    """A selector keeps exactly k different examples, for every k from 1 to n."""
    n, alike = selector.n, selector.alike()
    some = (1, 2, n // 5, n * 7 // 10)
    for pool, k in [(selector.pool(), k) for k in some if k >= selector.fewest] + [(alike, k) for k in some]:
        _expect_positions(selector, pool, k, "alike" if pool is alike else "different")


def _with_defaults(selector: SelectorCase) -> bool:
    """Whether only parameters without a default are given."""
    return all(default_of(selector.spec.fn, name) is inspect.Parameter.empty for name in selector.params)


@law("return every position if k = n.", when=_with_defaults)
def all_of_them(selector: SelectorCase) -> None:
    """With default parameters, keeping all keeps all."""
    for n in (1, 2, selector.n) if _by_numbers(selector) else (selector.n,):
        _expect_positions(selector, selector.pool(n), n, "different")


def _expect_positions(selector: SelectorCase, pool: SelectorInput, k: int, kind: str) -> None:
    given, chosen = f"{pool.n} {kind} examples, k={k}", selector.choose(pool, k)
    expect(chosen.dtype.kind in "iu" and chosen.shape == (k,), given, shown(chosen))
    fits = len(np.unique(chosen)) == k and chosen.min() >= 0 and chosen.max() < pool.n
    expect(fits, given, f"positions that occur twice or are outside 0..{pool.n - 1}: {shown(chosen)}")


@law("return np.int64; take `rng` and `keys` after the star, with None as defaults.", ours=True, once=True)
def int64_and_keys(selector: SelectorCase) -> None:
    """Positions are int64, and `rng` and `keys` are keyword-only and may be left out."""
    chosen = selector.choose(selector.pool(), selector.some)
    expect(chosen.dtype == np.int64, "the defaults", shown(chosen))
    found = inspect.signature(selector.spec.fn).parameters
    for name in ("rng", "keys"):
        there = name in found and found[name].kind is inspect.Parameter.KEYWORD_ONLY and found[name].default is None
        expect(there, "the signature", f"no keyword-only {name}=None")


@law("return (positions, weights), the weights in the order of the positions.")
def weights_fit(selector: SelectorCase) -> None:
    """Weights, if there are any, are k finite numbers of at least 0, not all 0."""
    found = selector.call(selector.pool(), selector.some)
    weight = found[1] if isinstance(found, tuple) else getattr(found, "weight", None)
    if weight is not None:
        weight = np.asarray(weight)
        fits = weight.shape == (selector.some,) and np.isfinite(weight).all() and weight.min() >= 0 and weight.any()
        expect(fits, f"k={selector.some}", shown(weight))


@law("draw from `keys` only; compute in new arrays (no out=, no +=, no sort in place).")
def the_same_twice(selector: SelectorCase) -> None:
    """The same examples and keys give the same choice, and the arguments are not changed."""
    pool, before = selector.pool(), selector.pool()
    for values in (pool.first, *pool.columns.values()):
        if isinstance(values, np.ndarray):
            values.flags.writeable = False
    first, second = (selector.choose(pool, selector.some, keys=selector.keys(5)) for _ in range(2))
    expect(first.tolist() == second.tolist(), "the same twice", f"{shown(first)} and {shown(second)}")
    same = np.array_equal(pool.first, before.first) and all(
        np.array_equal(values, before.columns[name]) for name, values in pool.columns.items()
    )
    expect(same, f"k={selector.some}", "an argument was changed")
    unseeded = [selector.choose(pool, selector.some).tolist() for _ in range(2)]
    expect(unseeded[0] == unseeded[1], "neither rng nor keys, twice", f"{shown(unseeded[0])} and {shown(unseeded[1])}")


@law("draw from `keys`: keys.sort(codes) orders with ties by key, keys.uniform() gives a number for each example.")
def global_random_states(selector: SelectorCase) -> None:
    """The method neither draws from nor seeds the random states of the process."""
    with untouched(f"k={selector.some}, with and without a generator"):
        selector.choose(selector.pool(), selector.some)
        selector.choose(selector.pool(), selector.some, rng=generator(0))


@law("make keys from it if none are given: keys = choose_keys(n, rng, keys).", when=lambda s: s.takes("rng"))
def a_generator(selector: SelectorCase) -> None:
    """A generator seeds the draws and ties: the same seed gives the same choice, another seed another one."""
    pool = selector.pool(decimals=0)
    found = [selector.choose(pool, selector.some, rng=generator(seed)).tolist() for seed in (1, 1, 2)]
    expect(found[0] == found[1], "rng of the same seed, twice", f"{shown(found[0])} and {shown(found[1])}")
    if _by_numbers(selector):
        expect(found[0] != found[2], "rng of two seeds, and many equal scores", "the same choice")


@law("draw from `keys`.", when=lambda s: s.spec.first in ("labels", "n") and s.takes("keys"))
def another_seed(selector: SelectorCase) -> None:
    """If only chance decides, every seed gives another choice."""
    found = [selector.choose(selector.pool(), selector.some, keys=selector.keys(seed)).tolist() for seed in range(4)]
    different = len({frozenset(chosen) for chosen in found})
    expect(different == 4, "keys of 4 seeds", f"{different} different choices")


@law("break ties by key, as keys.sort(codes) does: examples are often stored class after class.")
def ties(selector: SelectorCase) -> None:
    """Ties between equal examples are broken by their keys alone, not by their positions."""
    n, seeds = (400, 20) if _by_numbers(selector) else (selector.n, 12)
    pool = selector.alike(n)
    pools = [(pool, "all alike")]
    if _by_scores(selector):
        pools.append((pool.with_first(np.arange(n) % 2 * 0.5 + 0.25), "of two alternating kinds"))
    for given, said in pools:
        k = n // 4 if _by_numbers(selector) else n // 2
        chosen = np.concatenate([selector.choose(given, k, keys=selector.keys(s, n)) for s in range(seeds)])
        said = f"{n} examples, {said}; k={k}, {seeds} seeds"
        among = n // CLASSES if selector.spec.first == "labels" else n  # classes may differ in how much they keep
        place = chosen % among
        for parts in (2, 4, 8):
            share = np.bincount(place * parts // among, minlength=parts) / len(place)
            even = np.abs(share - 1 / parts).max() < (0.05 if _by_numbers(selector) else 0.1)
            expect(even, said, f"shares {np.round(share, 2).tolist()} from {parts} equal parts of the data")
        slope = float(np.corrcoef(np.arange(len(chosen)) % k, place)[0, 1])
        expect(abs(slope) < 0.15, said, f"ranks that follow the positions (correlation {slope:.2f})")


@law("break ties and draw by key, never by position; let no sum depend on the order of the rows.",
     when=lambda s: s.takes("keys"))  # fmt: skip
def order_of_the_examples(selector: SelectorCase) -> None:
    """The same examples are kept, in the same order of preference, if they come in another order with their keys."""
    order = generator(1, "datadiet.testing", "order").permutation(selector.n)
    for decimals in (8, 1, 0):
        pool = selector.pool(decimals=decimals)
        chosen = selector.choose(pool, selector.some, keys=selector.keys(3))
        moved = selector.choose(pool.of_rows(order), selector.some, keys=selector.keys(3, index=order))
        rounded = f", scores rounded to {10.0**-decimals:g}" if _by_scores(selector) else ""
        said = f"{selector.n} examples in another order{rounded}"
        expect(order[moved].tolist() == chosen.tolist(), said, f"{shown(order[moved])}, not {shown(chosen)}")
        if not _by_scores(selector):
            return


@law("return positions among the rows that are given, not the positions in the source that keys hold.",
     when=lambda s: s.takes("keys"))  # fmt: skip
def far_into_the_source(selector: SelectorCase) -> None:
    """The positions of the examples in their source affect only ties and draws."""
    index = 2**32 - 1 - 7 * np.arange(selector.n)[::-1]
    chosen = selector.choose(selector.pool(), selector.some, keys=selector.keys(3, index=index))
    fits = len(np.unique(chosen)) == selector.some and chosen.min() >= 0 and chosen.max() < selector.n
    expect(fits, f"keys of the positions {index[0]} to {index[-1]}", shown(chosen))


@law("leave nested=True out of the SPEC, or take examples in one order that does not depend on k.",
     when=lambda s: s.spec.is_nested(s.params))  # fmt: skip
def nested(selector: SelectorCase) -> None:
    """A smaller budget is a prefix of a larger one, if the spec says nested=True."""
    n = selector.n
    alike = selector.alike()
    for pool in (selector.pool(), selector.pool(decimals=1), alike):
        whole = selector.choose(pool, n, keys=selector.keys(2)).tolist()
        for k in (1, 5, n // 2, n - 1):
            if k >= selector.fewest or pool is alike:
                chosen = selector.choose(pool, k, keys=selector.keys(2)).tolist()
                expect(chosen == whole[:k], f"k={k} and k={n}", f"{shown(chosen)} and {shown(whole[:k])}")


@law("call check_k(k, n), or as_scores, which calls it.", ours=True)
def impossible_budgets(selector: SelectorCase) -> None:
    """A budget that cannot be met is refused with an OptionError that says k and n."""
    for k in (0, -1, selector.n + 1):
        words = (f"k={k} of {selector.n} examples",) if selector.spec.needs_size else (str(selector.n),)
        expect_refusal(partial(selector.choose, selector.pool(), k), f"k={k} of {selector.n}", *words)


@law("call choose_keys(n, rng, keys), which refuses them.", ours=True)
def keys_of_another_number(selector: SelectorCase) -> None:
    """Keys for another number of examples are refused with an OptionError."""
    keys, words = selector.keys(0, selector.n - 1), f"keys for {selector.n - 1} rows and {selector.n} examples"
    expect_refusal(partial(selector.choose, selector.pool(), selector.some, keys=keys), words, words)


@law("check scores with as_scores (datadiet.selectors.ordering), or raise a ValueError that says where the NaN is.",
     when=_by_scores)  # fmt: skip
def nan_scores(selector: SelectorCase) -> None:
    """A score that is NaN is refused with a ValueError that says NaN and the first position."""
    pool = selector.pool()
    values = np.array(pool.first)
    values[[17, 40]] = np.nan
    bad = pool.with_first(values)
    expect_refusal(partial(selector.choose, bad, 30), "NaN at the positions 17 and 40", "NaN", "17", error=ValueError)
    for name, column in pool.columns.items():
        values = np.array(column)
        values[3] = np.nan
        other = replace(pool, columns={**pool.columns, name: values})
        expect_refusal(partial(selector.choose, other, 30), f"NaN at position 3 of {name}",
                       name, "NaN", "position 3", error=ValueError)  # fmt: skip


@law("check scores with as_scores.", when=_by_scores, ours=True)
def a_table_of_scores(selector: SelectorCase) -> None:
    """Scores of any shape but (n,) are refused with an OptionError."""
    table = selector.pool().with_first(selector.pool().first[:, None])
    expect_refusal(partial(selector.choose, table, 30), f"scores of shape ({selector.n}, 1)", f"({selector.n}, 1)")


@law("convert scores with as_scores.", when=_by_scores, ours=True)
def scores_of_any_type(selector: SelectorCase) -> None:
    """Whole numbers give the same choice as floats of any width, as integers or as bools."""
    pool = selector.pool()
    for kind in ("float16", "float32", "int64", "int8", "uint8", "bool"):
        whole = np.floor(pool.first * (2 if kind == "bool" else 100))
        wanted = selector.choose(pool.with_first(whole), 30, keys=selector.keys(1)).tolist()
        found = selector.choose(pool.with_first(whole.astype(kind)), 30, keys=selector.keys(1)).tolist()
        expect(found == wanted, f"scores in {kind}", f"{shown(found)} and, in float64, {shown(wanted)}")


@law("return Explained from one function, under @explained: see CONTRIBUTING.", when=lambda s: bool(s.spec.explain))
def reasons(selector: SelectorCase) -> None:
    """The reasons fit the choice: the same positions, and one stratum, witness and similarity per example."""
    explain: Any = selector.spec.explain
    with_reasons = replace(selector, spec=replace(selector.spec, fn=explain))
    pool, k = selector.pool(), selector.some
    found = with_reasons.call(pool, k, keys=selector.keys(4))
    expect(isinstance(found, Explained), f"{selector.name}.explain", shown(found))
    plain = selector.choose(pool, k, keys=selector.keys(4))
    expect(found.chosen.tolist() == plain.tolist(), f"k={k}, with and without reasons", "another choice")
    same = inspect.signature(explain).parameters.keys() == inspect.signature(selector.spec.fn).parameters.keys()
    expect(same, "the signatures with and without reasons", "other parameters")
    if found.stratum is not None:
        stratum = np.asarray(found.stratum)
        fits = stratum.shape == (pool.n,) and stratum.dtype.kind in "iu" and stratum.min() >= -1
        expect(fits, "stratum", shown(stratum))
    if found.witness is not None:
        _witnesses(found, pool.n)


def _witnesses(found: Explained, n: int) -> None:
    witness, similarity = np.asarray(found.witness), np.asarray(found.similarity)
    fits = witness.shape == similarity.shape == (n,) and witness.dtype == np.int64 and similarity.dtype == np.float32
    expect(fits, "witness (int64) and similarity (float32)", f"{shown(witness)} and {shown(similarity)}")
    bare = witness < 0
    expect(bare[found.chosen].all(), "the witnesses of kept examples", shown(witness[found.chosen]))
    expect((np.isnan(similarity) == bare).all(), "similarity", "NaN beside a witness, or a number without one")
    if bare.all():
        raise Broken("the witnesses of examples that are left out", "none at all")


SELECTOR_LAWS = laws_in(globals())
