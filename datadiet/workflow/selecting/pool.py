"""The pool: the examples to select from, with their scores, vectors and texts. No torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datadiet.arrays import in_numpy
from datadiet.data.identity import evenly_spaced
from datadiet.errors import BadVector, DataError, OptionError
from datadiet.files import array_digest, digest
from datadiet.geometry.matrix import Part
from datadiet.runtime.layout import Layout, parts_in
from datadiet.runtime.vectors import Parts, dimensions, open_vectors
from datadiet.table import Scores
from datadiet.table.examples import as_ids
from datadiet.table.frames import by_own_index
from datadiet.workflow.selecting.texts import bare_table, beside, open_texts, texts_in
from datadiet.workflow.selecting.vector_runs import VectorRun

__all__ = ["Pool", "identity_of_vectors", "open_pool", "vectors_of"]

_PROBED = 64


@dataclass(frozen=True)
class Pool:
    """n examples and everything that is known about them.

    Attributes:
        table: their ids, labels and scores, possibly without any score.
        vectors: (n, d), in memory or on disk, or None.
        texts: n texts, or None.
        source: the run that was given, whose vectors are opened when a method needs them.
        run: the run that made the vectors, if any.
    """

    table: Scores
    vectors: Any = None
    texts: Sequence[str] | None = None
    source: Path | None = None
    run: VectorRun | None = None

    def embeddings(self, method: str) -> Any:
        """The vectors.

        Raises:
            OptionError: there are none.
            DataError: they belong to other examples, or their number is wrong.
        """
        vectors = self.vectors
        if vectors is None and self.source is not None and Layout(self.source).vector_folders():
            vectors = open_vectors(self.source)
        if vectors is None:
            raise OptionError(
                f"{method} selects by vectors, but there are none here: give a .npy file of shape (n, d), a run made "
                "by embed, or name them with embeddings= (--embeddings PATH)."
            )
        rows = None if self.run is None else self.run.rows_in(self.table)
        if rows is not None:
            return Part(vectors, rows)
        if len(vectors) != len(self.table):
            raise DataError(
                f"{len(vectors)} vectors and {len(self.table)} examples: embed all of the data that was scored."
            )
        return vectors

    def contents(self, method: str) -> Any:
        """The texts, or else the vectors: what can be compared for equality.

        Raises:
            OptionError: there are neither.
        """
        if self.texts is not None:
            return self.texts
        if self.vectors is None and self.source is None:
            raise OptionError(
                f"{method} compares texts, but there are none here: give data and its column with text=NAME (--text "
                "NAME), or a list of texts."
            )
        return self.embeddings(method)

    def named(self, error: BadVector) -> BadVector:
        """The same error with the id of the example."""
        return error.of_example(as_ids(self.table.ids, self.table.index))


def open_pool(
    given: Any,
    higher_is: Literal["harder", "easier"] = "harder",
    embeddings: Any = None,
    text: str | None = None,
    texts: Any = None,
) -> Pool:
    """Open what `select` was given.

    Args:
        given: Scores, (n,) scores or (n, d) vectors, a run folder, a score file, or a .npy file of either; n texts; or
            data that holds texts.
        higher_is: what a high value of bare scores means.
        embeddings: (n, d) vectors of the same examples, in memory or on disk.
        text: the column of the texts, if data is given.
        texts: n texts that go with scores or vectors, or the data that holds them.

    Raises:
        OptionError: data without a column of texts, or the same thing given twice.
        DataError: texts of other data.
    """
    if texts is None and (text is not None or _holds_texts(given)):
        table, held = open_texts(given, text)
        return _with_vectors(Pool(table, texts=held), embeddings)
    if _is_data(given):
        if texts is not None:
            raise OptionError("texts= goes with scores, but the data to select from is itself texts: leave texts out.")
        what, name = (given, given) if isinstance(given, str) else ("a data set", "DATA")
        columns = "name the column of its texts with text=NAME (--text NAME), or " if _may_hold_texts(given) else ""
        raise OptionError(
            f"{what} is data, not scores: {columns}embed it first (datadiet embed {name} --model … --out RUN, or "
            "dd.embed with out=RUN), and select from RUN."
        )
    pool = _with_vectors(_scores_or_vectors(given, higher_is, alone=embeddings is None), embeddings)
    if texts is None:
        return pool
    table, held = beside(pool.table, texts, text)
    return replace(pool, table=table, texts=held)


def _scores_or_vectors(given: Any, higher_is: Literal["harder", "easier"], alone: bool) -> Pool:
    """The pool of scores or of vectors; `alone` = no further vectors are given, so a run may use its own."""
    if isinstance(given, Scores):
        return Pool(given)
    if isinstance(given, (str, Path)):
        path = Path(given)
        if (path.suffix == ".npy" and dimensions(path) == 2) or (os.path.isdir(path) and parts_in(path)):
            found = open_vectors(path)
            return Pool(bare_table(len(found)), found)
        if alone and os.path.isdir(path) and not Layout(path).scores.exists():
            VectorRun.of(path)  # says so if the run is not finished
        return Pool(Scores.read(path, higher_is=higher_is), source=path if os.path.isdir(path) and alone else None)
    if hasattr(given, "iloc") or hasattr(given, "__arrow_c_stream__"):  # a data frame or series
        return Pool(Scores.from_arrays(given, higher_is=higher_is))
    values = in_numpy(given)
    if len(values.shape) == 2:
        return Pool(bare_table(len(values)), values)
    return Pool(Scores.from_arrays({"score": np.asarray(values)}, higher_is=higher_is))


def _with_vectors(pool: Pool, embeddings: Any) -> Pool:
    if embeddings is None:
        return pool
    if pool.vectors is not None:
        raise OptionError("vectors to select from and embeddings= were both given: leave one of them out.")
    return replace(pool, vectors=vectors_of(by_own_index(embeddings)), run=VectorRun.of(embeddings))


def _holds_texts(given: Any) -> bool:
    return texts_in(given) is not None or bool(getattr(given, "holds_texts", False))


def vectors_of(given: Any) -> np.ndarray | Parts:
    """Vectors, opened if given as a path.

    Raises:
        DataError: they are not of shape (n, d).
    """
    found = open_vectors(given) if isinstance(given, (str, Path)) else given
    found = in_numpy(found)
    if len(found.shape) != 2:
        raise DataError(f"vectors of shape {tuple(found.shape)}: give one vector per example, shape (n, d).")
    return found


def identity_of_vectors(vectors: Any) -> str:
    """A hash of their shape, dtype and 64 evenly spaced rows, which identifies them as the parent of a selection."""
    rows = evenly_spaced(len(vectors), _PROBED)
    return digest([list(vectors.shape), str(vectors.dtype), array_digest(np.ascontiguousarray(vectors[rows]))])


def _is_data(given: Any) -> bool:
    """Whether this is a data set, or the spec of one, and not scores."""
    if hasattr(given, "column_names") or _holds_texts(given):
        return True
    from datadiet.data.scheme import DATA_SCHEMES

    scheme, colon, _ = str(given).partition(":") if isinstance(given, str) else ("", "", "")
    return bool(colon) and scheme in {name.partition(":")[0] for name in DATA_SCHEMES} and not os.path.exists(given)


def _may_hold_texts(data: Any) -> bool:
    """Whether data, or the spec of some, is of a kind whose texts `open_data` can read."""
    from datadiet.data.specs import OPENERS

    opener = OPENERS.get(data.partition(":")[0]) if isinstance(data, str) else None
    return opener is None or "text" in signature(opener).parameters
