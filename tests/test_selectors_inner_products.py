"""The direction that herding and graph cut follow: the same rows whether all pairs are computed or one at a time."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.selectors import inner_products
from datadiet.selectors.graph_cut import graph_cut
from datadiet.selectors.herding import herding


def vectors(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 7)).astype(np.float32) + 5
    if kind == "duplicates":
        x[60:] = x[:60]
    if kind == "nearly duplicates":
        x[60:] = x[:60] * (1 + rng.integers(-3, 4, (60, 7)) * np.float32(2**-23))
    return x


@pytest.mark.parametrize("kind", ["random", "duplicates", "nearly duplicates"])
@pytest.mark.parametrize("select", [herding, graph_cut, lambda x, k: graph_cut(x, k, weight=3.0)])
def test_all_pairs_and_single_directions_take_the_same_rows(monkeypatch, kind, select):
    x = vectors(kind)
    together = select(x, 110)
    monkeypatch.setattr(inner_products, "_ALL_PAIRS", 0)
    assert together.tolist() == select(x, 110).tolist()


def test_all_pairs_are_computed_where_many_are_taken_of_a_few():
    from datadiet.geometry import Matrix

    matrix = Matrix.open(vectors("random"), unit=False)
    assert inner_products.InnerProducts(matrix, 15)._pairs is not None
    assert inner_products.InnerProducts(matrix, 14)._pairs is None
