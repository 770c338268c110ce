"""MinHash: of texts that share most of their sequences of words or characters, keep one.

Broder: On the resemblance and containment of documents, 1997; banding: Indyk and Motwani, 1998. The resemblance of two
texts is the Jaccard coefficient J = |A and B| / |A or B| of their sets of shingles (`shingles`). Each of P hash
functions keeps the smallest value of a set; two sets agree in one of these values with probability J, and in at least
one of b bands of r values with probability 1 - (1 - J^r)^b. Texts that agree in a band are candidates. Candidates whose
J is at least the threshold are joined, and one text of each connected component is kept.

With k: the most similar pairs are joined first, until k components are left; of equally similar pairs, the one whose
less preferred text is preferred least comes first. Only pairs at or above the threshold are joined.

Deviations: J of every candidate is computed exactly, so no pair below the threshold counts; tools that rely on bands
alone join many such pairs (text-dedup issue 70). False candidates then cost only time, so r is the largest number with
which a pair at the threshold is missed with a probability of at most 2 %: 6 at 0.7, where other tools use 8 to 13.
A text with fewer words than a shingle is one shingle, so that equal short texts are found; elsewhere it has none and is
never removed (datatrove). The text kept is the hardest or the one with the smallest key, not the first one read. The
hash functions are fixed: which texts are near-duplicates depends only on the texts.

Cost: P operations per shingle, about 0.15 ms for a text of 200 words; and a Jaccard coefficient, about 20 microseconds,
for each candidate pair (without k, only if not yet connected). Memory: 8 bytes per shingle, and 4 P + 8 b per text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from datadiet.errors import OptionError
from datadiet.randomness import Keys, mix64
from datadiet.selectors.explained import Explained, explained
from datadiet.selectors.ordering import check_k, choose_keys
from datadiet.selectors.preference import Preference, by_preference, check_preference, equal_groups, firsts
from datadiet.selectors.shingles import Shingle, jaccard, shingles
from datadiet.selectors.spec import SelectorSpec

__all__ = ["SPEC", "bands", "minhash"]

_MISSED = 0.02
_SEED = 2  # of the hash functions
_AT_ONCE = 1 << 17  # shingles, which stay in a cache with their values, or pairs


@explained
def minhash(
    texts: Iterable[str],
    k: int | None = None,
    *,
    threshold: float = 0.7,
    shingle: Shingle = "word",
    width: int = 5,
    punctuation: bool = False,
    permutations: int = 256,
    prefer: Preference = "hardest",
    hardness: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> Explained:
    """Keep one of every group of texts that say nearly the same in the same words.

    Args:
        texts: n str. They are compared in Unicode NFC, ignoring case, with runs of white space as single spaces, and,
            if shingle="word", by their words and symbols (see `shingles`).
        k: how many to keep, 1..n; None keeps one of each group.
        threshold: texts with a Jaccard coefficient of at least this are near-duplicates, in (0, 1]; lower removes more.
        shingle: "word", sequences of words; or "char", of characters, for short records and languages without spaces.
        width: how many words or characters make a shingle, at least 1.
        punctuation: whether punctuation marks, such as - * / % & #, count as words; they matter in source code.
        permutations: P, at least 16. With more, fewer pairs have to be compared.
        prefer: with hardness, which text of a group to keep.
        hardness: (n,) numbers, higher = harder. Without it the text with the smallest key is kept.
        rng, keys: the smaller key is preferred among equals.

    Returns:
        (k,) int64 positions: the preferred text of each group (a text without near-duplicates is a group), most
        preferred first; then, with k, the texts that would be joined next, the least similar first. Nested: a smaller k
        gives a prefix; `.explain` also gives `witness`: the kept text of the group, `similarity`: the Jaccard
        coefficient with it, which may be below the threshold if a text belongs to the group through others.

    Raises:
        OptionError: no texts, a parameter out of range, or fewer to keep than there are groups.

    >>> texts = ["to be or not to be that is the question", "To be, or not to be: that is the question.", "the rest"]
    >>> len(minhash(texts))
    2
    """
    if not 0 < threshold <= 1:
        raise OptionError(f"threshold={threshold!r}: a Jaccard coefficient is in (0, 1]; give one such as 0.7.")
    if permutations < 16:
        raise OptionError(f"permutations={permutations!r}: give at least 16; 256 is usual.")
    sets = shingles(texts, shingle, width, punctuation)
    n = len(sets)
    if not n:
        raise OptionError("there are no texts: give a list of at least one.")
    keys = choose_keys(n, rng, keys)
    order = by_preference(check_preference(prefer, hardness, n), prefer, keys)
    sets = [sets[row] for row in order.tolist()]  # from here on, rows are places: lower = preferred
    pairs = _similar(sets, threshold, permutations, with_connected=k is not None)
    gone, into = _joined(n, pairs)
    groups = n - len(gone)
    if k is None:
        k = groups
    check_k(k, n)
    if k < groups:
        raise OptionError(
            f"k={k}: texts joined where the Jaccard coefficient is at least {threshold:g} make {groups} groups of "
            f"{n} texts, and one of each is kept: give k={groups} or more, or a lower threshold."
        )
    preferred = np.setdiff1d(np.arange(n), gone, assume_unique=True)
    chosen = np.concatenate([preferred, gone[::-1]])[:k]
    return _explained(sets, order, chosen, gone[: n - k], into[: n - k])


def bands(threshold: float, permutations: int) -> tuple[int, int]:
    """b bands of r values each: the largest r that misses a pair at the threshold in at most 2 % of cases.

    >>> bands(0.7, 256)  # 1 - (1 - 0.7^6)^42 = 0.995; with r = 7, 0.955
    (42, 6)
    """
    r = 1
    while permutations // (r + 1) > 1 and (1 - threshold ** (r + 1)) ** (permutations // (r + 1)) <= _MISSED:
        r += 1
    return permutations // r, r


def _explained(
    sets: list[np.ndarray], order: np.ndarray, chosen: np.ndarray, gone: np.ndarray, into: np.ndarray
) -> Explained:
    """Translate places in the order of preference to rows."""
    first = np.arange(len(order))
    for row, other in zip(gone[::-1].tolist(), into[::-1].tolist(), strict=True):
        first[row] = first[other]  # what is joined later is known already
    witness, similarity = np.full(len(order), -1), np.full(len(order), np.nan, dtype=np.float32)
    witness[order[gone]] = order[first[gone]]
    similarity[order[gone]] = [jaccard(sets[row], sets[first[row]]) for row in gone.tolist()]
    return Explained(order[chosen], witness=witness, similarity=similarity)


class _Groups:
    """Places that are joined one pair at a time; a group is named by its lowest place."""

    def __init__(self, n: int) -> None:
        self._lower = list(range(n))

    def of(self, i: int) -> int:
        lower = self._lower
        while lower[i] != i:
            lower[i] = i = lower[lower[i]]
        return i

    def join(self, i: int, j: int) -> tuple[int, int] | None:
        """Join two groups: (the name that goes, the name that stays), or None if they are one already."""
        lower, higher = sorted((self.of(i), self.of(j)))
        self._lower[higher] = lower
        return None if lower == higher else (higher, lower)


def _joined(n: int, pairs: list[tuple[float, int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """The places that are removed, by descending similarity, and those that they join: (m,) int64 each."""
    groups = _Groups(n)
    steps = [groups.join(i, j) for _, i, j in sorted(pairs, key=lambda pair: (-pair[0], -pair[1], pair[2]))]
    made = np.array([step for step in steps if step], dtype=np.int64).reshape(-1, 2)
    return made[:, 0], made[:, 1]


def _similar(
    sets: list[np.ndarray], threshold: float, permutations: int, with_connected: bool
) -> list[tuple[float, int, int]]:
    """Pairs (Jaccard coefficient, later, earlier) at or above the threshold.

    Without `with_connected`, only enough of them to connect the same groups.
    """
    first = firsts(equal_groups(sets), np.arange(len(sets)))
    pairs = [(1.0, i, j) for i, j in enumerate(first.tolist()) if i != j]
    alone = np.unique(first)  # one of each group of equal sets is compared
    groups = _Groups(len(alone))
    for later, earlier in _candidates([sets[place] for place in alone.tolist()], threshold, permutations):
        for i, j in zip(later.tolist(), earlier.tolist(), strict=True):
            if with_connected or groups.of(i) != groups.of(j):
                found = _at_least(sets[alone[i]], sets[alone[j]], threshold)
                if found:
                    pairs.append((found, int(alone[i]), int(alone[j])))
                    groups.join(i, j)
    return pairs


def _at_least(left: np.ndarray, right: np.ndarray, threshold: float) -> float:
    """Their Jaccard coefficient, or 0 if it is below the threshold."""
    smaller, larger = sorted((len(left), len(right)))
    found = jaccard(left, right) if smaller / larger >= threshold else 0.0
    return found if found >= threshold else 0.0


def _candidates(sets: list[np.ndarray], threshold: float, permutations: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (later, earlier) of sets that agree in a band, each pair once: some at a time, (m,) int64 each."""
    number, rows = bands(threshold, permutations)
    signature = _signatures(sets, number * rows).reshape(number, rows, len(sets))
    factors = mix64(_SEED, "bands", np.arange(rows)) | np.uint64(1)
    keys = np.einsum("brn,r->bn", signature, factors, dtype=np.uint64)
    for band, key in enumerate(keys):
        for later, earlier in _pairs_of_equals(key):
            known = np.zeros(len(later), dtype=bool)
            for before in keys[:band]:
                known |= before[later] == before[earlier]
            yield later[~known], earlier[~known]


def _signatures(sets: list[np.ndarray], permutations: int) -> np.ndarray:
    """(permutations, n) uint32: the smallest value of each set under each hash function.

    A shingle is a random number already, so an odd factor modulo 2^32 makes another random order of all of them.
    """
    factors = mix64(_SEED, "permutations", np.arange(permutations)).astype(np.uint32) | np.uint32(1)
    found = np.empty((permutations, len(sets)), dtype=np.uint32)
    sizes = np.array([len(one) for one in sets])
    for span in _spans(sizes):
        numbers = (np.concatenate(sets[span]) >> np.uint64(32)).astype(np.uint32)
        places = np.cumsum(sizes[span]) - sizes[span]
        for factor, smallest in zip(factors, found, strict=True):
            np.minimum.reduceat(numbers * factor, places, out=smallest[span])
    return found


def _pairs_of_equals(keys: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (later, earlier) of places with equal keys, some at a time."""
    order = np.argsort(keys, kind="stable")
    new = np.ones(len(keys), dtype=bool)
    new[1:] = keys[order[1:]] != keys[order[:-1]]
    at = np.arange(len(keys))
    earlier = at - np.maximum.accumulate(np.where(new, at, 0))  # how many of the same key come before
    paired = np.flatnonzero(earlier)
    for span in _spans(earlier[paired]):
        count = earlier[paired[span]]
        later = np.repeat(paired[span], count)
        back = np.arange(len(later)) - np.repeat(np.cumsum(count) - count, count)
        yield order[later], order[later - 1 - back]


def _spans(sizes: np.ndarray) -> Iterator[slice]:
    """Successive items that have at most _AT_ONCE in all, or one item."""
    ends, start = np.cumsum(sizes), 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _AT_ONCE, side="right")))
        yield slice(start, stop)
        start = stop


SPEC = SelectorSpec(minhash, nested=True, reference="Broder 1997")
