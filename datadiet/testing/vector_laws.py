"""The laws of selectors of vectors, in addition to those of all selectors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from datadiet.errors import BadVector, DataError
from datadiet.geometry import Matrix
from datadiet.randomness import Keys, generator
from datadiet.testing.laws import expect, expect_refusal, law, laws_in, shown
from datadiet.testing.selector_cases import SelectorCase

__all__ = ["VECTOR_LAWS"]

_MANY = 20_000


def _by_vectors(selector: SelectorCase) -> bool:
    return selector.spec.first == "embeddings"


@law("open the vectors with geometry.Matrix.open, which accepts all of these.", when=_by_vectors)
def a_matrix(selector: SelectorCase) -> None:
    """An array, a Matrix and a part of a larger Matrix with the same vectors give the same choice."""
    pool, rows = selector.pool(), np.arange(0, selector.n, 2)
    some, keys = pool.of_rows(rows), selector.keys(1, len(rows), rows)
    wanted = selector.choose(some, 20, keys=keys).tolist()
    matrix = Matrix.open(pool.first)
    for said, vectors in (("a Matrix", Matrix.open(some.first)), ("a part of a Matrix", matrix.part(rows))):
        found = selector.choose(some.with_first(vectors), 20, keys=keys).tolist()
        expect(found == wanted, said, f"{shown(found)} and, for an array, {shown(wanted)}")


@law("read vectors as Matrix.blocks and Matrix.take give them, in float32.", when=_by_vectors, ours=True)
def half_floats_on_disk(selector: SelectorCase) -> None:
    """A memory-mapped file in float16 gives the same choice as the same numbers in float32 in memory."""
    pool = selector.pool()
    wanted = selector.choose(pool, selector.some, keys=selector.keys(1)).tolist()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.npy"
        np.save(path, pool.first.astype(np.float16))
        stored: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        found = selector.choose(pool.with_first(stored), selector.some, keys=selector.keys(1)).tolist()
        stored._mmap.close()
    expect(found == wanted, "a .npy file in float16", f"{shown(found)} and, in memory, {shown(wanted)}")


@law("open vectors with geometry.Matrix.open, which refuses them.", when=_by_vectors, ours=True)
def bad_vectors(selector: SelectorCase) -> None:
    """A vector that is not finite is refused by its row (BadVector), anything but (n, d) numbers with a DataError."""
    for bad in (np.nan, np.inf):
        vectors = np.array(selector.pool().first)
        vectors[31, 2] = bad
        given = selector.pool().with_first(vectors)
        expect_refusal(partial(selector.choose, given, 10), f"{bad} in row 31", "row 31 is not finite",
                       error=BadVector)  # fmt: skip
    for other in (np.zeros(5), np.zeros((0, 3)), np.array([["a", "b"]])):
        given = selector.pool().with_first(other)
        expect_refusal(partial(selector.choose, given, 1), shown(other), "shape", error=DataError)


@law("return as the witness the row that the reason names, and as similarity the cosine of the two.",
     when=lambda s: _by_vectors(s) and bool(s.spec.explain))  # fmt: skip
def similarity_is_a_cosine(selector: SelectorCase) -> None:
    """The similarity to a witness is the cosine of the two vectors."""
    pool = selector.pool()
    explain: Any = selector.spec.explain
    found = explain(pool.first, selector.some, **pool.columns, **pool.fixed, **selector.params)
    if found.witness is None:
        return
    rows = np.flatnonzero(found.witness >= 0)
    other = pool.first if found.witness_in == "data" else pool.fixed["reference"]
    a, b = pool.first[rows].astype(np.float64), other[found.witness[rows]].astype(np.float64)
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    close = np.allclose(found.similarity[rows], cosine, atol=1e-6)
    expect(close, "the rows with a witness", f"{shown(found.similarity[rows])} and, as cosines, {shown(cosine)}")


@law("cluster with geometry.kmeans and the keys of the examples, as selectors.clustered does.",
     when=lambda s: _by_vectors(s) and s.takes("clusters") and s.takes("keys"), ours=True, once=True)  # fmt: skip
def order_of_many_examples(selector: SelectorCase) -> None:
    """A method that clusters keeps the same examples if they come in another order, even very many."""
    rng = generator(0, "datadiet.testing", "many")
    vectors, order = rng.normal(size=(_MANY, 12)).astype(np.float32), rng.permutation(_MANY)
    k, keys = _MANY * 3 // 10, Keys(0, "datadiet.testing", _MANY)
    pool = selector.pool(_MANY).with_first(vectors)
    chosen = selector.choose(pool, k, keys=keys)
    moved = selector.choose(pool.of_rows(order), k, keys=keys.of(order))
    expect(order[moved].tolist() == chosen.tolist(), f"{_MANY} vectors in another order", "another choice")


@law("count the stages with geometry.cost: SelectorSpec(…, cost=_cost).", when=_by_vectors, ours=True, once=True)
def a_cost_formula(selector: SelectorCase) -> None:
    """A selector of vectors says what it costs before it runs."""
    expect(selector.spec.cost is not None, "the SPEC", "no cost")


VECTOR_LAWS = laws_in(globals())
