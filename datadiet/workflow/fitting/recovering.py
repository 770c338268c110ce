"""What prune and recover does: a pruned copy, the examples to recover on, and the trainings, each kept in a run."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from datadiet.errors import OptionError
from datadiet.files.artefacts import read_json, write_json
from datadiet.models import load_checkpoint
from datadiet.models.catalog import MODEL_SCHEMES
from datadiet.models.narrow import Removed
from datadiet.randomness import generator
from datadiet.runtime import Plan, RunFolder, Sink, plan_in, settings
from datadiet.runtime.layout import Layout
from datadiet.runtime.records import read_record
from datadiet.runtime.units import Product
from datadiet.sparsity.batch_norm import reestimate_batch_norm
from datadiet.sparsity.cost import ModelCost
from datadiet.sparsity.masks import Masks
from datadiet.table import Selection
from datadiet.training.state import weights_digest
from datadiet.workflow.checkpoints import last_checkpoint
from datadiet.workflow.fitting.masking import MasksByMethod
from datadiet.workflow.fitting.narrowing import Narrowing
from datadiet.workflow.fitting.pruning import PrunedNetwork, prune_copy, say_costs
from datadiet.workflow.fitting.recovery import Recovery, RecoveryRow, warn_of_losses
from datadiet.workflow.fitting.teachers import TeacherOptions
from datadiet.workflow.fitting.train import TrainResult, train
from datadiet.workflow.scoring.score import score
from datadiet.workflow.selecting.choice import RANDOM, Choice
from datadiet.workflow.session import Session

__all__ = ["DenseNetwork", "Recovering"]

_log = logging.getLogger("datadiet")

_PRUNED = 0.01  # with more zeros than this share, a network was pruned before
_MEASURED_ON = 1024  # examples for the running statistics of the pruned network
_NAMES = ("all", "pruned", "random", "scores")  # of the folders beside that of a method


@dataclass(frozen=True)
class DenseNetwork:
    """The trained network to prune.

    Attributes:
        start: its checkpoint, or itself.
        network: what makes networks for these weights.
    """

    start: Path | nn.Module
    network: str | Callable[[], nn.Module]

    @classmethod
    def of(cls, model: str | Path | nn.Module, network: str | Callable[[], nn.Module] | None) -> DenseNetwork:
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
class Recovering:
    """All that the recoveries of one network share."""

    dataset: Any
    session: Session
    dense: DenseNetwork
    data: dict[str, Any]
    teaching: TeacherOptions
    steps: int
    seed: int
    out: Path
    k: int

    def run(self, pruning: MasksByMethod | Narrowing, choice: Choice) -> Recovery:
        """Prune, choose, recover, and do the same without choosing."""
        rows, pruned, start, costs = self._pruned(pruning)
        chosen, seconds = self._timed(choice, pruned.network)
        own = choice.spec is not RANDOM.spec and choice.name in _NAMES
        result = self._trained(f"by-{choice.name}" if own else choice.name, start, pruned, chosen)
        rows.append(RecoveryRow.recovered(choice.name, result, seconds))
        if choice.spec is not RANDOM.spec:
            random = self._trained("random", start, pruned, RANDOM.select(None, self.k, self.session.source, self.seed))
            rows.append(RecoveryRow.recovered("random", random))
        rows.append(RecoveryRow.recovered("all data", self._trained("all", start, pruned, None)))
        warn_of_losses(rows)
        write_json(self.out / "recovery.json", {"rows": [asdict(row) for row in rows]})
        return Recovery(result.model, pruned.masks, pruned.session.model.removed, chosen, tuple(rows), costs)

    def _pruned(
        self, pruning: MasksByMethod | Narrowing
    ) -> tuple[list[RecoveryRow], PrunedNetwork, Path | nn.Module, tuple[ModelCost, ModelCost]]:
        """The first two rows, the pruned network, where recoveries start from, and the costs of both networks."""
        session, dense = self.session, self.dense.load(self.session)
        _warn_of_zeros(dense)
        if self.dense.files:
            pruned, path, seconds = self._pruned_run(pruning, dense)
            start: Path | nn.Module = path
        else:
            began = time.perf_counter()
            pruned = self._prune(pruning, dense)
            start, seconds = pruned.network, time.perf_counter() - began
        held, evaluate = session.held_out, session.task.evaluate
        assert held is not None, "refused earlier"
        with settings(session.recipe.threads, session.recipe.precision):
            rows = [
                RecoveryRow.of("dense", evaluate(dense, held)),
                RecoveryRow.of("pruned", evaluate(pruned.network, held), pruning=round(seconds, 3)),
            ]
        return rows, pruned, start, say_costs(dense, pruned.network, session, seconds=1.0)

    def _prune(
        self, pruning: MasksByMethod | Narrowing, dense: nn.Module, planned: Sequence[Removed] = ()
    ) -> PrunedNetwork:
        """A pruned copy, its running statistics measured anew."""
        session, found = self.session, prune_copy(pruning, dense, self.session, self.seed, planned)
        with settings(session.recipe.threads, session.recipe.precision):
            some = generator(self.seed, "running statistics").permutation(len(session.source))[:_MEASURED_ON]
            reestimate_batch_norm(found.network, session.feed.batches(np.sort(some), session.recipe.batch_size))
        return found.with_zeros_as_masks()

    def _pruned_run(self, pruning: MasksByMethod | Narrowing, dense: nn.Module) -> tuple[PrunedNetwork, Path, float]:
        """The pruned copy as a run of its own, which says how its inputs are prepared, its checkpoint, and the seconds
        that pruning took; a run that is there is read, since other hardware might prune a little differently."""
        out, about = (
            self.out / "pruned",
            {
                "verb": "prune",
                "start": weights_digest(dense),
                "sparsify": {"method": pruning.sparsify, "keep_dense": sorted(pruning.keep_dense)}
                | pruning.calibration.plan(self.session),
                "seed": self.seed,
            },
        )
        path = Layout(out).checkpoint(0, 0)
        if path.exists():
            found = self._read(pruning, dense, path)
            folder = RunFolder.open(out, Plan(found.session.what() | about))
            return found, path, float(folder.read(folder.layout.log)["seconds"])
        began = time.perf_counter()
        found = self._prune(pruning, dense)
        seconds = round(time.perf_counter() - began, 3)
        sink = Sink(RunFolder.open(out, Plan(found.session.what() | about)))
        sink.update(Layout(out).log, {"seconds": seconds})
        sink.write(Product(Layout(out).relative(path), (found.network.state_dict(), {"epoch": 0, "step": 0})))
        return found, path, seconds

    def _read(self, pruning: MasksByMethod | Narrowing, dense: nn.Module, path: Path) -> PrunedNetwork:
        """The pruned copy of a run."""
        removed = tuple(plan_in(self.out / "pruned").get("removed", ()))
        if isinstance(pruning, Narrowing):
            found = self._prune(pruning, dense, removed)
        else:
            found = PrunedNetwork(copy.deepcopy(dense), pruning.all_kept(dense), self.session)
        load_checkpoint(found.network, path)
        return found.with_zeros_as_masks()

    def _timed(self, choice: Choice, pruned: nn.Module) -> tuple[Selection, float]:
        """The chosen examples, and the seconds that scoring and choosing took, over all calls."""
        note = self.out / f"choosing-{choice.name}.json"
        run, scored = self._scored(choice, pruned)
        began = time.perf_counter()
        chosen = choice.select(run, self.k, self.session.source, self.seed)
        if not note.exists():
            write_json(note, {"seconds": round(scored + time.perf_counter() - began, 3)})
        return chosen, 0.0 if choice.spec is RANDOM.spec else float(read_json(note)["seconds"])

    def _scored(self, choice: Choice, pruned: nn.Module) -> tuple[Path | None, float]:
        """The run of the passes that choosing needs, and the seconds that they took; None if it needs none."""
        if not choice.scorers:
            return None, 0.0
        run, of = self.out / "scores", {"checkpoints": self.dense.start} if self.dense.files else {}
        model: Any = self.dense.network if of else self.dense.start
        given: dict[str, Any] = {**of, **self.data, "against": pruned if choice.sees_two else None}
        score(self.dataset, model, choice.scorers, seed=self.seed, out=run, **given)
        log = read_record(Layout(run).log)
        return run, sum(
            float(entry["seconds"]) for entry in log.values() if isinstance(entry, dict) and "seconds" in entry
        )

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
