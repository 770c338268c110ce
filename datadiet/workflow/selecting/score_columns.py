"""Which columns of a score table a selection method reads. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from datadiet.arrays import in_numpy
from datadiet.errors import OptionError, unknown_name
from datadiet.parameters import choices_of, in_a_line
from datadiet.selectors import Column, Concepts, SelectorSpec
from datadiet.table import Scores
from datadiet.table.examples import as_ids
from datadiet.workflow.selecting.pool import Pool

__all__ = ["concept_codes", "further_columns", "known_values", "led_by", "score_column"]

_NO_SCORE = {
    "embeddings": "the method reads a score as well as vectors: select from a run or a score file, and name the "
    "vectors with embeddings= (--embeddings PATH).",
    "texts": "prefer= needs a score, but there is none: select from a run or a score file, and give the texts with "
    "texts= (--texts DATA), or leave prefer out.",
}
_VECTORS_ALONE = (
    "these are vectors, but the method reads scores: give one number per example, shape (n,), or a method that selects "
    "by vectors."
)


def _check_names(score: Any, columns: Any) -> None:
    """Refuse anything but names of columns, such as their values."""
    if columns is None:
        columns = {}
    if not isinstance(columns, Mapping):
        raise OptionError(f"columns={in_a_line(columns)}: give a dict of parameter -> the name of a column.")
    for what, name in {
        "score": score,
        **{f"columns[{parameter!r}]": name for parameter, name in columns.items()},
    }.items():
        if name is not None and not isinstance(name, str):
            raise OptionError(
                f"{what}={in_a_line(name)} is not the name of a column: add the values to the scores, as in "
                "Scores.from_arrays({'a': a, 'b': b}), and give their name."
            )


def led_by(
    spec: SelectorSpec, params: dict[str, Any], score: str | None, columns: Mapping[str, str] | None, pool: Pool
) -> tuple[str | None, dict[str, Any]]:
    """The score and the parameters; `prefer` may name the column whose hardest examples are preferred.

    Texts have no order of their own: if there is a single score, it orders them.

    Raises:
        OptionError: `prefer` is neither a direction nor a score, or a direction without a score; something else than
            the name of a column.
    """
    _check_names(score, columns)
    prefer, choices, table = params.get("prefer"), choices_of(spec.fn, "prefer"), pool.table
    named = score is not None or "hardness" in (columns or {})
    if prefer is None or prefer in choices or not choices:
        asked = prefer in ("hardest", "easiest") or (prefer is None and pool.texts is not None and table.names)
        by_score = spec.first == "texts" and asked and not named
        return (score_column(table, spec, None) if by_score else score), params
    if "hardness" not in spec.reading(Column) or not table.names:
        raise OptionError(f"{spec.name}: prefer={prefer!r}: choose one of {', '.join(map(repr, choices))}.")
    if prefer not in table.columns:
        raise unknown_name("way to prefer, or a score", prefer, [*choices, *table.names])
    if named:
        raise OptionError(f"prefer={prefer!r} names a score, but another is named too: name only one.")
    return prefer, {**params, "prefer": "hardest"}


def score_column(table: Scores, spec: SelectorSpec, score: str | None) -> str:
    """The named score, or the method's, or the only one.

    Raises:
        OptionError: there are several, or none.
    """
    column = score or (spec.score if spec.score in table.names else None)
    if column is not None:
        return column
    described = table.meta.get("columns", {})
    main = [name for name in table.names if described[name].get("scorer") in (name, "imported")] or table.names
    if len(main) != 1:
        raise OptionError(
            f"there are several scores ({', '.join(main)}): name one with score=NAME (--score NAME)."
            if main
            else _NO_SCORE.get(spec.first, _VECTORS_ALONE)
        )
    return main[0]


def further_columns(
    table: Scores, spec: SelectorSpec, given: Mapping[str, str] | None, score: str | None, used: dict[str, str]
) -> dict[str, np.ndarray]:
    """What a method reads besides its first argument: parameter -> (n,) values; their columns are added to `used`.

    Raises:
        OptionError: a missing column, or a parameter that does not read one.
    """
    needs, columns = spec.reading(Column), given or {}
    for parameter in columns:
        if parameter not in needs:
            raise unknown_name(f"further column of {spec.name}", parameter, needs)
    arrays = {}
    for parameter, need in needs.items():
        there = need.name in table.columns if need.name else score is not None
        if need.optional and parameter not in columns and not there:
            continue  # the method can do without
        usual = "" if parameter == spec.led_by else need.name
        column = columns.get(parameter) or usual or score_column(table, spec, score)
        if column not in table.columns and parameter not in columns and need.as_hardness and "score" in used:
            column = used["score"]  # what the plain function does; the selection says so
        if column not in table.columns:
            raise OptionError(
                f"{spec.name} reads {parameter} from the column {column!r}, which is not there "
                f"({', '.join(table.columns) or 'there is none'}): score with it, or name another with "
                f"columns={{{parameter!r}: NAME}} (--column {parameter}=NAME)."
            )
        used[parameter] = column
        arrays[parameter] = known_values(table, column, need.as_hardness)
    return arrays


def known_values(table: Scores, column: str, as_hardness: bool = True) -> np.ndarray:
    """A column (n,) to select by, high = hard unless it is taken as it is.

    Raises:
        OptionError: an example has no score, by its id.
    """
    values = table.hardness(column) if as_hardness else table[column]
    lost = np.isnan(values)
    if lost.any():
        name = as_ids(table.ids, table.index)[int(lost.argmax())].as_py()
        raise OptionError(
            f"{column!r} is NaN for {lost.sum()} of {len(lost)} examples, the first of them {name!r}: score them or "
            "drop them before selecting."
        )
    return values


def concept_codes(
    table: Scores, spec: SelectorSpec, params: Mapping[str, Any], used: dict[str, str]
) -> dict[str, np.ndarray]:
    """What a method reads of what the examples are about: parameter -> (n, m) codes; columns are added to `used`.

    `used` already holds the score to select by.

    Raises:
        OptionError: codes of another number of examples.
    """
    arrays: dict[str, np.ndarray] = {}
    for parameter, need in spec.reading(Concepts).items():
        given, predicted = params.get(parameter), f"{used[spec.led_by]}.{need.suffix}"
        if given is not None:
            arrays[parameter] = np.asarray(in_numpy(given, parameter))
            if arrays[parameter].shape[:1] != (len(table),):
                raise OptionError(
                    f"{parameter} has shape {arrays[parameter].shape} for {len(table)} examples: give a row for each."
                )
        elif table.labels is not None and predicted in table.columns and params.get("consistent") is not False:
            used[parameter] = predicted
            arrays[parameter] = np.stack([table.labels, table[predicted]], axis=1).astype(np.int64)
    return arrays
