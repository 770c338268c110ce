"""Teachers: from runs, checkpoints or networks to what a student distils from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from datadiet.data import Normalisation
from datadiet.data.batch import map_inputs
from datadiet.errors import DataError, OptionError, named
from datadiet.models import call, evaluating, open_model
from datadiet.models.catalog import MODEL_SCHEMES
from datadiet.models.running import placed
from datadiet.runtime.layout import Layout
from datadiet.runtime.records import read_record
from datadiet.training import Clock
from datadiet.training.distill import Distillation, MeanOf, Teacher, TeacherNetwork, auto_kd_weight, check_distillation
from datadiet.training.objective import Objective, Supervised
from datadiet.training.state import weights_digest
from datadiet.workflow.checkpoints import inputs_of_runs, last_checkpoint, normalisation_for
from datadiet.workflow.fitting.stored_logits import stored_logits
from datadiet.workflow.session import Session

__all__ = ["TeacherOptions", "taught_by"]

_log = logging.getLogger("datadiet")

_MANY, _FEW = 4, 0.2  # times the student's parameters; share of the data
TeacherModel = str | Callable[[], nn.Module]


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
    model: TeacherModel | None = None
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
    options: TeacherOptions, session: Session, clock: Clock, stack: ExitStack
) -> tuple[Objective, dict[str, Any]]:
    """Open the teachers, if there are any, and say what will be minimised.

    Args:
        options: what the user says.
        session: of the student.
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
    _warn_of_large(max(one.parameters for one in opened), session, share)
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


def _opened(given: Any, model: TeacherModel | None, session: Session, stack: ExitStack) -> _Opened:
    if isinstance(given, nn.Module):
        network, scale, name = placed(given, session.feed.device), None, f"a {type(given).__name__} instance"
    else:
        _refuse_untrained(given)
        stored = stored_logits(given, session)
        if stored is not None:
            return _Opened(stored.teacher, stored.plan, stored.name)
        network, scale, name = _loaded(given, model, session)
    stack.enter_context(evaluating(network))
    _try(network, scale, name, session)
    plan = [weights_digest(network), None if scale is None else [scale.mean, scale.std]]
    return _Opened(TeacherNetwork(network, scale, session.recipe.precision), plan, name, _size(network))


def _refuse_untrained(given: Any) -> None:
    if isinstance(given, str) and given.partition(":")[0] in MODEL_SCHEMES and not Path(given).exists():
        raise OptionError(
            f"teacher={given!r} is a network without trained weights: give a run or a checkpoint (--teacher RUN), and "
            f"teacher_model={given!r} (--teacher-model {given}) if it does not say which network it is of."
        )


def _loaded(
    given: str | Path, model: TeacherModel | None, session: Session
) -> tuple[nn.Module, Normalisation | None, str]:
    """The network of a checkpoint, how to rescale the student's inputs for it, and its name."""
    path = last_checkpoint(given, "teacher")
    run = Layout.of_checkpoint(path)
    said = {} if run is None else read_record(run.manifest).get("plan", {})
    spec = model or _spec_in(said, path) or session.model.spec
    source = open_model(spec, session.source.shape, session.task.outputs)
    opener = replace(session, model=replace(source, strip_prefix=session.model.strip_prefix))
    try:
        network = opener.network(path)
    except DataError as error:
        if spec != session.model.spec or said:
            raise
        raise DataError(
            f"{error} The network was taken to be the student's, {spec}: name another with teacher_model= "
            "(--teacher-model SPEC)."
        ) from error
    trained_on = inputs_of_runs([path])
    scale = normalisation_for(session.source, trained_on, session.recipe.integers) if trained_on else None
    ours = session.feed.normalisation
    rescale = None if scale is None or ours is None or scale == ours else scale.after(ours)
    return network, rescale, f"{source.spec} of {path}"


def _spec_in(plan: Mapping[str, Any], path: Path) -> str | None:
    """The spec of the network that a run trained, if it may be opened."""
    spec = plan.get("model")
    if spec is None or (spec.partition(":")[0] in MODEL_SCHEMES and not spec.startswith("py:")):
        return spec
    raise OptionError(
        f"the run of {path} trained {spec}, and a file must not decide what code runs: name the network yourself, "
        f"teacher_model={spec!r} (--teacher-model {spec})."
    )


@torch.no_grad()
def _try(network: nn.Module, scale: Normalisation | None, name: str, session: Session) -> None:
    """Refuse a teacher that cannot take the data, before anything is written."""
    batch = session.feed.first(2)
    try:
        outputs = call(network, batch if scale is None else replace(batch, inputs=map_inputs(scale, batch.inputs)))
    except Exception as error:  # the network may be the user's own
        raise OptionError(
            f"the teacher, {name}, cannot take inputs of shape {session.source.shape} ({named(error)}): give one that "
            "was trained on such data."
        ) from error
    session.task.check(f"the teacher, {name}", outputs, batch)


def _size(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _warn_of_large(largest: int, session: Session, share: float) -> None:
    own = _size(session.fresh(0))
    if largest > _MANY * own and share < _FEW:
        _log.warning(
            "the teacher has %.0f times the parameters of the student: with few data a large teacher can hurt, and one "
            "of the student's size or smaller can be better (Ben-Baruch et al. 2025, arXiv 2403.07854)", largest / own,
        )  # fmt: skip
