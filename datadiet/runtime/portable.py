"""What can leave this process: a job is refused, with the two ways out, where it is pickled and cannot be."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pickle import Pickler, PicklingError  # to check that work can be sent elsewhere; nothing is stored as a pickle
from types import FunctionType
from typing import Any

from datadiet.errors import OptionError, first_line

__all__ = ["check_portable"]


class _Check(Pickler):
    """Pickles into nothing, and refuses what only the script that runs knows by its name."""

    def __init__(self) -> None:
        super().__init__(_Nowhere())

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, (type, FunctionType)) and obj.__module__ in ("__main__", "__mp_main__"):
            raise PicklingError(f"{obj.__qualname__} is defined in the script that runs")
        return NotImplemented


class _Nowhere(io.RawIOBase):
    def write(self, data: Any) -> int:
        return len(data)


def check_portable(values: Mapping[str, Any]) -> None:
    """Refuse values that cannot be sent to another process.

    Args:
        values: name of an argument -> what was given for it.

    Raises:
        OptionError: a lambda, a function inside a function or in the script that runs, or an object that cannot be
            pickled.

    >>> check_portable({"model": "datadiet:mlp"})
    >>> check_portable({"model": lambda: None})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    datadiet.errors.OptionError: model cannot be sent to another process (...): name it by a spec such as ...
    """
    for name, value in values.items():
        try:
            _Check().dump(value)
        except (PicklingError, AttributeError, TypeError) as error:
            raise OptionError(
                f"{name} cannot be sent to another process ({first_line(error)}): name it by a spec such as "
                "py:module:attr, or define it at the top level of a module."
            ) from None
