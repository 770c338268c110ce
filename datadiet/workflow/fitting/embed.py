"""embed: from data and an encoder to one vector per example, recorded like any signal.

The run holds the vectors in parts, each a range of rows and complete, so that the same call continues after any
interruption, and every scorer and selector that reads features finds them.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from datadiet.data.specs import opened_elsewhere
from datadiet.errors import OptionError
from datadiet.models.encoders import POOLS
from datadiet.models.running import brought_to_cpu
from datadiet.parameters import check_whole
from datadiet.runtime import RunFolder, Sink, planned_hardware, planned_threads
from datadiet.runtime.executors import Executor, complete_run, executor_for
from datadiet.runtime.process import refuse_group
from datadiet.runtime.units import MakeWorker, Unit
from datadiet.runtime.vectors import Parts, parts_of
from datadiet.workflow.fitting.embedding_worker import (
    DTYPES,
    STORED_AS,
    EmbeddingJob,
    EmbeddingWorker,
    embedding_worker,
)
from datadiet.workflow.scoring.rescore import keep_scores, table_of

__all__ = ["DTYPES", "embed"]

_log = logging.getLogger("datadiet")


def embed(
    dataset: Any,
    model: str | nn.Module | Callable[..., Any],
    *,
    checkpoint: str | Path | None = None,
    pool: Literal["mean", "cls"] | None = None,
    head: str | None = None,
    batch_size: int | None = None,
    dtype: Literal["float16", "float32"] = "float16",
    device: str = "auto",
    text: str | None = None,
    strip_prefix: str = "",
    workers: int = 0,
    executor: str | Executor = "auto",
    out: str | Path | None = None,
) -> np.ndarray | Parts:
    """Embed every example of a data set. No labels are needed.

    Args:
        dataset: a data spec, a torch or Hugging Face data set, a list of texts, or a `Source`.
        model: a classifier, whose penultimate features are taken ("datadiet:cnn", "timm:NAME", "torchvision:NAME", a
            trained network …); "hf:", "sentence-transformers:" or "model2vec:" with a folder or a name on the hub; or a
            function of a batch that returns (B, d), which gets texts or tensors, whichever the data holds.
        checkpoint: the weights of a classifier: a file, a run, or "pretrained" for those of timm's or torchvision's hub
            with their transform. A run also says how its inputs were normalised.
        pool: how a transformer's outputs become one vector: "mean" over the tokens of the text (the default), or "cls",
            the first token.
        head: the layer of a classifier whose input is the vector, if it cannot be found.
        batch_size: examples per batch; by default 64 for large encoders, otherwise 512, fewer if inputs are large.
        dtype: of the vectors on disk. They are stored as the encoder returns them, not scaled to unit length.
        device: "auto" or a torch device.
        text: the column of texts, if `dataset` is a spec.
        strip_prefix: what the names of weights in the checkpoint have before those of the model, such as "backbone.".
        workers: processes that read and decode images ahead.
        executor: as in `score`.
        out: the run folder; the same call with the same folder continues. None keeps no files.

    Returns:
        (n, d): with `out`, the parts on disk, memory-mapped, as one array; without, an array.

    Raises:
        OptionError: options that cannot work together, or an encoder for other data, before anything is written.
        DataError: files that are missing or do not fit, or data that is damaged.
        BadVector: a vector is all zeros or not finite; the parts before it are kept.
    """
    if pool is not None and pool not in POOLS:
        raise OptionError(f"pool={pool!r}: there are {' and '.join(POOLS)}.")
    if dtype not in DTYPES:
        raise OptionError(f"dtype={dtype!r}: there are {' and '.join(DTYPES)}.")
    if batch_size is not None and batch_size < 1:
        raise OptionError(f"batch_size={batch_size}: a batch needs at least one example.")
    refuse_group("embed", False, out is not None)
    threads = planned_threads(out)  # 0 for a new run
    done_by = executor_for(executor, device)
    job = EmbeddingJob(dataset, model, checkpoint, pool, head, batch_size, dtype, device, text, threads, strip_prefix,
                       check_whole("workers", workers, 0))  # fmt: skip
    work = replace(job, device=done_by.opens_on(device)).open(look=not threads)
    with closing(work):
        _log.info(
            "%d examples, vectors of %d numbers by %s",
            len(work.source), work.width, work.encoder.spec,
        )  # fmt: skip
        if out is not None:
            return _run(work, job, done_by, Path(out))
        with tempfile.TemporaryDirectory(prefix="datadiet-") as folder:
            return np.asarray(_run(work, job, done_by, Path(folder) / "run"))


def _run(work: EmbeddingWorker, job: EmbeddingJob, executor: Executor, out: Path) -> Parts:
    """Make the missing parts, and describe the run."""

    def missing(folder: RunFolder) -> list[Unit]:
        stored = folder.layout.vectors
        return [unit for unit in work.units() if not folder.has(stored(*STORED_AS, unit.lo, unit.hi))]

    with executor.start(job.device, job.threads, planned_hardware(out, job.device)) as fleet:
        work.hardware = fleet.hardware
        data = opened_elsewhere(job.dataset)
        elsewhere = replace(job, dataset=data, model=brought_to_cpu(job.model), threads=work.threads)
        make_worker = MakeWorker(lambda path: work, partial(embedding_worker, elsewhere))
        folder = complete_run(fleet, out, work.plan, missing, make_worker)
    for note in work.encoder.notes():
        _log.info(note)
    return _described(work, folder)


def _described(work: EmbeddingWorker, folder: RunFolder) -> Parts:
    """Write what readers of the run look for: the facts, and a table of the examples without scores."""
    vectors, source = parts_of(folder.path), work.source
    assert vectors is not None, "a run holds parts"
    facts = {"epochs": 1, "checkpoints": True, "vectors": {"dim": vectors.shape[1], "dtype": work.dtype}}
    if source.labels is not None:
        facts["num_classes"] = len(source.class_names)
    keep_scores(Sink(folder), table_of(source, folder, facts))
    return vectors
