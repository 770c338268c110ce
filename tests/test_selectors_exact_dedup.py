"""exact_dedup: groups by hand, the one that is kept, sizes, and what it refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from datadiet.errors import OptionError
from datadiet.geometry import Matrix
from datadiet.randomness import Keys
from datadiet.selectors.exact_dedup import exact_dedup

TEXTS = ["a", "b", "a", "c", "a", "b"]  # groups {0, 2, 4}, {1, 5}, {3}
HARDNESS = np.array([1, 6, 3, 2, 5, 4])


def test_the_hardest_of_each_group_is_kept_and_named() -> None:
    found = exact_dedup.explain(TEXTS, hardness=HARDNESS)
    assert found.chosen.tolist() == [1, 4, 3]  # hardness 6, 5, 2
    assert found.witness.tolist() == [4, -1, 4, -1, -1, 1]
    np.testing.assert_array_equal(found.similarity, [1, np.nan, 1, np.nan, np.nan, 1])
    assert exact_dedup(TEXTS, hardness=HARDNESS, prefer="easiest").tolist() == [0, 3, 5]


def test_sizes_take_the_first_of_each_group_then_the_second() -> None:
    # Firsts by hardness 1, 4, 3; seconds 5 (b, 4) and 2 (a, 3); third 0.
    whole = [1, 4, 3, 5, 2, 0]
    assert [exact_dedup(TEXTS, k, hardness=HARDNESS).tolist() for k in range(1, 7)] == [whole[:k] for k in range(1, 7)]
    found = exact_dedup.explain(TEXTS, 1, hardness=HARDNESS)
    assert found.witness.tolist() == [-1, -1, -1, -1, -1, 1]  # what stands for the a's is gone too
    assert exact_dedup.explain(TEXTS, 5, hardness=HARDNESS).witness.tolist() == [4, -1, -1, -1, -1, -1]


def test_without_hardness_the_smallest_key_is_kept_whatever_the_order() -> None:
    keys = Keys(3, "t", 6)
    draws = keys.draw()
    smallest = sorted((min(rows, key=lambda i: draws[i]) for rows in ([0, 2, 4], [1, 5], [3])), key=lambda i: draws[i])
    assert exact_dedup(TEXTS, keys=keys).tolist() == smallest
    assert len({tuple(exact_dedup(TEXTS, keys=Keys(s, "t", 6)).tolist()) for s in range(20)}) > 5
    shuffle = np.random.default_rng(0).permutation(6)
    shuffled = exact_dedup([TEXTS[i] for i in shuffle], keys=Keys(3, "t", 6, shuffle))
    assert shuffle[shuffled].tolist() == smallest


def test_normalised_texts() -> None:
    texts = ["Caf\u00e9  au lait", "cafe\u0301 AU\tlait ", "cafe au lait", "caf\u00e9au lait"]
    assert len(exact_dedup(texts)) == 4
    found = exact_dedup.explain(texts, normalise=True, hardness=np.array([2, 1, 1, 1]))
    assert sorted(found.chosen.tolist()) == [0, 2, 3] and found.witness.tolist() == [-1, 0, -1, -1]


@pytest.mark.parametrize(
    ("items", "groups"),
    [
        (["", "", " "], 2), ([b"a", b"a", b"b", b""], 3), (["a", "ba", b"a", b"ta"], 4), (["\ud800", "\ud800"], 1),
        (np.array(["x", "y", "x"]), 2), (pa.chunked_array([["x", "y"], ["x"]]), 2),
        (np.array([7, 7, -7, 2**40]), 3), (np.array([True, False, True]), 2),
        (np.array([[1.0, 2], [1, 2], [2, 1]], dtype=np.float16), 2), (np.array([[1, 2], [1, 2], [1, 3]]).T, 2),
        (Matrix.open(np.array([[1.0, 2], [1, 2], [2, 4]]), unit=True), 2),  # 2, 4 has the same direction only
        ([7, 7, -7], 2), ([True, False], 2), ([[1.0, 2], [1, 2]], 1), ([np.ones(2), np.ones(2)], 1),
        (torch.tensor([[1.0, 2], [1, 2], [2, 1]]), 2), (torch.tensor([3, 3]), 1),
        (torch.tensor([[1, 1 + 1e-9], [1, 1]], dtype=torch.float64), 2), (torch.tensor([[1.0, 2]] * 2).bfloat16(), 1),
        ([2**63 + 5, 1, 2**63 + 5, 2**63 + 6], 3), (pa.array([2**63 + 5, 2**63 + 6], pa.uint64()), 2), ([-1, 2**62], 2),
        (pd.Series(["a", "b", "a"]), 2), (pd.DataFrame({"x": [1, 1, 2], "y": [3, 3, 3]}), 2),
    ],
)  # fmt: skip
def test_what_is_equal(items: object, groups: int) -> None:
    assert len(exact_dedup(items)) == groups


def test_more_rows_than_are_read_at_once(tmp_path) -> None:
    rows = np.random.default_rng(0).integers(0, 30, (10_000, 2)).astype(np.float32)
    np.save(tmp_path / "v.npy", rows)
    expected = len(np.unique(rows, axis=0))
    chosen = exact_dedup(np.load(tmp_path / "v.npy", mmap_mode="r"))
    assert len(chosen) == expected == len(np.unique(rows[chosen], axis=0))


@pytest.mark.parametrize(
    ("items", "options", "message"),
    [
        ([[2**63 + 1, -1], [2**63 + 2, -1]], {}, "would be rounded"), ([[2**53 + 1, 0.5]], {}, "would be rounded"),
        ([2**70, 1], {}, "more than 64 bits"), ([[], []], {}, r"shape \(2, 0\)"), ((x for x in "ab"), {}, "a list or"),
        ([1, "a"], {}, "item 0 is of type int"), ([[1], [1, 2]], {}, "rows of different lengths"),
        ([1.5], {}, "float64"),
        (["a", None], {}, "item 1 is of type NoneType: give str or bytes"),
        ([b"a"], {"normalise": True}, "item 0 is of type bytes"),
        (np.ones((2, 2)), {"normalise": True}, "normalise=True is for texts"),
        (np.ones(3), {}, r"items of shape \(3,\) and type float64"), (np.ones((2, 2, 2)), {}, r"shape \(2, 2, 2\)"),
        (["a"], {"k": 2}, "k=2 of 1"), (["a"], {"k": 0}, "k=0"), (["a"], {"hardness": np.ones(2)}, "for 1 examples"),
        (["a"], {"prefer": "best"}, "'hardest', 'easiest' or 'random'"),
    ],
)  # fmt: skip
def test_refuses(items: object, options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        exact_dedup(items, **options)
