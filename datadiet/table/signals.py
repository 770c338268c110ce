"""Signals: the narrow columns that a run recorded, per seed, epoch and example, in memory or on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datadiet.errors import DataError, MissingSignal, OptionError
from datadiet.files import parquet_identity, read_json, read_parquet, read_vectors
from datadiet.table.passes import in_words, is_of_reference
from datadiet.table.vectors import Parts, part_span

__all__ = ["Signals", "read_manifest"]

Key = tuple[str, int, int]


@dataclass(frozen=True, eq=False)
class Signals:
    """What was measured on n examples.

    Attributes:
        n: number of examples.
        parts: (pass, seed, epoch) -> tables, or paths of part files, with an int64 column `index` (the position in the
            source) and one column per signal. Pass "train": presentations during that epoch (from 1). Others, such as
            "eval": over the un-augmented data after that epoch. Passes that give vectors have paths of .npy files.
        ids, labels: of the examples, where known.
        index: (n,) int64, ascending positions of the n examples in their source; None = 0..n-1.
        reference_labels: of the reference data, where there is some.
        meta: the identity block of the run: `data`, `facts` and more.
    """

    n: int
    parts: Mapping[Key, Sequence[pa.Table | Path]]
    ids: pa.Array | pa.ChunkedArray | None = None
    labels: np.ndarray | None = None
    index: np.ndarray | None = None
    reference_labels: np.ndarray | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

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
        """What a pass that gives vectors recorded, still on disk: per seed and epoch (m, d), m examples of its data.

        Raises:
            MissingSignal: it was not run at one of these epochs.
            DataError: a damaged part.
        """
        if not self.seeds:
            raise MissingSignal(f"the run holds nothing of {in_words(mode)}: run the command that made it again.")
        return [[self._vectors((mode, seed, epoch)) for epoch in epochs] for seed in self.seeds]

    def _vectors(self, key: Key) -> Parts:
        if key not in self.parts:
            raise MissingSignal(
                f"nothing was recorded in {in_words(key[0])} at epoch {key[2]} of seed {key[1]}: run datadiet score "
                "with this scorer and these options on the data."
            )
        return Parts([Path(str(part)) for part in self.parts[key]])

    def columns(self, mode: str, epoch: int) -> list[str]:
        """The names of the signals that a pass recorded at an epoch."""
        part = self.parts[mode, self.seeds[0], epoch][0]
        return list((part.schema if isinstance(part, pa.Table) else parquet_identity(part)[1]).names)

    def _tables(self, signal: str, key: Key) -> Iterable[pa.Table]:
        mode, seed, epoch = key
        if key not in self.parts:
            raise MissingSignal(
                f"nothing was recorded in {in_words(mode)} at epoch {epoch} of seed {seed} (there is "
                f"{self.epochs(mode) or 'none'}): "
                + (
                    "read the training presentations with -p SCORER.mode=train, or "
                    if mode == "eval" and self.epochs("train")
                    else ""
                )
                + "run datadiet score with this scorer on the data."
            )
        for part in self.parts[key]:
            table = part if isinstance(part, pa.Table) else read_parquet(part)[0]
            if signal not in table.column_names:
                raise MissingSignal(
                    f"the signal {signal!r} was not recorded in {in_words(mode)}: run datadiet score with this scorer "
                    "on the data"
                    + (", with a model whose output is its last linear layer." if signal == "feature_norm" else ".")
                )
            yield table

    @classmethod
    def open(cls, run: Path, n: int, **rest: Any) -> Signals:
        """The signals under RUN/signals; only the names of the part files are read.

        Raises:
            DataError: part files that overlap or leave out rows of an evaluation pass.
        """
        parts: dict[Key, list[Path]] = {}
        files = [*Path(run).glob("signals/*/*/*/part-*.parquet"), *Path(run).glob("embeddings/*/*/*/part-*.npy")]
        for path in sorted(files, key=part_span):
            mode, seed, epoch = path.parts[-4:-1]
            parts.setdefault((mode, int(seed[5:]), int(epoch[6:])), []).append(path)
        for paths in parts.values():
            spans = [part_span(path) for path in paths]
            edges = [0, *(hi for _, hi in spans)]
            rows = _rows_in(paths[0], n)
            if [lo for lo, _ in spans] != edges[:-1] or edges[-1] != (rows or edges[-1]):
                raise DataError(
                    f"{paths[0].parent} does not hold rows 0 to {rows} once each: run the same score command again."
                )
        return cls(n, parts, **rest)

    @classmethod
    def merged(cls, runs: Sequence[Signals]) -> Signals:
        """Several runs of the same data, with different seeds, as one.

        Raises:
            OptionError: no run, another number of examples, or a seed that occurs twice.
        """
        if not runs or len({run.n for run in runs}) != 1:
            raise OptionError("give at least one recording, all of the same number of examples.")
        parts = {key: tables for run in runs for key, tables in run.parts.items()}
        if len(parts) != sum(len(run.parts) for run in runs):
            raise OptionError("two recordings have the same seed: give each Recorder a seed of its own.")
        first = runs[0]
        return replace(first, parts=parts)


def _rows_in(part: Path, n: int) -> int:
    """How many rows the parts beside this one should hold: n, or those of reference data; 0 if that is not known."""
    reference = is_of_reference(part.parts[-4]) if part.suffix == ".npy" else ""
    if not reference:
        return n
    labels = part.parents[3] / f"reference-{reference}.npy"
    return len(read_vectors(labels)) if labels.exists() else 0


def read_manifest(run: Path) -> dict[str, Any]:
    """RUN/manifest.json.

    Raises:
        DataError: RUN is no run folder.
    """
    path = Path(run) / "manifest.json"
    if not path.exists():
        raise DataError(f"{run} is no run folder (it has no manifest.json): give the --out of datadiet score or train.")
    manifest: dict[str, Any] = read_json(path)
    return manifest
