"""Reproducible randomness: every draw is a function of a seed and the name of what it is for.

Per-example draws come from a 64-bit mix of (seed, stream, index), so they do not depend on how many examples there
are, in which order they are visited or by how many workers. Whole-array draws come from a numpy Generator. Nothing
here touches a global random state.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

__all__ = ["Keys", "derive", "generator", "mix64", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def derive(seed: int, *path: str | int) -> int:
    """A 63-bit seed for one purpose, for example `derive(seed, "augment", epoch)`.

    Unlike `seed + epoch`, different (seed, path) pairs give unrelated values.
    """
    text = "/".join(map(str, (int(seed), *path)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *path: str | int) -> np.random.Generator:
    """A numpy Generator of its own for one purpose."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(derive(seed, *path))))


def mix64(seed: int, stream: str, index: np.ndarray) -> np.ndarray:
    """One 64-bit draw per example: splitmix64 at the position of the example in the stream of (seed, stream).

    Args:
        seed: any integer.
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


@dataclass(frozen=True)
class Keys:
    """One 64-bit draw for each of n examples, computed when they are asked for: `keys[positions]`.

    An ordinary (n,) uint64 array may stand wherever a Keys stands.
    """

    seed: int
    stream: str
    index: np.ndarray

    def __getitem__(self, positions: np.ndarray | slice) -> np.ndarray:
        return mix64(self.seed, self.stream, self.index[positions])

    def __len__(self) -> int:
        return len(self.index)


def uniform(keys: np.ndarray) -> np.ndarray:
    """Keys (n,) uint64 as float64 in the open interval (0, 1)."""
    return ((keys >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
