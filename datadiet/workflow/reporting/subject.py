"""What a report is about: scores, a selection of them, the run that they are from, and the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.errors import DataError, OptionError, unknown_name
from datadiet.runtime.layout import Layout
from datadiet.table import Scores, Selection
from datadiet.table.examples import as_ids
from datadiet.workflow.reporting.matching import matched

if TYPE_CHECKING:
    from datadiet.data import Source

__all__ = ["Subject"]


@dataclass(frozen=True)
class Subject:
    """The n examples that a report shows, in the order of the table.

    Attributes:
        index: (n,) int64, their positions in the data.
        scores: of these examples; None = not at hand.
        selection: of these examples; None = there is none.
        run: the run folder that recorded the scores; None = not at hand.
        source: the opened data; None = not at hand.
        rows: (n,) int64, the rows of `source` that hold the examples; empty without one.
        main: the column that ranks the examples; None = there are no scores.
        model: what the weights of the run belong to; None = what the run says.
        device: to evaluate on.
        notes: what is missing, and what would add it; grows while the report is made.
    """

    index: np.ndarray
    scores: Scores | None
    selection: Selection | None
    run: Path | None
    source: Source | None
    rows: np.ndarray
    main: str | None
    model: Any = None
    device: Any = "auto"
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(
        cls, scores: Scores | None, selection: Selection | None, run: Path | None, *, score: str | None, data: Any,
        model: Any = None, device: Any = "auto",
    ) -> Subject:  # fmt: skip
        """Put together what belongs together.

        Args:
            scores, selection, run, model, device: as in the class; at least one of the first two.
            score: the column to rank by; None = the one that the selection was made by, or the first.
            data: a spec, a data set or a `Source`; None = not at hand.

        Raises:
            FingerprintMismatch, DataError: as `matched`.
            OptionError: as `matched`, or no such column.
        """
        source = None
        if data is not None:
            from datadiet.data import open_data

            source = open_data(data)
        scores, selection = matched(scores, selection, source)
        known = scores if scores is not None else selection
        if known is None:
            raise OptionError("a report is about scores or a selection: give one of them.")
        rows = np.zeros(0, dtype=np.int64)
        if source is not None:
            from datadiet.workflow.fitting.schedules import rows_of

            rows = rows_of(known.index, source)
        main = _main(scores, selection, score)
        return cls(known.index, scores, selection, run, source, rows, main, model, device)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def kept(self) -> np.ndarray | None:
        """(n,) bool; None if nothing was selected."""
        return None if self.selection is None else self.selection.keep

    @property
    def labels(self) -> np.ndarray | None:
        """(n,) int64 class numbers, -1 = unlabelled; None if they are not known."""
        if self.scores is not None and self.scores.labels is not None:
            return self.scores.labels
        return None if self.source is None or self.source.labels is None else self.source.labels[self.rows]

    @property
    def class_names(self) -> Sequence[str]:
        """Class number -> name, as far as they are known."""
        named = () if self.scores is None else self.scores.meta.get("class_names", ())
        return named or (() if self.source is None else self.source.class_names)

    @property
    def hardness(self) -> np.ndarray | None:
        """(n,) float32 of the main column, higher = harder; None without scores."""
        return None if self.scores is None or self.main is None else self.scores.hardness(self.main)

    def named(self, code: int) -> str:
        """A class by its name."""
        return str(self.class_names[code]) if 0 <= code < len(self.class_names) else str(code)

    def ids(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """The ids of some rows."""
        known = self.scores if self.scores is not None else self.selection
        assert known is not None, "one of them is given"
        ids = as_ids(known.ids, known.index)
        return [str(ids[int(row)].as_py()) for row in rows]

    def predicted(self, rows: Sequence[int] | np.ndarray) -> Mapping[int, int]:
        """row -> the class that the network of the run predicts; empty, with a note, if there is nothing to ask."""
        if self.run is None or self.scores is None or self.source is None or not len(rows):
            return {}
        from datadiet.workflow.selecting.predictions import evaluated_predictions

        shown = np.unique(np.asarray(rows, dtype=np.int64))
        try:
            said = evaluated_predictions(self.run, self.scores, shown, self.source, self.model, self.device)
        except (DataError, OptionError) as error:
            self.note(f"What the network predicts: {error}")
            return {}
        return dict(zip(shown.tolist(), said["predicted"].tolist(), strict=True))

    def note(self, text: str) -> None:
        """Say once what is missing, without the paths of this machine."""
        text = text if self.run is None else text.replace(str(self.run), "RUN")
        if text not in self.notes:
            self.notes.append(text)

    @property
    def log(self) -> dict[str, Any]:
        """Times and costs of the run; empty without one."""
        from datadiet.runtime.records import read_record

        return {} if self.run is None else read_record(Layout(self.run).log)


def _main(scores: Scores | None, selection: Selection | None, score: str | None) -> str | None:
    """The column that ranks the examples."""
    if scores is None:
        if score is not None:
            raise OptionError(f"score={score!r} (--score), and no scores are given: name them, scores= (--scores RUN).")
        return None
    if score is not None:
        if score not in scores.names:
            raise unknown_name("score column here", score, scores.names)
        return score
    used = {} if selection is None else selection.meta.get("columns", {})
    return next((name for name in (used.get("score"), *used.values(), *scores.names) if name in scores.names), None)
