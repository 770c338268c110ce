"""Orientation: what a high value of a score column means, as the description of the column says it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from datadiet.errors import OptionError, unknown_name

__all__ = ["HigherIs", "imported", "imported_columns", "refuse_other_parameters"]

HigherIs = Literal["harder", "easier"]
_SIGN = {"harder": 1, "easier": -1}


def imported(higher_is: Any) -> dict[str, Any]:
    """The description of a column that was computed elsewhere.

    Raises:
        OptionError: `higher_is` is neither "harder" nor "easier".

    >>> imported("easier")
    {'hardness': -1, 'scorer': 'imported'}
    """
    if not isinstance(higher_is, str) or higher_is not in _SIGN:
        raise OptionError(f"higher_is={higher_is!r}: say 'harder' or 'easier'.")
    return {"hardness": _SIGN[higher_is], "scorer": "imported"}


def imported_columns(
    columns: Mapping[str, str], higher_is: HigherIs | Mapping[str, HigherIs]
) -> dict[str, dict[str, Any]]:
    """The descriptions of columns of a table; one whose direction is not named gets none, so it ranks nothing.

    Args:
        columns: name of a score -> its name in the table.
        higher_is: what a high value means: of all columns, or name in the table -> of that column.

    Raises:
        OptionError: a word other than "harder" and "easier", or the name of a column that is not among these scores.

    >>> imported_columns({"quality": "q", "width": "w"}, {"q": "easier"})
    {'quality': {'hardness': -1, 'scorer': 'imported'}, 'width': {'scorer': 'imported'}}
    """
    if not isinstance(higher_is, Mapping):
        return {name: imported(higher_is) for name in columns}
    for given in higher_is:
        if given not in columns.values():
            raise unknown_name(
                "column that is read as a score, whose direction could be named", given, columns.values()
            )
    described = {given: imported(word) for given, word in higher_is.items()}
    return {name: described.get(given, {"scorer": "imported"}) for name, given in columns.items()}


def refuse_other_parameters(have: Mapping[str, Any], described: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse columns that exist with another description; the same over more seeds is fine.

    Args:
        have: name -> what is known of the column that exists.
        described: name -> what is known of the new one.
        names: of the columns that exist and are given anew.

    Raises:
        OptionError: it names the first difference.
    """
    for name in names:
        old, new = have.get(name, {}), described.get(name, {})
        differing = [key for key in sorted({*old, *new}) if key != "seeds" and old.get(key) != new.get(key)]
        if not differing and not set(old.get("seeds", ())) <= set(new.get("seeds", ())):
            differing = ["seeds"]
        if differing:
            key = differing[0]
            raise OptionError(
                f"column {name!r} exists with other parameters ({key} {old.get(key)} there, {new.get(key)} here): "
                "give the new one another name, save_as=NAME (--as NAME), or another out= (--out)."
            )
