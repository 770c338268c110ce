"""demo: on bundled images, from nothing to an honest comparison.

Two tables, never mixed: at equal steps, what the choice of examples changes; at reduced steps, whether choosing is
better than simply stopping earlier. Random and full data are in both, and the cost of scoring is counted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from datadiet.files import write_json
from datadiet.runtime.layout import Layout
from datadiet.runtime.records import read_record
from datadiet.table import Scores, Selection
from datadiet.tasks import Evaluation
from datadiet.workflow.comparing.comparison import Comparison, Row
from datadiet.workflow.comparing.demo_page import HARDEST, write_page
from datadiet.workflow.comparing.examples import predictions
from datadiet.workflow.fitting.train import TrainResult, train
from datadiet.workflow.scoring.score import score
from datadiet.workflow.selecting.select import select

__all__ = ["demo"]

MODEL, EPOCHS, SEEDS, KEEPS = "datadiet:mlp", 20, 3, (10, 30, 50)
RECIPE = {"batch_size": 64}
STATIC: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    HARDEST: ("top_k", {"score": "el2n", "prefer": "hardest"}),
    "CCS (AUM)": ("ccs", {"score": "aum"}),
}


def demo(out: str | Path = "datadiet-demo", *, seed: int = 0) -> Comparison:
    """Compare ways of choosing digits, and write a page about it.

    Args:
        out: folder for the run, the selections, `comparison.json` and `index.html`.
        seed: of everything; the first of the training seeds.

    Returns:
        The comparison, also in `out/comparison.json`.
    """
    out, started = Path(out), time.monotonic()
    score("digits", MODEL, "el2n,forgetting,aum", epochs=EPOCHS, seeds=SEEDS, seed=seed, recipe=RECIPE, out=out / "run")
    scores = Scores.read(out / "run")  # as a run that goes on reads them, so that both make the same page
    log = read_record(Layout(out / "run").log)
    scoring = round(sum(entry["seconds"] for name, entry in log.items() if name.startswith(("train", "evaluate"))), 2)
    kept = {(name, keep): _select(scores, name, keep, seed) for name, keep in product(STATIC, KEEPS)}
    for (name, keep), selection in kept.items():
        selection.write(out / "selections" / f"{STATIC[name][0]}-{keep}.parquet")
    equal, reduced = _compare(scores, seed, (3 * len(STATIC) + 1 + 3 * len(KEEPS)) * SEEDS)
    found = Comparison(equal, reduced, scoring, round(time.monotonic() - started, 1), out / "index.html")
    ranking = _select(scores, HARDEST, 100, seed).chosen
    write_page(found, scores, kept[HARDEST, 30], ranking, predictions(out / "run", MODEL))
    write_json(out / "comparison.json", found.as_dict())
    return found


def _select(scores: Scores, name: str, keep: int, seed: int) -> Selection:
    method, options = STATIC[name]
    return select(scores, method, keep=f"{keep}%", seed=seed, **options)


def _compare(scores: Scores, seed: int, trainings: int) -> tuple[list[Row], list[Row]]:
    seeds = range(seed, seed + SEEDS)
    with tqdm(total=trainings, desc="compare", unit="training", disable=None, leave=False) as bar:

        def row(method: str, keep: int, runs: Mapping[int, Mapping[str, Any]], scored: bool = False) -> Row:
            results = [_train(s, options) for s, options in runs.items()]
            bar.update(len(results))
            evaluations = [_evaluation(r) for r in results]
            correct = np.mean([np.asarray(e.correct) for e in evaluations], axis=0)
            accuracy = tuple(e.accuracy for e in evaluations)
            seconds = float(np.mean([r.seconds for r in results]))
            return Row(method, keep, accuracy, results[0].steps, seconds, scored, correct)

        equal = [row("full data", 100, {s: {"epochs": EPOCHS} for s in seeds})]
        reduced = []
        for keep, name in product(KEEPS, STATIC):
            runs = {
                s: {"selection": _select(scores, name, keep, s), "epochs": EPOCHS, "match": "full-steps"} for s in seeds
            }
            equal.append(row(name, keep, runs, scored=name != "random"))
        for keep in KEEPS:
            rs2 = row("RS2", keep, {s: {"sampler": f"rs2:keep={keep}%", "epochs": EPOCHS} for s in seeds})
            short = row("full data, shortened", keep, {s: {"steps": rs2.steps} for s in seeds})
            subset = {s: {"selection": _select(scores, "random", keep, s), "epochs": EPOCHS} for s in seeds}
            reduced += [rs2, short, row("static random", keep, subset)]
    return equal, reduced


def _train(seed: int, options: Mapping[str, Any]) -> TrainResult:
    return train("digits", MODEL, seed=seed, recipe=RECIPE, **options)


def _evaluation(result: TrainResult) -> Evaluation:
    assert result.evaluation is not None  # digits come with held-out data
    return result.evaluation
