"""The record of a pass: what it measures, how it is stored, its batches, its options, its cost.

A pass runs a network over the data at one checkpoint, or at several checkpoints of a seed at once. One record is the
only description of the pass. Importing it does not load torch: the measuring code is loaded when it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

from datadiet.errors import OptionError
from datadiet.runtime.layout import part_name

if TYPE_CHECKING:
    from torch import Tensor, nn

    from datadiet.data.batch import Batch
    from datadiet.signals.gradients import PerExample
    from datadiet.tasks import Task

__all__ = ["Examples", "Measure", "Pass", "Reader", "Setup"]

Measure = Callable[["Batch"], "dict[str, Tensor]"]
Reader = Callable[["Batch", "Tensor", "Tensor | None"], "dict[str, Tensor]"]  # of a batch, its outputs and features


@dataclass(frozen=True)
class Examples:
    """A data set that a pass may read as often as it needs.

    Attributes:
        batches: all batches, from the first example on.
        name_of: row -> what to call the example.
    """

    batches: Callable[[], Iterable[Batch]]
    name_of: Callable[[int], str]

    def pairs(self) -> Iterator[tuple[Any, Tensor]]:
        """Inputs and targets."""
        return ((batch.inputs, batch.targets) for batch in self.batches())


@dataclass(frozen=True)
class Setup:
    """What a pass works with.

    Attributes:
        models: networks in evaluation mode: one, or the checkpoints of a seed in order.
        task: what the outputs mean.
        features: outputs -> the input of the last layer in the latest forward pass, or None.
        data: the un-augmented training data.
        reference: the reference data, if any.
        options: of the pass.
        fallback: what to do with layers whose per-example gradient is not known: see `PerExample`.
        prepared: what the pass has prepared on the whole data: name -> tensor.
        seed: of its own draws.
        labels: the lowest and the highest label of all these data, None without any.
        against: batch -> the outputs (B, C) of the network to compare with, or None.
    """

    models: Sequence[nn.Module]
    task: Task
    features: Callable[[Tensor], Tensor | None]
    data: Examples
    reference: Examples | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    fallback: Literal["vmap"] | None = None
    prepared: Mapping[str, Tensor] = field(default_factory=dict)
    seed: int = 0
    labels: tuple[int, int] | None = None
    against: Callable[[Batch], Tensor] | None = None

    def engine(self, loss: str = "cross_entropy") -> PerExample:
        """Per-example gradients of the only network."""
        from datadiet.signals.gradients import PerExample

        return PerExample(self.models[0], loss, fallback=self.fallback, labels=self.labels)


@dataclass(frozen=True)
class Pass:
    """One way to measure examples.

    Attributes:
        name: of its parts, and of its vectors if it records any.
        measure: setup -> function from a batch to columns (B,) or vectors (B, d). None = presentations, which a
            recorder writes during training.
        prepare: setup -> tensors, from all the data at once, given to every worker; None = nothing to prepare.
        reads: setup -> what it reads of a plain forward pass, if that is all that it needs: passes over the same
            examples then share one.
        vectors: whether it records one vector per example instead of columns of numbers.
        augmented: whether it sees `views` augmented views of each example, where the recipe augments, and puts their
            vectors one after the other; otherwise it sees the clean one.
        row_bytes: (options, numbers of the last layer's input, outputs) -> bytes of a vector on disk, for one view.
        together: whether it sees several checkpoints of a seed at once.
        compares: whether it compares with the reference data.
        against: whether it sees another network beside the one that it measures.
        gradients: whether it needs per-example gradients.
        batch: "recipe" = the batch size of training; "evaluation" = a larger one, where no gradient is taken.
        finite: whether an infinite value is refused. (An infinite loss ranks its example, an infinite gradient does
            not.)
        options: those that may be set, with their defaults.
        check: refuses options that cannot work.
        begins: signal -> the first epoch at which it exists, for those that compare an epoch with the previous one.
        forwards: the cost of an example in forward passes; a backward pass counts as two.
    """

    name: str
    measure: Callable[[Setup], Measure] | None
    prepare: Callable[[Setup], dict[str, Tensor]] | None = None
    reads: Callable[[Setup], Reader] | None = None
    vectors: bool = False
    augmented: bool = False
    row_bytes: Callable[[Mapping[str, Any], int, int], int] = lambda options, last, outputs: (
        4 * options.get("dim", last)
    )
    together: bool = False
    compares: bool = False
    against: bool = False
    gradients: bool = False
    batch: Literal["recipe", "evaluation"] = "recipe"
    finite: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    check: Callable[[Mapping[str, Any]], object] = lambda options: None
    begins: Mapping[str, int] = field(default_factory=dict)
    forwards: float = 1

    def begin(self, setup: Setup) -> Measure:
        """The function that measures a batch."""
        assert self.measure is not None, "a recorder writes presentations"
        return self.measure(setup)

    def batch_size(self, training: int, evaluation: int) -> int:
        """The examples of a batch, given those of a training step and those of an evaluation."""
        return evaluation if self.batch == "evaluation" else training

    def views(self, options: Mapping[str, Any], augment: str) -> Sequence[int]:
        """The views of each example that it sees, if the recipe augments as `augment` says."""
        return range(1, options["views"] + 1) if self.augmented and augment != "none" else (0,)

    def option(self, key: str, value: Any) -> Any:
        """The value of an option, of the type of its default.

        Raises:
            OptionError: the wrong type, or a value that cannot work.
        """
        if isinstance(self.options[key], bool):
            if not isinstance(value, bool):
                raise OptionError(f"{key}={value!r}: give true or false.")
            return value
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise OptionError(f"{key}={value!r}: give a whole number.")
        self.check({key: int(value)})
        return int(value)

    def filed_as(
        self,
        epochs: Sequence[int] = (),
        reference: str = "",
        options: Mapping[str, Any] | None = None,
        against: str = "",
    ) -> str:
        """The name under which its parts are stored: see `part_name`."""
        given = {key: value for key, value in (options or {}).items() if value != self.options.get(key)}
        return part_name(self.name, epochs if self.together else (), reference, given, against)
