"""The training loop: plain torch, an explicit number of steps, resumable at the end of any epoch.

Everything random is a function of (seed, purpose, epoch), so the state to resume from is weights, optimizer and the
step count; the global random state is put back when `run` returns. In a process group (torchrun) the model is wrapped
in DistributedDataParallel and each rank trains on its shard of every epoch, `batch_size / world` examples a step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from datadiet.data import Feed
from datadiet.errors import DataError, OptionError, first_line
from datadiet.models import Task
from datadiet.randomness import derive
from datadiet.sampling import shard
from datadiet.training.budget import even_batches
from datadiet.training.recipe import Recipe
from datadiet.training.schedule import lr_factor
from datadiet.training.state import load_state, save_state

__all__ = ["Order", "Trainer"]

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
_SAVE_EVERY = 10.0  # seconds between saved states, so that tiny epochs do not spend their time writing files


class Order(Protocol):
    """What decides which examples an epoch presents, in which order: any sampler of `datadiet.sampling`."""

    def __iter__(self) -> Iterator[int]: ...
    def __len__(self) -> int: ...
    def set_epoch(self, epoch: int) -> None: ...


@dataclass
class Trainer:
    """One training.

    Attributes:
        model: the network, on the device of the feed.
        task: gives the loss.
        feed: the data, with its augmentation.
        order: which examples each epoch presents.
        recipe: how to train.
        steps: optimizer steps in all.
        seed: of order-independent randomness (augmentation, dropout).
        weights: (n,) float32 loss weights by position, or None.
        history: one entry per finished epoch: epoch, step, loss, accuracy (training, as presented), lr, seconds.
    """

    model: nn.Module
    task: Task
    feed: Feed
    order: Order
    recipe: Recipe
    steps: int
    seed: int = 0
    weights: Tensor | None = None
    history: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimizer = self.recipe.make_optimizer(self.model)
        self.scaler = torch.amp.GradScaler(self.feed.device.type, enabled=self.recipe.precision == "fp16")
        grouped = dist.is_available() and dist.is_initialized()
        if not grouped and int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise OptionError(
                f"this is one of WORLD_SIZE={os.environ['WORLD_SIZE']} processes without a process group, and each "
                "would train on everything: call torch.distributed.init_process_group first."
            )
        world = dist.get_world_size() if grouped else 1
        if self.recipe.batch_size % world:
            raise OptionError(
                f"batch_size={self.recipe.batch_size} cannot be shared by {world} processes: use a multiple."
            )
        self.batch_size = self.recipe.batch_size // world
        self.net: nn.Module = self.model
        if world > 1:
            self.order = shard(self.order, dist.get_rank(), world)  # type: ignore[arg-type]
            self.net = nn.parallel.DistributedDataParallel(self.model)
        self.main = world == 1 or dist.get_rank() == 0

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return int(self.history[-1]["step"]) if self.history else 0

    def run(
        self,
        *,
        recorder: Any = None,
        features: Callable[[], Tensor | None] = lambda: None,
        after_epoch: Callable[[int], object] = lambda epoch: None,
        state: Path | None = None,
        title: str = "train",
    ) -> None:
        """Train to the end, from the saved state if there is one.

        Args:
            recorder: a `Recorder` that sees every presentation.
            features: returns the head's input of the latest forward pass.
            after_epoch: called with the number of each finished epoch (from 1), before the state is saved.
            state: a file to resume from and to save to; None keeps nothing.
            title: of the progress bar.

        Raises:
            DataError: the loss became NaN or infinite.
        """
        if state is not None and state.exists():
            self._resume(state, recorder)
        saved = time.monotonic()
        cuda = [self.feed.device] if self.feed.device.type == "cuda" else []
        bar = tqdm(
            total=self.steps,
            initial=self.step,
            desc=title,
            unit="step",
            disable=None if self.main else True,
            leave=False,
        )
        with bar, torch.random.fork_rng(cuda), _training(self.model):
            while self.step < self.steps:
                self._epoch(len(self.history) + 1, recorder, features, bar)
                if recorder is not None:
                    recorder.end_epoch()
                after_epoch(len(self.history))
                if (
                    state is not None
                    and self.main
                    and time.monotonic() - saved >= _SAVE_EVERY
                    and self.step < self.steps
                ):
                    self._save(state, recorder)
                    saved = time.monotonic()

    def _epoch(self, epoch: int, recorder: Any, features: Callable[[], Tensor | None], bar: Any) -> None:
        start, step = time.monotonic(), self.step
        self.order.set_epoch(epoch - 1)
        torch.default_generator.manual_seed(derive(self.seed, "dropout", epoch))
        if self.feed.device.type == "cuda":
            with torch.cuda.device(self.feed.device):
                torch.cuda.manual_seed(derive(self.seed, "dropout", epoch))
        augmentation = torch.Generator().manual_seed(derive(self.seed, "augment", epoch))
        total = torch.zeros(3, dtype=torch.float64, device=self.feed.device)
        lr = 0.0
        sizes = even_batches(len(self.order), self.batch_size)
        for inputs, targets, positions in self.feed.batches(self.order, sizes, augmentation):
            lr = self.recipe.lr * lr_factor(self.recipe.schedule, step, self.steps, self.recipe.warmup)
            outputs, losses = self._step(inputs, targets, positions, lr)
            if recorder is not None:
                recorder.update(positions, outputs, targets, features())
            total += torch.stack(
                [
                    losses.sum(),
                    self.task.correct(outputs, targets).sum(),
                    torch.tensor(len(losses), device=losses.device),
                ]
            )
            bar.update()
            step += 1
            if step == self.steps:
                break
        loss, right, seen = total.tolist()
        if not loss < float("inf"):
            raise DataError(
                f"training diverged: the loss of epoch {epoch} is {loss}; lower the learning rate (--set "
                f"lr={self.recipe.lr / 4:g}) and choose another --out."
            )
        seconds = round(time.monotonic() - start, 3)
        self.history.append(
            {"epoch": epoch, "step": step, "loss": loss / seen, "accuracy": right / seen, "lr": lr, "seconds": seconds}
        )

    def _step(self, inputs: Tensor, targets: Tensor, positions: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        outputs = self._forward(inputs)
        losses = self.task.losses(outputs, targets)
        weighted = losses if self.weights is None else losses * self.weights[positions].to(losses.device)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(weighted.mean()))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return outputs.detach(), losses.detach()

    def _forward(self, inputs: Tensor) -> Tensor:
        dtype = _AUTOCAST.get(self.recipe.precision)
        try:
            with torch.autocast(self.feed.device.type, dtype=dtype, enabled=dtype is not None):
                outputs: Tensor = self.net(inputs)
        except ValueError as error:
            if len(inputs) > 1:
                raise
            raise OptionError(
                f"a batch is a single example, which the model cannot take in training ({first_line(error)}): "
                "choose a larger batch size (--set batch_size=N)."
            ) from None
        return outputs

    def _save(self, path: Path, recorder: Any) -> None:
        extra = {} if getattr(recorder, "previous", None) is None else {"previous": recorder.previous}
        save_state(
            path, self.model, self.optimizer, extra, {"history": self.history, "scale": self.scaler.state_dict()}
        )

    def _resume(self, path: Path, recorder: Any) -> None:
        extra, about = load_state(path, self.model, self.optimizer)
        self.history = about["history"]
        self.scaler.load_state_dict(about["scale"])
        if recorder is not None:
            recorder.epoch = len(self.history)
            if "previous" in extra:
                recorder.previous = extra["previous"].to(self.feed.device)


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    model.train()
    try:
        yield
    finally:
        model.eval()
