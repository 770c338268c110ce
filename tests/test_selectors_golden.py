"""Every selector on a handful of examples, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.randomness import Keys
from datadiet.selectors import SELECTORS, band, beta, ccs, class_quota, random, top_k
from datadiet.selectors.beta import beta_parameters
from datadiet.selectors.by_class import per_class, proportional
from datadiet.selectors.ccs import default_beta
from datadiet.testing import check_selector


def ccs_strata(*arguments, **options):
    return ccs.explain(*arguments, **options).stratum


FIVE = np.array([0.2, 0.9, -0.4, 0.5, 0.7])  # hardest to easiest: 1, 4, 3, 0, 2


def test_top_k_keeps_either_end_most_preferred_first() -> None:
    assert top_k(FIVE, 2, prefer="hardest").tolist() == [1, 4]
    assert top_k(FIVE, 3, prefer="easiest").tolist() == [2, 0, 3]


def test_top_k_has_no_default_end() -> None:
    with pytest.raises(TypeError):
        top_k(FIVE, 2)
    with pytest.raises(OptionError, match="'hardest' or 'easiest'"):
        top_k(FIVE, 2, prefer="hard")


def test_infinite_scores_are_the_hardest_or_easiest() -> None:
    values = np.array([1.0, np.inf, -np.inf, 2.0])
    assert top_k(values, 4, prefer="hardest").tolist() == [1, 3, 0, 2]
    assert top_k(values.astype(np.float32), 4, prefer="easiest").tolist() == [2, 0, 3, 1]


def test_minus_zero_ties_with_zero() -> None:
    for kind in (np.float32, np.float64):
        zeros = np.array([0.0, -0.0] * 50, dtype=kind)
        assert top_k(zeros, 100, prefer="hardest").tolist() == top_k(np.zeros(100), 100, prefer="hardest").tolist()


@pytest.mark.parametrize(
    ("k", "skip", "kept"),
    [
        (2, 1, [4, 3]),  # ranks 1 and 2
        (2, 0.2, [4, 3]),  # a share of 5 is 1
        (2, 0.3, [3, 0]),  # 1.5 examples, half up
        (2, 0, [1, 4]), (2, 0.0, [1, 4]), (5, 0, [1, 4, 3, 0, 2]),
        (1, None, [3]), (3, None, [4, 3, 0]),  # the middle: (5 - k) / 2 skipped on either side
        (2, None, [4, 3]), (4, None, [1, 4, 3, 0]),  # where it cannot be halved, one less at the hard end
        (5, None, [1, 4, 3, 0, 2]),
    ],
)  # fmt: skip
def test_band(k: int, skip: float | None, kept: list[int]) -> None:
    assert band(FIVE, k, skip=skip).tolist() == kept


@pytest.mark.parametrize("skip", [4, -1, 1.0, -0.1, 0.7, float("nan")])
def test_band_refuses_to_skip_what_is_to_be_kept(skip: float) -> None:
    with pytest.raises(OptionError, match="skip="):
        band(FIVE, 2, skip=skip)


def test_ccs_drops_cuts_and_shares_out() -> None:
    # floor(6 / 6) = 1 example is dropped, the hardest, position 5. The rest spans 0 to .9; two halves of width .45 hold
    # {0, 1, 2, 3} and {4}. Of k = 3, 1.5 each; the hard half has only 1, so the easy one gives 2.
    hardness = np.array([0.0, 0.1, 0.2, 0.3, 0.9, 1.0])
    assert ccs_strata(hardness, 3, beta=1 / 6, strata=2).tolist() == [1, 1, 1, 1, 2, 0]
    chosen = ccs(hardness, 3, beta=1 / 6, strata=2).tolist()
    assert chosen[0] == 4 and len(set(chosen)) == 3 and set(chosen[1:]) < {0, 1, 2, 3}


def test_ccs_drops_by_another_score_than_it_cuts() -> None:
    # The third-hardest is wrong-looking (cutoff score 9): it goes, and both ends stay.
    strata = ccs_strata(
        np.array([0.0, 1.0, 2.0, 3.0, 4.0]), 2, cutoff_scores=np.array([0.0, 0, 9, 1, 0]), beta=0.2, strata=4
    )
    assert strata.tolist() == [1, 2, 0, 4, 4]


def test_ccs_puts_the_largest_score_into_the_last_stratum_also_when_all_are_negative() -> None:
    assert ccs_strata(np.array([-4.0, -3.0, -2.0, -1.0]), 4, beta=0.0, strata=3).tolist() == [1, 2, 3, 3]


def test_ccs_of_equal_scores_has_one_stratum() -> None:
    assert ccs_strata(np.full(4, -2.5), 2, beta=0.0, strata=5).tolist() == [1, 1, 1, 1]


def test_ccs_cuts_the_whole_range_of_float32() -> None:
    for hardness in ([0.0, 1e-45, 0.0], [-3e38, 3e38, -2e38]):
        assert ccs_strata(np.array(hardness, dtype=np.float32), 1, beta=0.0, strata=2).tolist() == [1, 2, 1]


def test_ccs_beta_counts_whole_examples() -> None:
    # 0.3 * 10 = 3 (2.9999999999999996 in binary is not meant), 0.29 * 10 -> 2
    dropped = [int((ccs_strata(np.arange(10.0), 5, beta=b) == 0).sum()) for b in (0.3, 0.29, 0.1 * 3, 0.0)]
    assert dropped == [3, 2, 3, 0]


def test_ccs_default_beta_depends_on_the_share_kept() -> None:
    shares = [100, 50, 49, 20, 19, 1]
    assert [default_beta(k, 100) for k in shares] == [0.0, 0.0, 0.1, 0.1, 0.3, 0.3]
    for k in shares:
        assert (ccs_strata(np.arange(100.0), k) == 0).sum() == 100 * default_beta(k, 100)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.7}, "beta=0.7 drops 3 of 5"), ({"beta": -0.1}, "beta"), ({"beta": 1.0}, "beta"),
        ({"beta": float("nan")}, "beta"), ({"strata": 0}, "strata"), ({"strata": 2**16}, "strata"),
        ({"beta": 0.2, "cutoff_scores": np.zeros(4)}, "4 values of cutoff_scores for 5"),
        ({"beta": 0.2, "cutoff_scores": np.array([0, np.nan, 0, 0, 0])}, "cutoff_scores is NaN for 1 of 5"),
    ],
)  # fmt: skip
def test_ccs_refuses(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ccs(FIVE, 3, **options)


def test_ccs_refuses_an_endless_range() -> None:
    for bad in (np.inf, -np.inf):
        with pytest.raises(OptionError, match="infinities"):
            ccs(np.array([0.0, bad, 1.0]), 2)


def test_beta_parameters() -> None:
    # Of the ten highest scores nine have p = .4 and the lowest .8, the others .9: mu = (9 * .4 + .8) / 10 = .44.
    # k = 10 of 20: r = .5, r^4 = .0625, b = 15 * .56 * .9375 = 7.875, a = 16 - b = 8.125.
    # k = 20: r = 0, b = 15 * .56 = 8.4, a = 7.6. k = 10 with c = 1: b = 15 * .56 * .5 = 4.2.
    score, p, keys = np.arange(20.0), np.array([0.9] * 10 + [0.8] + [0.4] * 9), Keys(0, "", 20)
    np.testing.assert_allclose(beta_parameters(score, p, 10, 4.0, keys), (8.125, 7.875))
    np.testing.assert_allclose(beta_parameters(score, p, 20, 4.0, keys), (7.6, 8.4))
    np.testing.assert_allclose(beta_parameters(score, p, 10, 1.0, keys), (11.8, 4.2))


def test_beta_draws_what_has_no_weight_last() -> None:
    # a = 16 - b and b are both above 1 here, so that p = 0 and p = 1 have density 0; so has a score of 0.
    score, p = np.array([1.0, 1, 0, 1, 1]), np.array([0.5, 0.4, 0.5, 0.0, 1.0])
    for seed in range(20):
        chosen = beta(score, 5, p_mean=p, keys=Keys(seed, "t", 5)).tolist()
        assert set(chosen[:2]) == {0, 1} and set(chosen) == set(range(5))


def test_beta_moves_to_easier_examples_as_less_is_kept() -> None:
    p = np.linspace(0.01, 0.99, 2000)
    score = p * (1 - p)
    means = [p[beta(score, k, p_mean=p)].mean() for k in (1000, 400, 200, 100)]
    assert means == sorted(means) and means[-1] > means[0] + 0.1


@pytest.mark.parametrize(
    ("score", "p", "message"),
    [
        ([-0.1, 1], [0.5, 0.5], "score goes from -0.1 to 1: give numbers of at least 0"),
        ([1, 1], [-0.1, 0.5], "p_mean goes from -0.1 to 0.5: give numbers from 0 to 1"),
        ([1, 1], [1.1, 0.5], "p_mean goes from 0.5 to 1.1"),
        ([1, 1], [0.5, 0.5, 0.5], "3 values of p_mean for 2 examples"),
    ],
)
def test_beta_refuses_what_is_no_weight(score: list, p: list, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        beta(np.array(score, dtype=float), 1, p_mean=np.array(p))


@pytest.mark.parametrize(
    ("sizes", "recall", "weighting", "k", "counts"),
    [
        ([5, 5], [0.9, 0.7], "count", 4, [1, 3]),  # .1 : .3
        ([10, 5], [0.9, 0.8], "count", 6, [2, 4]),  # .1 : .2
        ([10, 5], [0.9, 0.8], "density", 6, [3, 3]),  # 10 * .1 : 5 * .2
        ([5, 5], [1.0, 0.5], "count", 3, [0, 3]),  # nothing for a class without errors
        ([2, 10, 10], [0.0, 0.5, 0.5], "count", 10, [2, 4, 4]),  # 5, 2.5, 2.5: class 0 has 2, the 3 missing are halved
        ([5, 5], [1.0, 0.5], "count", 8, [3, 5]),  # what class 1 cannot give comes from where there is any
        ([4, 0, 4], [0.5, 0.0, 1.0], "count", 4, [4, 0, 0]),  # a class without examples claims nothing for others
    ],
)  # fmt: skip
def test_class_quota(sizes: list, recall: list, weighting: str, k: int, counts: list) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    chosen = class_quota(labels, k, recall=recall, weighting=weighting)
    assert np.bincount(labels[chosen], minlength=len(sizes)).tolist() == counts


@pytest.mark.parametrize(
    "options",
    [{"recall": [0.5]}, {"recall": [0.5, 1.1]}, {"recall": [0.5, -0.1]}, {"recall": [0.5, np.nan]}, {"recall": [1, 1]},
     {"recall": [0.5, 0.5], "weighting": "size"}],
)  # fmt: skip
def test_class_quota_refuses(options: dict) -> None:
    with pytest.raises(OptionError, match=r"recall|weighting"):
        class_quota(np.array([0, 0, 1, 1]), 2, **options)


def test_random_within_classes_keeps_their_shares() -> None:
    # 7 and 3 of 10, k = 5: 3.5 and 1.5; equal remainders go to the larger class.
    labels = np.array([4] * 7 + [9] * 3)
    assert np.unique(labels[random(10, 5, labels=labels)], return_counts=True)[1].tolist() == [4, 1]


@pytest.mark.parametrize("length", [9, 11, 20])
def test_random_refuses_labels_of_another_number(length: int) -> None:
    with pytest.raises(OptionError, match="labels"):
        random(10, 5, labels=np.zeros(length, dtype=int))


def test_by_class_gives_shares_by_largest_remainders() -> None:
    # Sizes 5, 3, 2 of 10 and k = 4: 2, 1.2, .8: the last remainder .8 is the largest.
    classes, counts = proportional(np.array([3] * 5 + [1] * 3 + [8] * 2), 4)
    assert classes.tolist() == [1, 3, 8] and counts.tolist() == [1, 2, 1]


def test_by_class_ranks_first_choices_before_second_ones() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1])
    last_first = per_class(labels, 4, lambda members, quota: np.arange(len(members))[::-1][:quota])
    assert last_first.tolist() == [4, 5, 2, 3]


@pytest.mark.parametrize(
    ("name", "examples"),
    [("band", [{"skip": 0.1}, {"skip": 7}]), ("ccs", [{"beta": 0.2, "strata": 6}]), ("beta", [{"c": 11.0}])],
)
def test_they_keep_the_contract_with_other_parameters_too(name: str, examples: list[dict]) -> None:
    check_selector(SELECTORS[name], examples=examples)


def test_only_what_is_drawn_depends_on_the_seed() -> None:
    rng, n = np.random.default_rng(0), 120
    hardness, further, labels = rng.uniform(0, 1, n), rng.uniform(0, 1, n), np.arange(n) * 4 // n
    drawn = {
        "random": lambda **more: random(n, 30, **more),
        "ccs": lambda **more: ccs(hardness, 30, **more),
        "beta": lambda **more: beta(hardness, 30, p_mean=further, **more),
        "class_quota": lambda **more: class_quota(labels, 30, recall=[0.6, 0.5, 0.7, 0.8], **more),
    }
    decided = {
        "hardest": lambda **more: top_k(hardness, 30, prefer="hardest", **more),
        "easiest": lambda **more: top_k(hardness, 30, prefer="easiest", **more),
        "band": lambda **more: band(hardness, 30, **more),
        "skip": lambda **more: band(hardness, 30, skip=7, **more),
    }
    for number, methods in ((4, drawn), (1, decided)):
        for name, choose in methods.items():
            chosen = [choose(keys=Keys(seed, "golden", n)).tolist() for seed in range(4)]
            assert len({tuple(found) for found in chosen}) == len({frozenset(found) for found in chosen}) == number, (
                name
            )
