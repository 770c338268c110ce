"""Teachers: from runs, checkpoints or networks to what a student distils from."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import nn

from datadiet.errors import OptionError
from datadiet.models import evaluating
from datadiet.training import Clock
from datadiet.training.distill import Distillation, MeanOf, Teacher, TeacherNetwork, auto_kd_weight, check_distillation
from datadiet.training.objective import Objective, Supervised
from datadiet.workflow.fitting.stored_logits import stored_logits
from datadiet.workflow.session import Session
from datadiet.workflow.trained_network import Builder, open_trained

__all__ = ["TeacherOptions", "taught_by"]

_log = logging.getLogger("datadiet")

_MANY, _FEW = 4, 0.2  # times the student's parameters; share of the data


@dataclass(frozen=True)
class TeacherOptions:
    """What the user says about distillation.

    Attributes:
        teacher: a run, a checkpoint, a trained network, or several of these; None = no teacher.
        model: the spec of their networks, or a function that makes one; None = what their runs say.
        weight: `kd_weight`: "auto", or a number in [0, 1].
        temperature: a positive number.
    """

    teacher: Any
    model: Builder | None = None
    weight: str | float = "auto"
    temperature: float = 4.0

    def __post_init__(self) -> None:
        if self.teacher is None and (self.model, self.weight, self.temperature) != (None, "auto", 4.0):
            raise OptionError(
                "teacher_model, kd_weight and temperature are about a teacher: give teacher= (--teacher RUN)."
            )


@dataclass(frozen=True)
class _Opened:
    """A teacher, what it adds to the plan, its name, and the parameters of its network, 0 if it needs none."""

    teacher: Teacher
    plan: Any
    name: str
    parameters: int = 0


def taught_by(
    options: TeacherOptions, session: Session, student: nn.Module, clock: Clock, stack: ExitStack
) -> tuple[Objective, dict[str, Any]]:
    """Open the teachers, if there are any, and say what will be minimised.

    Args:
        options: what the user says.
        session: of the student's data, with the networks of full width.
        student: the network that learns.
        clock: of the training, at its beginning; it says how many examples each epoch shows.
        stack: restores the modes of the user's own networks when it closes.

    Returns:
        The objective, and what it adds to the plan.

    Raises:
        OptionError: weights without a network or a network without weights, a network that cannot take the data or has
            another number of classes, code that only a file names, or a weight or temperature out of range.
        DataError: weights or stored logits that do not fit.
    """
    if options.teacher is None:
        return Supervised(session.task), {}
    given = options.teacher if isinstance(options.teacher, (list, tuple)) else [options.teacher]
    if not given:
        raise OptionError("teacher=[] (--teacher) names no teacher: give a run, a checkpoint or a network.")
    opened = [_opened(one, options.model, session, stack) for one in given]
    n = len(session.source)
    teachers, weight = [one.teacher for one in opened], _weight(options.weight, clock, n)
    teacher = teachers[0] if len(teachers) == 1 else MeanOf(teachers)
    objective = Distillation(session.task, teacher, weight, float(options.temperature))
    share, first = clock.shown / n, objective.current_weight
    how = f", for {100 * share:.3g} % of the data" if options.weight == "auto" else ""
    names = " and ".join(one.name for one in opened)
    _log.info("%s (kd_weight=%s%s); the teacher is %s", objective, options.weight, how, names)
    _warn_of_large(max(one.parameters for one in opened), _size(student), share)
    plan = {
        "of": [one.plan for one in opened],
        "kd_weight": [str(options.weight), first],
        "temperature": objective.temperature,
    }
    return objective, {"teacher": plan}


def _weight(given: str | float, clock: Clock, n: int) -> float | Callable[[], float]:
    if given == "auto":
        return lambda: auto_kd_weight(min(1.0, clock.shown / n))
    check_distillation(given, 1.0)
    return float(given)


def _opened(given: Any, model: Builder | None, session: Session, stack: ExitStack) -> _Opened:
    stored = None if isinstance(given, nn.Module) else stored_logits(given, session)
    if stored is not None:
        return _Opened(stored.teacher, stored.plan, stored.name)
    found = open_trained(given, model, session, "teacher", "the teacher")
    stack.enter_context(evaluating(found.network))
    teacher = TeacherNetwork(found.network, found.rescale, session.recipe.precision)
    return _Opened(teacher, found.identity, found.name, _size(found.network))


def _size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _warn_of_large(largest: int, own: int, share: float) -> None:
    if largest > _MANY * own and share < _FEW:
        _log.warning(
            "the teacher has %.0f times the parameters of the student: with few data a large teacher can hurt, and one "
            "of the student's size or smaller can be better (Ben-Baruch et al. 2025, arXiv 2403.07854)", largest / own,
        )  # fmt: skip
