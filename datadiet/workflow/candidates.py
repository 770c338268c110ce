"""What is selected from: a table of scores, vectors, texts, or several of them for the same examples. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datadiet.errors import BadVector, DataError, OptionError
from datadiet.files import array_digest, digest
from datadiet.table import Scores
from datadiet.table.examples import as_ids
from datadiet.table.vectors import Parts, dimensions, open_vectors

__all__ = ["Candidates", "identity_of_vectors", "open_candidates", "vectors_of"]

_PROBED = 64


@dataclass(frozen=True)
class Candidates:
    """n examples and what is known of them.

    Attributes:
        table: their ids, labels and scores, perhaps no score at all.
        vectors: (n, d), in memory or on disk, or None.
        source: what was given, to be looked at for vectors when a method asks for them.
    """

    table: Scores
    vectors: Any = None
    source: Path | None = None

    def embeddings(self, method: str) -> Any:
        """The vectors.

        Raises:
            OptionError: there are none.
            DataError: another number of vectors than examples.
        """
        vectors = self.vectors
        if vectors is None and self.source is not None and (self.source / "embeddings").is_dir():
            vectors = open_vectors(self.source)
        if vectors is None:
            raise OptionError(
                f"{method} selects by vectors and there are none here: give a .npy file of shape (n, d), a run made by "
                "datadiet embed, or name them with embeddings= (--embeddings PATH)."
            )
        if len(vectors) != len(self.table):
            raise DataError(
                f"{len(vectors)} vectors and {len(self.table)} examples: embed the data that was scored, all of it."
            )
        return vectors

    def named(self, error: BadVector) -> BadVector:
        """The same error with the id of the example."""
        ids = as_ids(self.table.ids, self.table.index)
        return BadVector(error.row, error.problem, f"example {ids[error.row].as_py()!r}")


def open_candidates(
    given: Any, higher_is: Literal["harder", "easier"] = "harder", embeddings: Any = None
) -> Candidates:
    """Open what `select` was given.

    Args:
        given: Scores, (n,) scores or (n, d) vectors, a run folder, a score file, or a .npy file of either.
        higher_is: what a high value of bare scores means.
        embeddings: (n, d) vectors of the same examples, in memory or on disk.
    """
    further = None if embeddings is None else vectors_of(embeddings)
    if isinstance(given, Scores):
        return Candidates(given, further)
    if isinstance(given, (str, Path)):
        path = Path(given)
        if (path.suffix == ".npy" and dimensions(path) == 2) or (path.is_dir() and any(path.glob("part-*.npy"))):
            found = open_vectors(path)
            return Candidates(_bare(found), found)
        return Candidates(
            Scores.read(path, higher_is=higher_is), further, path if path.is_dir() and further is None else None
        )
    values = given if hasattr(given, "shape") else np.asarray(given)
    if len(values.shape) == 2:
        return Candidates(_bare(values), values)
    return Candidates(Scores.from_arrays({"score": np.asarray(values)}, higher_is=higher_is), further)


def vectors_of(given: Any) -> np.ndarray | Parts:
    """Vectors, opened if they are named by a path.

    Raises:
        DataError: they are not of shape (n, d).
    """
    found = open_vectors(given) if isinstance(given, (str, Path)) else given
    found = found if hasattr(found, "shape") and hasattr(found, "dtype") else np.asarray(found)
    if len(found.shape) != 2:
        raise DataError(f"vectors of shape {tuple(found.shape)}: give one vector per example, shape (n, d).")
    return found


def identity_of_vectors(vectors: Any) -> str:
    """A hash of their shape, type and 64 evenly spaced rows, which names them as the parent of a selection."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(_PROBED, len(vectors))).astype(np.int64))
    return digest([list(vectors.shape), str(vectors.dtype), array_digest(np.ascontiguousarray(vectors[rows]))])


def _bare(vectors: Any) -> Scores:
    n = len(vectors)
    return replace(Scores(np.arange(n), {}), meta={"data": {"n": n}, "columns": {}})
