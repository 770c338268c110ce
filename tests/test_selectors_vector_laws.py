"""What holds for every greedy and sampling selector of vectors, whatever it maximises."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datadiet.errors import BadVector, OptionError
from datadiet.geometry import Matrix
from datadiet.randomness import Keys
from datadiet.selectors import columns, inner_products, similarities
from datadiet.selectors.craig import craig
from datadiet.selectors.d2 import d2
from datadiet.selectors.decontaminate import decontaminate
from datadiet.selectors.facility_location import facility_location
from datadiet.selectors.graph_cut import graph_cut
from datadiet.selectors.herding import herding
from datadiet.selectors.k_center import k_center
from datadiet.selectors.sensitivity import sensitivity

SENSITIVITY_FILE = sys.modules["datadiet.selectors.sensitivity"]  # whose name in the package is the function

N = 90
CASES: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "k_center": (k_center, {}),
    "k_center-cosine": (k_center, {"metric": "cosine"}),
    "herding": (herding, {}),
    "herding-raw": (herding, {"normalise": False}),
    "facility_location": (facility_location, {}),
    "facility_location-sparse": (facility_location, {"neighbours": 7}),
    "facility_location-euclidean": (facility_location, {"metric": "euclidean"}),
    "facility_location-naive": (facility_location, {"optimizer": "naive"}),
    "facility_location-stochastic": (facility_location, {"optimizer": "stochastic", "epsilon": 0.2}),
    "graph_cut": (graph_cut, {}),
    "graph_cut-2": (graph_cut, {"weight": 2.0}),
    "graph_cut-sparse": (graph_cut, {"neighbours": 7}),
    "graph_cut-stochastic": (graph_cut, {"optimizer": "stochastic", "epsilon": 0.2}),
    "craig": (craig, {}),
    "craig-sparse": (craig, {"neighbours": 7}),
    "d2": (d2, {}),
    "d2-hard": (d2, {"hardness": np.sin(np.arange(N)) + 1, "neighbours": 9, "gamma_r": 0.5}),
    "sensitivity": (sensitivity, {}),
    "sensitivity-clustering": (sensitivity, {"kind": "clustering", "clusters": 4}),
}
NESTED = [name for name in CASES if "stochastic" not in name and not name.startswith(("craig", "sensitivity"))]
DRAWN = [name for name in CASES if "stochastic" in name or name.startswith("sensitivity")]
NEEDS_DIRECTIONS = [
    name
    for name in CASES
    if name in ("k_center-cosine", "herding")
    or (name.startswith(("facility_location", "graph_cut")) and name != "facility_location-euclidean")
]
every_case = pytest.mark.parametrize("name", CASES)


def data(n: int = N, d: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32) + np.float32(0.3)


def call(name: str, vectors: Any, k: int, **random: Any) -> tuple[np.ndarray, np.ndarray | None]:
    fn, options = CASES[name]
    options = {
        **options,
        **{key: value[: len(vectors)] for key, value in options.items() if key == "hardness"},
        **random,
    }
    found = fn(vectors, k, **options)
    return found if isinstance(found, tuple) else (found, None)


@every_case
@pytest.mark.parametrize("k", [1, 2, 37, N])
def test_keeps_exactly_k_different_rows(name: str, k: int) -> None:
    chosen, weight = call(name, data(), k)
    assert chosen.dtype == np.int64 and chosen.shape == (k,)
    assert len(set(chosen.tolist())) == k and chosen.min() >= 0 and chosen.max() < N
    assert weight is None or (weight.shape == (k,) and (weight >= 1 - 1e-12).all())


@every_case
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 1), (7, 1), (3, 40)])
def test_small_shapes(name: str, shape: tuple[int, int]) -> None:
    vectors = np.abs(data(*shape)) + 0.1
    for k in range(1, len(vectors) + 1):
        options = {"clusters": 1} if "clustering" in name else {}
        assert len(set(call(name, vectors, k, **options)[0].tolist())) == k


@every_case
def test_the_order_of_the_rows_does_not_matter(name: str) -> None:
    for vectors in (data(), np.round(data() * 2) + np.float32(0.5)):  # the second with ties and duplicates
        perm = np.random.default_rng(1).permutation(N)
        fn, options = CASES[name]
        shuffled = {key: value[perm] if key == "hardness" else value for key, value in options.items()}
        found = fn(vectors, 40, **options, keys=Keys(3, "t", N))
        again = fn(vectors[perm], 40, **shuffled, keys=Keys(3, "t", N, perm))
        (a, wa), (b, wb) = (f if isinstance(f, tuple) else (f, np.ones(40)) for f in (found, again))
        assert perm[b].tolist() == a.tolist()
        if "clustering" not in name:
            np.testing.assert_allclose(wa, wb, rtol=1e-6)


@pytest.mark.parametrize("name", NESTED)
def test_a_smaller_budget_is_a_prefix(name: str) -> None:
    for vectors in (data(), np.round(data()) + np.float32(0.5)):
        whole = call(name, vectors, N, keys=Keys(2, "t", N))[0].tolist()
        for k in (1, 5, 44, N - 1):
            assert call(name, vectors, k, keys=Keys(2, "t", N))[0].tolist() == whole[:k]


@every_case
def test_how_much_is_read_at_once_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.round(data(seed=4) * 4) + np.float32(0.5)
    before = call(name, vectors, 60)[0].tolist()
    for block, most, kept in ((7, 3, 0), (1, 1, 1 << 29), (64, 64, 0)):
        monkeypatch.setattr(columns, "_BLOCK", block)
        monkeypatch.setattr(columns, "_MOST", most)
        monkeypatch.setattr(columns, "_KEPT", kept)
        monkeypatch.setattr(inner_products, "_BLOCK", block)
        monkeypatch.setattr(inner_products, "_KEPT", kept)
        monkeypatch.setattr(similarities, "_BLOCK", block)
        monkeypatch.setattr(SENSITIVITY_FILE, "_BLOCK", block)
        assert call(name, vectors, 60)[0].tolist() == before


ROUNDED = ["k_center", "k_center-cosine", "herding", "herding-raw", "d2", "d2-hard", "craig", "sensitivity"]


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("seed", range(3))
def test_how_much_is_read_at_once_decides_nothing_where_products_are_rounded(
    name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = data(d=37, seed=seed)
    chosen, weight = call(name, vectors, 60)
    for block, most, kept in ((7, 3, 0), (1, 1, 1 << 29), (1, 64, 0), (64, 64, 0)):
        for module in (columns, inner_products, similarities, SENSITIVITY_FILE):
            monkeypatch.setattr(module, "_BLOCK", block)
        monkeypatch.setattr(columns, "_MOST", most)
        for module in (columns, inner_products):
            monkeypatch.setattr(module, "_KEPT", kept)
        again, weight_again = call(name, vectors, 60)
        assert again.tolist() == chosen.tolist()
        if weight is not None:
            np.testing.assert_allclose(weight_again, weight, rtol=1e-9)


@pytest.mark.parametrize("how", [{"k": 40}, {"epsilon": 0.6}])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_what_is_leaked_does_not_depend_on_the_block(how: dict, dtype: str) -> None:
    vectors, reference = data(120, 37).astype(dtype), data(60, 37, seed=1).astype(dtype)
    reference[:12] = vectors[::10]
    found = [decontaminate.explain(vectors, reference=reference, block=block, **how) for block in (1, 7, 1000)]
    assert 0 < len(found[0].chosen) < 109
    for other in found[1:]:
        for name in ("chosen", "witness", "similarity"):
            assert getattr(other, name).tobytes() == getattr(found[0], name).tobytes()


@every_case
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_an_array_a_file_and_a_part_give_the_same(name: str, dtype: str, tmp_path: Path) -> None:
    vectors = data().astype(dtype)
    np.save(tmp_path / "v.npy", np.concatenate([vectors[:3], vectors]))
    on_disk = np.load(tmp_path / "v.npy", mmap_mode="r")
    expected = call(name, vectors, 30)[0].tolist()
    assert call(name, on_disk[3:], 30)[0].tolist() == expected
    assert call(name, Matrix.open(on_disk).part(np.arange(3, N + 3)), 30)[0].tolist() == expected


@every_case
def test_ties_are_not_broken_by_position(name: str) -> None:
    n, k = 200, 50
    vectors = np.full((n, 3), 0.7, dtype=np.float32)
    options = {"hardness": np.ones(n)} if name == "d2-hard" else {}
    options |= {"clusters": 1} if "clustering" in name else {}
    chosen = np.concatenate([call(name, vectors, k, keys=Keys(s, "t", n), **options)[0] for s in range(20)])
    shares = np.bincount(chosen * 4 // n, minlength=4) / len(chosen)
    np.testing.assert_allclose(shares, 0.25, atol=0.06)
    assert abs(np.corrcoef(np.arange(len(chosen)) % k, chosen)[0, 1]) < 0.15


@every_case
def test_only_what_is_drawn_depends_on_the_seed(name: str) -> None:
    found = {frozenset(call(name, data(), 30, keys=Keys(s, "t", N))[0].tolist()) for s in range(4)}
    if name.startswith(("facility_location", "craig")) and name not in DRAWN:
        # Two rows that only they can represent better have the same gain in whichever order: a true tie.
        assert all(len(a & b) >= 27 for a in found for b in found)
    else:
        assert len(found) == (4 if name in DRAWN or name.startswith("k_center") else 1)  # k_center: where it starts
    assert call(name, data(), 30)[0].tolist() == call(name, data(), 30)[0].tolist()
    given = [call(name, data(), 30, rng=np.random.default_rng(s))[0].tolist() for s in (1, 1, 2)]
    assert given[0] == given[1] and (name not in DRAWN or given[1] != given[2])


@every_case
def test_the_input_is_left_alone(name: str) -> None:
    vectors = data()
    vectors.flags.writeable = False
    call(name, vectors, 30)
    assert (vectors == data()).all()


@every_case
def test_bad_vectors_and_budgets_are_refused(name: str) -> None:
    vectors = data()
    vectors[17, 2] = np.nan
    with pytest.raises(BadVector, match="row 17 is not finite"):
        call(name, vectors, 30)
    vectors[17] = 0
    if name in NEEDS_DIRECTIONS:
        with pytest.raises(BadVector, match="row 17 is all zeros"):
            call(name, vectors, 30)
    else:
        assert len(call(name, vectors, 30)[0]) == 30
    for k in (0, -1, N + 1):
        with pytest.raises(OptionError, match=f"k={k} of {N} examples"):
            call(name, data(), k)
    with pytest.raises(OptionError, match="keys for 3 rows and 90 examples"):
        call(name, data(), 30, keys=Keys(0, "t", 3))


@pytest.mark.parametrize(
    ("explained", "plain", "options"),
    [
        (k_center.explain, k_center, {}),
        (k_center.explain, k_center, {"metric": "cosine"}),
        (facility_location.explain, facility_location, {}),
        (facility_location.explain, facility_location, {"neighbours": 4}),
        (d2.explain, d2, {}),
    ],
)
def test_the_reasons(explained: Callable[..., Any], plain: Callable[..., Any], options: dict[str, Any]) -> None:
    vectors = data()
    found = explained(vectors, 20, **options)
    assert found.chosen.tolist() == plain(vectors, 20, **options).tolist()
    assert found.witness.dtype == np.int64 and (found.witness[found.chosen] == -1).all()
    left = np.setdiff1d(np.arange(N), found.chosen)
    told = left[found.witness[left] >= 0]
    assert len(told) == len(left) or explained is d2.explain  # where nobody took anything, there is no witness
    assert len(told) > 20 and np.isin(found.witness[told], found.chosen).all()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(found.similarity[told], (unit[told] * unit[found.witness[told]]).sum(1), atol=1e-6)
    assert np.isnan(np.delete(found.similarity, told)).all() and found.similarity.dtype == np.float32


def test_a_zero_vector_has_no_similarity() -> None:
    vectors = np.array([[0.0, 0.0], [3.0, 0.0], [0.1, 0.0]], dtype=np.float32)
    found = k_center.explain(vectors, 1, start=2)
    assert found.witness.tolist() == [2, 2, -1]
    assert np.isnan(found.similarity[[0, 2]]).all() and found.similarity[1] == pytest.approx(1.0)
