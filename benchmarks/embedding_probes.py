"""What does a linear classifier lose when the training texts or digits are chosen from their embeddings?

Data of `$DATADIET_DATA/text`: TREC (5,452 questions of 6 kinds, 500 to test) and AG News (the 10,001 of its `dev` file,
7,600 to test), embedded by the static vectors of `weights/potion-base-4m-int8`; and the bundled digits, their pixels.
Classifier: scikit-learn's logistic regression on vectors of length 1 (C = 10), accuracy on the test part. Selections at
5, 10, 20 and 50 %, five seeds; methods as registered, sqrt(n) clusters, SemDeDup 50. No label is seen by any of them.

`python benchmarks/embedding_probes.py`: a few minutes, resumable.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from bench import cell, data_folder
from sklearn.linear_model import LogisticRegression

import datadiet as dd
from datadiet.scorers import density, zcore

KEEPS, SEEDS = (5, 10, 20, 50), range(5)
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "prototypes, hard": ("prototypes_topk", {"prefer": "hardest"}),
    "prototypes, easy": ("prototypes_topk", {"prefer": "easiest"}),
    "SemDeDup": ("semdedup", {"clusters": 50}),
    "DBP": ("dbp", {}),
    "k-center": ("k_center", {}),
    "facility location": ("facility_location", {}),
    "herding": ("herding", {}),
    "D4": ("d4", {}),
    "graph cut": ("graph_cut", {}),
    "CRAIG, weights": ("craig", {}),
    "leverage, weights": ("sensitivity", {}),
    "density, sparse": ("top_k", {"prefer": "hardest", "score": "density"}),
    "ZCore": ("top_k", {"prefer": "hardest", "score": "zcore"}),
}
SCORERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"density": density, "zcore": zcore}
TEXTS = {  # files to learn from and to test on, column of the label
    "trec": ("trec_train.jsonl", "trec_test.jsonl", "coarse"),
    "agnews": ("agnews_dev.jsonl.gz", "agnews_test.jsonl.gz", "label"),
}

Part = tuple[np.ndarray, np.ndarray]


def parts(name: str) -> tuple[Part, Part]:
    """Vectors of length 1 and labels, to learn from and to test on."""
    if name == "digits":
        sources = [dd.open_data("digits"), dd.open_data("digits", split="eval")]
        values = [s.take(np.arange(len(s))).flatten(1).double().numpy() for s in sources]
    else:
        root = data_folder("text", "weights")
        *files, label = TEXTS[name]
        sources = [dd.open_data(f"jsonl:{root}/text/{file}", text="text", label=label) for file in files]
        model = f"model2vec:{root}/weights/potion-base-4m-int8"
        values = [np.asarray(dd.embed(source, model, dtype="float32")) for source in sources]
    assert sources[0].class_names == sources[1].class_names
    (train, test) = (
        (v / np.linalg.norm(v, axis=1, keepdims=True), s.labels) for v, s in zip(values, sources, strict=True)
    )
    return train, test


def measure(name: str, data: tuple[Part, Part], keep: int, method: str) -> dict[str, Any]:
    """The accuracies of one method at one size, a seed each."""
    (x, y), (test_x, test_y) = data
    selector, options = METHODS[method]
    scorer = options.get("score")
    given = x if scorer is None else dd.Scores.from_arrays({scorer: SCORERS[scorer](x)})
    accuracy, classes = [], []
    for seed in SEEDS:
        chosen = dd.select(given, selector, keep=f"{keep}%", seed=seed, **options)
        rows = chosen.indices
        fit = LogisticRegression(C=10, max_iter=2000).fit(x[rows], y[rows], sample_weight=chosen.weights)
        accuracy.append(float(fit.score(test_x, test_y)))
        classes.append(len(np.unique(y[rows])))
    return {"data": name, "keep": keep, "method": method, "n": len(x), "accuracy": accuracy, "classes": min(classes)}


def whole(name: str, data: tuple[Part, Part]) -> dict[str, Any]:
    """The accuracy with all the data."""
    (x, y), (test_x, test_y) = data
    fit = LogisticRegression(C=10, max_iter=2000).fit(x, y)
    score = float(fit.score(test_x, test_y))
    return {"data": name, "keep": 100, "method": "full data", "n": len(x), "accuracy": [score]}


def main() -> None:
    """Run all cells."""
    for name in ("digits", *TEXTS):
        data = parts(name)
        print(name, cell(f"embedding_probes/{name}-100", partial(whole, name, data))["accuracy"], flush=True)
        for keep, method in product(KEEPS, METHODS):
            file = f"embedding_probes/{name}-{keep}-{method.replace(' ', '_').replace(',', '')}"
            found = cell(file, partial(measure, name, data, keep, method))
            print(file, np.mean(found["accuracy"]).round(3), flush=True)


if __name__ == "__main__":
    main()
