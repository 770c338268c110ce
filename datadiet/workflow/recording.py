"""Recording a run: which trainings and passes are needed, which parts are there already, and making the others.

Training happens once per seed, in one process; evaluation passes are cut into ranges of rows. Either is a unit of work
that leaves a part file behind, so that the same command goes on after any interruption.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from tqdm import tqdm

from datadiet.data import Feed
from datadiet.errors import DataError
from datadiet.models import HeadTap, evaluating
from datadiet.randomness import derive
from datadiet.runtime import RunFolder, shards
from datadiet.runtime.plan import EVAL_BATCH
from datadiet.sampling import SubsetSampler
from datadiet.signals import Recorder, measured
from datadiet.signals.gradients import PerExample
from datadiet.signals.independence import refuse_mixing
from datadiet.signals.passes import Examples, Setup, start
from datadiet.signals.record import NameOf, signal_table
from datadiet.training import Trainer, evaluate, training_steps
from datadiet.training.state import has_tensor, save_weights
from datadiet.workflow.job import Job
from datadiet.workflow.wanted import Pass, Wanted

__all__ = ["Recording", "find_head", "try_passes"]

_IF_NAN = "check that input, and the weights of the model"


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
        keep = {*self.wanted.checkpoints, self.epochs}
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

    def run(self, wanted: Pass, seed: int, checkpoints: Sequence[Path | None]) -> None:
        """One pass, one range of rows after another; what is there already is left.

        Args:
            wanted: the pass.
            seed: under which it is recorded.
            checkpoints: the weights that it sees; None = the trained model that was given.
        """
        feed = self.job.feed if wanted.of == "data" else self.job.reference
        assert feed is not None, "asked for before"
        mode, epoch = wanted.filed_as(self.job.reference_hash), wanted.epochs[-1]
        place = self.folder.vectors if wanted.kind.wide else self.folder.part
        parts = {place(mode, seed, epoch, lo, hi): (lo, hi) for lo, hi in shards(len(feed))}
        missing = {path: span for path, span in parts.items() if not self.folder.has_part(path)}
        if not missing:
            return
        started, models = time.monotonic(), [self._model(checkpoint) for checkpoint in checkpoints]
        total = sum(hi - lo for lo, hi in missing.values())
        title = f"{'evaluate' if mode == 'eval' else mode} seed {seed} epoch {epoch}"
        with (
            closing(self._tap(models[-1])) as tap,
            ExitStack() as modes,
            tqdm(total=total, desc=title, unit="ex", disable=None, leave=False) as bar,
        ):
            for model in models:
                modes.enter_context(evaluating(model))
            name_of = namer(feed)
            measure = start(wanted.mode, self._setup(wanted, models, tap))
            for path, (lo, hi) in missing.items():
                batches = feed.batches(np.arange(lo, hi), self._batch(wanted))
                self._keep(path, wanted, *measured(measure, batches, name_of), name_of)
                bar.update(hi - lo)
        before = self.folder.read("run.json").get(title, {}).get("seconds", 0.0)
        self.folder.update("run.json", {title: {"seconds": round(before + time.monotonic() - started, 3)}})

    def _batch(self, wanted: Pass) -> int:
        """With gradients as many examples at once as in training, without them more."""
        return EVAL_BATCH if wanted.mode in ("eval", "features") else self.job.recipe.batch_size

    def _setup(self, wanted: Pass, models: list[nn.Module], tap: HeadTap) -> Setup:
        def of(feed: Feed) -> Examples:
            return Examples(lambda: feed.batches(np.arange(len(feed)), self.job.recipe.batch_size), namer(feed))

        reference = None if self.job.reference is None else of(self.job.reference)
        return Setup(models, tap.features, of(self.job.feed), reference, dict(wanted.options), self.job.fallback)

    def _keep(self, path: Path, wanted: Pass, rows: np.ndarray, values: dict[str, np.ndarray], name_of: NameOf) -> None:
        if wanted.mode != "eval":  # an infinite loss ranks its example, an infinite gradient or feature does not
            for name, found in values.items():
                bad = ~np.isfinite(found.reshape(len(rows), -1)).all(axis=1)
                if bad.any():
                    example = name_of(int(rows[bad.argmax()]))
                    raise DataError(f"{name} is not finite for {example}: {_IF_NAN}.")
        if wanted.kind.wide:
            self.folder.write_vectors(path, values[wanted.mode])
        else:
            self._write(path, signal_table(rows, values, _IF_NAN, name_of))

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


def find_head(job: Job, head: str | None) -> nn.Linear | None:
    """The last layer of one of the networks; None if the model's output is not that of a linear layer."""
    model = job.fresh(0) if job.model.trained is None else job.model.trained.to(job.feed.device)
    with closing(tap_head(job, model, head)) as tap:
        return tap.head


def namer(feed: Feed) -> NameOf:
    """row -> what to call the example: by its id."""
    return lambda row: f"the example {feed.source.ids[int(row)].as_py()!r}"


def try_passes(job: Job, wanted: Wanted) -> None:
    """Refuse a network that some pass cannot measure example by example, before anything is written.

    Raises:
        OptionError: a layer that mixes examples or draws at random, or, where gradients are needed, one whose gradients
            per example are not known, by name.
        DataError: an example whose gradient is not finite, by its id.
    """
    if all(step.mode == "eval" for step in wanted.passes):
        return
    if job.model.trained is None:
        model = job.fresh(0)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():  # a head that starts at 0 would hide what is below it
            for p in model.parameters():
                p.add_(0.02 * torch.randn(p.shape, generator=generator).to(p))
    else:
        model = job.model.trained.to(job.feed.device)

    def few() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        return job.feed.batches(np.arange(min(3, len(job.source))), 3)

    with evaluating(model):
        refuse_mixing(model, next(few())[0])
        if any(step.kind.gradients for step in wanted.passes):
            engine = PerExample(model, fallback=job.fallback)
            measured(lambda x, y: {"losses": engine(x, y, lambda name, terms: None)}, few(), namer(job.feed))
