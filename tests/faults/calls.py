"""Call the plain functions with what nobody should give them: the answer is right, or one clear sentence.

Right means: where the same numbers came in another container, the same result; otherwise a result that keeps the
contract: finite scores, one for each example; or distinct positions, as many as were asked for.
"""

from __future__ import annotations

import json
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from outcomes import Ended, forked, said

import datadiet as dd
from datadiet.geometry import kmeans, nearest
from datadiet.scorers import SCORERS
from datadiet.selectors import SELECTORS
from datadiet.selectors.budget import parse_keep
from datadiet.testing.array_kinds import huge_classes, in_bfloat16, not_class_numbers, not_numbers, same_numbers
from datadiet.testing.scorer_cases import ScorerCase
from datadiet.testing.selector_cases import SelectorCase

__all__ = ["abused_calls"]

SECONDS, MEMORY, TOGETHER = 60.0, 3 << 30, 25

Call = tuple[str, Callable[[], str | None]]  # what is called with what; runs it and says what is wrong

_VALUES = [
    None,
    -1,
    0,
    0.5,
    float("nan"),
    float("inf"),
    1e300,
    "x",
    "",
    [],
    {},
    True,
    2**63,
    2**70,
    b"x",
    object(),
    ...,
]
_SIZES = [-1, 0, 1.5, None, "3", 2**70, float("nan"), [3], 10**6]


def abused_calls(number: int, seed: int = 0, progress: Callable[[], Any] = lambda: None) -> list[tuple[Any, Ended]]:
    """Call with `number` abused arguments, in turn of every function."""
    results: list[tuple[Any, Ended]] = []
    while len(results) < number:
        many = min(TOGETHER, number - len(results))
        results += _together(len(results), many, seed)
        progress()
    return results


def _together(start: int, many: int, seed: int) -> list[tuple[Any, Ended]]:
    """Calls `start` to `start + many` in one child; up to the one that ended it, if one did."""
    with tempfile.NamedTemporaryFile("r", suffix=".jsonl") as file:

        def run() -> str | None:
            warnings.simplefilter("ignore")
            with Path(file.name).open("w", encoding="utf-8") as out:
                for turn in range(start, start + many):
                    name, call = _drawn(turn, seed)
                    out.write(json.dumps([name, None, ""]) + "\n")
                    out.flush()
                    ended = _ended(call)
                    out.write(json.dumps([name, ended.kind, ended.text]) + "\n")
                    out.flush()
            return None

        whole = forked(run, SECONDS, MEMORY)
        lines = [json.loads(line) for line in Path(file.name).read_text(encoding="utf-8").splitlines()]
    found = [(name, Ended(kind, text)) for name, kind, text in lines if kind is not None]
    if len(found) < many:
        kind = "hang" if whole.kind == "hang" else "traceback"
        found.append((lines[-1][0] if lines else "nothing", Ended(kind, whole.text)))
    return found


def _ended(call: Callable[[], str | None]) -> Ended:
    try:
        wrong = call()
    except BaseException as error:
        return said(error)
    return Ended("right") if wrong is None else Ended("wrong", wrong)


def _drawn(turn: int, seed: int) -> Call:
    draw = random.Random(f"{seed} {turn}")
    makers = [*map(_of_scorer, SCORERS.values()), *map(_of_selector, SELECTORS.values()), *_OTHERS]
    return makers[turn % len(makers)](draw)


def _of_scorer(spec: Any) -> Callable[[random.Random], Call]:
    def make(draw: random.Random) -> Call:
        case = ScorerCase(spec)
        given = [in_bfloat16(values) for values in case.signals()]
        if draw.random() < 0.3 and spec.parameters:
            name = draw.choice(sorted(spec.parameters))
            value = draw.choice(_VALUES)
            case = ScorerCase(spec, {name: value})
            return f"{spec.name}: {name}={value!r}", lambda: _scores(case.columns(given))
        place = draw.randrange(len(given))
        labels = spec.needs[place].signal == "labels"
        words, values, same = _other(given[place], labels, draw)
        abused = [*given[:place], values, *given[place + 1 :]]
        if same:
            return f"{spec.name}: {words}", lambda: _alike(case.columns(abused), case.columns(given))
        return f"{spec.name}: {words}", lambda: _scores(case.columns(abused))

    return make


def _of_selector(spec: Any) -> Callable[[random.Random], Call]:
    def make(draw: random.Random) -> Call:
        case = SelectorCase(spec, dict(_NEEDED.get(spec.name, {})))
        pool, k = case.pool(), case.some
        what = draw.random()
        if what < 0.25:
            size = draw.choice(_SIZES)
            return f"{spec.name}: k={size!r}", lambda: _positions(case.choose(pool, size), pool.n, None)
        names = sorted(set(spec.parameters) - set(pool.fixed) - set(pool.columns))
        if what < 0.5 and names:
            name, value = draw.choice(names), draw.choice(_VALUES)
            other = SelectorCase(spec, {**case.params, name: value})
            return f"{spec.name}: {name}={value!r}", lambda: _positions(other.choose(pool, k), pool.n, None)
        if not isinstance(pool.first, np.ndarray):
            value = draw.choice([*_VALUES, [3, "a"], np.zeros(3), ["a"] * pool.n])
            abused = pool.with_first(value)
            return f"{spec.name}: first={value!r:.60}", lambda: _positions(case.choose(abused, k), pool.n, None)
        values = in_bfloat16(pool.first) if pool.first.dtype.kind == "f" else pool.first
        words, given, same = _other(values, spec.first == "labels", draw)
        abused, plain = pool.with_first(given), pool.with_first(values)
        if same:
            return f"{spec.name}: {words}", lambda: _equal(case.choose(abused, k), case.choose(plain, k))
        return f"{spec.name}: {words}", lambda: _positions(case.choose(abused, k), pool.n, None)

    return make


_NEEDED = {"top_k": {"prefer": "hardest"}}


def _other(values: np.ndarray, labels: bool, draw: random.Random) -> tuple[str, Any, bool]:
    """An array in another form: what it is, the form, and whether it holds the same numbers."""
    turn = draw.random()
    if turn < 0.4:
        return *draw.choice(list(same_numbers(values))), True
    if labels:
        return *draw.choice([*not_class_numbers(values), *huge_classes(values)]), False
    if turn < 0.6:
        return *draw.choice(list(not_numbers(values))), False
    return *draw.choice(list(_spoiled(values, draw))), False


def _spoiled(values: np.ndarray, draw: random.Random) -> Iterator[tuple[str, Any]]:
    """Numbers that no run would give."""
    for bad in (np.nan, np.inf, -np.inf, -1.0, 2.0, 1e300, 1e-320):
        spoiled = values.astype(np.float64)
        spoiled.flat[draw.randrange(spoiled.size)] = bad
        yield f"one entry {bad}", spoiled
        yield f"all entries {bad}", np.full(values.shape, bad)
    yield "nothing", None
    yield "no rows", values[..., :0]
    yield "one row too few", values[..., :-1]
    yield "one axis more", values[None, None]
    yield "one axis less", values[0]
    yield "a text", "values"
    yield "a dict", {"values": values}
    yield "a function", len


def _scores(found: Any) -> str | None:
    for suffix, values in found.items():
        if values.ndim != 1:
            return f"column {suffix!r} has shape {values.shape}"
        if suffix == "" and not np.isfinite(values).all():
            return f"column {suffix!r} is not finite: {values[~np.isfinite(values)][:3]}"
    return None


def _alike(found: Any, wanted: Any) -> str | None:
    for suffix, values in wanted.items():
        if not np.allclose(found[suffix], values, rtol=1e-5, atol=1e-6, equal_nan=True):
            return f"column {suffix!r} differs from that of the same numbers"
    return None


def _positions(found: np.ndarray, n: int, k: int | None) -> str | None:
    if found.dtype.kind not in "iu" or len(np.unique(found)) < len(found):
        return f"positions of {found.dtype} that repeat or are not whole numbers"
    if len(found) and (found.min() < 0 or found.max() >= n):
        return f"positions from {found.min()} to {found.max()} of {n}"
    return None if k is None or len(found) == k else f"{len(found)} positions instead of {k}"


def _equal(found: np.ndarray, wanted: np.ndarray) -> str | None:
    return None if np.array_equal(found, wanted) else "other positions than for the same numbers"


def _of_recorder(draw: random.Random) -> Call:
    z, y = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32), np.arange(6) % 3
    on_targets = draw.random() < 0.5
    words, values, _ = _other(y if on_targets else z, False, draw)

    def run() -> str | None:
        recorder = dd.Recorder(n=6)
        recorder.update(range(6), z if on_targets else values, values if on_targets else y)
        recorder.end_epoch()
        found = recorder.finish().array("loss", "train", [1])[0]
        return "a loss that is NaN" if np.isnan(found).any() else None  # an impossible class has an infinite loss

    return f"Recorder.update: {'targets' if on_targets else 'logits'}: {words}", run


def _of_scores(draw: random.Random) -> Call:
    values = np.random.default_rng(1).normal(size=20)
    words, given, _ = _other(in_bfloat16(values), False, draw)
    labels = draw.choice([None, *[one for _, one in not_class_numbers(np.arange(20) % 3)]])

    def run() -> str | None:
        scores = dd.Scores.from_arrays({"s": given}, labels=labels)
        chosen = dd.select(scores, "top_k", keep=5, prefer="hardest", by_class=labels is not None)
        return _positions(chosen.indices, 20, 5)

    return f"Scores.from_arrays: {words}, labels {type(labels).__name__}", run


def _of_vectors(draw: random.Random) -> Call:
    values = in_bfloat16(np.random.default_rng(2).normal(size=(30, 4)))
    words, given, _ = _other(values, False, draw)
    which = draw.choice(["kmeans", "nearest", "select"])

    def run() -> str | None:
        if which == "kmeans":
            found = kmeans(given, 3)
            return None if np.isfinite(found.centroids).all() and len(found.labels) == 30 else "centroids or labels"
        if which == "nearest":
            rows, distance = nearest(given, 3)
            return None if np.isfinite(distance).all() and rows.shape == (30, 3) else "neighbours"
        return _positions(dd.select(given, "k_center", keep=5).indices, 30, 5)

    return f"{which}: {words}", run


def _of_keep(draw: random.Random) -> Call:
    value = draw.choice([*_VALUES, "30%", "n=5", "-1%", "101%", "n=", "1e3", "٣", "0x10", "30 %", 0.3, np.float32(0.3)])

    def run() -> str | None:
        found = parse_keep(value, 100)
        return None if isinstance(found, int) and 1 <= found <= 100 else f"{found!r}"

    return f"parse_keep: {value!r}", run


def _of_tensors(draw: random.Random) -> Call:
    values = torch.randn(5, 3, 12, generator=torch.Generator().manual_seed(0)).sigmoid()
    change = draw.choice(["half", "bfloat16", "sparse", "meta", "requires_grad", "complex", "int", "quantised"])

    def run() -> str | None:
        given = {
            "half": values.half, "bfloat16": values.bfloat16, "sparse": values.to_sparse, "int": values.int,
            "meta": lambda: values.to("meta"), "requires_grad": lambda: values.requires_grad_(),
            "complex": lambda: values * 1j,
            "quantised": lambda: torch.quantize_per_tensor(values, 0.01, 0, torch.quint8),
        }[change]()  # fmt: skip
        return None if np.isfinite(dd.scorers.el2n(given)).all() else "scores that are not finite"

    return f"el2n of a tensor: {change}", run


_OTHERS = [_of_recorder, _of_scores, _of_vectors, _of_keep, _of_tensors]
