"""What `train` is asked for besides data and model, and the training that this means once they are open."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from datadiet.data import Source
from datadiet.errors import OptionError, first_line
from datadiet.files import array_digest
from datadiet.models.narrow import Removed
from datadiet.models.running import brought_to_cpu
from datadiet.parameters import check_whole
from datadiet.randomness import derive
from datadiet.registry import read_spec
from datadiet.runtime import Plan
from datadiet.runtime.process import process_group
from datadiet.sampling.epoch_sampler import Schedule
from datadiet.sparsity.mask_lora import without_adapters
from datadiet.sparsity.perp import freezing, perp
from datadiet.table import Selection
from datadiet.table.classes import ClassCounts
from datadiet.training import OBJECTIVES, Clock, Trainer
from datadiet.training.objective import Objective
from datadiet.training.state import weights_digest
from datadiet.workflow.checkpoints import last_checkpoint
from datadiet.workflow.fitting.masking import MasksByMethod
from datadiet.workflow.fitting.narrowing import Narrowing
from datadiet.workflow.fitting.pruning import Pruning, Unpruned, read_pruning
from datadiet.workflow.fitting.schedules import open_schedule, placed_selection, rows_kept, schedule_name
from datadiet.workflow.fitting.teachers import TeacherOptions, taught_by
from datadiet.workflow.session import Session

__all__ = ["Training", "TrainingJob"]

_log = logging.getLogger("datadiet")


@dataclass(frozen=True)
class Training:
    """A training that is ready to begin.

    Attributes:
        session: what it is opened in; its networks are like the one that trains.
        trainer: without the hook that prunes.
        pruning: which weights are pruned, and when.
        plan: everything that determines the result.
        adapters: the rank of low-rank updates of frozen weights; 0 = there are none.
        classes: what a selection keeps of each class; None without one, or without labels.
    """

    session: Session
    trainer: Trainer
    pruning: Pruning
    plan: Plan
    adapters: int = 0
    classes: ClassCounts | None = None


@dataclass(frozen=True)
class TrainingJob:
    """What to train on, for how long, and by what; checked as far as that is possible without data.

    Attributes:
        budget: `epochs`, `steps` and `match`, as in `train`.
        seed: of initialisation, order and dropout.
        selection: train on its examples; None = on everything.
        sampler: instead of a selection.
        objective: what changes the loss.
        teaching: teachers, if there are any.
        pruning: what is pruned, if anything: weights while the network trains, or channels before.
        start: weights to start from: a checkpoint or a network.
        trainable: which parameters train, see `datadiet.sparsity.perp`; () = all.
    """

    budget: Mapping[str, Any]
    seed: int
    selection: Selection | str | Path | None
    sampler: Schedule | str | None
    objective: str | None
    teaching: TeacherOptions
    pruning: Pruning | Narrowing
    start: Path | nn.Module | None
    trainable: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> TrainingJob:
        """The job that arguments of `train` mean, by their names; other entries are not looked at.

        Raises:
            OptionError: some that cannot work together.
            DataError: there are no weights to start from.
        """
        seed, start = check_whole("seed", given["seed"], 0), given["start"]
        if given["selection"] is not None and given["sampler"] is not None:
            raise OptionError("give a selection or a sampler, not both: a selection is the same every epoch.")
        start = start if start is None or isinstance(start, nn.Module) else last_checkpoint(start, "start")
        teaching = TeacherOptions(*(given[name] for name in ("teacher", "teacher_model", "kd_weight", "temperature")))
        pruning = read_pruning(
            given["sparsify"], given["sparsify_when"], given["keep_dense"], given["sparsify_on"], start is not None
        )
        budget = {name: given[name] for name in ("epochs", "steps", "match")}
        named = given["trainable"]
        trainable = (named,) if isinstance(named, str) else tuple(named)
        without_adapters(trainable)  # refuses a wrong rank
        chosen = given["selection"], given["sampler"], given["objective"]
        return cls(budget, seed, *chosen, teaching, pruning, start, trainable)

    @property
    def files(self) -> tuple[Path, ...]:
        """The checkpoints that say how inputs are prepared."""
        return (self.start,) if isinstance(self.start, Path) else ()

    def elsewhere(self) -> TrainingJob:
        """The same for another process."""
        teacher = self.teaching.teacher
        several = isinstance(teacher, (list, tuple))
        moved = [brought_to_cpu(one) for one in teacher] if several else brought_to_cpu(teacher)
        teaching = replace(self.teaching, teacher=moved)
        return replace(self, teaching=teaching, start=brought_to_cpu(self.start))

    @contextmanager
    def opened(self, session: Session, planned: Mapping[str, Any] | None = None) -> Iterator[Training]:
        """The training; the modes of the user's own networks are restored afterwards.

        Args:
            session: to open it in.
            planned: the plan of the run to continue, if there is one.

        Raises:
            OptionError: what does not fit the data or the model.
            FingerprintMismatch: a selection belongs to other data.
            DataError: weights that do not fit.
        """
        source, seed = session.source, self.seed
        rows, weights, classes = (None, None, None) if self.selection is None else _kept(self.selection, source)
        clock = Clock.of_budget(len(source), session.recipe.batch_size, **self.budget)
        schedule = open_schedule(self.sampler, rows, weights, source, derive(seed, "order"), clock.epochs)
        clock.shown = schedule.begin(0)
        begun = self._begun(session, schedule, (planned or {}).get("removed", ()))
        network, pruning = begun.network, begun.pruning.opened(begun.session)
        what = begun.session.what() | {
            "verb": "train",
            **{name: None if a is None else array_digest(a) for name, a in (("rows_kept", rows), ("weights", weights))},
            "sampler": None if self.sampler is None else schedule_name(self.sampler),
            "epochs": clock.epochs,
            "steps": clock.steps,
            "seed": seed,
            **({} if self.objective is None else {"objective": self.objective}),
            **({"trainable": sorted(self.trainable)} if self.trainable else {}),
            **begun.plan,
        }
        words, adapters = without_adapters(self.trainable)
        with ExitStack() as undo:
            if self.trainable:
                undo.enter_context(perp(network, words) if words else _all_frozen(network))
            inner, taught = taught_by(self.teaching, session, network, clock, undo)
            inner = _objective(self.objective, inner, clock, seed)
            trainer = Trainer(network, session.task, session.feed, schedule, session.recipe, clock, seed, inner)
            if adapters:
                _check_zeros_stay(pruning)
            plan = Plan(what | taught | pruning.plan(trainer, session))
            yield Training(begun.session, trainer, pruning, plan, adapters, classes)

    def _begun(self, session: Session, schedule: Schedule, planned: Sequence[Removed]) -> _Begun:
        """The network as training finds it; `planned` is all that the network of the run to continue lacks."""
        network, pruning = _network(session, self.start, self.seed), self.pruning
        plan = {"start": None if self.start is None else weights_digest(network)}
        if not isinstance(pruning, Narrowing):
            return _Begun(network, session, pruning, plan)
        presented = np.sort(schedule.order(0)(np.arange(schedule.begin(0))))
        network, narrow = pruning.narrow(network, session, self.seed, presented, planned)
        return _Begun(network, narrow, Unpruned(), plan | pruning.plan(session))


@dataclass(frozen=True)
class _Begun:
    """A network before the first step, the session whose networks are like it, what prunes it later, and its plan."""

    network: nn.Module
    session: Session
    pruning: Pruning
    plan: dict[str, Any]


def _all_frozen(network: nn.Module) -> AbstractContextManager[None]:
    """Freeze a network of which only adapters train."""
    if process_group()[0] > 1:
        raise OptionError(
            "several processes exchange the gradients of parameters, and with trainable=adapters alone there are none: "
            "add biases (--trainable biases), or use one process."
        )
    return freezing(network)


def _check_zeros_stay(pruning: Pruning) -> None:
    """Refuse adapters of weights whose zeros change while they train."""
    if isinstance(pruning, MasksByMethod) and pruning.pace.kind != "start":
        raise OptionError(
            f"trainable=adapters retrains a network whose zeros stay where they are, and sparsify_when="
            f"{pruning.pace.kind} moves them: prune at once, with sparsify_when=start (--sparsify-when start)."
        )


def _objective(text: str | None, inner: Objective, clock: Clock, seed: int) -> Objective:
    """The objective of this name, around another one; None = that one itself."""
    if text is None:
        return inner
    spec, given = read_spec(text, OBJECTIVES, "objective")
    objective: Objective = spec.fn(inner, clock, seed=derive(seed, "objective"), **given)
    return objective


def _kept(
    selection: Selection | str | Path, source: Source
) -> tuple[np.ndarray, np.ndarray | None, ClassCounts | None]:
    """The rows of a source that a selection keeps, ascending, their weights, if it has any, and their classes."""
    (rows, weights), counts = rows_kept(placed_selection(selection, source), source), None
    if source.labels is not None:
        counts = ClassCounts.of(source.labels, rows, source.class_names)
        counts.warn("the network cannot learn them; select with --by-class (by_class=True) to keep each class's share")
    return rows, weights, counts


def _network(session: Session, start: Path | nn.Module | None, seed: int) -> nn.Module:
    network = session.fresh(seed)
    if isinstance(start, Path):
        return session.model.loaded(start, network)
    if start is not None:
        try:
            network.load_state_dict(start.state_dict())
        except RuntimeError as error:
            raise OptionError(
                f"start= is not a network of the architecture {session.model.spec} ({first_line(error)}): give one "
                "that is."
            ) from None
    return network
