"""What every registered scorer keeps, whatever it measures."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.randomness import Keys
from datadiet.scorers import SCORERS, ScorerSpec
from datadiet.table.passes import PASSES

EPOCHS = 14
DRAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "correct": lambda rng, shape: rng.random(shape) < 0.6,
    "margin": lambda rng, shape: rng.normal(1, 3, shape),
    "p_margin": lambda rng, shape: rng.uniform(-1, 1, shape),
    "loss": lambda rng, shape: rng.exponential(1.0, shape),
    "shift": lambda rng, shape: rng.exponential(1.0, shape),
}
WHOLE_RUN = [name for name, spec in SCORERS.items() if "seen" in inspect.signature(spec.fn).parameters]
PARTIAL = [name for name in WHOLE_RUN if name != "tdds"]
# Scorers of vectors or labels compare examples with each other; the others know one at a time.
COMPARING = [name for name, spec in SCORERS.items() if any(PASSES[need.pass_name].wide for need in spec.needs)]
every_scorer = pytest.mark.parametrize("name", [name for name in SCORERS if name not in COMPARING])
comparing = pytest.mark.parametrize("name", COMPARING)


def compared(spec: ScorerSpec, n: int = 30, m: int = 12, seeds: int = 2) -> list[np.ndarray]:
    """Arguments of a scorer that compares: vectors, labels and columns of n examples, and of m to compare with."""
    rng = np.random.default_rng(0)
    out = []
    for need in spec.needs:
        rows = n if need.of == "data" else m
        if need.signal == "labels":
            out.append(np.arange(rows) % 3)
            continue
        shape = (seeds, rows, 6) if PASSES[need.pass_name].wide else (seeds, rows)
        values = rng.uniform(0, 1, shape).astype(np.float32)
        out.append(values[0] if spec.each else values)
    return out


def signals(spec: ScorerSpec, n: int = 30, seeds: int = 3, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    out = []
    for need in spec.needs:
        shape = (seeds, EPOCHS, n) if need.at == "every" else (seeds, n)
        values = DRAWS.get(need.signal, lambda rng, shape: rng.uniform(0, 1, shape))(rng, shape)
        out.append(values if values.dtype == bool else values.astype(np.float32))
    return out


def columns(spec: ScorerSpec, given: list[np.ndarray], **mask: Any) -> dict[str, np.ndarray]:
    """All columns that the spec gives: the score, or the scores by suffix, and what comes along."""
    out: Any = spec.fn(*given, **mask)
    return (out if isinstance(out, dict) else {"": out}) | {s: fn(*given, **mask) for s, fn in spec.extras.items()}


def sign(spec: ScorerSpec, suffix: str) -> int:
    return spec.hardness if isinstance(spec.hardness, int) else spec.hardness[suffix]


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray], **tolerance: float) -> None:
    assert a.keys() == b.keys()
    for suffix in a:
        np.testing.assert_allclose(a[suffix], b[suffix], err_msg=suffix, **{"rtol": 1e-5, "atol": 1e-7, **tolerance})


@every_scorer
def test_gives_one_finite_number_per_example_in_the_registered_columns(name: str) -> None:
    spec = SCORERS[name]
    out = columns(spec, signals(spec))
    assert all(sign(spec, suffix) in (-1, 1) for suffix in out)
    assert isinstance(spec.hardness, int) or set(spec.hardness) == set(out)
    for values in out.values():
        assert values.shape == (30,) and values.dtype in (np.float32, bool) and np.isfinite(values).all()
        assert len(np.unique(values)) > 1 or values.dtype == bool


@every_scorer
def test_is_deterministic_and_leaves_its_input_alone(name: str) -> None:
    spec = SCORERS[name]
    given, before = signals(spec), signals(spec)
    for values in given:
        values.flags.writeable = False
    first, second = columns(spec, given), columns(spec, given)
    assert all(np.array_equal(a, b) for a, b in zip(given, before, strict=True))
    assert all(first[s].tobytes() == second[s].tobytes() for s in first)


@every_scorer
def test_scores_an_example_alone_as_among_others(name: str) -> None:
    spec = SCORERS[name]
    given, perm = signals(spec), np.random.default_rng(1).permutation(30)
    out = columns(spec, given)
    same(columns(spec, [v[..., perm] for v in given]), {s: v[perm] for s, v in out.items()}, rtol=0, atol=0)
    same(columns(spec, [v[..., 7:8] for v in given]), {s: v[7:8] for s, v in out.items()}, rtol=1e-6)


@every_scorer
def test_takes_float64_and_numbers_for_booleans(name: str) -> None:
    spec = SCORERS[name]
    given = signals(spec)
    same(columns(spec, [v.astype(np.float64) for v in given]), columns(spec, given))


@every_scorer
def test_all_seeds_together_are_the_mean_over_single_seeds(name: str) -> None:
    spec = SCORERS[name]
    given = signals(spec)
    out = columns(spec, given)
    each = [columns(spec, [v[s : s + 1] for v in given]) for s in range(3)]
    for suffix, values in out.items():
        runs = np.stack([run[suffix] for run in each])
        expected = runs.all(axis=0) if values.dtype == bool else runs.mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-7)


@every_scorer
def test_one_run_needs_no_seed_axis(name: str) -> None:
    spec = SCORERS[name]
    given = signals(spec, seeds=1)
    same(columns(spec, [v[0] for v in given]), columns(spec, given), rtol=0, atol=0)


@every_scorer
def test_an_empty_shard_gives_empty_columns(name: str) -> None:
    spec = SCORERS[name]
    for values in columns(spec, [v[..., :0] for v in signals(spec)]).values():
        assert values.shape == (0,) and values.dtype in (np.float32, bool)


@every_scorer
def test_no_seed_and_no_epoch_are_refused(name: str) -> None:
    spec = SCORERS[name]
    with pytest.raises(OptionError, match="at least one seed"):
        spec.fn(*(v[:0] for v in signals(spec)))
    if name in WHOLE_RUN:
        with pytest.raises(OptionError, match="epoch"):
            spec.fn(*(v[:, :0] for v in signals(spec)))


@pytest.mark.parametrize("name", PARTIAL)
def test_what_was_not_seen_does_not_count(name: str) -> None:
    spec = SCORERS[name]
    given = signals(spec)
    seen = np.random.default_rng(2).random((3, EPOCHS, 30)) < 0.9
    seen[:, :11] = True
    out = columns(spec, given, seen=seen)
    same(columns(spec, [np.where(seen, v, ~v if v.dtype == bool else np.nan) for v in given], seen=seen), out, rtol=0)
    assert any(not np.array_equal(out[s], v) for s, v in columns(spec, given).items())


@pytest.mark.parametrize("name", PARTIAL)
@pytest.mark.parametrize("missed", [0, 1, 2])
def test_epochs_that_nobody_saw_might_as_well_not_have_been(name: str, missed: int) -> None:
    spec = SCORERS[name]
    given = signals(spec)
    epochs = [t for t in range(EPOCHS) if t >= missed]
    seen = np.zeros((3, EPOCHS, 30), dtype=bool)
    seen[:, epochs] = True
    same(columns(spec, given, seen=seen), columns(spec, [v[:, epochs] for v in given]))


@pytest.mark.parametrize("name", PARTIAL)
def test_an_example_that_a_run_never_saw_is_named(name: str) -> None:
    spec = SCORERS[name]
    seen = np.ones((3, EPOCHS, 30), dtype=bool)
    seen[1, :, 4] = False
    with pytest.raises(OptionError, match=r"1 examples were never presented.*position 4 in run 1"):
        spec.fn(*signals(spec), seen=seen)


@pytest.mark.parametrize("name", WHOLE_RUN)
def test_a_mask_of_another_shape_is_refused(name: str) -> None:
    spec = SCORERS[name]
    with pytest.raises(OptionError, match="they must be the same"):
        spec.fn(*signals(spec), seen=np.ones((3, EPOCHS, 29), dtype=bool))


HARD = {
    "correct": (False, True),
    "error_norm": (2**0.5, 0.1),
    "feature_norm": (1.0, 1.0),
    "margin": (-8.0, 5.0),
    "p_margin": (-0.9, 0.9),
    "p_gap": (0.05, 0.9),
    "doubt": (0.8, 0.05),
    "entropy": (2.0, 0.1),
    "loss": (9.0, 0.1),
    "grad_norm": (9.0, 0.1),
    "ekfac": (9.0, 0.1),
    "grad_dot": (9.0, 0.1),
    "grad_cos": (0.9, 0.1),
}
UNSTEADY = {"p_true": (np.arange(EPOCHS) % 2 * 0.4, 0.95), "shift": (np.arange(EPOCHS) % 2 * 3.0, 0.5)}


@every_scorer
def test_a_planted_hard_example_is_the_hardest_in_every_column(name: str) -> None:
    spec, planted, given = SCORERS[name], 11, []
    rng = np.random.default_rng(4)
    for need in spec.needs:
        hard, easy = {**HARD, **UNSTEADY}[need.signal]
        values = np.full((2, EPOCHS, 30) if need.at == "every" else (2, 30), easy)
        values = values if values.dtype == bool else values + rng.uniform(-0.02, 0.02, values.shape)
        values[..., planted] = hard
        given.append(values)
    for suffix, values in columns(spec, given).items():
        hardness = sign(spec, suffix) * values.astype(np.float64)
        assert hardness[planted] > np.delete(hardness, planted).max(), suffix


@comparing
def test_comparing_scorers_are_deterministic_and_follow_a_permutation_of_the_examples(name: str) -> None:
    spec = SCORERS[name]
    given, perm = compared(spec), np.random.default_rng(1).permutation(30)
    drawn = "keys" in inspect.signature(spec.fn).parameters  # then every example brings its own draws along
    with_keys, moved = ({"keys": Keys(1, "contract", 30, index)} if drawn else {} for index in (None, perm))
    out, again = columns(spec, given, **with_keys), columns(spec, compared(spec), **with_keys)
    for values in out.values():
        assert values.shape == (30,) and values.dtype == np.float32 and np.isfinite(values).all()
        assert len(np.unique(values)) > 1
    same(out, again, rtol=0, atol=0)
    permuted = []
    for need, values in zip(spec.needs, given, strict=True):
        axis = 0 if need.signal == "labels" or spec.each else 1
        permuted.append(np.take(values, perm, axis) if need.of == "data" else values)
    scale = max(float(np.abs(values).max()) for values in out.values())
    same(columns(spec, permuted, **moved), {s: v[perm] for s, v in out.items()}, atol=1e-6 * scale)


@pytest.mark.parametrize("name", SCORERS)
def test_the_file_says_where_the_method_comes_from_and_what_it_costs(name: str) -> None:
    spec = SCORERS[name]
    head = sys.modules[spec.fn.__module__].__doc__ or ""
    assert re.search(r"arXiv\s+\d{4}\.\d{5}", head) and "Deviations:" in head and "Cost:" in head
    assert spec.reference
    text = inspect.getdoc(spec.fn) or ""
    for part in ("Args:", "Returns:", "Raises:", ">>> "):
        assert part in text
    arguments = text[text.index("Args:") : text.index("Returns:")]
    for parameter in inspect.signature(spec.fn).parameters:
        assert re.search(rf"\b{parameter}\b.*:", arguments), parameter
