"""The training loop: plain torch, an explicit budget, resumable at any step.

Everything random is a function of (seed, purpose, epoch, step), so the state to resume from is weights, optimizer,
clock, and what the schedule and the hooks hold; the global random state is restored when `run` returns. In a process
group (torchrun) the model is wrapped in DistributedDataParallel and each rank trains on its shard of every epoch,
`batch_size / world` examples a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from datadiet.data import Feed
from datadiet.data.augment import view_of_epoch
from datadiet.data.batch import Batch, sent
from datadiet.errors import DataError, OptionError, first_line
from datadiet.models.running import call_in_run
from datadiet.randomness import derive
from datadiet.runtime.gather import RowBuffer
from datadiet.runtime.process import exchanging, process_group, seed_torch, widest
from datadiet.sampling.epoch_sampler import Schedule, indices_from
from datadiet.sampling.shard import share_of
from datadiet.tasks import Task
from datadiet.training.average import WeightAverage
from datadiet.training.clock import Clock, even_batches
from datadiet.training.compiled import Compiled
from datadiet.training.hooks import Hook
from datadiet.training.objective import Objective, Supervised, autocast
from datadiet.training.recipe import Recipe, lr_factor
from datadiet.training.state import load_state, packed_state

__all__ = ["Step", "Trainer"]

Content = tuple[dict[str, Tensor], dict[str, Any]]  # of a file: tensors, and JSON values beside them
_SAVE_EVERY = 10.0  # seconds between saved states, so that short steps do not spend their time writing files
_SAVE_SHARE = 0.05  # of the time may go into saving


@dataclass(frozen=True)
class Step:
    """One optimizer step, as hooks see it.

    Attributes:
        batch: the examples it was taken on.
        outputs: (B, …) of the network before the step, detached.
        losses: (B,) before the step, without weights, detached.
    """

    batch: Batch
    outputs: Tensor
    losses: Tensor


@dataclass
class Trainer:
    """One training run.

    Attributes:
        model: the network, on the device of the feed.
        task: what the outputs mean.
        feed: the data, with its augmentation.
        schedule: which examples each epoch presents: any sampler of `datadiet.sampling`.
        recipe: how to train.
        clock: the budget, and how much of it is done.
        seed: of dropout.
        objective: what is minimised; by default the loss of the task.
        hooks: called after each step and epoch, in this order.
        history: one entry per finished epoch: epoch, step, loss, accuracy (training, as presented), lr, seconds.
        latest: the latest step.
        totals: (3,) on the device, of the epoch so far in this process: sum of losses, correct ones, examples.
    """

    model: nn.Module
    task: Task
    feed: Feed
    schedule: Schedule
    recipe: Recipe
    clock: Clock
    seed: int = 0
    objective: Objective | None = None
    hooks: Sequence[Hook] = ()
    history: list[dict[str, float]] = field(default_factory=list)
    latest: Step | None = None

    def __post_init__(self) -> None:
        self.optimizer = self.recipe.make_optimizer(self.model)
        self.scaler = torch.amp.GradScaler(self.feed.device.type, enabled=self.recipe.precision == "fp16")
        self.objective = self.objective or Supervised(self.task)
        self.world, self.rank = process_group()
        if self.recipe.batch_size % self.world:
            raise OptionError(
                f"batch_size={self.recipe.batch_size} cannot be shared by {self.world} processes: use a multiple."
            )
        self.net: nn.Module = Compiled(self.model) if self.recipe.compile else self.model
        if self.world > 1:
            self.net = nn.parallel.DistributedDataParallel(self.net)
        self.average = WeightAverage(self.model, self.recipe.ema)
        self.totals = torch.zeros(3, dtype=widest(self.feed.device), device=self.feed.device)
        self.clipped: list[Tensor] = [*self.model.parameters()]  # whose gradients count for clip_norm
        self._seconds, self._presented = 0.0, RowBuffer()

    @property
    def main(self) -> bool:
        """Whether this process writes what all of them share."""
        return self.rank == 0

    @property
    def seconds(self) -> float:
        """The time of all finished epochs, including those before an interruption."""
        return round(sum(entry["seconds"] for entry in self.history), 3)

    @property
    def checkpoint(self) -> Content:
        """The content of a checkpoint after the latest epoch."""
        return self.average.weights(), {"epoch": self.clock.epoch, "step": self.clock.step}

    def run(
        self, *, state: Path | None = None, save: Callable[[Content], object] | None = None, title: str = "train"
    ) -> None:
        """Train to the end, from the saved state if there is one; averaged weights then replace the last.

        Args:
            state: a file to resume from, if it exists.
            save: called from time to time with the new content of that file.
            title: of the progress bar.

        Raises:
            DataError: the loss became NaN or infinite.
        """
        if state is not None and state.exists():
            self._resume(state)
        self._save_from, self._keep = time.monotonic() + _SAVE_EVERY, save
        cuda = [self.feed.device] if self.feed.device.type == "cuda" else []
        bar = tqdm(desc=title, unit="step", disable=None if self.main else True, leave=False)
        self.model.train()
        try:
            with bar, torch.random.fork_rng(cuda):
                while not self.clock.finished:
                    self._epoch(bar)
                    self._save(whole_epoch=True)
            self.average.take_effect()
        finally:
            self.model.eval()

    def _epoch(self, bar: Any) -> None:
        """Train for an epoch, or for the rest of an unfinished one."""
        clock, begun, before = self.clock, time.monotonic(), self._seconds
        length, lr = self.schedule.begin(clock.epoch), 0.0
        if length < 1:
            raise OptionError(f"the schedule presents no example in epoch {clock.epoch + 1}: let it keep at least one.")
        order = share_of(self.schedule.order(clock.epoch), length, self.rank, self.world)
        shown, length = length, -(-length // self.world)
        sizes = even_batches(length, self.recipe.batch_size // self.world)
        clock.begin_epoch(len(sizes), shown)
        bar.total, bar.n = clock.total, clock.done
        rows = indices_from(order, sum(sizes[: clock.batch]), length)
        view = view_of_epoch(clock.epoch + 1, self.recipe.views)
        for batch in self.feed.batches(rows, sizes[clock.batch :], view):
            lr = self.recipe.lr * lr_factor(self.recipe.schedule, clock.done, clock.total, self.recipe.warmup)
            self._step(batch, lr)
            clock.tick()
            for hook in self.hooks:
                hook.after_step(self)
            bar.update()
            if clock.steps is not None and clock.finished:
                break
            self._seconds = before + time.monotonic() - begun
            if clock.batch < len(sizes):
                self._save()
        clock.end_epoch()
        self._seconds = before + time.monotonic() - begun
        self._teach()
        self._close_epoch(lr)
        for hook in self.hooks:
            hook.after_epoch(self)

    def _step(self, batch: Batch, lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        seed_torch(self.feed.device, derive(self.seed, "dropout", self.clock.epoch, self.clock.batch, self.rank))
        self.optimizer.zero_grad(set_to_none=True)
        parts = batch.parts(self.recipe.accumulate)
        for number, part in enumerate(parts, 1):
            with exchanging(self.net, number == len(parts)):
                self.latest = self._backward(part, len(part) / len(batch))
            self._read(self.latest)
            self._count(self.latest)
            for hook in self.hooks:
                hook.after_forward(self)
        if self.recipe.clip_norm:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.clipped, self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update()

    def _backward(self, part: Batch, share: float) -> Step:
        """Add the gradient of a part of a batch."""
        assert self.objective is not None
        outputs, losses = self.objective(self._forward, part)
        weights = self.schedule.weights(part.rows)
        weighted = losses if weights is None else losses * sent(weights, losses.device)
        loss = weighted.mean() if share == 1 else weighted.mean() * share
        torch.autograd.backward(self.scaler.scale(loss))
        return Step(part, outputs.detach(), losses.detach())

    def _forward(self, batch: Batch) -> Tensor:
        try:
            with autocast(self.recipe.precision, self.feed.device):
                return call_in_run(self.model, batch, self.net)
        except OptionError as error:
            if len(batch) > 1 or not isinstance(error.__cause__, ValueError):
                raise
            raise OptionError(
                f"a batch holds a single example, which the model cannot train on ({first_line(error.__cause__)}): "
                "choose a larger batch size, recipe={'batch_size': N} (--set batch_size=N)."
            ) from None

    def _read(self, step: Step) -> None:
        """Keep what the schedule reads of the presentations until the end of the epoch."""
        reads = self.schedule.reads
        if reads == "loss":
            self._presented.add(step.batch.rows, {reads: step.losses})
        elif reads == "correct":  # without the other signals, which would take longer than a small step
            self._presented.add(step.batch.rows, {reads: self.task.correct(step.outputs, step.batch.targets)})
        elif reads is not None:
            signals = self.task.signals(step.outputs, step.batch.targets, None)
            self._presented.add(step.batch.rows, {reads: signals[reads]})

    def _teach(self) -> None:
        """Give the schedule what it reads, from all processes: its state does not change within an epoch."""
        if self._presented:
            rows, columns = self._presented.gather()
            for values in columns.values():
                self.schedule.update(rows, values.cpu())

    def _count(self, step: Step) -> None:
        right = self.task.correct(step.outputs, step.batch.targets).sum()
        seen = step.losses.new_full((), len(step.losses))  # torch.tensor would wait for the device
        self.totals += torch.stack([step.losses.sum(), right, seen])

    def _close_epoch(self, lr: float) -> None:
        if self.world > 1:
            dist.all_reduce(self.totals)
        loss, right, seen = self.totals.tolist()
        epoch, step = self.clock.epoch, self.clock.step
        if not loss < float("inf"):
            raise DataError(
                f"training diverged: the loss of epoch {epoch} is {loss}; lower the learning rate, the lr of "
                f"recipe= (--set lr={self.recipe.lr / 4:g}), and choose another out= (--out)."
            )
        about = {"loss": loss / seen, "accuracy": right / seen, "lr": lr, "seconds": round(self._seconds, 3)}
        self.history.append({"epoch": epoch, "step": step, **about})
        self.totals.zero_()
        self._seconds = 0.0

    def _save(self, whole_epoch: bool = False) -> None:
        """Save the state if the last save is long enough ago; with several processes, only at the end of an epoch."""
        if self._keep is None or not self.main or self.clock.finished or (self.world > 1 and not whole_epoch):
            return
        begun = time.monotonic()
        if begun < self._save_from:
            return
        about = {
            "clock": self.clock.state_dict(),
            "history": self.history,
            "scale": self.scaler.state_dict(),
            "totals": self.totals.tolist(),
            "seconds": self._seconds,
            "schedule": self.schedule.state_dict(),
            "presented": self._presented.state_dict(),
            "hooks": [hook.state_dict() for hook in self.hooks],
            "average": self.average.state_dict(),
        }
        self._keep(packed_state(self.model, self.optimizer, about))
        ended = time.monotonic()
        self._save_from = ended + max(_SAVE_EVERY, (ended - begun) / _SAVE_SHARE)

    def _resume(self, path: Path) -> None:
        about = load_state(path, self.model, self.optimizer)
        if about is None:
            return
        self.clock.load_state_dict(about["clock"])
        self.history, self._seconds = about["history"], about["seconds"]
        self.scaler.load_state_dict(about["scale"])
        self.totals = torch.tensor(about["totals"], dtype=self.totals.dtype, device=self.feed.device)
        self.schedule.load_state_dict(about["schedule"])
        self._presented.load_state_dict(about["presented"])
        for hook, saved in zip(self.hooks, about["hooks"], strict=True):
            hook.load_state_dict(saved)
        self.average.load_state_dict(about.get("average", {}))  # new in 0.2
