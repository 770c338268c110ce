"""Signals: the narrow columns that a run recorded, per seed, epoch and example, in memory or on disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datadiet.errors import DataError, MissingSignal, OptionError, some_of
from datadiet.files import parquet_identity, read_parquet
from datadiet.files.opening import load_array
from datadiet.runtime.layout import Layout, PartKey, describe_pass, part_span, reference_in
from datadiet.runtime.vectors import Parts

__all__ = ["Signals"]

_RECORD = "score the data with this scorer (dd.score, datadiet score)"


@dataclass(frozen=True, eq=False)
class Signals:
    """What was measured on n examples.

    Attributes:
        n: number of examples.
        parts: (pass, seed, epoch) -> tables, or paths of part files, with an int64 column `index` (the position in the
            source) and one column per signal. Pass "train": presentations during that epoch (from 1). Others, such as
            "eval": over the un-augmented data after that epoch. Passes that record vectors have paths of .npy files.
        ids, labels: of the examples, where known.
        index: (n,) int64, ascending positions of the n examples in their source; None = 0..n-1.
        reference_labels: of the reference data, if any.
        meta: the identity block of the run: `data`, `facts` and more.
    """

    n: int
    parts: Mapping[PartKey, Sequence[pa.Table | Path]]
    ids: pa.Array | pa.ChunkedArray | None = None
    labels: np.ndarray | None = None
    index: np.ndarray | None = None
    reference_labels: np.ndarray | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        passes = some_of(sorted({name for name, _, _ in self.parts}))
        return f"Signals({self.n} examples; recorded: {passes or 'nothing'})"

    @property
    def seeds(self) -> list[int]:
        """The seeds that were recorded, ascending."""
        return sorted({seed for _, seed, _ in self.parts})

    def epochs(self, mode: str) -> list[int]:
        """The epochs recorded in a mode for every seed, ascending."""
        sets = [{e for m, s, e in self.parts if m == mode and s == seed} for seed in self.seeds]
        return sorted(set.intersection(*sets)) if sets else []

    def array(self, signal: str, mode: str, epochs: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """A signal and where it was recorded.

        Returns:
            values (seeds, epochs, n), float32 or bool, 0 where not seen, and seen (seeds, epochs, n) bool.

        Raises:
            MissingSignal: an epoch or the signal was not recorded.
        """
        shape = (len(self.seeds), len(epochs), self.n)
        values: np.ndarray = np.zeros(shape, dtype=bool if signal == "correct" else np.float32)
        seen = np.zeros(shape, dtype=bool)
        for s, seed in enumerate(self.seeds):
            for e, epoch in enumerate(epochs):
                for table in self._tables(signal, (mode, seed, epoch)):
                    rows, column = table["index"].to_numpy(), table[signal].to_numpy()
                    rows = rows if self.index is None else np.searchsorted(self.index, rows)
                    there = np.ones(len(rows), dtype=bool) if column.dtype == bool else ~np.isnan(column)
                    values[s, e, rows[there]] = column[there]
                    seen[s, e, rows[there]] = True
        return values, seen

    def vectors(self, mode: str, epochs: Sequence[int]) -> Sequence[Sequence[Any]]:
        """The vectors that a pass recorded, still on disk: (m, d) per seed and epoch, for the m examples of its data.

        Raises:
            MissingSignal: the pass was not run at one of these epochs.
            DataError: a damaged part.
        """
        if not self.seeds:
            raise MissingSignal(f"the run recorded nothing in {describe_pass(mode)}: rerun the command that made it.")
        return [[self._vectors((mode, seed, epoch)) for epoch in epochs] for seed in self.seeds]

    def _vectors(self, key: PartKey) -> Parts:
        if key not in self.parts:
            raise MissingSignal(
                f"nothing was recorded in {describe_pass(key[0])} at epoch {key[2]} of seed {key[1]}: "
                f"{_RECORD} and these options."
            )
        return Parts([Path(str(part)) for part in self.parts[key]])

    def columns(self, mode: str, epoch: int) -> list[str]:
        """The names of the signals that a pass recorded at an epoch."""
        part = self.parts[mode, self.seeds[0], epoch][0]
        return list((part.schema if isinstance(part, pa.Table) else parquet_identity(part)[1]).names)

    def _tables(self, signal: str, key: PartKey) -> Iterable[pa.Table]:
        mode, seed, epoch = key
        if key not in self.parts:
            raise MissingSignal(
                f"nothing was recorded in {describe_pass(mode)} at epoch {epoch} of seed {seed} (recorded "
                f"epochs: {self.epochs(mode) or 'none'}): "
                + (
                    "read the training presentations, params={NAME: {'mode': 'train'}} (-p NAME.mode=train), or "
                    if mode == "eval" and self.epochs("train")
                    else ""
                )
                + f"{_RECORD}."
            )
        for part in self.parts[key]:
            table = part if isinstance(part, pa.Table) else read_parquet(part)[0]
            if signal not in table.column_names:
                raise MissingSignal(
                    f"the signal {signal!r} was not recorded in {describe_pass(mode)}: {_RECORD}"
                    + (", with a model whose output is its last linear layer." if signal == "feature_norm" else ".")
                )
            yield table

    @classmethod
    def open(cls, run: Path, n: int, passes: Collection[str] | None = None, **rest: Any) -> Signals:
        """The signals under RUN/signals, of all passes or of those named; only the names of the part files are read.

        Raises:
            DataError: part files overlap, or rows of an evaluation pass are missing.
        """
        parts = Layout(Path(run)).parts()
        parts = {key: paths for key, paths in parts.items() if passes is None or key[0] in passes}
        for (name, _, _), paths in parts.items():
            spans = [part_span(path) for path in paths]
            edges = [0, *(hi for _, hi in spans)]
            rows = _rows_in(Layout(Path(run)), name, n) if paths[0].suffix == ".npy" else n
            if [lo for lo, _ in spans] != edges[:-1] or edges[-1] != (rows or edges[-1]):
                raise DataError(
                    f"{paths[0].parent} does not hold rows 0 to {rows} once each: run the same score command again."
                )
        return cls(n, parts, **rest)

    @classmethod
    def merged(cls, runs: Sequence[Signals]) -> Signals:
        """Several runs of the same data, with different seeds, as one.

        Raises:
            OptionError: no run, different numbers of examples, or a seed that occurs twice.
        """
        if not runs or len({run.n for run in runs}) != 1:
            raise OptionError("give at least one recording, all of the same number of examples.")
        parts = {key: tables for run in runs for key, tables in run.parts.items()}
        if len(parts) != sum(len(run.parts) for run in runs):
            raise OptionError("two recordings have the same seed: give each Recorder its own.")
        first = runs[0]
        return replace(first, parts=parts)


def _rows_in(run: Layout, name: str, n: int) -> int:
    """The number of vectors of a pass: n, or the number of reference examples; 0 if that is not known."""
    reference = reference_in(name)
    if not reference:
        return n
    labels = run.reference_labels(reference)
    return len(load_array(labels)) if labels.exists() else 0
