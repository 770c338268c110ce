"""What every registered selector of vectors keeps, whatever it prefers."""

from __future__ import annotations

import inspect
import random as python_random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datadiet.errors import BadVector, DataError, OptionError
from datadiet.geometry import Matrix
from datadiet.randomness import Keys
from datadiet.selectors import SELECTORS, Explained

N, D = 90, 6
NAMES = [name for name, spec in SELECTORS.items() if spec.first == "embeddings"]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("semdedup", {"mode": "chain"}),
    ("semdedup", {"mode": "components"}),
    ("semdedup", {"prefer": "random"}),
    ("semdedup", {"clusters": 1}),
    ("dbp", {"clusters": 4}),
    ("prototypes_topk", {"balance": 0.5, "clusters": 5}),
    ("prototypes_topk", {"prefer": "easiest"}),
    ("k_center", {"metric": "cosine"}),
    ("facility_location", {"neighbours": 8}),
    ("graph_cut", {"neighbours": 8}),
]
CASES = [(name, {}) for name in NAMES] + [case for case in VARIANTS if case[0] in NAMES]
every_case = pytest.mark.parametrize(
    ("name", "options"), CASES, ids=[name + "".join(f"-{v}" for v in o.values()) for name, o in CASES]
)


def vectors(n: int = N, seed: int = 0) -> np.ndarray:
    """Five bunches off the origin, in float16 numbers, so that float32 products are the same for any storage."""
    rng = np.random.default_rng(seed)
    bunch = rng.normal(0, 2, (5, D))[np.arange(n) % 5]
    return (bunch + rng.normal(0, 0.5, (n, D))).astype(np.float16).astype(np.float32)


def call(name: str, k: int | None, given: Any, options: dict[str, Any] | None = None, **random: Any) -> np.ndarray:
    found = SELECTORS[name].fn(given, k, **further(name, len(given)), **(options or {}), **random)
    return found[0] if isinstance(found, tuple) else found


def further(name: str, n: int) -> dict[str, Any]:
    """What a method needs beside vectors: the score of row i is the same whatever the order of the rows."""
    spec, more = SELECTORS[name], {}
    if any(not column.optional for column in spec.columns.values()):
        more["hardness"] = np.random.default_rng(9).uniform(1, 2, N)[:n]
    if "reference" in spec.vectors:
        more["reference"] = vectors(20, seed=5)
    return more


def keys(seed: int, n: int = N, index: np.ndarray | None = None) -> Keys:
    return Keys(seed, "contract", n, index)


@every_case
@pytest.mark.parametrize("k", [1, 2, 17, 63, N])
def test_keeps_exactly_k_different_examples(name: str, options: dict, k: int) -> None:
    chosen = call(name, k, vectors(), options)
    assert chosen.dtype == np.int64 and chosen.shape == (k,)
    assert len(set(chosen.tolist())) == k and chosen.min() >= 0 and chosen.max() < N


@every_case
def test_the_same_keys_give_the_same_and_leave_everything_alone(name: str, options: dict) -> None:
    given = vectors()
    given.flags.writeable = False
    states = np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist(), python_random.getstate()  # noqa: NPY002
    first, second = (call(name, 30, given, options, keys=keys(5)) for _ in range(2))
    call(name, 30, given, options, rng=np.random.default_rng(0))
    assert first.tolist() == second.tolist()
    assert np.array_equal(given, vectors())
    assert states == (np.random.get_state()[1].tobytes(), torch.get_rng_state().tolist(), python_random.getstate())  # noqa: NPY002


@every_case
def test_half_floats_on_disk_are_the_same_as_floats_in_memory(name: str, options: dict, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", vectors().astype(np.float16))
    stored = np.load(tmp_path / "v.npy", mmap_mode="r")
    expected = call(name, 30, vectors(), options, keys=keys(1)).tolist()
    assert call(name, 30, stored, options, keys=keys(1)).tolist() == expected


@every_case
def test_a_part_of_a_matrix_is_a_matrix(name: str, options: dict) -> None:
    rows = np.arange(0, N, 2)
    part = Matrix.open(vectors()).part(rows)
    expected = call(name, 20, vectors()[rows], options, keys=keys(1, len(rows), rows)).tolist()
    assert call(name, 20, part, options, keys=keys(1, len(rows), rows)).tolist() == expected


@every_case
def test_the_order_of_the_rows_does_not_matter(name: str, options: dict) -> None:
    perm = np.random.default_rng(1).permutation(N)
    spec = SELECTORS[name]
    more = further(name, N)
    shuffled = {key: value[perm] if key == "hardness" else value for key, value in more.items()}
    found = [
        spec.fn(given, 40, **arrays, **options, keys=keys(3, index=index))
        for given, arrays, index in ((vectors(), more, None), (vectors()[perm], shuffled, perm))
    ]
    one, other = (f[0] if isinstance(f, tuple) else f for f in found)
    assert perm[other].tolist() == one.tolist()


@pytest.mark.parametrize("name", [name for name in NAMES if SELECTORS[name].nested])
def test_a_nested_method_keeps_the_prefix_of_a_larger_budget(name: str) -> None:
    whole = call(name, N, vectors(), keys=keys(2)).tolist()
    for k in (1, 5, 60, N - 1):
        assert call(name, k, vectors(), keys=keys(2)).tolist() == whole[:k]


@every_case
def test_copies_of_one_vector_are_told_apart_by_key_alone(name: str, options: dict) -> None:
    given = np.tile(vectors(1), (N, 1))
    chosen = [call(name, 45, given, options, keys=keys(seed)) for seed in range(12)]
    assert all(len(set(rows.tolist())) == 45 for rows in chosen)
    firsts = np.mean([np.mean(rows < N // 2) for rows in chosen])
    assert 0.4 < firsts < 0.6, "neither half of the data is preferred"


@every_case
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_named(name: str, options: dict, bad: float) -> None:
    given = vectors()
    given[31, 2] = bad
    with pytest.raises(BadVector, match="row 31 is not finite") as refused:
        call(name, 10, given, options)
    assert refused.value.row == 31


@every_case
@pytest.mark.parametrize("k", [0, -1, N + 1])
def test_impossible_budgets_are_refused(name: str, options: dict, k: int) -> None:
    with pytest.raises(OptionError, match=str(N)):
        call(name, k, vectors(), options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("given", [np.zeros(5), np.zeros((0, 3)), np.array([["a", "b"]])])
def test_what_are_no_vectors_is_refused(name: str, given: np.ndarray) -> None:
    with pytest.raises(DataError, match="shape"):
        call(name, 1, given)


EXPLAINED = [name for name in NAMES if SELECTORS[name].explain is not None]


@pytest.mark.parametrize("name", EXPLAINED)
def test_reasons_fit_the_choice(name: str) -> None:
    spec, given = SELECTORS[name], vectors()
    found = spec.explain(given, 30, **further(name, N), keys=keys(4))
    assert isinstance(found, Explained)
    plain = spec.fn(given, 30, **further(name, N), keys=keys(4))
    assert found.chosen.tolist() == (plain[0] if isinstance(plain, tuple) else plain).tolist()
    assert inspect.signature(spec.explain).parameters.keys() == inspect.signature(spec.fn).parameters.keys()
    if found.stratum is not None:
        assert found.stratum.shape == (N,) and found.stratum.min() >= -1
    if found.witness is None:
        return
    left = np.setdiff1d(np.arange(N), found.chosen)
    assert found.witness.shape == found.similarity.shape == (N,)
    assert (found.witness[found.chosen] == -1).all() and np.isnan(found.similarity[found.chosen]).all()
    told = left[found.witness[left] >= 0]
    assert len(told), "nothing is explained"
    other = given if found.witness_in == "data" else further(name, N)["reference"]
    a, b = given[told].astype(np.float64), other[found.witness[told]].astype(np.float64)
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(found.similarity[told], cosine, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), [("dbp", {}), ("prototypes_topk", {}), ("semdedup", {"clusters": 8})])
def test_the_order_of_many_rows_does_not_matter_where_a_method_clusters(name: str, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    given, order = rng.normal(size=(20_000, 12)).astype("f4"), rng.permutation(20_000)
    one = call(name, 6000, given, options, keys=Keys(0, "t", 20_000))
    other = order[call(name, 6000, given[order], options, keys=Keys(0, "t", 20_000, order))]
    assert one.tolist() == other.tolist()
