"""The protocol of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from torch import Tensor, nn

from datadiet.data import Feed, Source
from datadiet.data.batch import Batch

__all__ = ["Evaluation", "Task"]


@dataclass(frozen=True)
class Evaluation:
    """What a network gets right on a data set.

    Attributes:
        accuracy: share of correct examples.
        loss: mean loss.
        class_recall: share of correct examples of each class 0..C-1; None for a class without examples.
        correct: (n,) bool, per example.
        losses: (n,) float32, per example.
        predicted: (n,) int64, per example.
    """

    accuracy: float
    loss: float
    class_recall: tuple[float | None, ...]
    correct: np.ndarray | None = None
    losses: np.ndarray | None = None
    predicted: np.ndarray | None = None

    def as_dict(self) -> dict[str, Any]:
        """What a run logs of it, as JSON values."""
        return {"accuracy": self.accuracy, "class_recall": list(self.class_recall)}

    def table(self, source: Source) -> pa.Table:
        """What a run keeps of it: a row for each example of the data that was evaluated."""
        columns = {"label": source.labels, "predicted": self.predicted, "correct": self.correct, "loss": self.losses}
        known = {name: values for name, values in columns.items() if values is not None}
        return pa.table({"index": source.index, "id": source.ids, **known})


class Task(Protocol):
    """What the rest of the package must know about outputs and targets; B examples in a batch."""

    @property
    def outputs(self) -> int:
        """How many numbers a network returns for an example: the classes, or the size of a vocabulary."""
        ...

    def prepare(self, source: Source) -> Source:
        """Other data of the same kind, with its targets numbered as in the data that the task was made for."""
        ...

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B,) the loss of each example, differentiable."""
        ...

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B,) bool, whether each example is answered correctly."""
        ...

    def signals(self, outputs: Tensor, targets: Tensor, features: Tensor | None) -> dict[str, Tensor]:
        """name -> (B,), the columns that are recorded for a presentation."""
        ...

    def divergence(self, outputs: Tensor, teacher: Tensor, targets: Tensor, temperature: float) -> Tensor:
        """(B,) how far the outputs are from those of a teacher, differentiable in the outputs."""
        ...

    def comparison(self, outputs: Tensor, others: Tensor) -> dict[str, Tensor]:
        """name -> (B,), the columns that are recorded where another network has seen the same examples."""
        ...

    def evaluate(self, model: nn.Module, feed: Feed) -> Evaluation:
        """Run a network in evaluation mode over a data set; its mode is restored afterwards."""
        ...

    def check(self, model: str, outputs: Tensor, batch: Batch) -> None:
        """Refuse outputs that cannot be scored against the targets; `model` names the network in messages."""
        ...
