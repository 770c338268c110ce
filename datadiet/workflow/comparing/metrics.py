"""The metrics of a comparison: how values of each are written, and the words for its losses and costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["MEASURES", "METRICS", "PAYS_OFF", "Measure", "Metric"]

Metric = Literal["accuracy", "worst_class", "loss"]


@dataclass(frozen=True)
class Measure:
    """How a metric is shown.

    Attributes:
        name: what is measured of a network.
        column: a shorter name, for a heading.
        unit: of what is shown: "%" or "nats".
        loss_unit: of losses and of the margin: "points" or "nats".
        loss: what a loss says, in a sentence.
        every: where all must be within the margin; empty = over all examples.
        worst: where the loss that is shown lies; empty = over all examples.
    """

    name: str
    column: str
    unit: str
    loss_unit: str
    loss: str
    every: str = ""
    worst: str = ""

    @property
    def heading(self) -> str:
        """Of a column, with the unit."""
        return f"{self.column} ({self.unit})"

    def shown(self, values: Sequence[float]) -> np.ndarray:
        """Values of networks in the unit that is shown."""
        return np.asarray(values, dtype=np.float64) * (100 if self.unit == "%" else 1)

    def text(self, values: Sequence[float]) -> str:
        """Mean and sample standard deviation of several networks.

        >>> MEASURES["accuracy"].text([0.5, 0.52]), MEASURES["loss"].text([0.5, 0.52])
        ('51.0 ± 1.4', '0.510 ± 0.014')
        """
        shown, digits = self.shown(values), 1 if self.unit == "%" else 3
        return f"{shown.mean():.{digits}f} ± {shown.std(ddof=1):.{digits}f}"


MEASURES: dict[Metric, Measure] = {
    "accuracy": Measure(
        "accuracy", "accuracy", "%", "points", "how many points lower the accuracy is than with all the data"
    ),
    "worst_class": Measure(
        "recall of the worst class", "worst class", "%", "points",
        "how many points lower the recall of the class that loses most is than with all the data",
        " in every class", " in the class that loses most",
    ),
    "loss": Measure(
        "mean loss", "mean loss", "nats", "nats", "how many nats higher the mean loss is than with all the data"
    ),
}  # fmt: skip
METRICS: tuple[Metric, ...] = tuple(MEASURES)
PAYS_OFF = (
    "Pays off after this many trainings: the steps saved then outweigh the cost of choosing. A dash: never, nothing "
    "was spent, or the choice is not within the margin."
)
"""What a column says, in the tables and in the report."""
