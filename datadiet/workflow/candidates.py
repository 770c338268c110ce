"""What is selected from: a table of scores, vectors, texts, or several of them for the same examples. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datadiet.errors import BadVector, DataError, OptionError
from datadiet.files import array_digest, digest
from datadiet.geometry.matrix import in_numpy, some_of
from datadiet.table import Scores
from datadiet.table.examples import as_ids
from datadiet.table.vectors import Parts, dimensions, open_vectors
from datadiet.workflow.texts import beside, candidates, texts_in
from datadiet.workflow.vector_runs import VectorRun

__all__ = ["Candidates", "identity_of_vectors", "open_candidates", "vectors_of"]

_PROBED = 64


@dataclass(frozen=True)
class Candidates:
    """n examples and what is known of them.

    Attributes:
        table: their ids, labels and scores, perhaps no score at all.
        vectors: (n, d), in memory or on disk, or None.
        texts: n texts, or None.
        source: what was given, to be looked at for vectors when a method asks for them.
        run: that made the vectors, where they are those of a run.
    """

    table: Scores
    vectors: Any = None
    texts: Sequence[str] | None = None
    source: Path | None = None
    run: VectorRun | None = None

    @property
    def made_by(self) -> VectorRun | None:
        """The run that made the vectors, if there is one."""
        return self.run or VectorRun.of(self.source)

    def embeddings(self, method: str) -> Any:
        """The vectors.

        Raises:
            OptionError: there are none.
            DataError: they are of other examples, or of another number of them.
        """
        vectors = self.vectors
        if vectors is None and self.source is not None and (self.source / "embeddings").is_dir():
            vectors = open_vectors(self.source)
        if vectors is None:
            raise OptionError(
                f"{method} selects by vectors and there are none here: give a .npy file of shape (n, d), a run made by "
                "datadiet embed, or name them with embeddings= (--embeddings PATH)."
            )
        rows = None if self.run is None else self.run.places(self.table)
        if rows is not None:
            return some_of(vectors, rows)
        if len(vectors) != len(self.table):
            raise DataError(
                f"{len(vectors)} vectors and {len(self.table)} examples: embed the data that was scored, all of it."
            )
        return vectors

    def contents(self, method: str) -> Any:
        """The texts, or vectors where there are no texts: what can be compared for being the same.

        Raises:
            OptionError: there are neither.
        """
        if self.texts is not None:
            return self.texts
        if self.vectors is None and self.source is None:
            raise OptionError(
                f"{method} compares texts and there are none here: give data and its column with text=NAME (--text "
                "NAME), or a list of texts."
            )
        return self.embeddings(method)

    def named(self, error: BadVector) -> BadVector:
        """The same error with the id of the example."""
        ids = as_ids(self.table.ids, self.table.index)
        return BadVector(error.row, error.problem, f"example {ids[error.row].as_py()!r}")


def open_candidates(
    given: Any,
    higher_is: Literal["harder", "easier"] = "harder",
    embeddings: Any = None,
    text: str | None = None,
    texts: Any = None,
) -> Candidates:
    """Open what `select` was given.

    Args:
        given: Scores, (n,) scores or (n, d) vectors, a run folder, a score file, or a .npy file of either; n texts; or
            data that holds texts.
        higher_is: what a high value of bare scores means.
        embeddings: (n, d) vectors of the same examples, in memory or on disk.
        text: the column of the texts, where data is given.
        texts: n texts beside scores or vectors, or the data of these.

    Raises:
        OptionError: data without a column of texts.
        DataError: texts of other data.
    """
    if texts is not None:
        return _with_texts(given, higher_is, embeddings, text, texts)
    if text is not None or texts_in(given) is not None or getattr(given, "holds_texts", False):
        table, held = candidates(given, text)
        return Candidates(table, texts=held)
    if hasattr(given, "column_names") or (isinstance(given, str) and _is_data(given)):
        what = given if isinstance(given, str) else "a data set"
        raise OptionError(
            f"{what} is data, not scores: name the column of its texts with text=NAME (--text NAME), or make vectors "
            "of it first (datadiet embed)."
        )
    further, run = (None, None) if embeddings is None else (vectors_of(embeddings), VectorRun.of(embeddings))
    if isinstance(given, Scores):
        return Candidates(given, further, run=run)
    if isinstance(given, (str, Path)):
        path = Path(given)
        if (path.suffix == ".npy" and dimensions(path) == 2) or (path.is_dir() and any(path.glob("part-*.npy"))):
            _no_further(further)
            found = open_vectors(path)
            return Candidates(_bare(found), found)
        if further is None and path.is_dir() and not (path / "scores.parquet").exists():
            VectorRun.of(path)  # a run that is not finished is told so
        source = path if path.is_dir() and further is None else None
        return Candidates(Scores.read(path, higher_is=higher_is), further, source=source, run=run)
    values = in_numpy(given)
    if len(values.shape) == 2:
        _no_further(further)
        return Candidates(_bare(values), values)
    return Candidates(Scores.from_arrays({"score": np.asarray(values)}, higher_is=higher_is), further, run=run)


def _no_further(embeddings: Any) -> None:
    if embeddings is not None:
        raise OptionError("vectors to select from and embeddings= were both given: leave one of them out.")


def _with_texts(
    given: Any, higher_is: Literal["harder", "easier"], embeddings: Any, text: str | None, texts: Any
) -> Candidates:
    """Scores, and the texts of the same examples."""
    if texts_in(given) is not None or hasattr(given, "column_names") or (isinstance(given, str) and _is_data(given)):
        raise OptionError("texts= goes beside scores, and what is selected from are texts itself: leave texts out.")
    found = open_candidates(given, higher_is, embeddings)
    if found.vectors is not None:
        raise OptionError("vectors and texts= were both given, and one of them is compared: leave the other out.")
    table, held = beside(found.table, texts, text)
    return Candidates(table, texts=held)


def vectors_of(given: Any) -> np.ndarray | Parts:
    """Vectors, opened if they are named by a path.

    Raises:
        DataError: they are not of shape (n, d).
    """
    found = open_vectors(given) if isinstance(given, (str, Path)) else given
    found = in_numpy(found)
    if len(found.shape) != 2:
        raise DataError(f"vectors of shape {tuple(found.shape)}: give one vector per example, shape (n, d).")
    return found


def identity_of_vectors(vectors: Any) -> str:
    """A hash of their shape, type and 64 evenly spaced rows, which names them as the parent of a selection."""
    from datadiet.data.identity import evenly_spaced

    rows = evenly_spaced(len(vectors), _PROBED)
    return digest([list(vectors.shape), str(vectors.dtype), array_digest(np.ascontiguousarray(vectors[rows]))])


def _bare(vectors: Any) -> Scores:
    n = len(vectors)
    return Scores(np.arange(n), {}, meta={"data": {"n": n}, "columns": {}})


def _is_data(given: str) -> bool:
    from datadiet.data.catalog import SCHEMES

    scheme, colon, _ = given.partition(":")
    return bool(colon) and scheme in {name.partition(":")[0] for name in SCHEMES} and not Path(given).exists()
