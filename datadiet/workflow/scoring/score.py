"""score: from data and a model to a score table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from datadiet.deprecation import renamed
from datadiet.errors import OptionError
from datadiet.parameters import check_arguments, check_whole
from datadiet.runtime import planned_threads
from datadiet.runtime.executors import Executor, executor_for
from datadiet.runtime.process import refuse_group
from datadiet.scorers import ScorerSpec
from datadiet.table import Scores, Signals
from datadiet.training import Recipe
from datadiet.workflow.checkpoints import checkpoints_given
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.scoring.recording import RecordingJob
from datadiet.workflow.scoring.requests import check_compared, make_requests
from datadiet.workflow.scoring.rescore import score_signals
from datadiet.workflow.scoring.scoring_run import ScoringRun
from datadiet.workflow.session import open_session

__all__ = ["DEFAULT_EPOCHS", "score"]

DEFAULT_EPOCHS = 10


def score(
    dataset: Any,
    model: str | nn.Module | Callable[[], nn.Module] | None = None,
    scorers: str | Callable[..., Any] | ScorerSpec | Iterable[Any] = "el2n",
    *,
    epochs: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    checkpoints: str | Path | Sequence[str | Path] | None = None,
    eval: Any = None,
    reference: Any = None,
    against: Any = None,
    against_model: str | Callable[[], nn.Module] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    save_as: str | None = None,
    head: str | None = None,
    fallback: Literal["vmap"] | None = None,
    logits: bool | Mapping[str, int] = False,
    strip_prefix: str = "",
    device: str | torch.device = "auto",
    executor: str | Executor = "auto",
    out: str | Path | None = None,
    column: str | None = None,
) -> Scores:
    """Score every example of a data set.

    A fresh model is trained `epochs` epochs on all the data for each seed, recording every presentation, and evaluated
    on the un-augmented data at the epochs that the scorers need. With `checkpoints`, or a trained module as the model,
    nothing is trained: a module is evaluated in evaluation mode, and its mode is restored afterwards.
    All output signals are recorded, so `rescore` computes further scores without a model.

    Args:
        dataset: a data spec ("digits", "parquet:train/*.parquet" …), a torch or Hugging Face data set, a `Source`, or
            the `Signals` of a Recorder (or several, of different seeds), which need no model.
        model: "datadiet:cnn", "timm:resnet18" …, a zero-argument function that makes a network, or a trained network.
        scorers: names ("el2n,forgetting" or a list), functions whose leading parameters are signal names, or specs.
        epochs: of each training run; 10 by default. Not for a trained model.
        seeds: how many training runs; scores are means, and `.std` columns appear.
        seed: of the first; of networks that are not trained, of the draws of passes (the labels of EK-FAC).
        checkpoints: weights to evaluate instead of training: a glob, a list, or a run folder, which also says how its
            inputs were normalised. `at` means the epochs of a run, and counts other files from 1.
        eval: held-out data, or "10%"; gives the accuracy and the class recalls that `class_quota` reads.
        reference: examples that scorers such as `influence` compare with: data, or a share to split off; never the data
            that the final accuracy is measured on.
        against: a trained network that scorers such as `divergence` compare with, such as the pruned copy of the model:
            a run (its first seed's last epoch), a checkpoint or a network. Inputs are normalised as in its own run.
        against_model: the network of its weights, a spec or a function; by default what its run says, or, for a file
            that is in no run, `model`.
        recipe: how to train: a Recipe, or some of its fields.
        params: scorer -> parameter -> value; `at` and `mode` belong to every scorer (see `make_requests`).
        save_as: another name for the column, if there is one scorer.
        head: the name of the last linear layer, if it cannot be found by comparing outputs.
        fallback: "vmap" reruns layers whose per-example gradient is not known for each example; None refuses them.
        logits: also store what each network says at the last epoch, for `train(teacher=out)`: True, or a dict with
            views, how many augmented views of each example (8; one clean view if the recipe augments nothing), and top,
            how many of the largest logits (0 = all, in float16; else 3 top + 4 bytes for each example and view).
        strip_prefix: what the names of weights in the checkpoints have before those of the model, such as "backbone.".
        device: "auto" or a torch device.
        executor: "local", "ray" or a `RayExecutor`, which spreads the work over GPUs and machines; "auto" is Ray if it
            is initialised or RAY_ADDRESS is set. The scores are the same to the bit.
        out: the run folder; the same call with the same folder continues, and adds columns. None keeps no files.
        column: the old name of `save_as`.

    Returns:
        The scores; with `out` they are in `out/scores.parquet`.

    Raises:
        OptionError: options that cannot work together, or a parameter that a scorer refuses, before any work.
        DataError: damaged data (before any work, if it fits into memory), a run that diverged, or an example whose
            gradient is not finite, by its id.
    """
    check_arguments(score, locals())
    if column is not None:
        renamed("score(column=…)", "score(save_as=…)")
    requests = make_requests(scorers, params, save_as or column)
    recorded = [dataset] if isinstance(dataset, Signals) else dataset if isinstance(dataset, (list, tuple)) else []
    if recorded and isinstance(recorded[0], Signals):
        if any(value is not None for value in (model, epochs, checkpoints, eval, recipe, reference, against)):
            raise OptionError("recorded signals do not need a model, data or training: call score(signals, scorers=…).")
        return score_signals(recorded[0] if len(recorded) == 1 else Signals.merged(recorded), requests, out)
    if model is None:
        raise OptionError(
            "scoring needs a model: give a spec such as datadiet:cnn, a function that makes one, or a trained module."
        )
    for name, value, least in (("epochs", 1 if epochs is None else epochs, 1), ("seeds", seeds, 1), ("seed", seed, 0)):
        check_whole(name, value, least)
    check_compared(requests, reference, against, against_model)
    given = None if checkpoints is None else checkpoints_given(checkpoints)
    spec = JobSpec(
        dataset, model, eval, reference, tuple(path for _, _, path in given or ()), fallback,
        recipe, device, planned_threads(out), strip_prefix, against, against_model)  # fmt: skip
    done_by = executor_for(executor, device)
    session = open_session(replace(spec, device=done_by.opens_on(device)))
    if given is None and session.model.trained is not None:
        given = [(0, 1, None)]
    if given is not None:
        _refuse_trainings(epochs, seeds)
        epochs = len({epoch for _, epoch, _ in given})
    trainings = tuple(range(seed, seed + seeds)) if given is None else ()
    refuse_group("score", bool(trainings), out is not None)
    # Where networks are trained, the seed makes these differ, and passes draw the same.
    job = RecordingJob(spec, epochs or DEFAULT_EPOCHS, trainings, tuple(given or ()), head, seed=seed if given else 0)
    stored = None if logits is False else {} if logits is True else logits
    return ScoringRun(session, requests, job, stored).score(out, done_by)


def _refuse_trainings(epochs: int | None, seeds: int) -> None:
    """Refuse to train a model that is trained already."""
    if epochs is not None or seeds > 1:
        raise OptionError(
            f"epochs={epochs}, seeds={seeds}: a trained model is only evaluated, so leave epochs and seeds out, or "
            "give a model to train (a spec, or a function that makes a network) without checkpoints."
        )
