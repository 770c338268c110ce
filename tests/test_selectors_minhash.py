"""minhash: shingles and coefficients by hand, groups against brute force, sizes, and real news with planted copies."""

from __future__ import annotations

import gzip
import json
import os
import sys
import unicodedata
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.randomness import Keys, mix64
from datadiet.selectors.minhash import _pairs_of_equals, _signatures, bands, minhash
from datadiet.selectors.shingles import jaccard, normalised, shingles

# Shingles of one word: J(0, 1) = 3/4, J(1, 2) = 3/5, J(0, 2) = 2/5; nothing else has a word in common.
CHAIN = ["a b c", "a b c d", "b c d e", "x y"]
DOWN = np.array([4, 3, 2, 1])  # of preference: 0, 1, 2, 3
WORDS = {"width": 1}


def noisy_texts(n: int = 60, seed: int = 0) -> list[str]:
    """Texts of 12 of 400 words, each second one a copy of an earlier one with up to four words replaced."""
    rng = np.random.default_rng(seed)
    texts: list[list[int]] = []
    for i in range(n):
        text = list(rng.integers(0, 400, 12)) if i % 2 == 0 else list(texts[rng.integers(i)])
        if i % 2:
            text[: rng.integers(5)] = rng.integers(0, 400, rng.integers(5))
        texts.append(text)
    return [" ".join(f"w{word}" for word in text) for text in texts]


def brute_force(texts: list[str], threshold: float, width: int) -> list[set[int]]:
    """Components of all pairs, with sets of tuples of words."""
    words = [text.split() for text in texts]
    sets = [{tuple(w[i : i + width]) for i in range(max(1, len(w) - width + 1))} for w in words]
    groups = [{i} for i in range(len(texts))]
    for a, b in combinations(range(len(texts)), 2):
        if len(sets[a] & sets[b]) / len(sets[a] | sets[b]) >= threshold:
            left, right = (next(g for g in groups if i in g) for i in (a, b))
            if left is not right:
                groups.remove(right)
                left |= right
    return groups


def test_what_is_a_shingle() -> None:
    # "To be, or not to be" in pairs of words: to be, be or, or not, not to, (to be): 4 different.
    pairs = shingles(["To be, or not to be", "to BE\nor NOT to be!", "be to or"], width=2)
    assert len(pairs[0]) == 4 and pairs[0].tolist() == pairs[1].tolist()
    assert jaccard(pairs[0], pairs[2]) == 0  # the order of the words in a shingle matters: to be is not be to
    chars = shingles(["abcab", " ab  c", "abc"], "char", 3)  # abc bca cab; "ab c" -> "ab ", "b c"; abc
    assert [len(found) for found in chars] == [3, 2, 1]
    assert jaccard(chars[0], chars[2]) == 1 / 3 and jaccard(chars[1], chars[2]) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("लड़का जाता है", "लड़की जाती है"),  # Hindi: the boy goes, the girl goes
        ("שָׁלוֹם", "שִׁלוּם"),  # Hebrew points
        ("กา กี", "กา กู"),  # Thai vowels
        ("bà bá", "bả bã"),  # tones
        ("می‌روم", "می روم"),  # a joiner within a word, and a space
        ("I am 😀", "I am 😡"), ("👍🏽", "👍🏿"), ("👩‍💻", "👩‍🚀"),  # emoji, with colours and joined
        ("🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
         "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"),  # the flags of England and Scotland
        ("a + b", "a < b"), ("5 €", "5 £"), ("x\ue000", "x\ue001"), ("\ud800", "\ud801"),
    ],
)  # fmt: skip
def test_what_makes_two_texts_different_counts(one: str, other: str) -> None:
    a, b = shingles([one, other], width=1)
    assert a.tolist() != b.tolist()
    assert len(minhash([one, other], width=1)) == 2


def test_of_all_characters_only_spaces_controls_and_punctuation_vanish() -> None:
    rng = np.random.default_rng(0)
    of_category: dict[str, list[str]] = {}
    for character in map(chr, range(0x110000)):
        if character not in "_\u200b":
            of_category.setdefault(unicodedata.category(character), []).append(character)
    for category, members in sorted(of_category.items()):
        drawn = [members[i] for i in rng.integers(len(members), size=60)]
        plain, *found = shingles(["x y", *(f"x {c} y" for c in drawn)], width=1)
        gone = category[0] in "PZ" or category == "Cc"
        assert all((one.tolist() == plain.tolist()) == gone for one in found), category
        if category[0] == "P":
            plain, *found = shingles(["x y", *(f"x {c} y" for c in drawn)], width=1, punctuation=True)
            assert all(len(one) == 3 for one in found), category


def test_texts_shorter_than_a_shingle_are_one() -> None:
    short = ["yes", "Yes.", "no", "", " \n", "?", "!", "yes no"]
    assert [len(found) for found in shingles(short)] == [1] * 8
    found = minhash.explain(short, hardness=np.arange(8, 0, -1))
    assert sorted(found.chosen.tolist()) == [0, 2, 3, 5, 6, 7] and found.witness.tolist()[1:5:3] == [0, 3]


def test_jaccard_and_bands_by_hand() -> None:
    assert jaccard(np.array([1, 2, 3, 4]), np.array([3, 4, 5, 6])) == 2 / 6
    assert jaccard(np.array([1]), np.array([1])) == 1 and jaccard(np.array([1]), np.array([2])) == 0
    for threshold in (0.05, 0.3, 0.5, 0.7, 0.95, 1.0):
        b, r = bands(threshold, 256)
        assert b >= 2 and r >= 1 and b * r <= 256
        assert r == 1 or (1 - threshold**r) ** b <= 0.02
    # 1 - (1 - 0.5^4)^64 = 0.984 and with r = 5 it would be 1 - (1 - 0.5^5)^51 = 0.80.
    assert bands(0.5, 256) == (64, 4)
    assert bands(1.0, 256) == (2, 128)


def test_one_of_each_component_is_kept_and_named() -> None:
    found = minhash.explain(CHAIN, threshold=0.6, hardness=DOWN, **WORDS)
    assert found.chosen.tolist() == [0, 3]
    assert found.witness.tolist() == [-1, 0, 0, -1]
    np.testing.assert_allclose(found.similarity, [np.nan, 0.75, 0.4, np.nan])  # 2 belongs to 0 through 1
    assert minhash(CHAIN, threshold=0.6, hardness=DOWN, prefer="easiest", **WORDS).tolist() == [3, 2]
    assert minhash(CHAIN, threshold=0.61, hardness=DOWN, **WORDS).tolist() == [0, 2, 3]
    assert minhash(CHAIN, threshold=0.75, hardness=DOWN, **WORDS).tolist() == [0, 2, 3]  # at least, not more than
    assert minhash(CHAIN, threshold=0.76, hardness=DOWN, **WORDS).tolist() == [0, 1, 2, 3]


def test_sizes_join_the_most_similar_first() -> None:
    # 1 goes first (0.75), then 2 (0.6): the last to go is the first to come back.
    whole = [0, 3, 2, 1]
    for k in (2, 3, 4):
        found = minhash.explain(CHAIN, k, threshold=0.6, hardness=DOWN, **WORDS)
        assert found.chosen.tolist() == whole[:k]
        assert found.witness.tolist() == {2: [-1, 0, 0, -1], 3: [-1, 0, -1, -1], 4: [-1] * 4}[k]
    with pytest.raises(OptionError, match=r"at least 0.6 make 2 groups of 4 texts.*k=2 or more, or a lower threshold"):
        minhash(CHAIN, 1, threshold=0.6, **WORDS)
    # With 2 preferred to 1 and 0 the pair 0, 1 is joined first all the same, and 2 stays.
    found = minhash.explain(CHAIN, 3, threshold=0.6, hardness=np.array([2, 3, 4, 1]), **WORDS)
    assert found.chosen.tolist() == [2, 3, 1] and found.witness.tolist() == [1, -1, -1, -1]

    # Both pairs have 0.75: of 1 and 3 first the one that is preferred less.
    twins = ["a b c", "a b c d", "e f g", "e f g h"]
    assert minhash(twins, 4, hardness=DOWN, **WORDS).tolist() == [0, 2, 1, 3]
    assert minhash(twins, 4, hardness=np.array([4, 1, 3, 2]), **WORDS).tolist() == [0, 2, 3, 1]

    # 0-1 1/3, 0-2 and 1-2 2/3, 3-4 1/2: 2 goes, then 1 because of 2, then 4.
    between = ["a b c d", "a b e f", "a b c d e f", "p q", "p q r s"]
    found = minhash(between, 5, threshold=0.3, hardness=np.arange(5, 0, -1), **WORDS)
    assert found.tolist() == [0, 3, 4, 1, 2]


@pytest.mark.parametrize("threshold", [0.2, 0.4, 0.6, 0.8, 1.0])
@pytest.mark.parametrize("width", [1, 2])
def test_groups_are_those_of_all_pairs(threshold: float, width: int) -> None:
    texts = noisy_texts()
    groups = brute_force(texts, threshold, width)
    assert 1 < len(groups) < len(texts)
    hardness = np.random.default_rng(1).permutation(len(texts))
    found = minhash.explain(texts, threshold=threshold, width=width, hardness=hardness)
    best = {max(group, key=lambda i: hardness[i]): group for group in groups}
    assert set(found.chosen.tolist()) == set(best)
    assert all(found.witness[i] == kept for kept, group in best.items() for i in group - {kept})


def test_a_smaller_size_is_a_prefix_and_the_order_of_the_texts_does_not_matter() -> None:
    texts, keys = noisy_texts(), Keys(3, "t", 60)
    options = {"threshold": 0.3, "width": 1}
    least = len(minhash(texts, keys=keys, **options))
    whole = minhash(texts, 60, keys=keys, **options)
    assert whole[:least].tolist() == minhash(texts, keys=keys, **options).tolist()
    shuffle = np.random.default_rng(0).permutation(60)
    shuffled, theirs = [texts[i] for i in shuffle], Keys(3, "t", 60, shuffle)
    for k in (least, least + 7, 50, 60):
        found = minhash.explain(texts, k, keys=keys, **options)
        assert found.chosen.tolist() == whole[:k].tolist()
        other = minhash.explain(shuffled, k, keys=theirs, **options)
        assert shuffle[other.chosen].tolist() == found.chosen.tolist()
        np.testing.assert_array_equal(other.similarity, found.similarity[shuffle])
        named = other.witness >= 0
        assert (shuffle[other.witness[named]] == found.witness[shuffle][named]).all() and named.sum() == 60 - k


def test_the_seed_decides_which_stays_and_not_what_is_a_copy() -> None:
    texts = ["one two three four five six"] * 6 + ["seven eight nine ten eleven twelve"] * 3
    kept = [minhash(texts, keys=Keys(seed, "t", 9)).tolist() for seed in range(12)]
    assert all(sorted(row // 6 for row in rows) == [0, 1] for rows in kept) and len({tuple(r) for r in kept}) > 5
    assert (
        minhash(texts, rng=np.random.default_rng(0)).tolist() == minhash(texts, rng=np.random.default_rng(0)).tolist()
    )
    assert minhash(["alone"]).tolist() == minhash(["alone"], 1).tolist() == [0]


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["a"], {"threshold": 0}, r"in \(0, 1\]"), (["a"], {"threshold": 1.1}, r"in \(0, 1\]"),
        (["a"], {"threshold": float("nan")}, "threshold=nan: give a float"),
        (["a"], {"shingle": "line"}, "'word' or 'char'"),
        (["a"], {"width": 0}, "width=0"), (["a"], {"permutations": 8}, "at least 16"), ([], {}, "no texts"),
        (["a", None], {}, "item 1 is of type NoneType"), ("ab", {}, "texts is one str"),
        (np.ones((2, 3)), {}, "or use semdedup"), (["a"], {"k": 2}, "k=2 of 1"),
        (["a", "b"], {"hardness": np.ones(1)}, "for 2 examples"), (["a"], {"prefer": "best"}, "'random'"),
    ],
)  # fmt: skip
def test_refuses(texts: object, options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        minhash(texts, **options)


def test_as_many_pairs_agree_in_a_band_as_chance_says() -> None:
    """J = 0.75 and 36 bands of 7: 1 - (1 - 0.75^7)^36 = 0.994, as with independent hash functions."""
    draw = np.random.default_rng(0).integers(2**62, size=(3000, 8)).astype(np.uint64) << np.uint64(1)
    sets = [np.sort(row[part]) for row in draw for part in (slice(0, 7), slice(1, 8))]  # 6 of 8 are in both
    signature = _signatures(sets, 252)
    equal = signature[:, 0::2] == signature[:, 1::2]
    assert abs(equal.mean() - 0.75) < 0.002
    assert equal.sum(0).std() == pytest.approx(np.sqrt(252 * 0.75 * 0.25), rel=0.05)
    assert 0.99 < equal.reshape(36, 7, 3000).all(1).any(0).mean() < 0.998


def test_signatures_are_the_smallest_values_whatever_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    sets = [np.unique(rng.integers(2**63, size=size).astype(np.uint64)) for size in (1, 5, 300, 2, 40)]
    whole = _signatures(sets, 20)
    factors = mix64(2, "permutations", np.arange(20)).astype(np.uint32) | np.uint32(1)
    for place, one in enumerate(sets):
        high = [int(number) >> 32 for number in one]
        assert whole[:, place].tolist() == [min(h * int(f) % 2**32 for h in high) for f in factors]
    monkeypatch.setattr(sys.modules["datadiet.selectors.minhash"], "_AT_ONCE", 7)
    assert np.array_equal(_signatures(sets, 20), whole)


@pytest.mark.parametrize("at_once", [1, 5, 1000])
def test_all_pairs_of_equal_keys_are_found_once(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(sys.modules["datadiet.selectors.minhash"], "_AT_ONCE", at_once)
    keys = np.random.default_rng(0).integers(9, size=40).astype(np.uint64)
    found = [pair for some in _pairs_of_equals(keys) for pair in zip(*map(list, some), strict=True)]
    wanted = [(i, j) for i in range(40) for j in range(i) if keys[i] == keys[j]]
    assert sorted(found) == wanted


def test_half_a_surrogate_is_a_text_too() -> None:
    assert normalised("\ud800 A") == "\ud800 a"
    assert len(minhash(["\ud800 x", "\ud800 x", "y"])) == 2


@pytest.mark.realdata
@pytest.mark.parametrize(("options", "threshold"), [({}, 0.7), ({}, 0.3), ({"shingle": "char", "width": 12}, 0.5)])
def test_news_with_planted_copies(options: dict, threshold: float) -> None:
    root = os.environ.get("DATADIET_DATA")
    if not root:
        pytest.skip("DATADIET_DATA is not set")
    folder = Path(root) / "neardup"
    with gzip.open(folder / "news_plagiarism_1000.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    planted = json.loads((folder / "news_plagiarism_1000_truth.json").read_text(encoding="utf-8"))
    names = [row["id"] for row in rows]
    found = minhash.explain([row["text"] for row in rows], threshold=threshold, **options)
    removed = {frozenset((names[i], names[j])) for i, j in enumerate(found.witness.tolist()) if j >= 0}
    assert removed == {frozenset(pair) for pair in planted} and len(found.chosen) == 990
    assert np.nanmin(found.similarity) >= threshold
