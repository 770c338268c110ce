"""What a comparison found: a row for each arm, with the certificate and all that it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from datadiet.errors import counted
from datadiet.evaluate.noninferiority import LossInterval, Verdict
from datadiet.report.tables import TableColumn, text_table
from datadiet.workflow.comparing.arms import BUDGETS
from datadiet.workflow.comparing.metrics import MEASURES, PAYS_OFF, Measure, Metric
from datadiet.workflow.comparing.screening import Screening

__all__ = ["ArmResult", "Compared", "Costs"]


@dataclass(frozen=True)
class Costs:
    """Mean seconds of one seed.

    Attributes:
        scoring: of the scores that the arm reads: a training up to the last epoch that they need, and their passes.
        selection: choosing the examples.
        training: of the arm's own network.
        evaluation: of that network.
    """

    scoring: float = 0.0
    selection: float = 0.0
    training: float = 0.0
    evaluation: float = 0.0


@dataclass(frozen=True)
class ArmResult:
    """One row.

    Attributes:
        name: of the arm.
        budget: "full", "equal" or "reduced".
        kept: examples per epoch.
        accuracy: of each seed, after the last step.
        measured: the metric of each seed: accuracy or recall of the worst class (0..1), or mean loss (nats).
        steps: of each training.
        costs: mean seconds of a seed.
        loss: how much worse than with the full data, with limits; None for the full data.
        verdict: what is shown; None for the full data and baselines, which are not tested.
        pays_after: trainings whose fewer steps pay for choosing; None = never, nothing was spent, or not shown to be
            within the margin.
    """

    name: str
    budget: str
    kept: int
    accuracy: tuple[float, ...]
    measured: tuple[float, ...]
    steps: int
    costs: Costs
    loss: LossInterval | None = None
    verdict: Verdict | None = None
    pays_after: int | None = None


@dataclass(frozen=True, repr=False)
class Compared:
    """The result of a comparison; as text, its tables.

    Attributes:
        rows: full data first, then the arms.
        n: examples to train on.
        examples: to evaluate on.
        metric: "accuracy", "worst_class" or "loss".
        margin: the loss that is acceptable, in points, or nats for "loss".
        alpha: the chance of any wrong certificate in one table.
        methods: how many methods share it.
        seeds: the paired ones.
        notes: what was left out, and why.
        screening: how the methods were found among more; None = all that were named are in the tables.
        seconds: where the time went, over all seeds. "training", "evaluation" and the passes of "scoring" are what the
            logs of the runs say, summed over workers; all else is of this call.
    """

    rows: Sequence[ArmResult]
    n: int
    examples: int
    metric: Metric
    margin: float
    alpha: float
    methods: int
    seeds: tuple[int, ...]
    notes: Sequence[str] = field(default_factory=tuple)
    screening: Screening | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return self.text()

    @property
    def unit(self) -> str:
        """Of the margin and of losses."""
        return self._measure.loss_unit

    @property
    def _measure(self) -> Measure:
        return MEASURES[self.metric]

    def table(self, budget: str) -> list[ArmResult]:
        """The rows of one table, the full data first."""
        return [row for row in self.rows if row.budget in ("full", budget)]

    def text(self) -> str:
        """The tables, for a terminal."""
        full = self.rows[0]
        heads = {
            "equal": f"Equal steps: every training takes {full.steps}",
            "reduced": "Reduced steps: as many as the examples of an epoch need",
        }
        parts = []
        for budget in BUDGETS:
            rows = self.table(budget)
            if len(rows) > 1:
                table = text_table([self._shown(row) for row in rows], _columns(self._measure))
                parts += [heads[budget], table, *self._enough(rows)]
        certificate = (
            f"Loss: {self._measure.loss}, with one-sided limits over {len(full.accuracy)} seeds and {self.examples:,} "
            f"evaluation examples. Within the margin: the upper limit is below {self.margin:g} {self.unit}. Worse: the "
            'lower limit is above zero. In each table, the chance of any wrong "within" is '
            f'{100 * self.alpha:g} %, and so is that of any wrong "worse", shared by '
            f"{counted(self.methods, 'method')}. Baselines are not tested."
        )
        screened = [] if self.screening is None else [self.screening.text()]
        return "\n\n".join([*screened, *parts, certificate, PAYS_OFF, *self.notes, self._spent()])

    def _spent(self) -> str:
        """Where the time went, the most first."""
        parts = sorted(self.seconds.items(), key=lambda one: -one[1])
        listed = ", ".join(f"{part} {value:.1f}" for part, value in parts)
        return f"Seconds: {listed}; {sum(self.seconds.values()):.1f} in all."

    def _enough(self, rows: Sequence[ArmResult]) -> list[str]:
        """How much is enough by each method that was tested, in a sentence."""
        found = []
        for name in dict.fromkeys(row.name for row in rows if row.verdict is not None):
            within = [row.kept for row in rows if row.name == name and row.verdict is not None and row.verdict.within]
            shown = (
                f"{100 * min(within) / self.n:.3g} % of the data are enough"
                if within
                else "no share is shown to be enough"
            )
            found.append(f"{name}: {shown}")
        return [f"Within {self.margin:g} {self.unit} of the full data: {'; '.join(found)}."] if found else []

    def _shown(self, row: ArmResult) -> dict[str, Any]:
        loss, cost = row.loss, row.costs
        return {
            "name": row.name,
            "kept": f"{100 * row.kept / self.n:.3g} % ({row.kept:,})",
            "measured": self._measure.text(row.measured),
            "loss": None if loss is None else f"{loss.mean:.3g} [{loss.lower:.3g}, {loss.upper:.3g}]",
            "verdict": None if row.verdict is None else str(row.verdict),
            "steps": row.steps,
            "training": f"{cost.training:.1f}",
            "choosing": f"{cost.scoring + cost.selection:.1f}" if cost.scoring + cost.selection else "0",
            "pays": None if row.pays_after is None else row.pays_after,
        }

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "n": self.n,
            "examples": self.examples,
            "metric": self.metric,
            "margin": self.margin,
            "alpha": self.alpha,
            "methods": self.methods,
            "seeds": list(self.seeds),
            "notes": list(self.notes),
            "screening": None if self.screening is None else self.screening.as_dict(),
            "seconds": dict(self.seconds),
            "rows": [asdict(row) for row in self.rows],
        }


def _columns(measure: Measure) -> list[TableColumn]:
    return [
        ("name", "method", "left"), ("kept", "kept", "right"), ("measured", measure.heading, "right"),
        ("loss", "loss", "right"), ("verdict", "shown", "left"), ("steps", "steps", "right"),
        ("training", "training (s)", "right"), ("choosing", "scoring and choosing (s)", "right"),
        ("pays", "pays off after", "right"),
    ]  # fmt: skip
