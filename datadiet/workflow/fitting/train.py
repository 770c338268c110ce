"""train: on a selection, on a new random subset every epoch, or on everything."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from datadiet.integrations.loggers import scalar_writer
from datadiet.models import load_checkpoint, open_model
from datadiet.models.narrow import Removed
from datadiet.parameters import check_arguments, check_whole
from datadiet.runtime import RunFolder, Sink, plan_in, planned_threads, settings
from datadiet.runtime.process import say_precision
from datadiet.runtime.records import read_history
from datadiet.runtime.units import Product
from datadiet.sampling.epoch_sampler import Schedule
from datadiet.sparsity.masks import Masks
from datadiet.table import Selection
from datadiet.tasks import Evaluation
from datadiet.training import Recipe, Trainer
from datadiet.training.adapting import Adapting
from datadiet.training.hooks import AfterEpoch
from datadiet.training.logged import Logged
from datadiet.workflow.fitting.pruning import say_costs
from datadiet.workflow.fitting.training_job import Training, TrainingJob
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.session import Session, open_session

__all__ = ["TrainResult", "finished_epoch", "run_training", "train"]

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
        removed: the channels that the network lacks, in the order in which they were removed.
    """

    model: nn.Module
    history: list[dict[str, float]]
    evaluation: Evaluation | None
    steps: int
    kept: int
    seconds: float
    masks: Masks | None = None
    removed: tuple[Removed, ...] = ()

    @property
    def accuracy(self) -> float | None:
        """Held-out accuracy after the last step (never the best of several), or None without held-out data."""
        return None if self.evaluation is None else self.evaluation.accuracy

    @property
    def sparsity(self) -> float | None:
        """The share of the weights that count which is pruned, or None if the network was not."""
        return None if self.masks is None else 1 - self.masks.density()

    @property
    def layer_sparsity(self) -> dict[str, float]:
        """The same of each layer, by the name of its weight; empty if the network was not pruned."""
        layers = {} if self.masks is None else self.masks.layers()
        return {name: 1 - kept / n for name, (kept, n) in layers.items()}


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
    trainable: Sequence[str] = (),
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
        selection: train on its examples, with its weights; a Selection, its file, or ids, one per line in .txt; None =
            on everything.
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
            or `Masks` that stay as they are; "masks:RUN" takes those of a pruned run. "channels:0.5" removes whole
            channels, with half of the parameters, before training starts (extra `prune`).
        sparsify_when: "start"; "cubic:0.25-0.75", gradually between these shares of the training; "rewind:0.05" or
            "rewind_lr:0.05", in rounds that return to that step; "rigl", "set" or "granet", which drop weights and grow
            others; "bip", whose masks move on other examples than the weights. None = "start" for methods that do not
            need a trained network and with `start`, otherwise "cubic".
        sparsify_on: a selection of the examples that a pruning method reads; None = those that are trained on.
        keep_dense: names of layers that are not pruned.
        trainable: what to train, such as ["biases", "norms"] to retrain a pruned network at little cost, "adapters" or
            "adapters:RANK" for low-rank updates of frozen weights, and names of layers; all else is frozen. () =
            everything. See `datadiet.sparsity.perp` and `datadiet.sparsity.mask_lora`.
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
        MissingExtra: what `log` names, or what `sparsify` needs, is not installed.
        OptionError: not exactly one budget, both a selection and a sampler, or a folder that holds another run.
        FingerprintMismatch: the selection belongs to another data set.
        DataError: damaged data, weights that do not fit, or training that diverged.
    """
    given = locals()
    checked = ("epochs", "steps", "match", "strip_prefix", "out", "objective", "log")
    check_arguments(train, {name: given[name] for name in checked})
    if isinstance(model, nn.Module):
        open_model(model, (), 0).fresh(check_whole("seed", seed, 0))  # says why a trained model will not do
    job, threads = TrainingJob.of(given), planned_threads(out)
    logged = None if log is None else Logged(scalar_writer(log, out))
    session = open_session(JobSpec(dataset, model, eval, None, job.files, None, recipe, device, threads, strip_prefix))
    with job.opened(session, plan_in(out)) as training:
        if training.classes is not None:
            _log.info("%s", training.classes)
        result = run_training(training, None if out is None else Sink(RunFolder.open(out, training.plan)), logged)
    if isinstance(sparsify, str):
        say_costs(session.fresh(seed), result.model, session)
    return result


def run_training(training: Training, sink: Sink | None, logged: Logged | None = None) -> TrainResult:
    """Train and evaluate, and write what a run holds.

    Args:
        training: what to do.
        sink: writes its run, which is continued if there is something to continue; None keeps no files.
        logged: where the course of the training goes.

    Raises:
        DataError: the loss became NaN or infinite.
    """
    session, trainer, pruning = training.session, training.trainer, training.pruning
    _log.info("working on %s", session.hardware)
    say_precision(session.recipe.precision, session.hardware.device)
    kept = trainer.schedule.begin(0)
    with (
        settings(session.recipe.threads, session.recipe.precision),
        closing(logged) if logged else nullcontext(),
        ExitStack() as undo,
    ):
        trainer.hooks = [*pruning.hooks(trainer, session)]
        if training.adapters:  # of the weights that are left
            trainer.hooks.append(undo.enter_context(closing(Adapting(trainer, training.adapters))))
        seconds = _run(trainer, sink, logged)
        began = time.monotonic()
        result = _evaluated(trainer, session, logged)
        spent = {} if result is None else {"evaluation_seconds": round(time.monotonic() - began, 3)}
    trainer.model.eval()
    taken = int(trainer.history[-1]["step"] + trainer.history[-1].get("repeated", 0))
    masks, removed = pruning.masks(trainer), session.model.removed
    found = TrainResult(trainer.model, trainer.history, result, taken, kept, seconds, masks, removed)
    if sink is not None and trainer.main:
        pruned = {} if found.sparsity is None else {"sparsity": found.sparsity}
        evaluated = (result.as_dict() | spent) if result else {}
        held, path = session.held_out, sink.folder.layout.evaluation(trainer.seed)
        if result is not None and held is not None and not path.exists():
            sink.write(Product(sink.folder.layout.relative(path), result.table(held.source)))
        _finish(sink, trainer.seed, {"steps": taken, "kept": kept, "seconds": seconds, **pruned, **evaluated})
    return found


def finished_epoch(folder: RunFolder) -> int | None:
    """The last epoch of the training in a folder, if it is finished; None if there is something left to do."""
    layout = folder.layout
    if "seconds" not in folder.read(layout.log) or not layout.history.exists():
        return None
    epoch = int(read_history(layout)[-1]["epoch"])
    return epoch if layout.checkpoint(int(folder.plan.what["seed"]), epoch).exists() else None


def _finish(sink: Sink, seed: int, about: dict[str, Any]) -> None:
    """Write the log of a finished run, and remove what an unfinished one needs."""
    layout = sink.folder.layout
    sink.update(layout.log, about)
    sink.write(Product(layout.relative(layout.state(seed)), None))


def _evaluated(trainer: Trainer, session: Session, logged: Logged | None) -> Evaluation | None:
    """The evaluation on the held-out data, if there are any."""
    held = session.held_out
    result = None if held is None else session.task.evaluate(trainer.model, held)
    if logged is not None and result is not None:
        logged.evaluated(result)
    return result


def _run(trainer: Trainer, sink: Sink | None, logged: Logged | None) -> float:
    """Train, or load a finished run; returns the seconds that training took."""
    seed = trainer.seed
    if sink is None:
        trainer.hooks = [*trainer.hooks, *([] if logged is None else [logged])]
        trainer.run()
        return trainer.seconds
    folder, layout = sink.folder, sink.folder.layout
    if (epoch := finished_epoch(folder)) is not None:
        trainer.history = read_history(layout)
        load_checkpoint(trainer.model, layout.checkpoint(seed, epoch))
        return float(folder.read(layout.log)["seconds"])

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
