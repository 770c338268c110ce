"""What the JSON that describes an artefact holds, so that whoever reads it finds values of the types that it uses.

A form is a type, a list of one form, a tuple of forms of which one fits, or a table of forms by name: "?" marks a name
that may be absent, "*" stands for the names that are not listed. What no form mentions is not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from datadiet.errors import DataError

__all__ = ["LOG", "MANIFEST", "check_description", "check_identity_block"]

_NULL = type(None)
_WORDS = {
    int: "a whole number", float: "a number", str: "a text", bool: "true or false", list: "a list", dict: "a table",
    _NULL: "null",
}  # fmt: skip

_DATA = {
    "n?": int, "ids?": (_NULL, str), "labels?": (_NULL, str), "content?": (_NULL, str), "content_kind?": (_NULL, str),
    "positional_ids?": (_NULL, bool), "by_id?": (_NULL, bool), "unplaced?": bool,
}  # fmt: skip
_FACTS = {
    "epochs?": int, "checkpoints?": (bool, [int]), "lr?": [float], "reference?": (_NULL, str),
    "num_classes?": (_NULL, int), "accuracy?": (_NULL, float),
}  # fmt: skip
_COLUMN = {"hardness?": int, "scorer?": str, "params?": dict, "needs?": list, "seeds?": [int]}
_SCORES = {
    "data?": _DATA, "facts?": _FACTS, "columns?": {"*": _COLUMN}, "stability?": {"*": dict}, "class_names?": [str],
    "skipped?": list,
}  # fmt: skip
_SELECTION = {
    "data?": _DATA, "method?": str, "params?": dict, "columns?": {"*": str}, "parents?": dict,
    "classes?": (_NULL, {"names": [str], "before": [int], "after": [int]}),
}  # fmt: skip
_NORMALISATION = {"mean": [float], "std": [float]}

MANIFEST = {
    "version?": int,
    "plan_hash?": str,
    "plan": {
        "verb?": str,
        "recipe?": {"threads?": int},
        "class_names?": [str],
        "inputs?": (_NULL, {"shape?": (_NULL, [int]), "normalisation?": (_NULL, _NORMALISATION)}),
        "removed?": [{"*": {"*": [int]}}],
    },
    "facts?": _FACTS,
    "columns?": dict,
    "stability?": dict,
}
_RESULTS = {"accuracy?": float, "class_recall?": [(_NULL, float)], "evaluation_seconds?": float}
_TRAINING = {"seconds": float, "history": [{"lr?": float, "seconds?": float}], **_RESULTS}
LOG = {
    "seconds?": float, "latest_seconds?": float, "steps?": int, "kept?": int, "sparsity?": float, **_RESULTS,
    "train seed *": _TRAINING, "evaluate *": {"seconds": float}, "*": {"seconds?": float},
}  # fmt: skip


def check_identity_block(found: Mapping[str, Any], path: Path) -> None:
    """Check the description of a table.

    Raises:
        DataError: it holds a value that a table of its format never has.
    """
    forms = {"datadiet.selection": _SELECTION, "datadiet.signals": {"plan?": str}}
    kind = found.get("format", "")
    form = forms.get(kind, _SCORES) if isinstance(kind, str) else {"format": str}
    check_description(found, form, path)
    if form is _SCORES and any(one.get("hardness", 1) not in (1, -1) for one in found.get("columns", {}).values()):
        raise DataError(f"{path} has a damaged description (a column's hardness is 1 or -1): make the file again.")


def check_description(found: Any, form: Any, path: Path, what: str = "file") -> None:
    """Check what a file says of an artefact.

    Args:
        found: its JSON value.
        form: what it has to hold.
        path: where it was found.
        what: what to make again if it is damaged.

    Raises:
        DataError: it holds a value of another type; the first one is named.
    """
    for misfit in _misfits(found, form, ""):
        raise DataError(f"{path} has a damaged description ({misfit}): make the {what} again.")


def _misfits(value: Any, form: Any, at: str) -> Iterator[str]:
    if isinstance(form, tuple):
        if all(any(_misfits(value, one, at)) for one in form):
            yield from _misfits(value, form[-1], at)
    elif isinstance(form, dict) and isinstance(value, dict):
        inside = f"{at}." if at else ""
        yield from (f"{inside}{key} is missing" for key in form if key[-1] not in "?*" and key not in value)
        for key, one in value.items():
            yield from _misfits(one, _form_of(key, form), f"{inside}{key}")
    elif isinstance(form, list) and isinstance(value, list):
        for place, one in enumerate(value):
            yield from _misfits(one, form[0], f"{at}[{place}]")
    elif form is not object and not _is(value, form if isinstance(form, type) else type(form)):
        shown = json.dumps(value)
        words = _WORDS[form if isinstance(form, type) else type(form)]
        yield f"{at or 'it'} is {shown[:40]}{'…' if len(shown) > 40 else ''}, not {words}"


def _form_of(key: str, table: Mapping[str, Any]) -> Any:
    """The form of an entry: under its name, or a name that ends in a star; `object` if any value will do."""
    stars = (of for name, of in table.items() if name.endswith("*") and key.startswith(name[:-1]))
    return table.get(key, table.get(f"{key}?", next(stars, object)))


def _is(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind)
