"""compare: how much of the data, and which, does a network need? Methods beside full data and random choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import nn

from datadiet.data import open_data
from datadiet.errors import OptionError, each_note_once
from datadiet.parameters import check_arguments, check_whole
from datadiet.runtime import Layout, planned_threads
from datadiet.runtime.executors import Executor, executor_for
from datadiet.runtime.process import refuse_group
from datadiet.selectors.budget import parse_keep
from datadiet.training import Recipe
from datadiet.workflow.comparing.arms import BUDGETS
from datadiet.workflow.comparing.compared import Compared
from datadiet.workflow.comparing.comparison_run import ComparisonRun
from datadiet.workflow.comparing.metrics import METRICS, Metric
from datadiet.workflow.comparing.paired_trainings import PairedTrainings
from datadiet.workflow.comparing.recorded_run import check_recorded
from datadiet.workflow.comparing.screening import halves, rung_plan
from datadiet.workflow.comparing.stopwatch import Stopwatch
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.scoring.recording import Recording
from datadiet.workflow.scoring.requests import check_compared
from datadiet.workflow.selecting.choice import Choice, read_choices, try_choices
from datadiet.workflow.session import Session, open_session

__all__ = ["compare"]


def compare(
    dataset: Any,
    model: str | Callable[[], nn.Module],
    methods: str | Sequence[str | Choice] | Mapping[str, Choice],
    *,
    keep: Sequence[int | float | str] | int | float | str = ("10%", "30%", "50%"),
    epochs: int = 10,
    margin: float = 2.0,
    metric: Metric = "accuracy",
    budget: str = "equal",
    seeds: int = 5,
    seed: int = 0,
    max_hours: float | None = None,
    screen: int | None = None,
    scores: str | Path | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    eval: Any = None,
    device: str = "auto",
    executor: str | Executor = "auto",
    out: str | Path | None = None,
) -> Compared:
    """Compare ways to choose examples with all of them, and with random choice.

    Args:
        dataset, model: as in `score`.
        methods: ways to choose, as SCORE+METHOD:PARAMETER=VALUE, such as "ccs" or "el2n+top_k:prefer=hardest": a list,
            or text with commas. Random choice is always there.
        keep: the shares or numbers of examples.
        epochs: of a training on all the data, which is also the one that is scored by.
        margin: the loss that would be acceptable: percentage points, or nats for "loss".
        metric: "accuracy", "worst_class" (the recall of every class) or "loss".
        budget: "equal" (all trainings take the steps of the full data), "reduced" (those that their examples need), or
            "both".
        seeds: paired trainings of each arm; at least 2.
        seed: the first of them.
        max_hours: of the trainings after those on all the data, summed over all workers. If they would take longer, the
            last seeds are left out, down to two, and then the smallest shares; the tables say so. None = no limit. The
            screening is not counted.
        screen: first leave out all but this many methods, by successive halving: short trainings (a half of the epochs,
            before that a quarter …) with other seeds, on a half of the evaluation data that the certificate does not
            use. Methods that tie stay. Its table is uncertified, and the certificate counts all methods. None = all.
        scores: a finished run of `score` with the same data, model, recipe, epochs, held-out data and seeds: its scores
            and its trainings on all the data are used. It is only read.
        recipe: a Recipe, or some of its fields; the same for all.
        eval: held-out data, or "10%"; digits come with their own.
        device, executor: as in `score`.
        out: the folder of all runs; the same call continues an interrupted one.

    Returns:
        The tables, also in `out/comparison.json`.

    Raises:
        OptionError: options that cannot be, before any work.
        DataError: as in `score` and `train`.
    """
    watch = Stopwatch()
    check_arguments(compare, {"epochs": epochs, "metric": metric, "scores": scores, "out": out})
    named = _choices(methods)
    for name, value, least in (("seeds", seeds, 2), ("seed", seed, 0), ("epochs", epochs, 1), ("screen", screen, 1)):
        if value is not None:
            check_whole(name, value, least)
    if not 0 < margin < float("inf"):
        raise OptionError(f"margin={margin}: give the loss that would be acceptable, above 0 (--margin 2).")
    if budget not in (*BUDGETS, "both") or metric not in METRICS:
        raise OptionError(f"budget={budget!r}, metric={metric!r}: choose {', '.join(BUDGETS)} or both, and {METRICS}.")
    if max_hours is not None and not max_hours > 0:
        raise OptionError(f"max_hours={max_hours} (--max-hours): give a positive number of hours, or leave it out.")
    if screen is not None:
        rung_plan(len(named), screen, epochs)  # refuses what cannot be
    refuse_group("compare", True, True)
    with TemporaryDirectory() as temporary, each_note_once():
        folder, recorded, done_by = (
            Path(out or temporary),
            None if scores is None else Path(scores),
            executor_for(executor, device),
        )
        with watch.timing("opening"):
            begun = (recorded, Layout(folder).scored, Layout(Layout(folder).rung(1)).scored)
            threads = next(filter(None, map(planned_threads, begun)), 0)
            spec = JobSpec(open_data(dataset), model, eval, recipe=recipe, device=device, threads=threads)
            session = open_session(replace(spec, device=done_by.opens_on(device)))
            kept = _kept(keep, len(session.source))
            rows = _rows(session, metric, screen)
            try_choices(named, session.source, kept)
            seeded = range(seed, seed + seeds)
            base = PairedTrainings(spec, session, done_by, watch, folder, epochs, seeded, rows, recorded)
            if recorded is not None:
                check_recorded(recorded, Recording(session, base.recording).plan, seeded, named)
        budgets = BUDGETS if budget == "both" else (budget,)
        return ComparisonRun(base, named, kept, budgets, metric, margin, max_hours, screen).run()


def _choices(methods: str | Sequence[str | Choice] | Mapping[str, Choice]) -> dict[str, Choice]:
    """The methods, of which each seed's own run must give all that they read."""
    named = read_choices(methods)
    for name, choice in named.items():
        check_compared(choice.requests(), None, None, None)
        if choice.other_vectors:
            raise OptionError(
                f"{name} reads vectors of other examples, and each network of a comparison has vectors of its own: "
                "leave it out of methods= (--methods)."
            )
    return named


def _rows(session: Session, metric: Metric, screen: int | None) -> np.ndarray:
    """The rows of the evaluation data; refuses data on which nothing could be shown."""
    if session.held_out is None:
        raise OptionError("a comparison needs held-out data: name some, eval= (--eval DATA or --eval 10%).")
    labels, index = np.asarray(session.held_out.source.labels), np.asarray(session.held_out.source.index)
    rows = np.arange(len(labels))
    for part in (rows,) if screen is None else halves(labels, index):
        classes, counts = np.unique(labels[part], return_counts=True)
        if metric == "worst_class" and counts.min() < 2:
            name = session.source.class_names[classes[counts.argmin()]]
            raise OptionError(
                f"metric='worst_class' (--metric) with one evaluation example of the class {name!r}"
                f"{'' if screen is None else ' in a half of them'}: give more, eval= (--eval DATA)."
            )
    return rows


def _kept(given: Sequence[int | float | str] | int | float | str, n: int) -> list[int]:
    """Numbers of examples, each less than all."""
    listed = [given] if isinstance(given, (int, float)) else given.split(",") if isinstance(given, str) else list(given)
    kept = [parse_keep(one, n) for one in listed]
    if not kept or len(set(kept)) < len(kept) or max(kept) >= n:
        raise OptionError(
            f"keep={listed} (--keep) of {n} examples: give shares below 100 %, each once, such as 10%,30%,50%."
        )
    return kept
