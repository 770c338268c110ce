"""What is attached to a Trainer of transformers: order, weights, recording, and their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from datadiet.data.batch import sent
from datadiet.errors import OptionError
from datadiet.integrations.dynamics import Dynamics
from datadiet.integrations.epoch_order import EpochOrder
from datadiet.integrations.teaching import Teaching
from datadiet.models.running import logits_of
from datadiet.runtime.tensors import read_tensors, save_tensors
from datadiet.sampling.epoch_sampler import Schedule
from datadiet.signals import Recorder
from datadiet.table import Signals

__all__ = ["Attached"]

_FILE = "datadiet.safetensors"  # in each checkpoint folder of the Trainer
_CLOSE = 0.05, 0.01  # of the mean loss, and absolute: it is compared at the precision of the model and in float32


class Attached:
    """What `attach` returns.

    Attributes:
        schedule: what chooses the examples.
        dynamics: the recorder, and what the schedule is told; new for each `train()`.
        teaching: how the student learns from a teacher, or None.
        order: the sampler of the trainer.
        resume: the checkpoint folder that training continues from, or None.
        examples: how many examples this process's part of the optimizer step under way has.
    """

    def __init__(
        self, trainer: Any, schedule: Schedule, record: bool, seed: int, teaching: Teaching | None = None
    ) -> None:
        self.trainer, self.schedule, self.teaching = trainer, schedule, teaching
        if teaching is not None:
            teaching.check(len(trainer.train_dataset))
        self._made: dict[str, Any] = {
            "n": len(trainer.train_dataset),
            "schedule": schedule,
            "record": record,
            "seed": seed,
        }
        self.dynamics = Dynamics(**self._made)
        args = trainer.args
        self.order = EpochOrder(schedule, args.train_batch_size * args.world_size * args.gradient_accumulation_steps)
        self.resume: Path | None = None
        self.examples, self._checked = 0, False
        self._scaled = getattr(trainer, "loss_is_scaled_for_ga", None)

    @property
    def recorder(self) -> Recorder | None:
        """The recorder of the latest training, or None."""
        return self.dynamics.recorder

    def finish(self, labels: Any = None, ids: Sequence[str] | None = None) -> Signals:
        """The recorded epochs, for `dd.score(attached.finish(), scorers=[…])`; arguments as of `Recorder.finish`."""
        return self.dynamics.finish(labels, ids)

    def begin(self) -> None:
        """Begin a training, or continue the one whose checkpoint `resume` is."""
        self.dynamics = Dynamics(**self._made)
        if self.resume is not None:
            path = self.resume / _FILE
            if not path.exists():
                raise OptionError(
                    f"{self.resume} has no {_FILE}: it was saved by a trainer without attach, and how the schedule and "
                    "the recording stood is not known."
                )
            tensors, about = read_tensors(path)
            self.order.epoch = about["epoch"]
            self.dynamics.load_state_dict({"tensors": tensors, "values": about["values"]})

    def save(self, folder: Path, writes: bool) -> None:
        """Write the state to a checkpoint folder; all processes call it."""
        state = self.dynamics.state_dict()
        if writes:
            save_tensors(folder / _FILE, state["tensors"], {"epoch": self.order.epoch, "values": state["values"]})

    def loss(
        self, index: np.ndarray, inputs: Mapping[str, Any], outputs: Any, targets: Any, loss: Tensor, items: Any
    ) -> Tensor:
        """The loss of a batch: that of the Trainer, or with weights, or with a teacher.

        Args:
            index: (B,) positions of the examples.
            inputs: of the model, without labels.
            outputs: of the model.
            targets: (B,) labels on its device.
            loss: the Trainer's.
            items: how many targets the step has, if the Trainer counted them.
        """
        own = self.teaching is not None  # the loss of the Trainer will not do
        weights = self.schedule.weights(torch.from_numpy(index))
        if hasattr(self.trainer, "loss_is_scaled_for_ga"):
            self.trainer.loss_is_scaled_for_ga = self._scaled if weights is None and not own else True
        elif (weights is not None or own) and self.trainer.args.gradient_accumulation_steps > 1:
            raise OptionError(
                "weights or a teacher with gradient accumulation need a newer version: pip install -U transformers."
            )
        if weights is None and not own and self.dynamics.recorder is None and self.dynamics.reads is None:
            return loss
        logits = _class_logits(outputs, targets, len(index))
        losses = None
        if weights is not None or own or self.dynamics.reads == "loss":
            smoothing = self.trainer.args.label_smoothing_factor
            losses = functional.cross_entropy(logits.float(), targets, reduction="none", label_smoothing=smoothing)
        self.dynamics.update(index, logits.detach(), targets, None if losses is None else losses.detach())
        if losses is None or not (own or weights is not None):
            return loss
        self._check(loss.detach(), losses.detach(), items)
        if self.teaching is not None:
            share = min(1.0, self.order.length / len(self.trainer.train_dataset))
            losses = self.teaching.losses(logits, targets, index, inputs, share=share, losses=losses)
        return (losses if weights is None else losses * sent(weights, losses.device)).sum() / self.examples

    def _check(self, loss: Tensor, losses: Tensor, items: Any) -> None:
        """Refuse weights, in the first batch, where the Trainer minimises something else than cross-entropy."""
        if self._checked:
            return
        self._checked = True
        found, mean = float(loss.mean()), float(losses.mean())
        # The Trainer divides by the targets of the whole step, or multiplies by the processes, for models that take its
        # count of them; some of these ignore it.
        share = 1.0 if items is None else float(len(losses) / items)
        factors = (1.0, share, self.trainer.args.world_size, share * self.trainer.args.world_size)
        relative, absolute = _CLOSE
        if not any(abs(found - factor * mean) <= factor * mean * relative + absolute for factor in factors):
            raise OptionError(
                f"the loss of the trainer is {found:.4g} in the first batch, and the cross-entropy of the logits is "
                f"{mean:.4g}: weights multiply a cross-entropy, so train without weights, or with that loss."
            )

    def skip_to_epoch_end(self, state: Any, loader: Any, scheduler: Any) -> None:
        """Count the steps that a shorter epoch did not take, so that the next one is where the Trainer expects it.

        The Trainer plans epochs of equal length: it finds the epoch to resume in, and ends the learning-rate schedule,
        by the number of steps.
        """
        per_epoch = -(-len(loader) // self.trainer.args.gradient_accumulation_steps)
        missing = (self.order.epoch + 1) * per_epoch - state.global_step
        if missing <= 0:
            return
        state.global_step += missing
        state.epoch = float(self.order.epoch + 1)
        if hasattr(self.trainer, "_globalstep_last_logged"):  # so that the mean loss is over the steps that were taken
            self.trainer._globalstep_last_logged += missing
        if hasattr(scheduler, "lr_lambdas"):
            for _ in range(missing):
                scheduler.step()


def _class_logits(outputs: Any, targets: Any, size: int) -> Tensor:
    """(B, C) of a classifier.

    Raises:
        OptionError: other outputs or labels, such as those of a language model.
    """
    logits = logits_of(outputs[1:] if isinstance(outputs, tuple) else outputs)
    labels = isinstance(targets, Tensor) and targets.shape == (size,) and not targets.is_floating_point()
    if logits.ndim != 2 or logits.shape[1] < 2 or len(logits) != size or not labels:
        shape = tuple(targets.shape) if isinstance(targets, Tensor) else None
        raise OptionError(
            f"the model gives logits of shape {tuple(logits.shape)} with labels of shape {shape} for {size} examples: "
            "signals, weights and schedules that learn need a classifier, one label for each example. Language models "
            "can be trained on a selection without weights."
        )
    return logits
