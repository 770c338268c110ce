"""The record of a scorer: what it reads, which direction means harder, what it costs, where it comes from.

A method's file defines one, `SPEC`. Everything else that must be known about a method (the registry, `datadiet ls`, the
index of methods, the contract suite, `datadiet plan`) is derived from it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field
from typing import Any, Literal

from datadiet.deprecation import renamed
from datadiet.errors import OptionError
from datadiet.geometry.cost import CostOf
from datadiet.parameters import name_of, parameters, signature_of

__all__ = ["Need", "ScorerSpec", "class_labels", "outputs", "presentations", "vectors"]

Of = Literal["data", "reference"]


@dataclass(frozen=True)
class Need:
    """A signal that a scorer reads.

    Attributes:
        signal: its column, or the name of a pass that gives vectors, or "labels".
        pass_name: the pass that measures it (see `datadiet.signals.passes`): "train" = presentations during training;
            "eval" = outputs on the un-augmented data at checkpoints; "grad", "features" … = measured only when a scorer
            asks for it.
        at: which epochs: "early", "last" or "every". One epoch gives (seeds, n), several (seeds, epochs, n).
        of: "data", or "reference" for the reference examples.
        options: the options of the pass.
        mode: the old name of `pass_name`.
    """

    signal: str
    pass_name: str = ""
    at: str = "last"
    of: Of = "data"
    options: Mapping[str, Any] = field(default_factory=dict)
    mode: InitVar[str] = ""

    def __post_init__(self, mode: str) -> None:
        if mode:
            renamed("Need(mode=…)", "Need(pass_name=…)")
            object.__setattr__(self, "pass_name", mode)


def presentations(*signals: str) -> tuple[Need, ...]:
    """Signals of every presentation during training."""
    return tuple(Need(signal, "train", "every") for signal in signals)


def outputs(*signals: str, at: str = "last") -> tuple[Need, ...]:
    """Signals of an evaluation pass at one checkpoint."""
    return tuple(Need(signal, "eval", at) for signal in signals)


def vectors(pass_name: str, of: Of = "data") -> Need:
    """The vectors of a pass at the last epoch."""
    return Need(pass_name, pass_name, "last", of)


def class_labels(of: Of = "data") -> Need:
    """The class numbers of the examples."""
    return Need("labels", "features", "last", of)


@dataclass(frozen=True)
class ScorerSpec:
    """What the workflow needs to know to call a scorer.

    Attributes:
        fn: `fn(*signals, …) -> float32 (n,)`, or `{suffix: array}` where there are several scores.
        needs: its signals, in the order of its arguments.
        hardness: +1 if a higher value is harder, -1 if lower is; per suffix where they differ. 0 = the values have no
            order, such as class numbers, and no spread over seeds.
        name: what users call it; the name of `fn` if not given.
        extras: suffix -> function of the same signals, for additional columns.
        facts: parameter -> the fact in a run's manifest that fills it if the user does not.
        each: whether `fn` takes the arrays of one model: it is then called for each model, and the results averaged.
        check: takes the arguments of `fn` and refuses the parameters and shapes that `fn` refuses. It is called before
            any work, with dummy arrays of two examples. None = `fn` itself; give a `check` if `fn` would be slow.
        cost: (n, d, k, **parameters) -> steps, for scorers of n vectors of d numbers; None = a few numbers per example.
        reference: where the method comes from.
    """

    fn: Callable[..., Any]
    needs: tuple[Need, ...]
    hardness: int | Mapping[str, int] = 1
    name: str = ""
    extras: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    each: bool = False
    check: Callable[..., Any] | None = None
    cost: CostOf | None = None
    reference: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or name_of(self.fn))

    @classmethod
    def of(cls, fn: Callable[..., Any]) -> ScorerSpec:
        """The spec of a plain function: its leading parameters are signals of every presentation during training.

        Raises:
            OptionError: a function without such parameters.
        """
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        found = signature_of(fn).parameters.values()
        signals = [p.name for p in found if p.default is p.empty and p.kind in kinds]
        if not signals:
            raise OptionError(
                f"{name_of(fn)} takes no signals: give a function such as def mine(loss), whose leading parameters are "
                "names of signals."
            )
        return cls(fn, presentations(*signals))

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that a user may set, with their defaults."""
        return parameters(self.fn, len(self.needs))

    @property
    def compares(self) -> bool:
        """Whether it reads reference data."""
        return any(need.of == "reference" for need in self.needs)

    def sign(self, suffix: str = "") -> int:
        """+1 if a higher value in the column with this suffix is harder, -1 if lower is, 0 if it has no order."""
        if isinstance(self.hardness, int):
            return self.hardness
        if suffix not in self.hardness:
            raise OptionError(
                f"{self.name} returned {suffix or 'a column without a suffix'!r}, but its hardness= has "
                f"{', '.join(map(repr, self.hardness))} only: add it there, +1 if a higher value is harder."
            )
        return self.hardness[suffix]
