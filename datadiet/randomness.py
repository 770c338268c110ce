"""Reproducible randomness: every draw is a function of a seed and the name of its purpose.

Per-example draws come from a 64-bit mix of (seed, stream, index), so they do not depend on how many examples there
are, in what order they are visited, or how many workers visit them. Whole-array draws come from a numpy Generator.
Nothing here touches a global random state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from datadiet.parameters import check_whole

__all__ = ["Keys", "blocks", "derive", "generator", "mix64", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for one purpose, for example `derive(seed, "augment", epoch)`.

    Unlike `seed + epoch`, different (seed, path) pairs give unrelated values.

    Raises:
        OptionError: the seed is not a whole number of at least 0. Every draw comes through here.
    """
    text = "/".join(map(str, (check_whole("seed", seed, 0), *path)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *path: str | int) -> np.random.Generator:
    """A separate numpy Generator for one purpose."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(derive(seed, *path))))


def mix64(seed: int, stream: str, index: np.ndarray) -> np.ndarray:
    """One 64-bit draw per example: splitmix64 at the position of the example in the stream of (seed, stream).

    Args:
        seed: a whole number of at least 0.
        stream: what the draws are for, for example "tie".
        index: (n,) integers, the positions of the examples in their source.

    Returns:
        (n,) uint64, distinct for distinct indices.
    """
    z = np.array(index, dtype=np.uint64)
    half = np.empty_like(z)
    z += np.uint64(derive(seed, stream))
    z *= _GOLDEN
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        np.right_shift(z, np.uint64(shift), out=half)
        z ^= half
        z *= np.uint64(factor)
    np.right_shift(z, np.uint64(31), out=half)
    z ^= half
    return z


_BLOCK = 1 << 15


def blocks(n: int) -> Iterator[slice]:
    """range(n) in slices of rows that fit in the processor's cache, for many passes over a long array."""
    return (slice(lo, min(lo + _BLOCK, n)) for lo in range(0, n, _BLOCK))


_MIXED = (0x85EBCA6B, 0xC2B2AE35)
_UNMIXED = tuple(pow(factor, -1, 2**32) for factor in _MIXED)


@dataclass(frozen=True)
class Keys:
    """A random key for each of n rows, to break ties and draw subsets by.

    The key of a row is a seeded bijection of the 32-bit integers, applied to the position of its example in the source:
    keys never collide, and a key gives its position back, so that sorting by (value, key) needs no second array. The
    bijection is two rounds of a 32-bit finaliser, each after adding seed bits.

    Attributes:
        seed: a whole number of at least 0.
        stream: what the keys are for.
        n: number of rows, at most 2**32.
        index: (n,) distinct positions in the source below 2**32; None = 0..n-1.
    """

    seed: int
    stream: str
    n: int
    index: np.ndarray | None = None

    def __post_init__(self) -> None:
        check_whole("seed", self.seed, 0)

    @classmethod
    def from_rng(cls, n: int, rng: np.random.Generator) -> Keys:
        """Keys seeded by a draw from a Generator."""
        return cls(int(rng.integers(2**63)), "rng", n)

    def of(self, rows: np.ndarray) -> Keys:
        """The keys of some rows, renumbered 0..len-1."""
        return Keys(self.seed, self.stream, len(rows), rows if self.index is None else self.index[rows])

    def draw(self, rows: np.ndarray | None = None) -> np.ndarray:
        """The keys of rows (all by default): (m,) uint32."""
        positions = self.index if rows is None else rows if self.index is None else self.index[rows]
        out = np.empty(self.n if positions is None else len(positions), dtype=np.uint32)
        for span in blocks(len(out)):
            out[span] = np.arange(span.start, span.stop) if positions is None else positions[span]
            self._mix(out[span])
        return out

    def _mix(self, x: np.ndarray) -> None:
        """Positions to keys, in place."""
        for start in self._starts:
            x += start
            x ^= x >> 16
            x *= np.uint32(_MIXED[0])
            x ^= x >> 13
            x *= np.uint32(_MIXED[1])
            x ^= x >> 16

    def positions(self, keys: np.ndarray) -> np.ndarray:
        """The positions (m,) int64 whose keys these are; overwrites keys."""
        out = np.empty(len(keys), dtype=np.int64)
        for span in blocks(len(keys)):
            x = keys[span]
            for start in reversed(self._starts):
                x ^= x >> 16
                x *= np.uint32(_UNMIXED[1])
                x ^= (x >> 13) ^ (x >> 26)
                x *= np.uint32(_UNMIXED[0])
                x ^= x >> 16
                x -= start
            out[span] = x
        return out

    def sort(self, code: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Rows by ascending code, equal codes by ascending key.

        Args:
            code: (m,) unsigned integers below 2**32.
            rows: (m,) int64, the rows they belong to; None = all n.

        Returns:
            (m,) int64 rows.
        """
        packed = code.astype(np.uint64)
        packed <<= np.uint64(32)
        packed |= self.draw(rows)
        if self.index is None:
            packed.sort()
            return self.positions(packed.astype(np.uint32))
        order = np.argsort(packed)
        return order if rows is None else rows[order]

    def draw_groups(
        self, group: np.ndarray, groups: int, share: Callable[[np.ndarray], np.ndarray]
    ) -> list[np.ndarray]:
        """A random subset of every group of rows.

        Args:
            group: (n,) integers in 0..groups-1.
            groups: their number.
            share: (groups,) sizes -> (groups,) how many rows to draw from each.

        Returns:
            For each group its drawn rows, int64, in random order: those with the smallest keys.
        """
        sizes = np.zeros(groups, dtype=np.int64)
        for span in blocks(self.n):
            sizes += np.bincount(group[span], minlength=groups)
        wanted = share(sizes)
        # Keys are uniform, so the rows to draw nearly always have keys below this share of all keys.
        likely = (wanted + 6 * np.sqrt(wanted) + 6) / np.maximum(sizes, 1)
        code, rows = self._below(group, np.where(wanted > 0, likely, 0))
        starts = np.searchsorted(code, np.arange(groups + 1, dtype=np.uint64) << np.uint64(32))
        if (np.diff(starts) < wanted).any():
            code, rows = self._below(group, np.ones(groups))
            starts = np.searchsorted(code, np.arange(groups + 1, dtype=np.uint64) << np.uint64(32))
        spans = [slice(a, a + m) for a, m in zip(starts[:-1], wanted, strict=True)]
        return [self.positions(code[span].astype(np.uint32)) if rows is None else rows[span] for span in spans]

    def _below(self, group: np.ndarray, limit: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(group, key) of the rows whose key is below the limit of their group, sorted; with an index, the rows too.

        Args:
            group: (n,) integers.
            limit: (groups,) shares of all keys.
        """
        highest = (np.minimum(limit, 1.0) * (2**32 - 1)).astype(np.uint32)
        codes, rows = [], []
        for span in blocks(self.n):
            part = group[span]
            key = np.arange(span.start, span.stop, dtype=np.uint32)
            if self.index is not None:
                key[:] = self.index[span]
            self._mix(key)
            hit = np.flatnonzero(key <= highest[part])
            code = part[hit].astype(np.uint64)
            code <<= np.uint64(32)
            code |= key[hit]
            codes.append(code)
            if self.index is not None:
                rows.append(hit + span.start)
        code = np.concatenate([np.zeros(0, dtype=np.uint64), *codes])
        if self.index is None:
            code.sort()
            return code, None
        order = np.argsort(code)
        return code[order], np.concatenate([np.zeros(0, dtype=np.int64), *rows])[order]

    def uniform(self) -> np.ndarray:
        """One draw per row from the open interval (0, 1): (n,) float64, 53 random bits of a 64-bit mix."""
        return uniform(mix64(self.seed, self.stream, np.arange(self.n) if self.index is None else self.index))

    @property
    def _starts(self) -> tuple[np.uint32, np.uint32]:
        bits = derive(self.seed, self.stream)
        return np.uint32(bits & 0xFFFFFFFF), np.uint32(bits >> 31)


def uniform(draws: np.ndarray) -> np.ndarray:
    """Draws (n,) uint64 as float64 in the open interval (0, 1)."""
    return ((draws >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
