"""Recording a run: which trainings and passes are needed, which parts are there already, and making the others.

Training happens once per seed, in one process; evaluation passes are cut into ranges of rows. Either is a unit of work
that leaves a part file behind, so that the same command goes on after any interruption.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn
from tqdm import tqdm

from datadiet.models import HeadTap, evaluating
from datadiet.randomness import derive
from datadiet.runtime import RunFolder, shards
from datadiet.runtime.plan import EVAL_BATCH
from datadiet.sampling import SubsetSampler
from datadiet.signals import Recorder, record_outputs
from datadiet.training import Trainer, evaluate, training_steps
from datadiet.training.state import has_tensor, save_weights
from datadiet.workflow.job import Job
from datadiet.workflow.requests import Request, epochs_at

__all__ = ["Recording", "Wanted", "head_bias", "what_is_needed"]


@dataclass(frozen=True)
class Wanted:
    """The union of what several scorers need.

    Attributes:
        train: whether presentations during training are recorded.
        eval_epochs: the epochs after which the data is evaluated.
        shift: whether TDDS's shift is recorded.
        head: whether the input of the last layer is needed.
    """

    train: bool
    eval_epochs: tuple[int, ...]
    shift: bool
    head: bool


def what_is_needed(requests: Iterable[Request], epochs: int, checkpoints: bool = False) -> Wanted:
    """The union of the needs of several requests in a run of so many epochs, or of so many checkpoints."""
    needs = [(request, need) for request in requests for need in request.spec.needs]
    passes = {
        e
        for request, need in needs
        if need.mode == "eval"
        for e in epochs_at(need.at, epochs, request.scorer, checkpoints)[0]
    }
    return Wanted(
        train=any(need.mode == "train" for _, need in needs),
        eval_epochs=tuple(sorted(passes)),
        shift=any(need.signal == "shift" for _, need in needs),
        head=any(need.signal == "feature_norm" for _, need in needs),
    )


@dataclass
class Recording:
    """One run in the making.

    Attributes:
        job: data, model, recipe.
        folder: where parts go.
        epochs: of each training.
        wanted: what is needed.
        head: the name of the last layer, if it must be told.
    """

    job: Job
    folder: RunFolder
    epochs: int
    wanted: Wanted
    head: str | None = None

    @cached_property
    def rows(self) -> int:
        """The number of examples."""
        return len(self.job.source)

    def train(self, seed: int) -> None:
        """Train on all the data with one seed, recording every presentation and keeping the checkpoints needed."""
        keep = {*self.wanted.eval_epochs, self.epochs}
        parts = [self.folder.part("train", seed, e, 0, self.rows) for e in range(1, self.epochs + 1)]
        if self._trained(seed, parts, [self.folder.checkpoint(seed, e) for e in keep]):
            return
        job = self.job
        trainer = Trainer(
            job.fresh(seed), job.task, job.feed, SubsetSampler(self.rows, seed=derive(seed, "order")), job.recipe,
            training_steps(self.rows, self.rows, job.recipe.batch_size, epochs=self.epochs), seed,
        )  # fmt: skip
        recorder = Recorder(
            self.rows,
            seed=seed,
            shift=self.wanted.shift,
            sink=lambda e, table: self._write(parts[e - 1], table),
        )

        def keep_checkpoint(epoch: int) -> None:
            if epoch in keep:
                save_weights(self.folder.checkpoint(seed, epoch), trainer.model, {"epoch": epoch, "step": trainer.step})

        if self.wanted.shift and not has_tensor(self.folder.state(seed), "extra.previous"):
            self.folder.state(seed).unlink(missing_ok=True)  # it was saved before the shift was asked for
        with closing(self._tap(trainer.model)) as tap:
            trainer.run(
                recorder=recorder, features=tap.features, after_epoch=keep_checkpoint,
                state=self.folder.state(seed), title=f"record seed {seed}",
            )  # fmt: skip
        facts: dict[str, Any] = {
            "history": trainer.history,
            "seconds": round(sum(entry["seconds"] for entry in trainer.history), 3),
        }
        if job.held_out is not None:
            result = evaluate(trainer.model, job.task, job.held_out, job.classes)
            facts |= {"accuracy": result.accuracy, "class_recall": list(result.class_recall)}
        self.folder.update("run.json", {f"train seed {seed}": facts})
        self.folder.state(seed).unlink(missing_ok=True)

    def _trained(self, seed: int, parts: Sequence[Path], checkpoints: Sequence[Path]) -> bool:
        if not all(path.exists() for path in checkpoints) or not all(map(self.folder.has_part, parts)):
            return False
        if f"train seed {seed}" not in self.folder.read("run.json"):
            return False  # stopped after the last epoch and before what it gave was written down
        from pyarrow.parquet import read_schema

        return not self.wanted.shift or all("shift" in read_schema(part).names for part in parts)

    def evaluate(self, seed: int, epoch: int, checkpoint: Path | None) -> None:
        """Record an evaluation pass of a checkpoint, one range of rows after another.

        Args:
            seed, epoch: under which it is recorded.
            checkpoint: its weights; None = the trained model that was given.
        """
        missing = [
            (lo, hi)
            for lo, hi in shards(self.rows)
            if not self.folder.has_part(self.folder.part("eval", seed, epoch, lo, hi))
        ]
        if not missing:
            return
        started, model = time.monotonic(), self._model(checkpoint)
        with (
            closing(self._tap(model)) as tap,
            evaluating(model),
            tqdm(
                total=sum(hi - lo for lo, hi in missing),
                desc=f"evaluate seed {seed} epoch {epoch}",
                unit="ex",
                disable=None,
                leave=False,
            ) as bar,
        ):
            for lo, hi in missing:
                batches = self.job.feed.batches(np.arange(lo, hi), EVAL_BATCH)
                table = record_outputs(model, batches, features=tap.features)
                self._write(self.folder.part("eval", seed, epoch, lo, hi), table)
                bar.update(hi - lo)
        name = f"evaluate seed {seed} epoch {epoch}"
        before = self.folder.read("run.json").get(name, {}).get("seconds", 0.0)
        self.folder.update("run.json", {name: {"seconds": round(before + time.monotonic() - started, 3)}})

    def _write(self, path: Path, table: pa.Table) -> None:
        """Write a part; rows become positions in the source."""
        index = self.job.source.index[table["index"].to_numpy()]
        self.folder.write_part(path, table.set_column(0, "index", pa.array(index)))

    def _model(self, checkpoint: Path | None) -> nn.Module:
        if checkpoint is not None:
            return self.job.loaded(checkpoint)
        assert self.job.model.trained is not None
        return self.job.model.trained.to(self.job.feed.device)

    def _tap(self, model: nn.Module) -> HeadTap:
        return tap_head(self.job, model, self.head)


def tap_head(job: Job, model: nn.Module, head: str | None) -> HeadTap:
    """A tap on the last layer of a model, found on two examples of the data."""
    inputs, _, _ = next(job.feed.batches(np.arange(min(2, len(job.source))), 2))
    return HeadTap(model, inputs, head)


def head_bias(job: Job, head: str | None) -> bool | None:
    """Whether the last layer has a bias; None if the model's output is not that of a linear layer."""
    model = job.fresh(0) if job.model.trained is None else job.model.trained.to(job.feed.device)
    with closing(tap_head(job, model, head)) as tap:
        return tap.bias if tap.head is not None else None
