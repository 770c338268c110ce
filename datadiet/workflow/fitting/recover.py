"""Prune and recover: prune a trained network, choose a few examples, and train what is left of it on them.

The dense network is the teacher, its pruned copy the student. The same recovery on as many random examples, and on all
of them, takes equally many steps, so that the three can be compared; what each cost is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from datadiet.errors import OptionError, each_note_once
from datadiet.parameters import check_arguments, check_whole
from datadiet.runtime import Layout, plan_in, planned_threads
from datadiet.selectors.budget import parse_keep
from datadiet.sparsity import MASKS
from datadiet.table import Selection
from datadiet.training import Clock, Recipe
from datadiet.training.distill import auto_kd_weight
from datadiet.workflow.fitting.masking import MasksByMethod
from datadiet.workflow.fitting.narrowing import Narrowing
from datadiet.workflow.fitting.pruning import read_pruning
from datadiet.workflow.fitting.recovering import DenseNetwork, Recovering
from datadiet.workflow.fitting.recovery import Recovery
from datadiet.workflow.fitting.teachers import TeacherOptions, taught_by
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.scoring.requests import check_compared, refuse_presentations
from datadiet.workflow.selecting.choice import Choice
from datadiet.workflow.session import Session, open_session

__all__ = ["recover"]

_log = logging.getLogger("datadiet")

_RECIPE = {"lr": 0.03}  # less than from random weights, since the network knows most of it already
_EPOCHS = 10


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
    for name, value in (("epochs", epochs), ("steps", steps)):
        if value is not None:
            check_whole(name, value, 1)
    check_arguments(recover, {"steps": steps, "epochs": epochs, "seed": seed, "score": score, "out": out})
    if not isinstance(sparsify, str) or sparsify.startswith(MASKS):
        raise OptionError("recover prunes the network itself: give sparsify= (--sparsify) the name of a method.")
    choice = Choice.of(method, score=score, usual="divergence", columns=columns, by_class=by_class, params=params)
    check_compared(choice.requests(), None, "the pruned network" if choice.sees_two else None, None)
    refuse_presentations(choice.requests())
    pruning = read_pruning(sparsify, "start", keep_dense, sparsify_on, started=True)
    assert isinstance(pruning, (MasksByMethod, Narrowing)), "given masks were refused"
    dense = DenseNetwork.of(model, network)
    by = dense.start if isinstance(teacher, str) and teacher == "auto" else None if teacher == "none" else teacher
    teaching = TeacherOptions(by, teacher_model, kd_weight, temperature)
    recipe = recipe if isinstance(recipe, Recipe) else Recipe().with_options({**_RECIPE, **(recipe or {})})
    data = {"recipe": recipe, "eval": eval, "device": device}
    with each_note_once(), ExitStack() as stack:
        folder = Path(out or stack.enter_context(TemporaryDirectory()))
        if Layout(folder).is_run:
            raise OptionError(f"{folder} is a run, and recover makes several: choose another out= (--out FOLDER).")
        threads = planned_threads(folder / "pruned")
        spec = JobSpec(dataset, dense.network, eval, None, dense.files, None, recipe, device, threads)
        session = open_session(spec)
        if session.held_out is None:
            raise OptionError("there is no held-out data to compare on: name some, eval= (--eval DATA or --eval 10%).")
        _warn_of_seen(dense, session)
        k = parse_keep(keep, len(session.source))
        choice.try_on(session.source, [k])
        teaching, total = _the_same_for_all(teaching, session, k, epochs, steps)
        return Recovering(dataset, session, dense, data, teaching, total, seed, folder, k).run(pruning, choice)


def _the_same_for_all(
    teaching: TeacherOptions, session: Session, k: int, epochs: int | None, steps: int | None
) -> tuple[TeacherOptions, int]:
    """What all recoveries share: the teacher, whose weight follows from k of the examples, and the number of steps.

    Raises:
        OptionError, DataError: a teacher that cannot be used.
    """
    if teaching.teacher is not None and teaching.weight == "auto":
        teaching = replace(teaching, weight=auto_kd_weight(k / len(session.source)))
    if epochs is not None and steps is not None:
        raise OptionError(f"epochs={epochs} and steps={steps} both say how long to recover: give one of them.")
    passes = _EPOCHS if epochs is None else epochs
    clock = Clock(steps=passes * -(-k // session.recipe.batch_size) if steps is None else steps)
    with ExitStack() as undo:
        taught_by(teaching, session, session.any_network(), clock, undo)
    return teaching, clock.total


def _warn_of_seen(dense: DenseNetwork, session: Session) -> None:
    """Report a held-out part of data that the dense network was trained on."""
    for path in dense.files:
        run = Layout.of_checkpoint(path)
        said, here = {} if run is None else plan_in(run.path), session.what()
        if said.get("data") == here["data"] == here["eval"] and said.get("rows") != here["rows"]:
            _log.warning(
                "the dense network was trained on examples that are held out here, so its accuracy looks better than "
                "it is: hold out the same part in its training (eval=, --eval)"
            )
