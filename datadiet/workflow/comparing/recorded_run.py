"""A run of `score` whose scores and trainings a comparison takes instead of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from datadiet.errors import MissingSignal, OptionError, some_of
from datadiet.parameters import parameter_names
from datadiet.runtime import Layout, Plan
from datadiet.runtime.records import read_manifest, read_record, without_scores
from datadiet.workflow.comparing.seed_scores import SeedScores
from datadiet.workflow.selecting.choice import Choice

__all__ = ["check_recorded"]


def check_recorded(run: Path, plan: Plan, seeds: Sequence[int], methods: Mapping[str, Choice]) -> None:
    """Refuse a run that is not the one which the comparison would make itself. It is only read.

    Args:
        run: its folder.
        plan: that of the run which the comparison would make.
        seeds: those that are needed; it may hold more.
        methods: whose scores must follow from what it recorded.

    Raises:
        OptionError: another run; the first difference is named.
        MissingSignal: it lacks a signal that a method reads.
        DataError: not a finished run of `score`, or a damaged one.
    """
    theirs = read_manifest(run)["plan"]
    if theirs.get("verb") != "score" or not Layout(run).scores.exists():
        raise without_scores(run)
    difference = plan.difference(theirs, "{key} is {theirs} there and {mine} here")
    if difference:
        raise OptionError(
            f"scores={str(run)!r} (--scores) is not the run that this comparison would make: {difference}; compare "
            "with the same data, model, recipe, epochs and held-out data, or leave it out."
        )
    log = read_record(Layout(run).log)
    missing = [seed for seed in seeds if f"train seed {seed}" not in log or not Layout(run).evaluation(seed).exists()]
    if missing:
        raise OptionError(
            f"scores={str(run)!r} (--scores) has no training of seed {some_of(missing)}: score with more seeds "
            "and the same out= (--out), which adds them, or compare fewer (seeds=, --seeds)."
        )
    for name, choice in methods.items():
        own = SeedScores(run, seeds[0])
        try:
            own.table(choice.columns_read)
        except MissingSignal as error:
            raise MissingSignal(f"{name} and scores={str(run)!r} (--scores): {error}") from None
        if "embeddings" in parameter_names(choice.spec.fn) and own.vectors() is None:
            raise MissingSignal(
                f"{name} reads vectors, and scores={str(run)!r} (--scores) recorded none: score with prototypes and "
                "the same out= (--out), which adds them."
            )
