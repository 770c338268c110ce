"""Does the default method need a guard against classes that vanish?

Digits made into a long tail (140 to 3 examples a class, an imbalance of 50) and digits as they are (balanced), each
scored by three seeds; CCS by AUM and random keep 10 and 30 %, with and without `by_class`; five trainings each at the
steps of full data, on the mlp of the demo. Reported on the balanced held-out digits: accuracy, the mean recall of the
three smallest classes, and how many classes kept nothing.

`python benchmarks/vanishing_classes.py`: about four minutes on two quiet cores.
"""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import numpy as np
from bench import cell

import datadiet as dd
from datadiet.data import Source, open_data

SEEDS, EPOCHS, RECIPE = range(5), 20, {"batch_size": 64}
SIZES = {"long tail": [round(140 * 50 ** (-c / 9)) for c in range(10)], "balanced": [140] * 10}


def main() -> None:
    """Measure what is not measured yet, and print it."""
    for shape in SIZES:
        source = cut(SIZES[shape])
        scores = dd.score(source, "datadiet:mlp", "aum", epochs=EPOCHS, seeds=3, recipe=RECIPE, eval=held_out())
        for method, keep, by_class in product(("ccs", "random"), ("10%", "30%"), (False, True)):
            name = f"vanishing/{shape.replace(' ', '_')}-{method}-{keep[:-1]}{'-by_class' if by_class else ''}"
            found = cell(name, partial(measured, source, scores, method, keep, by_class))
            shown = {key: found[key] for key in ("accuracy", "tail", "empty")}
            print(name, {key: (np.mean(v).round(4), np.std(v, ddof=1).round(4)) for key, v in shown.items()})


def held_out() -> Source:
    """The balanced digits to evaluate on."""
    return open_data("digits", split="eval")


def cut(sizes: list[int]) -> Source:
    """The first examples of each class."""
    source = open_data("digits")
    labels = np.asarray(source.labels)
    kept = [np.flatnonzero(labels == c)[:size] for c, size in enumerate(sizes)]
    return source.subset(np.sort(np.concatenate(kept)))


def measured(source: Source, scores: dd.Scores, method: str, keep: str, by_class: bool) -> dict[str, Any]:
    """Five selections and trainings."""
    accuracy, tail, empty = [], [], []
    for seed in SEEDS:
        chosen = dd.select(
            scores, method, keep=keep, by_class=by_class, seed=seed, **({"score": "aum"} if method == "ccs" else {})
        )
        result = dd.train(
            source, "datadiet:mlp", chosen, eval=held_out(), epochs=EPOCHS, match="full-steps", seed=seed, recipe=RECIPE
        )
        accuracy.append(result.accuracy)
        tail.append(float(np.mean(result.evaluation.class_recall[-3:])))
        rows = np.searchsorted(source.index, chosen.indices)
        empty.append(10 - len(np.unique(np.asarray(source.labels)[rows])))
    return {"method": method, "keep": keep, "by_class": by_class, "accuracy": accuracy, "tail": tail, "empty": empty}


if __name__ == "__main__":
    main()
