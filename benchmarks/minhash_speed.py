"""How fast is MinHash beside other implementations that check their candidates exactly?

10,000 made-up texts of 50 to 300 words, of which 3,000 are copies with up to 5 % of their words changed; shingles of
five words, Jaccard threshold 0.7, 42 bands of 6. The peers are `rensa` (Rust) and `datasketch` (numpy): they get the
shingles as strings and find candidates, and the exact coefficient of each candidate comes from Python's sets.
Interleaved; all with one thread, in seconds of the processor. Targets: 2.5x rensa; the same groups.

`pip install rensa datasketch`, then `python benchmarks/minhash_speed.py`: two minutes.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any

import datasketch
import rensa
import torch
from bench import cell

from datadiet.selectors.minhash import minhash

N, COPIES, ROUNDS = 10_000, 3_000, 5
THRESHOLD, BANDS, ROWS, WIDTH = 0.7, 42, 6, 5


def main() -> None:
    """Measure, or read what was measured."""
    print(cell("speed/minhash_10000", measure))


def texts() -> list[str]:
    """Texts without anything in common, and changed copies."""
    draw = random.Random(0)
    words = [f"word{number}" for number in range(20_000)]
    found = [draw.choices(words, k=draw.randint(50, 300)) for _ in range(N - COPIES)]
    for _ in range(COPIES):
        copy = list(draw.choice(found[: N - COPIES]))
        for _ in range(draw.randint(0, len(copy) // 20)):
            copy[draw.randrange(len(copy))] = draw.choice(words)
        found.append(copy)
    return [" ".join(one) for one in found]


def measure() -> dict[str, Any]:
    """Seconds of each, and how many texts each keeps."""
    torch.set_num_threads(1)
    given = texts()
    work: dict[str, Callable[[], int]] = {
        "datadiet": lambda: len(minhash(given, threshold=THRESHOLD, width=WIDTH)),
        "rensa": lambda: kept(given, by_rensa),
        "datasketch": lambda: kept(given, by_datasketch),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    groups = {}
    for _ in range(ROUNDS):
        for name, function in work.items():
            started = time.process_time()
            groups[name] = function()
            times[name].append(time.process_time() - started)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    return {
        "n": N, "rounds": ROUNDS, "seconds": seconds, "groups": groups, "rensa_version": version("rensa"),
        "ratio_to_rensa": seconds["datadiet"] / seconds["rensa"],
        "ratio_to_datasketch": seconds["datadiet"] / seconds["datasketch"], "target_to_rensa": 2.5,
    }  # fmt: skip


def kept(given: list[str], candidates: Callable[[list[set[str]]], Iterable[tuple[int, int]]]) -> int:
    """The number of groups of texts whose exact coefficient reaches the threshold."""
    sets = [shingles(text.lower().split()) for text in given]
    lower = list(range(len(sets)))

    def group(i: int) -> int:
        while lower[i] != i:
            lower[i] = i = lower[lower[i]]
        return i

    for i, j in candidates(sets):
        one, other = group(i), group(j)
        if one != other and len(sets[i] & sets[j]) >= THRESHOLD * len(sets[i] | sets[j]):
            lower[max(one, other)] = min(one, other)
    return sum(group(i) == i for i in range(len(lower)))


def shingles(words: list[str]) -> set[str]:
    """Sequences of words."""
    return {" ".join(words[at : at + WIDTH]) for at in range(max(1, len(words) - WIDTH + 1))}


def by_rensa(sets: list[set[str]]) -> Iterator[tuple[int, int]]:
    """Candidates of its index."""
    index = rensa.RMinHashLSH(THRESHOLD, BANDS * ROWS, BANDS)
    for i, one in enumerate(sets):
        signature = rensa.RMinHash(BANDS * ROWS, 1)
        signature.update(list(one))
        yield from ((i, j) for j in index.query(signature))
        index.insert(i, signature)


def by_datasketch(sets: list[set[str]]) -> Iterator[tuple[int, int]]:
    """The same of its."""
    index = datasketch.MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
    encoded = ([shingle.encode() for shingle in one] for one in sets)
    for i, signature in enumerate(datasketch.MinHash.generator(encoded, num_perm=BANDS * ROWS)):
        yield from ((i, j) for j in index.query(signature))
        index.insert(i, signature)


if __name__ == "__main__":
    main()
