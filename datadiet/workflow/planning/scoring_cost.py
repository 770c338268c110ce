"""What scoring will cost: training runs, passes by kind, operations, memory and disk. Nothing is written.

Operations of a forward pass are counted on one example; a training step counts as three of them, and so does a
gradient pass. Times are those of a real batch on this machine, timed before anything else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from datadiet.errors import OptionError
from datadiet.models import call, evaluating
from datadiet.parameters import check_whole
from datadiet.runtime import settings
from datadiet.sampling import SubsetSampler
from datadiet.scorers import ScorerSpec
from datadiet.signals import Recorder
from datadiet.training import Clock, Trainer
from datadiet.training.hooks import Record
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.planning.estimate import Estimate, Line, Machine
from datadiet.workflow.planning.spread import spread_over
from datadiet.workflow.scoring.needs import Input, logits_input, resolve, work_for
from datadiet.workflow.scoring.recording import Recording, RecordingJob
from datadiet.workflow.scoring.requests import Request, check_compared, make_requests
from datadiet.workflow.scoring.score import DEFAULT_EPOCHS
from datadiet.workflow.session import Session, open_session

__all__ = ["plan_scoring"]

FILE = 0.02  # seconds to finish a pass: writing and renaming files
PROCESS = 1000e6  # bytes of Python and torch with what data sets need
_SIGNALS = 28  # bytes of a recorded presentation on disk, with a linear last layer


def plan_scoring(
    data: Any,
    model: Any,
    scorers: str | Callable[..., Any] | ScorerSpec | Iterable[Any],
    *,
    epochs: int | None = None,
    seeds: int = 1,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    actors: int | None = None,
    logits: bool | Mapping[str, int] = False,
    **options: Any,
) -> Estimate:
    """The cost of `datadiet.score` with the same arguments, which train: `options` are fields of `JobSpec`.

    `actors` is the number of workers that Ray would spread it over.

    Raises:
        OptionError: anything that `score` refuses.
    """
    requests = make_requests(scorers, params)
    epochs = DEFAULT_EPOCHS if epochs is None else epochs
    if epochs < 1 or seeds < 1:
        raise OptionError(f"epochs={epochs}, seeds={seeds}: both must be at least 1.")
    check_compared(requests, *map(options.get, ("reference", "against", "against_model")))
    spec = JobSpec(data, model, **{key: value for key, value in options.items() if value is not None})
    job = open_session(spec)
    facts: dict[str, Any] = {"epochs": epochs, "num_classes": job.task.outputs}
    facts |= {} if job.reference is None else {"reference": job.reference_hash}
    facts |= {} if job.against is None else {"against": job.against.hash}
    requests = resolve(requests, facts)
    further = () if logits is False else (logits_input({} if logits is True else logits, facts),)
    work = work_for(requests, further)
    if job.model.trained is not None:
        raise OptionError(
            "a trained network is only evaluated, but a plan counts training runs: give a spec or a function."
        )
    n = len(job.source)
    with settings(job.recipe.threads, job.recipe.precision):
        cost = _Network(job)
        copies = 3 if job.recipe.optimizer == "adamw" else 2  # the gradient, and what the optimizer keeps
        title = f"train, {seeds} x {epochs} epochs"
        lines = [cost.line(title, seeds * epochs, n, min(job.recipe.batch_size, n), cost.trained, copies=copies)]
        recording = Recording(job, RecordingJob(spec, epochs, tuple(range(seeds)), work=work, width=cost.width))
        lines += [cost.of_pass(steps, seeds) for steps in _sharing(recording)]
        lines += _of_vectors(requests, n, cost.width, seeds)
    spread = None
    if actors is not None:
        spread = spread_over(recording, cost.trained, cost.of_example, check_whole("actors", actors))
    disk = _disk(recording, cost.weights, len(requests))
    held = float(n * prod(job.source.shape) * (1 if job.source.dtype == torch.uint8 else 4))
    what = f"{', '.join(r.scorer for r in requests)} of {n} examples by {job.model.spec}, {cost.parameters} parameters"
    how = (
        f"measured here just now: {1e3 * cost.trained:.3g} ms to train on an example, {1e3 * cost.run:.3g} ms to run it"
    )
    return Estimate(
        what, tuple(lines), disk, held * job.source.inputs.in_memory, how, PROCESS, spread)  # fmt: skip


class _Network:
    """What one example costs: `flops` forward, `run` and `trained` in seconds, `held` bytes of activations."""

    def __init__(self, job: Session) -> None:
        self.job, self.model = job, job.fresh(0)
        self.parameters = sum(p.numel() for p in self.model.parameters())
        self.weights = sum(t.numel() * t.element_size() for t in self.model.state_dict().values())
        with closing(job.tap(self.model)) as tap:
            self.width = 0 if tap.head is None else tap.head.in_features
        few = job.feed.first(1)
        with evaluating(self.model), torch.no_grad(), FlopCounterMode(display=False) as counter:
            call(self.model, few)
        self.flops = counter.get_total_flops()
        self.held, self.trained = self._kept(), self._train()
        self.run = self._run()

    def line(
        self, name: str, passes: float, n: int, held: float, each: float, forwards: float = 3, copies: float = 1
    ) -> Line:
        """A line of the table: passes over n examples that take `each` seconds.

        They hold the activations of `held` examples at once, and further copies of the weights.
        """
        memory = self.weights * (1 + copies) + held * self.held
        return Line(name, passes, passes * n * forwards * self.flops, memory, passes * (FILE + n * each))

    def of_pass(self, steps: Sequence[Input], seeds: int) -> Line:
        """Passes that share one over the data at one checkpoint, or at several together, for every seed."""
        step = steps[0]
        n = len(self.job.examples(step.of_reference))
        longest = max(steps, key=lambda one: one.kind.forwards)
        forwards = longest.kind.forwards
        batch = step.kind.batch_size(self.job.recipe.batch_size, self.job.feed.eval_batch)
        names = " + ".join(one.kind.name for one in steps)
        name = f"{names}{' of the reference' if step.of_reference else ''}, epoch {step.epochs[-1]}"
        times = len(step.epochs) * len(self._views(step))
        share = 0.3 if step.kind.batch == "evaluation" else 1.0  # without gradients only a few layers are held
        each = self.of_example(longest) / times
        return self.line(name, seeds * times, n, share * min(batch, n), each, forwards, float(forwards > 1))

    def of_example(self, step: Input) -> float:
        """Seconds that a pass takes for an example, at all its checkpoints."""
        times = len(step.epochs) * len(self._views(step)) * step.kind.forwards
        return times * (self.trained / 3 if step.kind.gradients else self.run)

    def _views(self, step: Input) -> Sequence[int]:
        return step.kind.views(step.need.options, self.job.recipe.augment)

    def _kept(self) -> float:
        """Bytes that autograd keeps for an example between its forward and its backward pass."""
        size = min(4, len(self.job.source))
        batch = self.job.feed.first(size)
        own = {p.untyped_storage().data_ptr() for p in self.model.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with evaluating(self.model), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            torch.autograd.backward(self.job.task.losses(call(self.model, batch), batch.targets).mean())
        return sum(kept.values()) / size

    def _train(self) -> float:
        """Seconds to train on an example: the real loop, on some of the data, with a recording that is discarded."""
        job, size = self.job, self._some(3)
        recipe = replace(job.recipe, lr=1e-4)  # so that it cannot diverge
        order = SubsetSampler(np.arange(size), seed=0)
        with closing(job.tap(self.model)) as tap:
            hook = Record(Recorder(len(job.source), sink=lambda epoch, table: None), tap.features)
            trainer = Trainer(self.model, job.task, job.feed, order, recipe, Clock(epochs=3), hooks=[hook])
            trainer.run(title="plan")
        return min(entry["seconds"] for entry in trainer.history) / size

    def _run(self) -> float:
        """Seconds to evaluate an example."""
        size, times = self._some(1), []
        with evaluating(self.model), torch.no_grad():
            for _ in range(3):
                start = time.perf_counter()
                for batch in self.job.feed.batches(np.arange(size), self.job.feed.eval_batch):
                    self.job.task.signals(call(self.model, batch), batch.targets, None)["loss"].cpu()
                times.append(time.perf_counter() - start)
        return min(times) / size

    def _some(self, forwards: int) -> int:
        """How many examples to time: about a second's work, at most ten batches."""
        affordable = int(1e10 / max(1, forwards * self.flops))
        return max(2, min(10 * self.job.recipe.batch_size, len(self.job.source), affordable))


def _disk(recording: Recording, weights: float, columns: int) -> dict[str, float]:
    """Bytes by what they hold; `weights` are those of a network, `columns` the number of scores."""
    job, n = recording.job, recording.rows
    bytes_of = {"signals": _SIGNALS * n * job.epochs, "checkpoints": len(recording.kept) * weights}
    for step in job.work.passes:
        what = step.kind.name if step.kind.name == "logits" else "embeddings" if step.kind.vectors else "signals"
        each = recording.row_bytes(step) if step.kind.vectors else _SIGNALS
        bytes_of[what] = bytes_of.get(what, 0) + each * len(recording.session.examples(step.of_reference))
    found = {what: float(len(job.seeds) * size) for what, size in bytes_of.items()}
    return {what: size for what, size in found.items() if size} | {"scores": 4.0 * n * (2 + columns)}


def _sharing(recording: Recording) -> list[list[Input]]:
    """The passes, those together that share a forward pass."""
    out: dict[Any, list[Input]] = {}
    for number, step in enumerate(recording.job.work.passes):
        share = recording.shared_by(step)
        out.setdefault(number if share is None else share, []).append(step)
    return list(out.values())


def _of_vectors(requests: list[Request], n: int, width: int, seeds: int) -> list[Line]:
    """What scorers of vectors compute after the passes."""
    machine = Machine.measured()
    return [
        Line(f"{request.scorer}: {step.name}", 0, seeds * step.flops, step.memory, seeds * machine.seconds(step))
        for request in requests
        if request.spec.cost is not None
        for step in request.spec.cost(n, width, None, **request.params)
    ]
