"""One comparison: what is screened, scored, chosen, trained and certified, and what all of it cost."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from datadiet.errors import OptionError, counted
from datadiet.files import write_json
from datadiet.runtime import Layout
from datadiet.workflow.comparing.arms import Arm, affordable, arms_of
from datadiet.workflow.comparing.certificate import certified, power_note, rare_note
from datadiet.workflow.comparing.compared import ArmResult, Compared
from datadiet.workflow.comparing.forecast import Forecast
from datadiet.workflow.comparing.metrics import MEASURES, Metric
from datadiet.workflow.comparing.paired_trainings import PairedTrainings
from datadiet.workflow.comparing.screening import SCREENING_SEEDS, Effort, Rung, Screening, halves, rung_plan, survivors
from datadiet.workflow.selecting.choice import Choice

__all__ = ["ComparisonRun"]

_log = logging.getLogger("datadiet")

_ALPHA = 0.05
_REUSED = "The scores and the trainings on all the data are those of another run, and their time is not counted."


@dataclass(frozen=True)
class ComparisonRun:
    """What is compared, and how.

    Attributes:
        base: the trainings of the certificate, on all the evaluation data.
        methods: name -> choice.
        kept: numbers of examples.
        budgets: of the tables.
        metric, margin, max_hours: as in `compare`.
        left: how many methods the screening leaves; None = all are certified.
    """

    base: PairedTrainings
    methods: Mapping[str, Choice]
    kept: Sequence[int]
    budgets: Sequence[str]
    metric: Metric
    margin: float
    max_hours: float | None = None
    left: int | None = None

    @property
    def alpha(self) -> float:
        """Of the tests of one method, whether it was certified or only screened."""
        return _ALPHA / len(self.methods)

    def run(self) -> Compared:
        """Screen if asked to, score, choose, train and certify; the tables are written too."""
        self._say()
        screened = None if self.left is None else self._screen()
        base, methods = self.base, self.methods
        if screened is not None:
            base = replace(base, rows=self._halves()[1])
            methods = {name: methods[name] for name in screened.rungs[-1].kept}
        arms = self._arms(methods)
        forecast = Forecast(base, arms, self.max_hours)
        base.score(methods, forecast)
        forecast()  # the trainings may have been there, or their logs were written by workers
        with base.watch.timing("certifying"):
            full, batch = base.full(), base.session.recipe.batch_size
            arms, seeds, left_out = affordable(arms, base.seeds, batch, full.steps, full.costs.training, self.max_hours)
            base = replace(base, seeds=seeds)
            full = base.full()
            weak = power_note(full, base.labels, self.metric, self.margin, self.alpha)
        found = base.train(arms)
        with base.watch.timing("certifying"):
            rows = certified(full, found, base.labels, self.metric, self.margin, self.alpha, methods)
            rare = rare_note(full, found, rows, base.labels, self.metric)
        reused = () if base.recorded is None else (_REUSED,)
        result = Compared(
            rows, len(base.session.source), len(base.rows), self.metric, self.margin, _ALPHA, len(self.methods),
            tuple(seeds), (*left_out, *weak, *rare, *reused),
            None if screened is None else self._screening(screened, base, arms), self._seconds(base, arms, screened),
        )  # fmt: skip
        about = {"model": base.session.model.spec, "data": base.session.source.identity(), "epochs": base.epochs}
        write_json(Layout(base.out).comparison, about | result.as_dict())
        return result

    def _seconds(self, base: PairedTrainings, arms: Sequence[Arm], screened: _Screened | None) -> dict[str, float]:
        """Where the time went."""
        parts = Counter[str](base.watch.seconds)
        parts.update(base.spent(arms))
        parts.update({} if screened is None else screened.seconds)
        return {part: round(seconds, 3) for part, seconds in parts.items()}

    def _screening(self, screened: _Screened, base: PairedTrainings, arms: Sequence[Arm]) -> Screening:
        """What the table of the screening says, beside these arms that were certified."""
        kept = {arm.kept for arm in arms}
        everything = [arm for arm in self._arms(self.methods) if arm.kept in kept]
        unit = MEASURES[self.metric].loss_unit
        return Screening(
            screened.rungs, self._screening_seeds, len(self._halves()[0]), unit, screened.effort, base.effort(arms),
            base.effort(everything),
        )  # fmt: skip

    def _arms(self, methods: Mapping[str, Choice]) -> list[Arm]:
        base = self.base
        return arms_of(methods, self.kept, self.budgets, base.epochs, base.session.recipe.batch_size)

    def _halves(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the evaluation data for the screening and for the certificate."""
        held = self.base.session.held_out
        assert held is not None, "refused earlier"
        return halves(np.asarray(held.source.labels), np.asarray(held.source.index))

    @property
    def _screening_seeds(self) -> tuple[int, ...]:
        """Those after the seeds of the certificate."""
        first = self.base.seeds[-1] + 1
        return tuple(range(first, first + SCREENING_SEEDS))

    def _screen(self) -> _Screened:
        """Halve the methods until few enough are left."""
        assert self.left is not None, "asked for"
        found, methods, (rows, _) = _Screened(), dict(self.methods), self._halves()
        for at, (epochs, number) in enumerate(rung_plan(len(methods), self.left, self.base.epochs), 1):
            here = self._rung(at, epochs, rows)
            arms = self._rung_arms(methods, epochs)
            try:
                here.score(methods, Forecast(here, arms, later=sum(self._efforts()[at:], Effort())))
            except OptionError as error:  # before any work: some scores need more epochs
                raise OptionError(f"screening by {counted(epochs, 'epoch')}: {error}") from None
            trained = here.train(arms)
            with here.watch.timing("certifying"):
                table = certified(here.full(), trained, here.labels, self.metric, self.margin, _ALPHA, ())
            losses = {name: _mean_loss(table, name) for name in methods}
            rung = Rung(epochs, losses, survivors(losses, number), _mean_loss(table, "random"))
            found = found.then(rung, here.effort(arms), here.spent(arms))
            methods = {name: methods[name] for name in rung.kept}
            _log.info("screening by %d epochs: %d of %d methods go on", epochs, len(methods), len(losses))
        return found

    def _rung(self, number: int, epochs: int, rows: np.ndarray) -> PairedTrainings:
        """The trainings of a rung."""
        out = Layout(self.base.out).rung(number)
        return replace(self.base, out=out, epochs=epochs, seeds=self._screening_seeds, rows=rows, recorded=None)

    def _rung_arms(self, methods: Mapping[str, Choice], epochs: int) -> list[Arm]:
        """The methods and random choice at each share, in the first table."""
        batch = self.base.session.recipe.batch_size
        arms = arms_of(methods, self.kept, self.budgets[:1], epochs, batch)
        return [arm for arm in arms if arm.choice is not None]

    def _efforts(self) -> list[Effort]:
        """Of each rung of the screening, if no methods tie, and of the certificate."""
        base, methods, found = self.base, dict(self.methods), list[Effort]()
        if self.left is not None:
            for epochs, number in rung_plan(len(methods), self.left, base.epochs):
                here = self._rung(0, epochs, base.rows)
                found.append(here.effort(self._rung_arms(methods, epochs)))
                methods = dict(list(methods.items())[:number])
        return [*found, base.effort(self._arms(methods))]

    def _say(self) -> None:
        """The whole cost, before any of it is spent."""
        *rungs, certificate = self._efforts()
        if rungs:
            _log.info("screening: %s, more if methods tie", sum(rungs, Effort()))
        arms = self._arms(dict(list(self.methods.items())[: self.left]))
        _log.info("%s of %d seeds, and all the data: %s", counted(len(arms), "arm"), len(self.base.seeds), certificate)


@dataclass(frozen=True)
class _Screened:
    """The rungs so far, the work that they took, and the seconds that the logs of their trainings count."""

    rungs: tuple[Rung, ...] = ()
    effort: Effort = field(default_factory=Effort)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def then(self, rung: Rung, effort: Effort, seconds: Mapping[str, float]) -> _Screened:
        """With another rung."""
        return _Screened((*self.rungs, rung), self.effort + effort, Counter(self.seconds) + Counter(seconds))


def _mean_loss(table: Sequence[ArmResult], name: str) -> float:
    """Of a method, over its shares."""
    return float(np.mean([row.loss.mean for row in table if row.name == name and row.loss is not None]))
