"""The record of a way to choose the weights or channels to prune: what it reads, when it is used, its source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from datadiet.errors import OptionError
from datadiet.parameters import check_parameters, name_of, parameters
from datadiet.sparsity.allocation import check_sparsity, draws, largest_in_each

if TYPE_CHECKING:
    from torch import Tensor, nn

    from datadiet.data.batch import Batch
    from datadiet.models.narrow import Removed

    Network = nn.Module
    Losses = Callable[[Tensor, Tensor], Tensor]
    Examples = Callable[[int], Iterable[Batch]]
else:  # so that the annotations of methods can be read without torch
    Network = Losses = Examples = Removed = Any

__all__ = ["ChannelSpec", "Context", "Examples", "Losses", "Network", "PruningSpec"]


@dataclass(frozen=True)
class Context:
    """What a method may read besides the weights.

    Attributes:
        model: the network.
        losses: (outputs, targets) -> (B,), what training minimises.
        batches: number of examples -> batches of so many of the chosen examples; 0 = of all. None = there are none.
        seed: of its draws.
    """

    model: Network
    losses: Losses | None = None
    batches: Examples | None = None
    seed: int = 0


@dataclass(frozen=True)
class PruningSpec:
    """What the workflow needs to know to prune by a method.

    Attributes:
        fn: (weights, sparsity, *, …) -> which are kept: weights and result are mappings from the name of a parameter to
            a tensor of its shape. Of the fields of a `Context`, it is given those that it takes. All other
            parameters are the user's, and have defaults.
        name: what users call it; the name of `fn` if not given.
        when: "trained" = it reads weights that mean something; "start" = it may be used before training.
        exact: whether exactly (1 - sparsity) N weights are kept.
        reference: where it comes from.
        reads_values: whether it reads the examples that it is given, and not only their shape.
        check: raises OptionError for parameters that cannot be had together. Only what a user writes is checked, not
            the sparsities that a pace passes through.
    """

    fn: Callable[..., dict[str, Tensor]]
    name: str = ""
    when: Literal["trained", "start"] = "trained"
    exact: bool = True
    reference: str = ""
    reads_values: bool = True
    check: Callable[[Mapping[str, Any]], None] | None = None
    example: Mapping[str, Any] = field(default_factory=lambda: {"sparsity": 0.9})

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or name_of(self.fn))

    @property
    def filled(self) -> tuple[str, ...]:
        """The fields of a `Context` that it takes."""
        known = ("model", "losses", "batches", "seed")
        return tuple(key for key in parameters(self.fn, 1) if key in known)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that a user may set, with their defaults; `shuffle` is one of every method."""
        own = {key: default for key, default in parameters(self.fn, 0).items() if key not in (*self.filled, "weights")}
        return {**own, "shuffle": False}

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters that a user sets, the sparsity as a number.

        Raises:
            OptionError: one that the method does not have, a value that cannot be, or values that do not go together.
        """
        found = {**given, "sparsity": check_sparsity(given["sparsity"])}
        check_parameters(self, found)
        if self.check is not None:
            self.check({**self.parameters, **found})
        return found

    def reads_examples(self, given: Mapping[str, Any]) -> bool:
        """Whether it reads examples, with these parameters."""
        return "batches" in self.filled and self.reads_values

    def keep(self, weights: Mapping[str, Tensor], given: Mapping[str, Any], context: Context) -> dict[str, Tensor]:
        """Which weights are kept.

        Args:
            weights: the prunable parameters.
            given: the parameters that the user set. With `shuffle` the kept weights of each layer are as many, but
                drawn at random: the control of Frankle et al. 2021 (arXiv 2009.08576), who found that methods which
                prune before training lose nothing by it.
            context: what it may read besides.

        Raises:
            OptionError: it reads data, and there are none, or a parameter cannot be used.
        """
        if "batches" in self.filled and context.batches is None:
            raise OptionError(f"{self.name} reads examples, and there are none: give data= or batches=.")
        known = {key: getattr(context, key) for key in self.filled}
        shuffle = given.get("shuffle", False)
        kept = self.fn(weights, **{**known, **{key: value for key, value in given.items() if key != "shuffle"}})
        if not shuffle:
            return kept
        return largest_in_each(draws(weights, context.seed), {name: int(mask.sum()) for name, mask in kept.items()})


@dataclass(frozen=True)
class ChannelSpec:
    """What the workflow needs to know to remove channels by a method.

    Attributes:
        fn: (`Context`, sparsity, *, example, keep_dense, …) -> the smaller network, and what was removed. All other
            parameters are the user's, and have defaults.
        name: what users call it; the name of `fn` if not given.
        when: "trained" = it reads weights that mean something.
        reference: where it comes from.
    """

    fn: Callable[..., tuple[Network, Removed]]
    name: str = ""
    when: Literal["trained", "start"] = "trained"
    reference: str = ""
    example: Mapping[str, Any] = field(default_factory=lambda: {"sparsity": 0.5})

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or name_of(self.fn))

    def checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters that a user sets, the sparsity as a number."""
        if "examples" in given and not self.reads_examples(given):
            raise OptionError(
                f"{self.name}: examples={given['examples']} is for importance=taylor: leave one of them out."
            )
        return {**given, "sparsity": check_sparsity(given["sparsity"])}

    @property
    def filled(self) -> tuple[str, ...]:
        """The parameters that the workflow sets."""
        return ("example", "keep_dense")

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that a user may set, with their defaults."""
        return {key: default for key, default in parameters(self.fn, 1).items() if key not in self.filled}

    def reads_examples(self, given: Mapping[str, Any]) -> bool:
        """Whether it reads examples, with these parameters."""
        return given.get("importance") == "taylor"
