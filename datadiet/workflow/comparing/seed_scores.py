"""The scores of one seed of a run that recorded several, so that each paired seed chooses by scores of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datadiet.runtime import Layout
from datadiet.runtime.records import read_record
from datadiet.table import Scores
from datadiet.workflow.scoring.columns import compute_scores
from datadiet.workflow.scoring.needs import resolve
from datadiet.workflow.scoring.requests import Request, make_requests
from datadiet.workflow.scoring.rescore import recorded_signals

__all__ = ["SeedScores"]


@dataclass(frozen=True)
class SeedScores:
    """What a run recorded with one of its seeds.

    Attributes:
        run: the run folder, finished.
        seed: one of its seeds.
    """

    run: Path
    seed: int

    def table(self, scorers: Sequence[str]) -> Scores:
        """The scores by this seed alone.

        Args:
            scorers: those that the run recorded signals for.
        """
        have = Scores.read(self.run)
        facts = have.meta.get("facts", {}) | self._facts()
        signals = recorded_signals(self.run, have)
        mine = {key: paths for key, paths in signals.parts.items() if key[1] == self.seed}
        signals = replace(signals, parts=mine, meta={**signals.meta, "facts": facts})
        meta = {key: value for key, value in have.meta.items() if key != "stability"}
        empty = Scores(have.index, {}, have.ids, have.labels, {**meta, "facts": facts, "columns": {}})
        return compute_scores(signals, resolve(make_requests(scorers), facts), empty) if scorers else empty

    def vectors(self) -> Path | None:
        """The folder of the features that it recorded last; None if there are none."""
        folders = Layout(self.run).vector_folders()
        return next((folder for folder in folders if folder.parent.name == f"seed-{self.seed}"), None)

    def seconds(self, scorers: Sequence[str]) -> float:
        """What scoring by this seed costs: training up to the last epoch that the scorers read, and their passes."""
        if not scorers:
            return 0.0
        log = read_record(Layout(self.run).log)
        facts = Scores.read(self.run).meta["facts"]
        read = _read(resolve(make_requests(scorers), facts))
        history = log[f"train seed {self.seed}"]["history"]
        last = max((epoch for _, epoch in read), default=0)
        trained = sum(float(entry["seconds"]) for entry in history if entry["epoch"] <= last)
        return trained + sum(float(entry["seconds"]) for title, entry in log.items() if self._pass_of(title) in read)

    def passes(self) -> float:
        """The seconds of all passes over its networks, whatever reads them."""
        log = read_record(Layout(self.run).log)
        return sum(float(entry["seconds"]) for title, entry in log.items() if self._pass_of(title) is not None)

    def _pass_of(self, title: str) -> tuple[str, int] | None:
        """The part and the epoch of a pass that an entry of the log is about."""
        found = re.fullmatch(rf"(.+) seed {self.seed} epoch (\d+)", title)
        return None if found is None else ("eval" if found[1] == "evaluate" else found[1], int(found[2]))

    def _facts(self) -> dict[str, Any]:
        entry = read_record(Layout(self.run).log)[f"train seed {self.seed}"]
        return {key: entry[key] for key in ("accuracy", "class_recall") if key in entry}


def _read(requests: Sequence[Request]) -> set[tuple[str, int]]:
    """(part, epoch) of all that some scorers read."""
    inputs = [one for request in requests for one in request.inputs if not one.is_labels]
    return {(one.part, epoch) for one in inputs for epoch in (*one.epochs, one.epochs[-1])}
