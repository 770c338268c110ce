"""What scoring will cost: trainings, passes by kind, operations, memory and disk. Nothing is written.

Operations of a forward pass are counted on one example; a training step counts three times that, a pass of gradients
as much. Times are those of a real batch on this machine, timed before anything else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from datadiet.errors import OptionError
from datadiet.models import evaluating
from datadiet.runtime import settings
from datadiet.runtime.plan import EVAL_BATCH
from datadiet.sampling import SubsetSampler
from datadiet.signals import Recorder
from datadiet.signals.outputs import output_signals
from datadiet.table.passes import PASSES
from datadiet.training import Trainer, training_steps
from datadiet.workflow.job import Job, open_job
from datadiet.workflow.planning import Estimate, Line, Machine
from datadiet.workflow.recording import tap_head
from datadiet.workflow.requests import Request, make_requests
from datadiet.workflow.scoring import DEFAULT_EPOCHS
from datadiet.workflow.wanted import Pass, what_is_needed

__all__ = ["plan_scoring"]

# Forward passes that an example costs: in units of flops a backward pass counts two.
_FORWARDS = {
    "eval": 1,
    "features": 1,
    "grad": 3,
    "projected": 3,
    "projected_margin": 3,
    "vog": 2,
    "dots": 4,
    "ekfac": 10,
}
FILE = 0.02  # seconds to finish a pass: files that are written and renamed
PROCESS = 1000e6  # bytes of Python and torch with what data sets need
_SIGNALS = 28  # bytes of a recorded presentation on disk, with a linear last layer


def plan_scoring(
    data: Any,
    model: Any,
    scorers: str | Callable[..., Any] | Iterable[Any],
    *,
    epochs: int | None = None,
    seeds: int = 1,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> Estimate:
    """The cost of `datadiet.score` with the same arguments, which train: `options` are those of `open_job`.

    Raises:
        OptionError: what `score` refuses of them.
    """
    requests = make_requests(scorers, params)
    epochs = DEFAULT_EPOCHS if epochs is None else epochs
    if epochs < 1 or seeds < 1:
        raise OptionError(f"epochs={epochs}, seeds={seeds}: both must be at least 1.")
    wanted = what_is_needed(requests, {"epochs": epochs})
    missing = next((step.mode for step in wanted.passes if step.needs_reference), None)
    if missing is not None and options.get("reference") is None:
        raise OptionError(
            f"the pass {missing} compares with reference examples: name them with reference= (--reference DATA, or a "
            "share such as 10%)."
        )
    job = open_job(data, model, **options)
    if job.model.trained is not None:
        raise OptionError(
            "a trained network is only evaluated, and a plan counts trainings: give a spec or a function."
        )
    n = len(job.source)
    with settings(job.recipe.threads):
        cost = _Network(job)
        batch = job.recipe.batch_size
        lines = [cost.line(f"train, {seeds} x {epochs} epochs", seeds * epochs, n, batch, True)]
        lines += [cost.of_pass(step, seeds) for step in wanted.passes]
        lines += _of_vectors(requests, n, cost.width, seeds)
    checkpoints = len(wanted.checkpoints | {epochs}) * seeds
    recorded = epochs + sum(not step.kind.wide for step in wanted.passes)
    wide = [
        (len(cost.feed(step)), dict(step.options).get("dim", cost.width)) for step in wanted.passes if step.kind.wide
    ]
    disk = {
        "signals": float(_SIGNALS * n * seeds * recorded),
        "checkpoints": float(checkpoints * cost.weights),
        "embeddings": float(seeds * sum(4 * rows * width for rows, width in wide)),
        "scores": 4.0 * n * (2 + len(requests)),
    }
    held = float(n * prod(job.source.shape) * (1 if job.source.dtype == torch.uint8 else 4))
    what = f"{', '.join(r.scorer for r in requests)} of {n} examples by {job.model.spec}, {cost.parameters} parameters"
    how = (
        f"measured here just now: {1e3 * cost.trained:.3g} ms to train on an example, {1e3 * cost.run:.3g} ms to run it"
    )
    return Estimate(
        what, tuple(lines), {k: v for k, v in disk.items() if v}, held * job.source.inputs.in_memory, how, PROCESS
    )


class _Network:
    """What one example costs: `flops` forward, `run` and `trained` in seconds, `held` bytes of activations."""

    def __init__(self, job: Job) -> None:
        self.job, self.model = job, job.fresh(0)
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.weights = sum(t.numel() * t.element_size() for t in self.model.state_dict().values())
        with closing(tap_head(job, self.model, None)) as tap:
            self.width = 0 if tap.head is None else tap.head.in_features
        few = next(job.feed.batches(np.arange(1), 1))[0]
        with evaluating(self.model), torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.model(few)
        self.flops = counter.get_total_flops()
        self.held, self.trained = self._kept(), self._train()
        self.run = self._run()

    def feed(self, step: Pass) -> Any:
        feed = self.job.feed if step.of == "data" else self.job.reference
        assert feed is not None, "refused before"
        return feed

    def line(self, name: str, passes: float, n: int, batch: int, trains: bool, forwards: float = 3) -> Line:
        """A line of the table: passes over n examples."""
        seconds = passes * (FILE + n * (self.trained if trains else self.run * forwards))
        optimizer = (1 + (2 if self.job.recipe.optimizer == "adamw" else 1)) if trains else 1.0 * (forwards > 1)
        share = 1.0 if forwards > 1 else 0.3  # without gradients only a few layers' activations are there at once
        memory = self.weights * (1 + optimizer) + share * min(batch, n) * self.held
        return Line(name, passes, passes * n * forwards * self.flops, memory, seconds)

    def of_pass(self, step: Pass, seeds: int) -> Line:
        """A pass over the data at one checkpoint, or at several together, for every seed."""
        forwards, n = _FORWARDS.get(step.mode, 3), len(self.feed(step))
        batch = EVAL_BATCH if forwards == 1 else self.job.recipe.batch_size
        name = f"{step.mode}{' of the reference' if step.of == 'reference' else ''}, epoch {step.epochs[-1]}"
        passes = seeds * len(step.epochs)
        line = self.line(name, passes, n, batch, False, forwards)
        if not PASSES[step.mode].gradients:
            return line
        return Line(line.name, passes, line.flops, line.memory, passes * (FILE + n * self.trained * forwards / 3))

    def _kept(self) -> float:
        """Bytes that autograd keeps for an example between its forward and its backward pass."""
        size = min(4, len(self.job.source))
        inputs, labels, _ = next(self.job.feed.batches(np.arange(size), size))
        own = {p.untyped_storage().data_ptr() for p in self.model.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with evaluating(self.model), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            torch.autograd.backward(self.job.task.losses(self.model(inputs), labels).mean())
        return sum(kept.values()) / size

    def _train(self) -> float:
        """Seconds of training on an example: the real loop, on some of the data, recording what is thrown away."""
        job, size = self.job, self._some(3)
        recipe = replace(job.recipe, lr=1e-4)  # so that it cannot diverge
        order = SubsetSampler(np.arange(size), seed=0)
        steps = training_steps(size, size, recipe.batch_size, epochs=3)
        trainer = Trainer(self.model, job.task, job.feed, order, recipe, steps)
        with closing(tap_head(job, self.model, None)) as tap:
            recorder = Recorder(len(job.source), sink=lambda epoch, table: None)
            trainer.run(recorder=_Unfinished(recorder), features=tap.features, title="plan")
        return min(entry["seconds"] for entry in trainer.history) / size

    def _run(self) -> float:
        """Seconds of an evaluation of an example."""
        size, times = self._some(1), []
        with evaluating(self.model), torch.no_grad():
            for _ in range(3):
                start = time.perf_counter()
                for inputs, labels, _ in self.job.feed.batches(np.arange(size), EVAL_BATCH):
                    output_signals(self.model(inputs), labels, None)["loss"].cpu()
                times.append(time.perf_counter() - start)
        return min(times) / size

    def _some(self, forwards: int) -> int:
        """How many examples to time: what takes a second or so, at most ten batches."""
        affordable = int(1e10 / max(1, forwards * self.flops))
        return max(2, min(10 * self.job.recipe.batch_size, len(self.job.source), affordable))


@dataclass
class _Unfinished:
    """A recorder of part of an epoch."""

    recorder: Recorder

    def update(self, *signals: Any) -> None:
        self.recorder.update(*signals)

    def end_epoch(self) -> None:
        self.recorder = Recorder(self.recorder.n, sink=None)


def _of_vectors(requests: list[Request], n: int, width: int, seeds: int) -> list[Line]:
    """What scorers of vectors compute after the passes."""
    machine, lines = Machine.measured(), []
    for request in requests:
        for step in request.spec.cost(n, width, None, **request.params) if request.spec.cost else ():
            lines.append(
                Line(f"{request.scorer}: {step.name}", 0, step.flops * seeds, step.memory,
                     machine.seconds(step) * seeds)
            )  # fmt: skip
    return lines
