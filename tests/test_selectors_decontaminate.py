"""decontaminate and leaks: by hand, against whole matrices, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import BadVector, OptionError
from datadiet.randomness import Keys
from datadiet.selectors import similar_pairs
from datadiet.selectors.decontaminate import decontaminate, leaks


def directions(*degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


TRAIN, TEST = directions(0, 10, 30, 80), directions(2, 88)  # off the nearest by 2, 8, 28 and 8 degrees
CLOSE = 1 - np.cos(np.radians(20))


def test_what_is_near_to_a_reference_row_goes() -> None:
    found = decontaminate.explain(TRAIN, reference=TEST, epsilon=CLOSE)
    assert found.chosen.tolist() == [2] and found.witness.tolist() == [0, 0, -1, 1]
    np.testing.assert_allclose(found.similarity, np.cos(np.radians([2, 8, np.nan, 8])), rtol=1e-6)
    assert decontaminate(TRAIN, reference=TEST, epsilon=1 - np.cos(np.radians(5))).tolist()[0] == 2


def test_a_size_keeps_the_least_similar() -> None:
    # Off by 28 first, then 8 and 8 in the order of their keys or of their last bits, then 2.
    order = [decontaminate(TRAIN, k, reference=TEST).tolist() for k in (1, 2, 3, 4)]
    assert order[0] == [2] and set(order[2]) == {2, 1, 3} and order[3][-1] == 0
    assert all(order[k] == order[3][: k + 1] for k in range(4))


def test_leaks_are_reference_rows_the_most_similar_first() -> None:
    found = leaks(TRAIN, TEST, epsilon=CLOSE)
    assert found.reference.tolist() == [0, 1] and found.witness.tolist() == [0, 3] and found.share == 1
    np.testing.assert_allclose(found.similarity, np.cos(np.radians([2, 8])), rtol=1e-6)
    assert leaks(TRAIN, TEST, epsilon=1 - np.cos(np.radians(5))).reference.tolist() == [0]
    assert leaks(TRAIN, directions(180), epsilon=CLOSE).share == 0


def test_a_leak_is_found_also_where_the_training_row_is_nearer_to_another_test_row() -> None:
    # The training row at 0 is nearest to the test row at 1, and yet the one at 3 has it for a near-duplicate too.
    assert sorted(leaks(directions(0), directions(1, 3), epsilon=CLOSE).reference.tolist()) == [0, 1]


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
@pytest.mark.parametrize("resident", [0, 1 << 28])
def test_as_on_whole_matrices(block: int, resident: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similar_pairs, "RESIDENT", resident)
    rng = np.random.default_rng(0)
    left, right = rng.choice([-1.0, 1.0], (150, 16)), rng.choice([-1.0, 1.0], (70, 16))
    exact = np.round(left @ right.T) / 16
    keys = Keys(1, "t", 150)
    order = sorted(range(150), key=lambda i: (exact[i].max(), keys.draw()[i]))
    for epsilon in (0.0, 0.125, 0.25, 0.5, 1.0):
        found = decontaminate.explain(left, reference=right, epsilon=epsilon, block=block, keys=keys)
        removed = exact.max(axis=1) > 1 - epsilon
        assert found.chosen.tolist() == [i for i in order if not removed[i]]
        assert found.witness.tolist() == np.where(removed, exact.argmax(axis=1), -1).tolist()
        assert found.similarity[removed].tolist() == exact.max(axis=1)[removed].tolist()
        assert np.isnan(found.similarity[~removed]).all()
    assert decontaminate(left, 40, reference=right, block=block, keys=keys).tolist() == order[:40]


def test_a_permutation_that_carries_the_keys_along_permutes_the_result() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.choice([-1.0, 1.0], (60, 8)), rng.choice([-1.0, 1.0], (9, 8))
    shuffle = rng.permutation(60)
    first = decontaminate(left, 30, reference=right, keys=Keys(0, "t", 60))
    second = decontaminate(left[shuffle], 30, reference=right, keys=Keys(0, "t", 60, shuffle))
    assert shuffle[second].tolist() == first.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one of the two"), ({"k": 1, "epsilon": 0.1}, "give one of the two"), ({"k": 5}, "k=5 of 4"),
        ({"epsilon": 2.0}, "epsilon=2.0"), ({"epsilon": float("nan")}, "epsilon=nan"),
        ({"k": 1, "block": 0}, "block=0"),
        ({"k": 1, "reference": np.ones((2, 3))}, "vectors of 2 numbers and a reference of 3"),
        ({"k": 1, "keys": Keys(0, "t", 3)}, "keys for 3"),
    ],
)  # fmt: skip
def test_refuses(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        decontaminate(TRAIN, **{"reference": TEST, **options})


def test_a_zero_vector_is_named_in_either_set() -> None:
    for train, test in ((TRAIN * [[1], [1], [0], [1]], TEST), (TRAIN, np.zeros((3, 2)))):
        with pytest.raises(BadVector, match="all zeros"):
            decontaminate(train, 1, reference=test)
