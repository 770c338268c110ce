"""The plan: everything that decides the bytes of a run, and nothing else.

Two runs of the same plan write the same files, whatever was killed and resumed in between. Which scorers are wanted is
not part of it: they only decide which of the same parts are needed (TDDS adds its column to them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from datadiet.errors import OptionError
from datadiet.files import canonical, digest

__all__ = ["Plan", "shards"]

EVAL_BATCH = 512
SHARD = 64 * EVAL_BATCH
_ROWS = "other examples of the same data (other ones were split off, or none, by --eval or --reference)"


def shards(n: int, size: int = SHARD) -> list[tuple[int, int]]:
    """The ranges of rows in which n examples are evaluated: multiples of the batch size, whoever does the work.

    >>> shards(5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    return [(lo, min(lo + size, n)) for lo in range(0, n, size)]


@dataclass(frozen=True)
class Plan:
    """What a run is.

    Attributes:
        what: JSON values: data identity, model, recipe, epochs, threads, device kind, torch version …
    """

    what: Mapping[str, Any]

    @cached_property
    def hash(self) -> str:
        """32 hex digits that every part file of the run carries."""
        return digest(dict(self.what))

    def check_same(self, other: Mapping[str, Any], where: str) -> None:
        """Refuse to mix two plans in one folder.

        Raises:
            OptionError: they differ; the first difference is named.
        """
        mine, theirs = _flat(self.what), _flat(other)
        for key in mine | theirs:
            if mine.get(key) != theirs.get(key):
                difference = (
                    _ROWS if key == "rows" else f"{key} = {_said(theirs, key)}, and this one has {_said(mine, key)}"
                )
                raise OptionError(
                    f"{where} holds a run with {difference}: choose another --out, or remove that folder."
                )


def _said(plan: Mapping[str, str], key: str) -> str:
    value = plan.get(key, "null")
    return "nothing" if value == "null" else value


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and (value or not prefix):
        return {
            k: v for name in value for k, v in _flat(value[name], f"{prefix}.{name}" if prefix else str(name)).items()
        }
    return {prefix: canonical(value)}
