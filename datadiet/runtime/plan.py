"""The plan: everything that determines the bytes of a run, and nothing else.

Two runs of the same plan write the same files, however often they were killed and resumed. The scorers are not part of
the plan: they only decide which parts are needed (TDDS adds its column to them).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from datadiet.errors import OptionError, one_line
from datadiet.files import canonical, digest

__all__ = ["FORMAT", "Plan"]

FORMAT = 2  # of plans and manifests: 1 was datadiet 0.1, whose runs can be read but not continued
_ROWS = "other examples of the same data (eval= or reference= split off different ones, or none)"


@dataclass(frozen=True)
class Plan:
    """What determines a run.

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
        if self.what.get("verb") != other.get("verb", self.what.get("verb")):
            raise OptionError(
                f"{where} holds a run of datadiet {other['verb']}, and this is datadiet {self.what['verb']}: choose "
                "another out= (--out)."
            )
        difference = self.difference(other, "{key} = {theirs}, and this one has {mine}")
        if difference:
            raise OptionError(
                f"{where} holds a run with {difference}: choose another out= (--out), or remove that folder."
            )

    def difference(self, other: Mapping[str, Any], words: str = "{key} is {theirs} there and {mine} in the run") -> str:
        """The first entry in which another plan differs, and both values, in words; empty if there is none."""
        mine, theirs = _flat(self.what), _flat(other)
        for key in mine | theirs:
            if _said(mine, key) != _said(theirs, key):
                values = {"mine": one_line(_said(mine, key), 80), "theirs": one_line(_said(theirs, key), 80)}
                return _ROWS if key == "rows" else words.format(key=key, **values)
        return ""


def _said(plan: Mapping[str, str], key: str) -> str:
    value = plan.get(key, "null")
    return "nothing" if value == "null" else value


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if isinstance(value, Mapping) and (value or not prefix):
        return {
            k: v for name in value for k, v in _flat(value[name], f"{prefix}.{name}" if prefix else str(name)).items()
        }
    return {prefix: canonical(value)}
