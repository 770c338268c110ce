"""Source: an opened data set, as the rest of the library sees it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from datadiet.data.batch import chunks_of
from datadiet.data.identity import identity_of
from datadiet.data.ids import row_numbers
from datadiet.data.inputs import InputReader
from datadiet.data.labels import Labels, missing_labels, refuse_unlabelled
from datadiet.data.read_ahead import read_ahead
from datadiet.data.rows import Rows
from datadiet.data.split import stratified_split
from datadiet.data.table_rows import rows_as_table, select_rows
from datadiet.errors import DataError, OptionError

__all__ = ["Loaded", "Opening", "Skipped", "Source", "make_source"]

Loaded = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Skipped = tuple[int, str, str]


@dataclass(frozen=True)
class Opening:
    """What `open_data` was given, from which another process opens the same data again.

    Attributes:
        spec: of the data.
        options: the other arguments.
    """

    spec: str
    options: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Source:
    """An opened data set, or a part of one. A position counts within the source, from 0 to len - 1.

    Attributes:
        spec: what was opened, with its resolved scheme.
        inputs: reads the inputs; shared with the source that this is a part of.
        ids: (n,) Arrow strings, distinct.
        labels: (n,) int64 in 0..C-1, -1 for an example without one; or None.
        class_names: the C names.
        index: (n,) int64, positions in the opened data; np.arange(n) unless this is a part of it.
        skipped: (index, id, reason) of the examples left out because they cannot be read.
        positional_ids: whether the ids are just row numbers.
        origin: all rows of the opened data, if it is a table.
        unlabelled: whether the data has labels, but all are -1, so that `labels` is None.
        opening: what another process opens the same data from; None if no spec names it, as for a part or an object.
        root: the opened data, if this is a part of it; a part has its identity, so that scores of a part belong to the
            data set in which `index` counts.
    """

    spec: str
    inputs: InputReader
    ids: pa.Array
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    index: np.ndarray
    skipped: tuple[Skipped, ...] = ()
    positional_ids: bool = False
    origin: pa.Table | None = None
    root: Source | None = None
    unlabelled: bool = False
    opening: Opening | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __getstate__(self) -> dict[str, Any]:
        """Without what was computed from the data, so that another process finds out whether it has the same."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __repr__(self) -> str:
        return f"Source({self.spec!r}, {len(self)} examples, {len(self.class_names)} classes)"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input, (C, H, W) or (d,); DataError if sizes vary or there is nothing to feed a model."""
        return self.inputs.shape

    @property
    def dtype(self) -> torch.dtype:
        """torch.uint8 for images of 8 bits, torch.int64 for integers that are not images, otherwise torch.float32."""
        return self.inputs.dtype

    @property
    def uniform(self) -> bool:
        """Whether all inputs have one shape; if not, `resized` gives them one."""
        return self.inputs.uniform

    @cached_property
    def table(self) -> pa.Table | None:
        """The raw rows of this source (n, …), or None if it does not come from a table."""
        return None if self.origin is None else select_rows(self.origin, self.index)

    def identity(self) -> dict[str, Any]:
        """n and the hashes of ids, labels and content of the opened data (see `identity_of`); computed once."""
        return dict((self.root or self)._identity)

    def take(self, positions: np.ndarray | Iterable[int]) -> torch.Tensor:
        """Inputs (B, …) at `positions` (B,); images are (B, C, H, W).

        Raises:
            DataError: an input cannot be decoded or has another shape than the rest.
        """
        return self.inputs.take(self.index[self._within(positions)])

    @property
    def holds_texts(self) -> bool:
        """Whether the examples are texts: `texts` gives them, and `take` refuses."""
        return self.inputs.are_texts

    def texts(self, positions: np.ndarray | Iterable[int]) -> list[str]:
        """The texts at `positions` (B,).

        Raises:
            DataError: the examples are not texts, or a text is missing.
        """
        return self.inputs.texts(self.index[self._within(positions)])

    def items(self, positions: np.ndarray | Iterable[int]) -> list[np.ndarray]:
        """The inputs at `positions` (B,), each in its stored size.

        Raises:
            DataError: an input cannot be decoded.
        """
        return self.inputs.items(self.index[self._within(positions)])

    def look_through(self) -> None:
        """Read all inputs that can be kept in memory, so that a bad one is reported before any work is done.

        Larger data is not read for this alone: its inputs are checked when they are read.

        Raises:
            DataError: an input cannot be decoded, has another shape than the rest, or holds NaN or an infinite value.
        """
        self.inputs.look_at(self.index)

    def batches(
        self, order: np.ndarray | Iterable[int], batch_size: int | Sequence[int], *, workers: int = 0
    ) -> Iterator[Loaded]:
        """Batches in a given order.

        Args:
            order: positions, as an array or an iterator that is consumed as needed.
            batch_size: at least 1, the last batch may be smaller; or the size of each batch.
            workers: processes that decode ahead; not used when the decoded inputs are kept in memory.

        Yields:
            (inputs (B, …), labels (B,) int64, positions (B,) int64); labels are -1 if there are none.
        """
        yield from read_ahead(self._batch, chunks_of(order, batch_size), 0 if self.inputs.in_memory else workers)

    def resized(self, size: int) -> Source:
        """The same examples, with images resized (short side, bilinear) and cropped to (C, size, size)."""
        if size < 1:
            raise OptionError(f"cannot resize images to {size} pixels: give at least 1.")
        return self._changed(inputs=InputReader(self.inputs.rows, self.inputs.ids, size))

    def subset(self, positions: np.ndarray | Iterable[int]) -> Source:
        """The examples at `positions`, in this order, with the ids, index and class names that they have here."""
        kept = self._within(positions)
        whole = len(kept) == len(self) and bool((kept == np.arange(len(self))).all())
        return self._changed(
            ids=self.ids.take(pa.array(kept)),
            labels=None if self.labels is None else self.labels[kept],
            index=self.index[kept],
            positional_ids=self.positional_ids and whole,
            root=self.root or self,
        )

    def split_off(self, fraction: float, seed: int) -> tuple[Source, Source]:
        """This source without a held-out part, and that part: round-half-up(fraction·n) examples, stratified."""
        rest, held_out = stratified_split(self.labels, self.index, fraction, seed)
        return self.subset(rest), self.subset(held_out)

    def with_classes(self, class_names: tuple[str, ...]) -> Source:
        """The same examples with labels encoded as `class_names`, as an evaluation set needs them.

        Raises:
            DataError: this source has labels that are not among them, or examples without one.
        """
        if self.labels is None:
            raise self.no_labels()
        refuse_unlabelled(self.labels, self.ids, self.spec)
        unknown = {self.class_names[c] for c in np.unique(self.labels)} - set(class_names)
        if unknown:
            raise DataError(
                f"{self.spec} has the class {min(unknown)!r}, which is not among {class_names}: give data with "
                "these classes."
            )
        code = {name: number for number, name in enumerate(class_names)}
        codes = np.array([code.get(name, -1) for name in self.class_names])
        return self._changed(labels=codes[self.labels], class_names=class_names)

    def no_labels(self) -> DataError:
        """The error for data without labels where they are needed."""
        if self.unlabelled:
            return DataError(f"all labels of {self.spec} are -1, which means unlabelled: give data with labels.")
        return missing_labels(self.spec)

    def rows(self, positions: np.ndarray | Iterable[int]) -> pa.Table:
        """The rows at `positions` as a table, made from inputs, labels and ids if the source is not a table."""
        kept = self._within(positions)
        return rows_as_table(self.subset(kept)) if self.origin is None else select_rows(self.origin, self.index[kept])

    def _changed(self, **values: Any) -> Source:
        """Other data than what was opened."""
        return replace(self, opening=None, **values)

    @cached_property
    def _identity(self) -> dict[str, Any]:
        return identity_of(self)

    @cached_property
    def label_tensor(self) -> torch.Tensor:
        """(n,) int64 labels, -1 if there are none."""
        return torch.full((len(self),), -1) if self.labels is None else torch.from_numpy(self.labels.copy())

    def _batch(self, positions: np.ndarray) -> Loaded:
        where = torch.from_numpy(positions)
        return self.take(positions), self.label_tensor[where], where

    def _within(self, positions: np.ndarray | Iterable[int]) -> np.ndarray:
        array = np.asarray(positions if hasattr(positions, "__array__") else list(positions))
        if array.size == 0:
            return array.astype(np.int64)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise OptionError(f"positions are {array.dtype} of shape {array.shape}: give a list of whole numbers.")
        if array.min() < 0 or array.max() >= len(self):
            raise OptionError(
                f"positions from {array.min()} to {array.max()} lie outside the {len(self)} examples: count from 0."
            )
        return array.astype(np.int64)


def make_source(
    spec: str,
    rows: Rows,
    *,
    ids: pa.Array | None = None,
    labels: Labels | None = None,
    origin: pa.Table | None = None,
    on_error: str = "raise",
) -> Source:
    """Assemble a source from its parts.

    Args:
        spec: what was opened.
        rows: the n rows to decode.
        ids: (n,) distinct strings, or None for row numbers.
        labels: encoded labels, or None.
        origin: the table behind it, or None.
        on_error: "skip" reads everything once and leaves out what cannot be decoded.

    Raises:
        DataError: there are no examples, or none that can be read.
    """
    n = len(rows)
    if n == 0:
        raise DataError(f"{spec} holds no examples: give at least one.")
    known = row_numbers(n) if ids is None else ids
    unlabelled = labels is not None and bool((labels.values < 0).all())
    labels = None if unlabelled else labels
    source = Source(
        spec=spec,
        inputs=InputReader(rows, known),
        ids=known,
        labels=None if labels is None else labels.values,
        class_names=() if labels is None else labels.names,
        index=np.arange(n, dtype=np.int64),
        positional_ids=ids is None,
        origin=origin,
        unlabelled=unlabelled,
    )
    return source if on_error == "raise" else _without_faults(source)


def _without_faults(source: Source) -> Source:
    faults = source.inputs.faults(source.index)
    kept = np.setdiff1d(source.index, np.array(list(faults), dtype=np.int64))
    if len(kept) == 0:
        raise DataError(f"{source.spec}: none of the {len(source)} examples can be read ({faults[0]})")
    skipped = tuple((i, source.ids[i].as_py(), reason) for i, reason in sorted(faults.items()))
    return replace(source, skipped=skipped).subset(kept)
