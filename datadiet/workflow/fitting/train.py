"""train: on a selection, on a new random subset every epoch, or on everything."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from datadiet.data import Source
from datadiet.errors import OptionError, first_line
from datadiet.files import array_digest
from datadiet.integrations.loggers import scalar_writer
from datadiet.models import load_checkpoint, open_model
from datadiet.parameters import check_arguments, check_whole
from datadiet.randomness import derive
from datadiet.registry import read_spec
from datadiet.runtime import Plan, RunFolder, Sink, planned_threads, settings
from datadiet.runtime.process import say_precision
from datadiet.runtime.records import read_history
from datadiet.runtime.units import Product
from datadiet.sampling.epoch_sampler import Schedule
from datadiet.sparsity.masks import Masks
from datadiet.table import Selection
from datadiet.table.classes import ClassCounts
from datadiet.tasks import Evaluation
from datadiet.training import OBJECTIVES, Clock, Recipe, Trainer
from datadiet.training.hooks import AfterEpoch
from datadiet.training.logged import Logged
from datadiet.training.objective import Objective
from datadiet.training.state import weights_digest
from datadiet.workflow.checkpoints import last_checkpoint
from datadiet.workflow.fitting.pruning import PruningOptions
from datadiet.workflow.fitting.schedules import open_schedule, rows_of, schedule_name
from datadiet.workflow.fitting.teachers import TeacherOptions, taught_by
from datadiet.workflow.session import JobSpec, Session, open_session

__all__ = ["TrainResult", "train"]

_log = logging.getLogger("datadiet")


@dataclass(frozen=True)
class TrainResult:
    """The result of training.

    Attributes:
        model: the trained network, in evaluation mode.
        history: one entry per epoch: epoch, step, loss, accuracy (on what was presented), lr, seconds.
        evaluation: on the held-out data after the last step, or None without any.
        steps: optimizer steps taken.
        kept: examples in the first epoch.
        seconds: training time, without scoring and selecting.
        masks: which weights are left, if the network was pruned.
    """

    model: nn.Module
    history: list[dict[str, float]]
    evaluation: Evaluation | None
    steps: int
    kept: int
    seconds: float
    masks: Masks | None = None

    @property
    def accuracy(self) -> float | None:
        """Held-out accuracy after the last step (never the best of several), or None without held-out data."""
        return None if self.evaluation is None else self.evaluation.accuracy


def train(
    dataset: Any,
    model: str | nn.Module | Callable[[], nn.Module],
    selection: Selection | str | Path | None = None,
    *,
    sampler: Schedule | str | None = None,
    objective: str | None = None,
    teacher: Any = None,
    teacher_model: str | Callable[[], nn.Module] | None = None,
    kd_weight: str | float = "auto",
    temperature: float = 4.0,
    start: str | Path | nn.Module | None = None,
    sparsify: str | Masks | None = None,
    sparsify_when: str | None = None,
    sparsify_on: Selection | str | Path | None = None,
    keep_dense: Sequence[str] = (),
    epochs: int | None = None,
    steps: int | None = None,
    match: str | None = None,
    seed: int = 0,
    recipe: Recipe | Mapping[str, Any] | None = None,
    eval: Any = None,
    strip_prefix: str = "",
    device: str = "auto",
    out: str | Path | None = None,
    log: str | Callable[[int, dict[str, float]], object] | None = None,
) -> TrainResult:
    """Train a network.

    Args:
        dataset: as in `score`; the whole data set, even with a selection.
        model: as in `score`.
        selection: train on its examples, with its weights; None = on everything.
        sampler: instead of a selection: a sampler of `datadiet.sampling`, or a string such as "rs2:keep=10%".
        objective: what changes the loss, such as "selective_backprop:keep=0.5".
        teacher: distil from a network trained on all the data: a run (its first seed's last epoch), a checkpoint, a
            trained network, or a list of these, whose logits are averaged. See `datadiet.training.distill`.
        teacher_model: the network of the teacher's weights, a spec or a function; by default what its run says, or, for
            a checkpoint outside a run, `model`.
        kd_weight: of the distillation term, in [0, 1]; "auto" follows from the share of the data that an epoch shows.
        temperature: of both softmaxes, positive.
        start: weights to start from instead of random ones: a checkpoint, a run (the first seed's last epoch), or a
            network of the same architecture. Inputs are normalised as in the run of a checkpoint.
        sparsify: prune weights of the network too, such as "global_magnitude:0.9" for 90 % of them (see `ls pruning`),
            or `Masks` that stay as they are; "masks:RUN" takes those of a pruned run.
        sparsify_when: "start"; "cubic:0.25-0.75", gradually between these shares of the training; "rewind:0.05" or
            "rewind_lr:0.05", in rounds that return to that step. None = "start" for methods that do not need a trained
            network and with `start`, otherwise "cubic".
        sparsify_on: a selection of the examples that a pruning method reads; None = those that are trained on.
        keep_dense: names of layers that are not pruned.
        epochs: passes over the kept examples.
        steps: optimizer steps, instead of epochs.
        match: "full-steps": the steps that `epochs` passes over the full data take.
        seed: of initialisation, order and dropout, separate streams. Augmentation has its own (`recipe.augment_seed`).
        recipe: a Recipe, or some of its fields.
        eval: held-out data, or "10%"; digits come with their own.
        device: "auto" or a torch device.
        strip_prefix: what the names of weights in `start` have before those of the model, such as "backbone.".
        out: a run folder with checkpoint, log and manifest; the same call continues an interrupted one.
        log: "tensorboard" (below `out`), "wandb", or a function of (step, {name: number}): loss, accuracy, learning
            rate and speed every 50 steps, loss and accuracy of each epoch, and the evaluation.

    Raises:
        MissingExtra: what `log` names is not installed.
        OptionError: not exactly one budget, both a selection and a sampler, or a folder that holds another run.
        FingerprintMismatch: the selection belongs to another data set.
        DataError: damaged data, weights that do not fit, or training that diverged.
    """
    budget: dict[str, Any] = {"epochs": epochs, "steps": steps, "match": match}
    check_arguments(train, budget | {"strip_prefix": strip_prefix, "out": out, "objective": objective, "log": log})
    check_whole("seed", seed, 0)
    if isinstance(model, nn.Module):
        open_model(model, (), 0).fresh(seed)  # says why a trained model will not do
    if selection is not None and sampler is not None:
        raise OptionError("give a selection or a sampler, not both: a selection is the same every epoch.")
    start = start if start is None or isinstance(start, nn.Module) else last_checkpoint(start, "start")
    options = TeacherOptions(teacher, teacher_model, kd_weight, temperature)
    pruning = PruningOptions(sparsify, sparsify_when, keep_dense, sparsify_on, start is not None)
    files = (start,) if isinstance(start, Path) else ()
    logged = None if log is None else Logged(scalar_writer(log, out))
    threads = planned_threads(out)
    session = open_session(JobSpec(dataset, model, eval, None, files, None, recipe, device, threads, strip_prefix))
    rows, weights = (None, None) if selection is None else _kept(selection, session.source)
    clock = Clock.of_budget(len(session.source), session.recipe.batch_size, **budget)
    schedule = open_schedule(sampler, rows, weights, session.source, derive(seed, "order"), clock.epochs)
    clock.shown, network = schedule.begin(0), _network(session, start, seed)
    what = session.what() | {
        "verb": "train",
        **{name: None if a is None else array_digest(a) for name, a in (("rows_kept", rows), ("weights", weights))},
        "sampler": None if sampler is None else schedule_name(sampler),
        "start": None if start is None else weights_digest(network),
        "epochs": clock.epochs,
        "steps": clock.steps,
        "seed": seed,
        **({} if objective is None else {"objective": objective}),
    }
    with ExitStack() as teaching:
        inner, taught = taught_by(options, session, clock, teaching)
        inner = _objective(objective, inner, clock, seed)
        trainer = Trainer(network, session.task, session.feed, schedule, session.recipe, clock, seed, inner)
        return _fit(trainer, session, what | taught, out, logged, pruning.opened(session))


def _fit(
    trainer: Trainer,
    session: Session,
    what: Mapping[str, Any],
    out: str | Path | None,
    logged: Logged | None,
    pruning: PruningOptions,
) -> TrainResult:
    """Train and evaluate, and write what a run holds."""
    plan = Plan({**what, **pruning.plan(trainer, session)})
    folder = None if out is None else RunFolder.open(out, plan)
    _log.info("working on %s", session.hardware)
    say_precision(session.recipe.precision, session.hardware.device)
    kept = trainer.schedule.begin(0)
    with settings(session.recipe.threads, session.recipe.precision), closing(logged) if logged else nullcontext():
        trainer.hooks = pruning.hooks(trainer, session)
        seconds = _run(trainer, folder, logged)
        result = _evaluated(trainer, session, logged)
    trainer.model.eval()
    taken = int(trainer.history[-1]["step"] + trainer.history[-1].get("repeated", 0))
    if folder is not None and trainer.main:
        about = {"steps": taken, "kept": kept, "seconds": seconds, **(result.as_dict() if result else {})}
        _finish(folder, trainer.seed, about)
    return TrainResult(trainer.model, trainer.history, result, taken, kept, seconds, pruning.masks(trainer))


def _finish(folder: RunFolder, seed: int, about: dict[str, Any]) -> None:
    """Write the log of a finished run, and remove what an unfinished one needs."""
    sink = Sink(folder)
    sink.update(folder.layout.log, about)
    sink.write(Product(folder.layout.relative(folder.layout.state(seed)), None))


def _objective(text: str | None, inner: Objective, clock: Clock, seed: int) -> Objective:
    """The objective of this name, around another one; None = that one itself."""
    if text is None:
        return inner
    spec, given = read_spec(text, OBJECTIVES, "objective")
    objective: Objective = spec.fn(inner, clock, seed=derive(seed, "objective"), **given)
    return objective


def _kept(selection: Selection | str | Path, source: Source) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows of a source that a selection keeps, ascending, and their weights, if it has any."""
    selection = Selection.read(selection) if isinstance(selection, (str, Path)) else selection
    selection = selection.placed(source)
    rows = rows_of(selection.indices, source)
    if source.labels is not None:
        counts = ClassCounts.of(source.labels, rows, source.class_names)
        _log.info("%s", counts)
        counts.warn("the network cannot learn them; select with --by-class (by_class=True) to keep each class's share")
    return rows, None if selection.weight is None else selection.weights


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


def _evaluated(trainer: Trainer, session: Session, logged: Logged | None) -> Evaluation | None:
    """The evaluation on the held-out data, if there are any."""
    held = session.held_out
    result = None if held is None else session.task.evaluate(trainer.model, held)
    if logged is not None and result is not None:
        logged.evaluated(result)
    return result


def _run(trainer: Trainer, folder: RunFolder | None, logged: Logged | None) -> float:
    """Train, or load a finished run; returns the seconds that training took."""
    seed = trainer.seed
    if folder is None:
        trainer.hooks = [*trainer.hooks, *([] if logged is None else [logged])]
        trainer.run()
        return trainer.seconds
    layout, sink = folder.layout, Sink(folder)
    log, history = folder.read(layout.log), read_history(layout) if layout.history.exists() else []
    if "seconds" in log and (done := layout.checkpoint(seed, history[-1]["epoch"])).exists():
        trainer.history = history
        load_checkpoint(trainer.model, done)
        return float(log["seconds"])

    def write_log(epoch: int) -> None:
        if trainer.main:
            text = "".join(json.dumps(entry) + "\n" for entry in trainer.history)
            sink.write(Product(layout.relative(layout.history), text))

    hook = logged or AfterEpoch(write_log)  # one hook in either case: a state fits with and without log=
    hook.action = write_log
    trainer.hooks = [*trainer.hooks, hook]
    state = layout.state(seed)
    trainer.run(state=state, save=lambda content: sink.write(Product(layout.relative(state), content)))
    if trainer.main:
        path = layout.checkpoint(seed, trainer.clock.epoch)
        sink.write(Product(layout.relative(path), trainer.checkpoint))
    return trainer.seconds
