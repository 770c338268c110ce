"""Single examples as a page shows them: a picture, a text, or the fields of a row; with what is said about each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.errors import one_line
from datadiet.report.canvas import rounded
from datadiet.report.images import Excerpt, Picture
from datadiet.workflow.reporting.subject import Subject

if TYPE_CHECKING:
    from datadiet.data import Source

__all__ = ["about", "as_shown"]

_TEXT, _FIELD, _FIELDS = 400, 80, 12


def about(subject: Subject, rows: Sequence[int] | np.ndarray, predicted: Mapping[int, int]) -> list[dict[str, Any]]:
    """What is said about some examples, as JSON values: index, id, label, predicted, score and its value.

    Args:
        subject: what they are of.
        rows: of its table.
        predicted: row -> class.
    """
    labels, scores = subject.labels, subject.scores
    found = []
    for row, name in zip(map(int, rows), subject.ids(rows), strict=True):
        entry: dict[str, Any] = {"index": int(subject.index[row]), "id": name}
        if labels is not None and labels[row] >= 0:
            entry["label"] = subject.named(int(labels[row]))
        if row in predicted:
            entry["predicted"] = subject.named(predicted[row])
        if scores is not None and subject.main is not None:
            value = float(scores[subject.main][row])
            entry |= {"score": subject.main, "value": value if np.isfinite(value) else str(value)}
        found.append(entry)
    return found


def as_shown(subject: Subject, rows: Sequence[int] | np.ndarray, said: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The examples for `report.images.grid`; without data, what is said is all there is.

    Args:
        subject: what they are of.
        rows: of its table.
        said: what `about` says of them.
    """
    contents = _contents(subject, np.asarray(rows, dtype=np.int64))
    examples: list[Any] = []
    for entry, content in zip(said, contents, strict=True):
        caption, stands_out = _caption(entry)
        if isinstance(content, np.ndarray):
            examples.append(Picture(content, f"example {one_line(entry['id'], 60)}", caption, stands_out))
        else:
            examples.append(Excerpt(content, caption, stands_out))
    return examples


def _caption(entry: Mapping[str, Any]) -> tuple[list[str], int | None]:
    """The lines below an example, and which of them stands out: a prediction that is not the label."""
    lines = [one_line(entry["id"], 60)]
    lines += [f"label {one_line(entry['label'], 40)}"] if "label" in entry else []
    stands_out = None
    if "predicted" in entry:
        stands_out = len(lines) if entry["predicted"] != entry.get("label", entry["predicted"]) else None
        lines.append(f"predicted {one_line(entry['predicted'], 40)}")
    lines += [f"{one_line(entry['score'], 40)} {_number(entry['value'])}"] if "score" in entry else []
    return lines, stands_out


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return rounded(value, max(abs(value), 1e-6) / 1000) if value else "0"


def _contents(subject: Subject, rows: np.ndarray) -> list[Any]:
    source = subject.source
    if source is None:
        return [""] * len(rows)
    places = subject.rows[rows]
    if not len(places):
        return []
    if source.holds_texts:
        return [_cut(text, _TEXT) for text in source.texts(places)]
    pictures = _pictures(source, places)
    return pictures if pictures is not None else _fields(source, places)


def _pictures(source: Source, places: np.ndarray) -> list[np.ndarray] | None:
    """uint8 (C, H, W) each, or None if the examples are not pictures."""
    items = source.items(places)
    if any(item.ndim not in (2, 3) or (item.ndim == 3 and item.shape[0] not in (1, 3)) for item in items):
        return None
    return [item if item.dtype == np.uint8 else _as_pixels(item) for item in items]


def _as_pixels(values: np.ndarray) -> np.ndarray:
    """Any numbers as pixels, from the smallest as black to the largest as white; what is not finite is black."""
    finite = np.isfinite(values)
    known = values[finite].astype(np.float64)
    pixels = np.zeros(values.shape, dtype=np.uint8)
    if len(known) and (span := known.max() - known.min()) > 0:
        pixels[finite] = np.rint(255 * ((known - known.min()) / span))
    return pixels


def _fields(source: Source, places: np.ndarray) -> list[str]:
    """The first fields of each row, one a line; of vectors, the first numbers."""
    if source.origin is None:
        return [_numbers(item) for item in source.items(places)]
    table = source.rows(places)
    found = []
    for row in table.select(table.column_names[:_FIELDS]).to_pylist():
        lines = [f"{key}: {_cut(_field(value), _FIELD)}" for key, value in row.items()]
        more = len(table.column_names) - _FIELDS
        found.append("\n".join(lines + ([f"… and {more} more columns"] if more > 0 else [])))
    return found


def _numbers(item: np.ndarray) -> str:
    first = item.ravel()[:_FIELDS]
    return " ".join(f"{value:.4g}" for value in first.tolist()) + (" …" if item.size > _FIELDS else "")


def _field(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value):,} bytes"
    return one_line(f"{value:.6g}" if isinstance(value, float) else value)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
