"""Prune and recover: prune a trained network, choose a few examples, and train what is left of it on them.

The dense network is the teacher, its pruned copy the student. The same recovery on as many random examples, and on all
of them, takes equally many steps, so that the three can be compared; what each cost is counted.
"""

from __future__ import annotations

import copy
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import nn

from datadiet.errors import OptionError, each_note_once
from datadiet.files.artefacts import read_json, write_json
from datadiet.models.catalog import MODEL_SCHEMES
from datadiet.parameters import check_arguments
from datadiet.randomness import generator
from datadiet.runtime import Plan, RunFolder, Sink, settings
from datadiet.runtime.layout import Layout
from datadiet.runtime.records import read_record
from datadiet.runtime.units import Product
from datadiet.selectors.budget import parse_keep
from datadiet.sparsity import MASKS
from datadiet.sparsity.batch_norm import reestimate_batch_norm
from datadiet.sparsity.cost import ModelCost
from datadiet.sparsity.masks import Masks
from datadiet.table import Selection
from datadiet.training import Clock, Recipe
from datadiet.training.distill import auto_kd_weight
from datadiet.training.state import weights_digest
from datadiet.workflow.checkpoints import last_checkpoint
from datadiet.workflow.fitting.masking import MasksByMethod
from datadiet.workflow.fitting.narrowing import Narrowing
from datadiet.workflow.fitting.pruning import PrunedNetwork, prune_copy, read_pruning, say_costs
from datadiet.workflow.fitting.recovery import Recovery, RecoveryRow, warn_of_losses
from datadiet.workflow.fitting.teachers import TeacherOptions, taught_by
from datadiet.workflow.fitting.train import TrainResult, train
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.scoring.requests import check_compared, refuse_presentations
from datadiet.workflow.scoring.score import score
from datadiet.workflow.selecting.choice import RANDOM, Choice
from datadiet.workflow.session import Session, open_session

__all__ = ["recover"]

_log = logging.getLogger("datadiet")

_RECIPE = {"lr": 0.03}  # less than from random weights, since the network knows most of it already
_EPOCHS = 10
_PRUNED = 0.01  # with more zeros than this share, a network was pruned before
_MEASURED_ON = 1024  # examples for the running statistics of the pruned network


def recover(
    model: str | Path | nn.Module,
    dataset: Any,
    *,
    network: str | Callable[[], nn.Module] | None = None,
    sparsify: str = "global_magnitude:0.9",
    sparsify_on: Selection | str | Path | None = None,
    keep_dense: Sequence[str] = (),
    method: str | Callable[..., Any] = "paser",
    keep: int | float | str = 0.1,
    score: str | None = None,
    columns: Mapping[str, str] | None = None,
    by_class: bool | None = None,
    params: Mapping[str, Any] | None = None,
    teacher: Any = "auto",
    teacher_model: str | Callable[[], nn.Module] | None = None,
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
        sparsify_on: a selection of the examples that a pruning method reads; None = all of them.
        keep_dense: names of layers that are not pruned.
        method: a selection method, as in `select`.
        keep: the share or number of examples to recover on.
        score: the score that the method reads, by default the divergence between the two networks; one that a single
            trained network gives.
        columns, by_class, params: of the method, as in `select`.
        teacher: "auto" = the dense network; None = labels only; or a teacher as in `train`.
        teacher_model, kd_weight, temperature: as in `train`.
        epochs: passes over the kept examples; 10 by default. The baselines take as many steps.
        steps: optimizer steps, instead of epochs.
        seed: of selection, order and dropout.
        recipe: a Recipe, or some of its fields; by default lr=0.03.
        eval: held-out data, or "10%"; digits come with their own.
        device: "auto" or a torch device.
        out: a folder for all runs; the same call continues an interrupted one.

    Raises:
        OptionError: no held-out data, or options that do not fit.
        MissingSignal: a score that reads a training.
        DataError: weights that do not fit, or damaged data.
    """
    check_arguments(recover, {"steps": steps, "epochs": epochs, "seed": seed, "score": score, "out": out})
    if not isinstance(sparsify, str) or sparsify.startswith(MASKS):
        raise OptionError("recover prunes the network itself: give sparsify= (--sparsify) the name of a method.")
    choice = Choice.of(method, score=score, usual="divergence", columns=columns, by_class=by_class, params=params)
    check_compared(choice.requests(), None, "the pruned network" if choice.sees_two else None, None)
    refuse_presentations(choice.requests())
    parse_keep(keep, sys.maxsize)
    pruning = read_pruning(sparsify, "start", keep_dense, sparsify_on, started=True)
    assert isinstance(pruning, (MasksByMethod, Narrowing)), "given masks were refused"
    dense = _Dense.of(model, network)
    by = dense.start if isinstance(teacher, str) and teacher == "auto" else teacher
    teaching = TeacherOptions(by, teacher_model, kd_weight, temperature)
    recipe = recipe if isinstance(recipe, Recipe) else Recipe().with_options({**_RECIPE, **(recipe or {})})
    data = {"recipe": recipe, "eval": eval, "device": device}
    with each_note_once(), ExitStack() as stack:
        session = open_session(JobSpec(dataset, dense.network, eval, None, dense.files, recipe=recipe, device=device))
        if session.held_out is None:
            raise OptionError("there is no held-out data to compare on: name some, eval= (--eval DATA or --eval 10%).")
        k = parse_keep(keep, len(session.source))
        teaching, total = _the_same_for_all(teaching, session, k, epochs, steps)
        folder = Path(out or stack.enter_context(TemporaryDirectory()))
        return _Recovering(dataset, session, dense, data, teaching, total, seed, folder, k).run(pruning, choice)


def _the_same_for_all(
    teaching: TeacherOptions, session: Session, k: int, epochs: int | None, steps: int | None
) -> tuple[TeacherOptions, int]:
    """What all recoveries share: the teacher, whose weight follows from k of the examples, and the number of steps.

    Raises:
        OptionError, DataError: a teacher that cannot be used.
    """
    if teaching.teacher is not None and teaching.weight == "auto":
        teaching = replace(teaching, weight=auto_kd_weight(k / len(session.source)))
    clock = Clock(steps=steps or (epochs or _EPOCHS) * -(-k // session.recipe.batch_size))
    with ExitStack() as undo:
        taught_by(teaching, session, session.any_network(), clock, undo)
    return teaching, clock.total


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
class _Recovering:
    """All that the recoveries of one network share."""

    dataset: Any
    session: Session
    dense: _Dense
    data: dict[str, Any]
    teaching: TeacherOptions
    steps: int
    seed: int
    out: Path
    k: int

    def run(self, pruning: MasksByMethod | Narrowing, choice: Choice) -> Recovery:
        """Prune, choose, recover, and do the same without choosing."""
        rows, pruned, costs = self._pruned(pruning)
        start = self._written(pruned)
        chosen, seconds = self._timed(choice, pruned.network)
        result = self._trained(choice.name, start, pruned, chosen)
        rows.append(RecoveryRow.recovered(choice.name, result, seconds))
        if choice.name != "random":
            random = self._trained("random", start, pruned, self._chosen(RANDOM, pruned.network))
            rows.append(RecoveryRow.recovered("random", random))
        rows.append(RecoveryRow.recovered("all data", self._trained("all", start, pruned, None)))
        warn_of_losses(rows)
        return Recovery(result.model, pruned.masks, pruned.session.model.removed, chosen, tuple(rows), costs)

    def _pruned(
        self, pruning: MasksByMethod | Narrowing
    ) -> tuple[list[RecoveryRow], PrunedNetwork, tuple[ModelCost, ModelCost]]:
        """The pruned network, its running statistics measured anew, beside the dense one."""
        session, dense = self.session, self.dense.load(self.session)
        n = len(session.source)
        _warn_of_zeros(dense)
        found = prune_copy(pruning, dense, session, self.seed)
        pruned = found.network
        with settings(session.recipe.threads, session.recipe.precision):
            some = np.sort(generator(self.seed, "running statistics").permutation(n)[:_MEASURED_ON])
            reestimate_batch_norm(pruned, session.feed.batches(some, session.recipe.batch_size))
            held, evaluate = session.held_out, session.task.evaluate
            assert held is not None, "refused earlier"
            rows = [RecoveryRow.of(name, evaluate(one, held)) for name, one in (("dense", dense), ("pruned", pruned))]
        costs = say_costs(dense, pruned, session, seconds=1.0)
        return rows, found, costs

    def _written(self, pruned: PrunedNetwork) -> Path | nn.Module:
        """The pruned network as a run of its own, which says how its inputs are prepared; or as a module, if the dense
        one was given as one."""
        if not self.dense.files:
            return pruned.network
        plan = Plan(pruned.session.what() | {"verb": "prune", "weights": weights_digest(pruned.network)})
        folder = RunFolder.open(self.out / "pruned", plan)
        path = folder.layout.checkpoint(0, 0)
        if not path.exists():
            content = pruned.network.state_dict(), {"epoch": 0, "step": 0}
            Sink(folder).write(Product(folder.layout.relative(path), content))
        return path

    def _timed(self, choice: Choice, pruned: nn.Module) -> tuple[Selection, float]:
        """The chosen examples, and the seconds that choosing took the first time."""
        began, note = time.perf_counter(), self.out / f"choosing-{choice.name}.json"
        chosen = self._chosen(choice, pruned)
        seconds = 0.0 if choice.name == "random" else round(time.perf_counter() - began, 3)
        if note.exists():
            return chosen, float(read_json(note)["seconds"])
        write_json(note, {"seconds": seconds})
        return chosen, seconds

    def _chosen(self, choice: Choice, pruned: nn.Module) -> Selection:
        """The examples to keep, after the passes that choosing them needs."""
        run: Path | None = None
        if choice.scorers:
            run, of = self.out / "scores", {"checkpoints": self.dense.start} if self.dense.files else {}
            model: Any = self.dense.network if of else self.dense.start
            given: dict[str, Any] = {**of, **self.data, "against": pruned if choice.sees_two else None}
            score(self.dataset, model, choice.scorers, seed=self.seed, out=run, **given)
        return choice.select(run, self.k, self.session.source, self.seed)

    def _trained(
        self, name: str, start: Path | nn.Module, pruned: PrunedNetwork, chosen: Selection | None
    ) -> TrainResult:
        """The pruned network, recovered on some examples; None = on all."""
        by = self.teaching
        smaller = pruned.masks is None and isinstance(start, nn.Module)  # only a run says how to make such networks
        network = partial(copy.deepcopy, pruned.network) if smaller else self.dense.network
        return train(
            self.dataset, network, chosen, start=start, sparsify=pruned.masks, steps=self.steps, seed=self.seed,
            teacher=by.teacher, teacher_model=by.model, kd_weight=by.weight, temperature=by.temperature,
            out=self.out / name, **self.data,
        )  # fmt: skip


def _warn_of_zeros(dense: nn.Module) -> None:
    share = 1 - Masks.from_zeros(dense).density()
    if share > _PRUNED:
        _log.warning(
            "%.3g %% of the weights are zero already: 'dense' means the network as it was given, and these zeros count "
            "as pruned", 100 * share,
        )  # fmt: skip
