"""A random order of n examples that is computed on demand and never stored.

A Feistel network turns any keyed function into a permutation: write x as (left, right) in Z_a x Z_b and add, in turns,
a keyed hash of one half to the other; each step can be undone, so no two x collide. With a = ceil(sqrt(n)) and
b = ceil(n / a) the grid has fewer than n + a cells, so that hardly any x lands outside range(n); one that does is
encrypted again until it is inside (cycle walking), which is again a permutation.

Sources: Black and Rogaway: Ciphers with Arbitrary Finite Domains, CT-RSA 2002 (generalised Feistel, cycle walking);
the hash is the xorshift-multiply of splitmix64. It is meant to look random to statistics, not to an adversary.

Deviation: a grid of few cells needs more rounds to look random, so their number grows as the halves shrink.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from datadiet.errors import OptionError
from datadiet.parameters import check_whole
from datadiet.randomness import derive

__all__ = ["Permutation"]

_LARGEST = 2**62
_MULTIPLY = np.uint64(0xBF58476D1CE4E5B9)
_REMULTIPLY = np.uint64(0x94D049BB133111EB)
_HALF = np.uint64(32)


class Permutation:
    """A keyed pseudo-random permutation of range(n), in O(1) memory.

    Args:
        n: 1..2**62, how many numbers are permuted.
        seed: a whole number of at least 0.
        *path: what the permutation is for, for example "order", epoch. Another seed or path gives an unrelated one.

    Raises:
        OptionError: n or a position is out of range.

    >>> order = Permutation(5, 0, "order", 1)
    >>> sorted(order(np.arange(5)).tolist())
    [0, 1, 2, 3, 4]
    >>> len(set(Permutation(10**12, 0)(np.arange(1000)).tolist()))
    1000
    """

    def __init__(self, n: int, seed: int, *path: str | int) -> None:
        self.n = check_whole("n", n)
        if n > _LARGEST:
            raise OptionError(f"A permutation of {n} numbers was requested: give n from 1 to 2**62.")
        rows = math.isqrt(self.n - 1) + 1
        columns = -(-self.n // rows)
        self._sides = np.uint64(rows), np.uint64(columns)
        self._walks = rows * columns > self.n
        # The trace of a pair that shares a half fades by the size of a side every other round; an even number of
        # rounds brings the halves back to where they began.
        rounds = 2 * max(3, -(-24 // columns.bit_length()))
        self._keys = [np.uint64(derive(seed, *path, "round", number)) for number in range(rounds)]

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Where the positions go: (m,) int64 in [0, n) -> (m,) int64 in [0, n), distinct for distinct positions."""
        # Seen as unsigned, a negative position is a huge one.
        inputs = np.asarray(positions, dtype=np.int64).view(np.uint64)
        if inputs.size and inputs.max() >= self.n:
            raise OptionError(f"Positions outside 0..{self.n - 1} were given to a permutation of {self.n} numbers.")
        outputs = self._encrypt(inputs)
        if self._walks:
            while (outside := np.flatnonzero(outputs >= self.n)).size:
                outputs[outside] = self._encrypt(outputs[outside])
        return outputs.view(np.int64)

    def _encrypt(self, inputs: np.ndarray) -> np.ndarray:
        """A permutation of the whole grid, range(rows * columns)."""
        rows, columns = self._sides
        left = inputs // columns
        right = inputs - left * columns
        halves = itertools.cycle([(left, right, rows), (right, left, columns)])
        for key, (half, other, side) in zip(self._keys, halves, strict=False):
            half += _hash(other, key, side)
            # Modulo, for a sum below 2 * side: where it is below side, half - side wraps round to a huge number.
            np.minimum(half, half - side, out=half)
        left *= columns
        left += right
        return left


def _hash(half: np.ndarray, key: np.uint64, side: np.uint64) -> np.ndarray:
    """A keyed hash of `half` (values below 2**31), in range(side)."""
    mixed = half + key
    mixed *= _MULTIPLY
    mixed ^= mixed >> _HALF
    mixed *= _REMULTIPLY
    mixed >>= _HALF
    mixed *= side
    mixed >>= _HALF
    return mixed
