"""Which similarity finds copies: of words, of characters, or of vectors?

Data of `$DATADIET_DATA/neardup`. News: 1,000 texts with 10 planted pairs. Febrl 1 to 3: made-up records of persons,
whose fields are joined to one text; records of one person are copies with typing errors. Of these every pair of texts
is a question, and the answer is whether a method puts them into one group: MinHash, or SemDeDup with components on all
pairs of vectors (static, of 128 numbers, `weights/potion-base-4m-int8`). Abt-Buy and DBLP-ACM: labelled pairs of
records from two sources; the answer is whether the similarity of the pair reaches the threshold.

`python benchmarks/near_duplicates.py`: some ten minutes, resumable.
"""

from __future__ import annotations

import csv
import gzip
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench import cell, data_folder

import datadiet as dd
from datadiet.selectors import semdedup_sweep
from datadiet.selectors.minhash import minhash
from datadiet.selectors.shingles import jaccard, shingles

THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
OF_PAIRS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
KINDS: dict[str, dict[str, Any]] = {
    "5 words": {"shingle": "word", "width": 5},
    "2 words": {"shingle": "word", "width": 2},
    "1 word": {"shingle": "word", "width": 1},
    "5 characters": {"shingle": "char", "width": 5},
    "3 characters": {"shingle": "char", "width": 3},
}
VECTORS = "vectors"
PAIRED = ("abt-buy", "dblp-acm")


def folder() -> Path:
    """Where the data is."""
    return data_folder("neardup", "weights")


def lines(name: str) -> list[dict[str, Any]]:
    """The rows of a JSON lines file."""
    with gzip.open(folder() / "neardup" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def news() -> tuple[list[str], np.ndarray]:
    """Texts, and a number that is the same for copies."""
    rows = lines("news_plagiarism_1000")
    pairs = json.loads((folder() / "neardup" / "news_plagiarism_1000_truth.json").read_text(encoding="utf-8"))
    place = {row["id"]: i for i, row in enumerate(rows)}
    same = np.arange(len(rows))
    for a, b in pairs:
        same[place[a]] = same[place[b]]
    return [row["text"] for row in rows], same


def febrl(number: int) -> tuple[list[str], np.ndarray]:
    """Records as texts, and the number of the person: that of rec-NUMBER-org and rec-NUMBER-dup-0."""
    with (folder() / "neardup" / f"febrl_dataset{number}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, skipinitialspace=True))[1:]
    texts = [" ".join(field.strip() for field in row[1:] if field.strip()) for row in rows]
    return texts, np.array([int(row[0].split("-")[1]) for row in rows])


def vectors(texts: list[str]) -> np.ndarray:
    """One vector of length 1 per text."""
    found = np.asarray(
        dd.embed(texts, f"model2vec:{data_folder('neardup', 'weights')}/weights/potion-base-4m-int8", dtype="float32")
    )
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def grouped(texts: list[str], same: np.ndarray, kind: str) -> dict[str, Any]:
    """Precision and recall over pairs in one group, by threshold."""
    start = time.perf_counter()
    if kind == VECTORS:
        epsilons = [1 - threshold for threshold in THRESHOLDS]
        found = semdedup_sweep(vectors(texts), epsilons, clusters=1, mode="components")
    else:
        found = [minhash.explain(texts, threshold=threshold, **KINDS[kind]) for threshold in THRESHOLDS]
    seconds = time.perf_counter() - start
    curve = []
    for threshold, one in zip(THRESHOLDS, found, strict=True):
        group = np.where(one.witness < 0, np.arange(len(texts)), one.witness)
        right = pairs_within(np.unique(np.stack([group, same]), axis=1, return_counts=True)[1])
        told = pairs_within(np.unique(group, return_counts=True)[1])
        curve.append(point(threshold, right, told, pairs_within(np.unique(same, return_counts=True)[1])))
    return {"n": len(texts), "kind": kind, "curve": curve, "seconds": seconds}


def pairs_within(sizes: np.ndarray) -> int:
    """How many pairs lie within groups of these sizes."""
    return int((sizes * (sizes - 1) // 2).sum())


def point(threshold: float, right: int, told: int, true: int) -> dict[str, Any]:
    """One threshold of a curve; without a pair told there is no precision."""
    return {"threshold": threshold, "right": right, "told": told, "true": true,
            "precision": right / told if told else None, "recall": right / true}  # fmt: skip


def labelled(name: str, kind: str) -> dict[str, Any]:
    """Precision and recall over labelled pairs, by threshold."""
    rows = lines(name)
    left, right = ([" ".join(v for v in row[side].values() if v) for row in rows] for side in "ab")
    match = np.array([row["match"] for row in rows], dtype=bool)
    start = time.perf_counter()
    if kind == VECTORS:
        every = sorted({*left, *right})
        row = {text: i for i, text in enumerate(every)}
        found = vectors(every)
        similarity = np.einsum("id,id->i", *(found[[row[text] for text in side]] for side in (left, right)))
    else:
        sets = zip(*(shingles(side, **KINDS[kind]) for side in (left, right)), strict=True)
        similarity = np.array([jaccard(a, b) for a, b in sets])
    seconds = time.perf_counter() - start
    curve = []
    for threshold in OF_PAIRS:
        told = similarity >= threshold
        curve.append(point(threshold, int((told & match).sum()), int(told.sum()), int(match.sum())))
    return {"n": len(rows), "kind": kind, "curve": curve, "seconds": seconds}


def measure(name: str, kind: str) -> dict[str, Any]:
    """One cell."""
    if name in PAIRED:
        return {"data": name} | labelled(f"er_{name}", kind)
    return {"data": name} | grouped(*(news() if name == "news" else febrl(int(name[-1]))), kind)


def main() -> None:
    """Run all cells."""
    for name in ("news", "febrl-1", "febrl-2", "febrl-3", *PAIRED):
        for kind in (*KINDS, VECTORS):
            found = cell(f"near_duplicates/{name}-{kind.replace(' ', '_')}", partial(measure, name, kind))
            best = max(found["curve"], key=lambda p: p["right"] / (p["told"] + p["true"]))  # half of F1
            print(name, kind, {k: best[k] for k in ("threshold", "precision", "recall")}, f"{found['seconds']:.1f} s")


if __name__ == "__main__":
    main()
