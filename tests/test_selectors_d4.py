"""D4 is what its parts do one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datadiet.errors import BadVector, OptionError
from datadiet.geometry import kmeans
from datadiet.randomness import Keys
from datadiet.selectors.d4 import d4, default_dedup
from datadiet.selectors.prototypes_topk import prototypes_topk
from datadiet.selectors.semdedup import semdedup


def data(n: int = 120, d: int = 6, seed: int = 0) -> np.ndarray:
    """Two thirds on their own, one third nearly the same as one of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    x[2 * n // 3 :] = x[: n - 2 * n // 3] + 0.01 * rng.normal(size=(n - 2 * n // 3, d))
    return x.astype(np.float32)


def test_golden() -> None:
    # At 0, 0, 17, -6, -45 and 60 degrees; down to 5 of 6, one copy goes. Of the others the mean is near 5 degrees:
    # 60, then -45 are the farthest from it, 0 the nearest, then -6 or 17.
    x = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.3], [1.0, -0.1], [1.0, -1.0], [1.0, 3**0.5]])
    out = d4.explain(x, 2, dedup=5 / 6, clusters=1)
    assert out.chosen.tolist() == [5, 4]
    assert out.stratum is not None and out.witness is not None and out.similarity is not None
    gone = int(np.flatnonzero(out.stratum < 0)[0])
    assert gone in (0, 1) and out.stratum.tolist() == [-1 if i == gone else 0 for i in range(6)]
    assert out.witness.tolist() == [1 - gone if i == gone else -1 for i in range(6)]
    assert out.similarity[gone] == 1 and np.isnan(np.delete(out.similarity, gone)).all()
    assert d4(x, 1, dedup=5 / 6, clusters=1, prefer="easiest").tolist() == [1 - gone]


@pytest.mark.parametrize("options", [{}, {"clusters": 5}, {"clusters": 5, "balance": 0.8}, {"prefer": "easiest"}])
@pytest.mark.parametrize(
    ("k", "dedup"), [(30, None), (30, 0.6), (1, 0.01), (30, 0.38), (60, 1.0), (119, None), (120, None)]
)
def test_oracle_the_composition(k: int, dedup: float | None, options: dict[str, Any]) -> None:
    x, keys = data(), Keys(3, "test", 120)
    left = max(k, 90) if dedup is None else round(dedup * 120)
    without = {name: value for name, value in options.items() if name != "balance"}
    rows = np.sort(semdedup(x, left, keys=keys, **without))
    assert len(rows) == left
    again = {**options, "clusters": min(options["clusters"], left)} if "clusters" in options else options
    expected = rows[prototypes_topk(x[rows], k, keys=keys.of(rows), **again)]
    assert d4(x, k, dedup=dedup, keys=keys, **options).tolist() == expected.tolist()
    out = d4.explain(x, k, dedup=dedup, keys=keys, **options)
    reasons = semdedup.explain(x, left, keys=keys, **without)
    np.testing.assert_array_equal(out.witness, reasons.witness)
    np.testing.assert_array_equal(out.similarity, reasons.similarity)
    assert out.stratum is not None and np.flatnonzero(out.stratum >= 0).tolist() == rows.tolist()


def test_clusters_that_were_found_serve_for_duplicates_and_their_number_for_the_rest() -> None:
    x, keys = data(), Keys(3, "test", 120)
    found = kmeans(x, 5)
    rows = np.sort(semdedup(x, 90, clusters=found, keys=keys))
    expected = rows[prototypes_topk(x[rows], 30, clusters=5, keys=keys.of(rows))]
    assert d4(x, 30, clusters=found, keys=keys).tolist() == expected.tolist()


def test_planted_duplicates_are_not_kept_twice() -> None:
    x = data()
    chosen = d4(x, 60, dedup=2 / 3)
    pairs = [(i, 80 + i) for i in range(40)]
    assert not any(a in chosen and b in chosen for a, b in pairs)
    assert any(a in prototypes_topk(x, 60) and b in prototypes_topk(x, 60) for a, b in pairs)


def test_the_order_of_the_rows_does_not_matter() -> None:
    x = data().astype(np.float16).astype(np.float32)
    perm = np.random.default_rng(1).permutation(120)
    expected = d4(x, 40, keys=Keys(3, "test", 120))
    assert perm[d4(x[perm], 40, keys=Keys(3, "test", 120, perm))].tolist() == expected.tolist()


def test_few_examples_and_all_of_them() -> None:
    assert d4(np.ones((1, 1)), 1).tolist() == [0]
    assert sorted(d4(np.ones((7, 2)), 7).tolist()) == list(range(7))
    assert len(set(d4(np.ones((50, 2)), 20).tolist())) == 20
    assert default_dedup(1, 4) == 0.75 and default_dedup(4, 4) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k=0 of 120"), ({"k": 121}, "k=121 of 120"),
        ({"dedup": 0.2}, "dedup=0.2: give the share of 120 examples that is left after removing duplicates, from 0.25"),
        ({"dedup": 1.1}, "dedup=1.1"), ({"dedup": np.nan}, "dedup=nan"),
        ({"balance": 2.0}, "balance=2.0"), ({"prefer": "far"}, "prefer='far'"),
        ({"keys": Keys(0, "test", 119)}, "keys for 119 rows and 120 examples"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        d4(data(), **{"k": 30, **options})


def test_vectors_without_direction_are_named() -> None:
    x = data()
    x[7] = 0
    with pytest.raises(BadVector, match="row 7 is all zeros"):
        d4(x, 30)
