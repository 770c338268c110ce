"""The record of a schedule: what its class is given, what it promises, where it comes from.

The file of a schedule defines one, `SPEC`; the signature of the class says most. A run fills in `n`, `seed`, `epochs`
and `labels`, where the class takes them; all other parameters are the user's, written as NAME:key=value,key=value.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from datadiet.errors import OptionError
from datadiet.parameters import name_of, parameters

__all__ = ["ScheduleSpec"]

_OF_THE_RUN = ("n", "seed", "epochs", "labels")


@dataclass(frozen=True)
class ScheduleSpec:
    """What the workflow needs to know to make a schedule.

    Attributes:
        fn: its class, or another function that makes one.
        name: what users call it; the name of `fn` if not given.
        example: values for the parameters without a default, as a user writes them.
        by_labels: the switch with which a user has the run pass `labels`; empty = never.
        weights_sum: what the weights of an epoch sum to: the number of "examples", that of the "presentations" in
            expectation, or nothing that is promised.
        equal_keep_all: whether all examples are presented when the values of all are equal.
        reference: where it comes from.
    """

    fn: Callable[..., Any]
    name: str = ""
    example: Mapping[str, Any] = field(default_factory=dict)
    by_labels: str = ""
    weights_sum: Literal["examples", "presentations", ""] = ""
    equal_keep_all: bool = False
    reference: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or name_of(self.fn))

    @property
    def reads(self) -> Literal["loss", "error_norm", "correct"] | None:
        """The value of each presentation that it learns from."""
        return getattr(self.fn, "reads", None)

    @property
    def filled(self) -> tuple[str, ...]:
        """The parameters that a run fills in."""
        return tuple(key for key in parameters(self.fn, 0) if key in _OF_THE_RUN)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that a user may set, with their defaults."""
        own = {key: default for key, default in parameters(self.fn, 0).items() if key not in _OF_THE_RUN}
        return own | ({self.by_labels: False} if self.by_labels else {})

    @property
    def required(self) -> list[str]:
        """The parameters without a default."""
        return [key for key, default in self.parameters.items() if default is inspect.Parameter.empty]

    def make(
        self, given: Mapping[str, Any], *, n: int, seed: int, epochs: int | None, labels: np.ndarray | None = None
    ) -> Any:
        """The schedule of a run.

        Args:
            given: the parameters that the user set.
            n: examples of the data set.
            seed: of its draws.
            epochs: of the training; None = its budget is in steps.
            labels: (n,) of the examples, or None.

        Raises:
            OptionError: it needs a number of epochs, or labels, and there are none; or a parameter cannot be used.
        """
        if "epochs" in self.filled and epochs is None:
            raise OptionError(
                f"{self.name} follows the epochs of a training, and a budget in steps has no number of them: give "
                "epochs=E without match= (--epochs E without --match)."
            )
        options = {key: value for key, value in given.items() if key != self.by_labels}
        if given.get(self.by_labels):
            if labels is None:
                raise OptionError(f"{self.by_labels}=true: the data has no labels, so leave it out.")
            options["labels"] = labels
        known = {"n": n, "seed": seed, "epochs": epochs}
        return self.fn(**{key: value for key, value in known.items() if key in self.filled}, **options)
