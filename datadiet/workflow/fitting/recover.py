"""Prune and recover: prune a trained network, choose a few examples, and train what is left of it on them.

The dense network is the teacher, its pruned copy the student. The same recovery on as many random examples, and on all
of them, takes equally many steps, so that the three can be compared; what each cost is counted.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import nn

from datadiet.errors import OptionError
from datadiet.files.artefacts import read_json, write_json
from datadiet.models.catalog import MODEL_SCHEMES
from datadiet.parameters import check_arguments, parameter_names
from datadiet.randomness import generator
from datadiet.registry import find_spec
from datadiet.runtime import Plan, RunFolder, Sink, settings
from datadiet.runtime.layout import Layout
from datadiet.runtime.records import read_record
from datadiet.runtime.units import Product
from datadiet.selectors import SELECTORS, SelectorSpec
from datadiet.selectors.budget import parse_keep
from datadiet.sparsity import MASKS
from datadiet.sparsity.batch_norm import reestimate_batch_norm
from datadiet.sparsity.cost import ModelCost
from datadiet.sparsity.masks import Masks
from datadiet.table import Scores, Selection
from datadiet.tasks import Evaluation
from datadiet.training import Clock, Recipe
from datadiet.training.distill import auto_kd_weight
from datadiet.training.state import weights_digest
from datadiet.workflow.checkpoints import last_checkpoint
from datadiet.workflow.fitting.pruning import PruningOptions, say_costs
from datadiet.workflow.fitting.recovery import Recovery, RecoveryRow
from datadiet.workflow.fitting.train import TrainResult, train
from datadiet.workflow.scoring.score import score
from datadiet.workflow.selecting.select import select
from datadiet.workflow.session import JobSpec, Session, open_session

__all__ = ["recover"]

_log = logging.getLogger("datadiet")

_RECIPE = {"lr": 0.03}  # less than from random weights, since the network knows most of it already
_EPOCHS = 10
_MEASURED_ON = 1024  # examples for the running statistics of the pruned network


def recover(
    model: str | Path | nn.Module,
    dataset: Any,
    *,
    network: str | Callable[[], nn.Module] | None = None,
    sparsify: str = "global_magnitude:0.9",
    keep_dense: Sequence[str] = (),
    method: str = "paser",
    keep: int | float | str = 0.1,
    score: str | None = None,
    params: Mapping[str, Any] | None = None,
    teacher: Any = "auto",
    kd_weight: str | float = "auto",
    temperature: float = 4.0,
    epochs: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    recipe: Recipe | Mapping[str, Any] | None = None,
    eval: Any = None,
    device: str = "auto",
    out: str | Path | None = None,
) -> Recovery:
    """Prune a trained network and recover it on a part of the data, beside random examples and all of them.

    Args:
        model: the trained network: a run (its first seed's last epoch), a checkpoint, or a module; not changed.
        dataset: the data to recover on, as in `score`.
        network: the network of these weights, a spec or a function; by default what the run says.
        sparsify: how to prune, such as "global_magnitude:0.9"; see `ls pruning`.
        keep_dense: names of layers that are not pruned.
        method: a selection method; those that read a score read the divergence between the two networks.
        keep: the share or number of examples to recover on.
        score: the column that the method reads, "divergence" by default.
        params: of the method.
        teacher: "auto" = the dense network; None = labels only; or a teacher as in `train`.
        kd_weight, temperature: as in `train`.
        epochs: passes over the kept examples; 10 by default. The baselines take as many steps.
        steps: optimizer steps, instead of epochs.
        seed: of selection, order and dropout.
        recipe: a Recipe, or some of its fields; by default lr=0.03.
        eval: held-out data, or "10%"; digits come with their own.
        device: "auto" or a torch device.
        out: a folder for all runs; the same call continues an interrupted one.

    Raises:
        OptionError: no held-out data, or options that do not fit.
        DataError: weights that do not fit, or damaged data.
    """
    check_arguments(recover, {"steps": steps, "epochs": epochs, "seed": seed, "score": score, "out": out})
    reads = find_spec(method, SELECTORS, "selection method", SelectorSpec)
    if not isinstance(sparsify, str) or sparsify.startswith(MASKS):
        raise OptionError("recover prunes the network itself: give sparsify= (--sparsify) the name of a method.")
    pruning = PruningOptions(sparsify, "start", keep_dense, started=True)
    dense = _Dense.of(model, network)
    recipe = recipe if isinstance(recipe, Recipe) else Recipe().with_options({**_RECIPE, **(recipe or {})})
    session = open_session(JobSpec(dataset, dense.network, eval, None, dense.files, recipe=recipe, device=device))
    if session.held_out is None:
        raise OptionError("there is no held-out data to compare on: name some with eval= (--eval DATA or --eval 10%).")
    k = parse_keep(keep, len(session.source))
    passes = None if steps else epochs or _EPOCHS
    clock = Clock(steps=steps or (passes or 1) * -(-k // recipe.batch_size))
    data = {"recipe": recipe, "eval": eval, "device": device}
    by = dense.start if isinstance(teacher, str) and teacher == "auto" else teacher
    weight = auto_kd_weight(k / len(session.source)) if kd_weight == "auto" else kd_weight  # the same for all data
    taught = {} if by is None else {"teacher": by, "kd_weight": weight, "temperature": temperature}
    with ExitStack() as stack:
        folder = Path(out or stack.enter_context(TemporaryDirectory()))
        made = _Recovering(dataset, session, dense, data, taught, clock.total, seed, folder)
        return made.run(pruning, _Choice(reads, k, score, params or {}))


@dataclass(frozen=True)
class _Dense:
    """The trained network to prune.

    Attributes:
        start: its checkpoint, or itself.
        network: what makes networks for these weights.
    """

    start: Path | nn.Module
    network: str | Callable[[], nn.Module]

    @classmethod
    def of(cls, model: str | Path | nn.Module, network: str | Callable[[], nn.Module] | None) -> _Dense:
        """What the user gives."""
        if isinstance(model, nn.Module):
            return cls(model, network or partial(copy.deepcopy, model))
        path = last_checkpoint(model, "model")
        run = Layout.of_checkpoint(path)
        said = None if run is None else read_record(run.manifest).get("plan", {}).get("model")
        if network is None and (said is None or said.partition(":")[0] not in MODEL_SCHEMES or said.startswith("py:")):
            of = "is in no run that says" if said is None else f"is of {said}, and a file must not decide"
            raise OptionError(f"{path} {of} what network its weights are of: name it, network= (--model SPEC).")
        return cls(path, network or str(said))

    @property
    def files(self) -> tuple[Path, ...]:
        """The checkpoint, if there is one."""
        return (self.start,) if isinstance(self.start, Path) else ()

    def load(self, session: Session) -> nn.Module:
        """A copy of the network, on the device, in evaluation mode."""
        if isinstance(self.start, Path):
            return session.network(self.start)
        return copy.deepcopy(self.start).to(session.feed.device).eval()


@dataclass(frozen=True)
class _Choice:
    """How to choose the examples: k of them by a method, the score that it reads, and its parameters."""

    spec: SelectorSpec
    k: int
    score: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the method."""
        return self.spec.name

    @property
    def method(self) -> str | Callable[..., Any]:
        """As `select` takes it."""
        return self.name if self.name in SELECTORS else self.spec.fn

    @property
    def scorers(self) -> list[str]:
        """What must be scored first: the column to select by, and what records the vectors that the method reads."""
        columns = [self.score or "divergence"] if self.spec.led_by else []
        return columns + ["prototypes"] * ("embeddings" in parameter_names(self.spec.fn))


@dataclass(frozen=True)
class _Recovering:
    """All that the recoveries of one network share."""

    dataset: Any
    session: Session
    dense: _Dense
    data: dict[str, Any]
    taught: dict[str, Any]
    steps: int
    seed: int
    out: Path

    def run(self, pruning: PruningOptions, choice: _Choice) -> Recovery:
        """Prune, choose, recover, and do the same without choosing."""
        rows, pruned, masks, costs = self._pruned(pruning)
        start = self._written(pruned)
        chosen, seconds = self._timed(choice, pruned)
        result = self._trained(choice.name, start, masks, chosen)
        rows.append(_row(choice.name, result, seconds))
        if choice.name != "random":
            random = self._chosen(_Choice(SELECTORS["random"], choice.k), pruned)
            rows.append(_row("random", self._trained("random", start, masks, random)))
        rows.append(_row("all data", self._trained("all", start, masks, None)))
        return Recovery(result.model, masks, chosen, tuple(rows), costs)

    def _pruned(
        self, pruning: PruningOptions
    ) -> tuple[list[RecoveryRow], nn.Module, Masks, tuple[ModelCost, ModelCost]]:
        """The pruned network, its running statistics measured anew, beside the dense one."""
        session, dense = self.session, self.dense.load(self.session)
        pruned, n = copy.deepcopy(dense), len(session.source)
        with settings(session.recipe.threads, session.recipe.precision):
            masks = pruning.chooser(pruned, session, self.seed, np.arange(n))(pruning.method[1]["sparsity"])
            masks.apply_(pruned)
            some = np.sort(generator(self.seed, "running statistics").permutation(n)[:_MEASURED_ON])
            reestimate_batch_norm(pruned, session.feed.batches(some, session.recipe.batch_size))
            rows = [_evaluated(name, one, session) for name, one in (("dense", dense), ("pruned", pruned))]
        costs = say_costs(dense, pruned, session, seconds=1.0)
        return rows, pruned, masks, costs

    def _written(self, pruned: nn.Module) -> Path | nn.Module:
        """The pruned network as a run of its own, which says how its inputs are prepared; or as a module, if the dense
        one was given as one."""
        if not self.dense.files:
            return pruned
        plan = Plan(self.session.what() | {"verb": "prune", "weights": weights_digest(pruned)})
        folder = RunFolder.open(self.out / "pruned", plan)
        path = folder.layout.checkpoint(0, 0)
        if not path.exists():
            content = pruned.state_dict(), {"epoch": 0, "step": 0}
            Sink(folder).write(Product(folder.layout.relative(path), content))
        return path

    def _timed(self, choice: _Choice, pruned: nn.Module) -> tuple[Selection, float]:
        """The chosen examples, and the seconds that choosing took the first time."""
        began, note = time.perf_counter(), self.out / f"choosing-{choice.name}.json"
        chosen = self._chosen(choice, pruned)
        seconds = 0.0 if choice.name == "random" else round(time.perf_counter() - began, 3)
        if note.exists():
            return chosen, float(read_json(note)["seconds"])
        write_json(note, {"seconds": seconds})
        return chosen, seconds

    def _chosen(self, choice: _Choice, pruned: nn.Module) -> Selection:
        """The examples to keep, after the passes that choosing them needs."""
        scorers, how = choice.scorers, {"keep": choice.k, "seed": self.seed, **choice.params}
        if not scorers:
            source = self.session.source
            about = {"data": source.identity(), "columns": {}}
            return select(Scores(np.asarray(source.index), {}, source.ids, source.labels, about), choice.method, **how)
        run, of = self.out / "scores", {"checkpoints": self.dense.start} if self.dense.files else {}
        model: Any = self.dense.network if of else self.dense.start
        other: Any = pruned if "divergence" in scorers else None
        given: dict[str, Any] = {**of, **self.data}
        score(self.dataset, model, scorers, against=other, seed=self.seed, out=run, **given)
        return select(run, choice.method, score=scorers[0] if choice.spec.led_by else None, **how)

    def _trained(self, name: str, start: Path | nn.Module, masks: Masks, chosen: Selection | None) -> TrainResult:
        """The pruned network, recovered on some examples; None = on all."""
        return train(
            self.dataset, self.dense.network, chosen, start=start, sparsify=masks, steps=self.steps, seed=self.seed,
            out=self.out / name, **self.taught, **self.data,
        )  # fmt: skip


def _evaluated(name: str, network: nn.Module, session: Session) -> RecoveryRow:
    assert session.held_out is not None, "refused earlier"
    return RecoveryRow(name, *_quality(session.task.evaluate(network, session.held_out)))


def _row(name: str, result: TrainResult, choosing: float = 0.0) -> RecoveryRow:
    assert result.evaluation is not None, "refused earlier"
    return RecoveryRow(name, *_quality(result.evaluation), result.kept, result.steps, choosing, result.seconds)


def _quality(found: Evaluation) -> tuple[float, float]:
    return found.accuracy, min(value for value in found.class_recall if value is not None)
