"""The record of an objective that a training may choose by name: what it is given, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from datadiet.parameters import name_of, parameters

__all__ = ["ObjectiveSpec"]

_OF_THE_RUN = ("inner", "clock", "seed")


@dataclass(frozen=True)
class ObjectiveSpec:
    """What the workflow needs to know to make an objective.

    Attributes:
        fn: its class. `inner` is the objective that it changes, by default the loss of the task; `clock` and `seed` are
            those of the training. All other parameters are the user's, and have defaults.
        name: what users call it; the name of `fn` if not given.
        reference: where it comes from.
    """

    fn: Callable[..., Any]
    name: str = ""
    reference: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or name_of(self.fn))

    @property
    def filled(self) -> tuple[str, ...]:
        """The parameters that a run fills in."""
        return tuple(key for key in parameters(self.fn, 0) if key in _OF_THE_RUN)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that a user may set, with their defaults."""
        return {key: default for key, default in parameters(self.fn, 0).items() if key not in _OF_THE_RUN}

    @property
    def example(self) -> Mapping[str, Any]:
        """Values for the parameters without a default: there are none."""
        return {}
