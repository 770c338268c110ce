"""The worker that embeds: it makes the vectors of ranges of rows, in the process it was built in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from datadiet.attributes import user_code
from datadiet.data import Feed, Source, open_data
from datadiet.data.read_ahead import read_ahead
from datadiet.data.rows import Encoded
from datadiet.errors import BadVector, DataError, OptionError, named
from datadiet.files import array_digest
from datadiet.models import evaluating
from datadiet.models.encoders import Encoder
from datadiet.runtime import Layout, Plan, pick_device, settings
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.plan import FORMAT
from datadiet.runtime.units import Cost, Emit, Product, Unit, shard_rows, shard_rule, shards
from datadiet.training.state import weights_digest
from datadiet.workflow.fitting.encoder import open_encoder

__all__ = ["DTYPES", "STORED_AS", "EmbeddingJob", "EmbeddingWorker", "embedding_worker"]

DTYPES = ("float16", "float32")
STORED_AS = ("features", 0, 1)  # the pass, seed and epoch under which vectors are stored


@dataclass(frozen=True)
class EmbeddingJob:
    """What a worker is built from, in this process or elsewhere; the attributes are the arguments of `embed`.

    Attributes:
        threads: of torch; 0 = as many as this process uses.
        workers: processes that read images ahead.
    """

    dataset: Any
    model: Any
    checkpoint: Any
    pool: str | None
    head: str | None
    batch_size: int | None
    dtype: str
    device: str
    text: str | None
    threads: int = 0
    strip_prefix: str = ""
    workers: int = 0

    def open(self, look: bool = False) -> EmbeddingWorker:
        """The worker, with data and encoder opened in this process.

        Args:
            look: look through the data first.
        """
        source = open_data(self.dataset) if self.text is None else open_data(self.dataset, text=self.text)
        device = pick_device(self.device)
        early = look and isinstance(source.inputs.rows, Encoded) and source.uniform
        if early:  # before the encoder tries one, so that all bad images are named
            source.look_through()
        source, encoder, feed = open_encoder(
            source, self.model, self.checkpoint, self.pool, self.head, device, self.strip_prefix
        )
        if look and not early and (source.holds_texts or source.uniform):
            source.look_through()
        hardware = Hardware.here(device)
        return EmbeddingWorker(self, source, encoder, replace(feed, workers=self.workers), hardware)


def embedding_worker(job: EmbeddingJob, path: Path) -> EmbeddingWorker:
    """The worker of a job, opened in this process, for a run in any folder."""
    return job.open()


class EmbeddingWorker:
    """Embeds examples. Close it to restore the mode of the encoder.

    Args:
        job: what was opened.
        source: the examples.
        encoder: what makes the vectors.
        feed: prepares inputs for a classifier.
        hardware: what does the work.
    """

    def __init__(self, job: EmbeddingJob, source: Source, encoder: Encoder, feed: Feed, hardware: Hardware) -> None:
        self.job, self.source, self.encoder, self.feed, self.hardware = job, source, encoder, feed, hardware
        fits = feed.eval_batch if encoder.reads == "inputs" else encoder.batch
        self.batch, self.dtype = job.batch_size or min(encoder.batch, fits), job.dtype
        with ExitStack() as stack:
            stack.callback(encoder.close)
            stack.enter_context(evaluating(encoder.weights or nn.Identity()))
            with settings(self.threads):
                self.width = self._trial()
            self._modes = stack.pop_all()

    @property
    def threads(self) -> int:
        """Of torch."""
        return self.job.threads or self.hardware.threads

    def units(self) -> list[Unit]:
        """The ranges of rows."""
        rows = shard_rows(len(self.source), self.batch, self.width * np.dtype(self.dtype).itemsize)
        return [Unit("embed", STORED_AS, lo, hi) for lo, hi in shards(len(self.source), rows)]

    def run(self, unit: Unit, emit: Emit) -> None:
        """Embed one range of rows."""
        begun = time.monotonic()
        with settings(self.threads):
            vectors = self._part(unit.lo, unit.hi)
        layout = Layout(Path())  # paths of products are relative to the run
        emit(Product(layout.relative(layout.vectors(*STORED_AS, unit.lo, unit.hi)), vectors))
        emit(Product(layout.relative(layout.log), Cost("embed", time.monotonic() - begun)))

    def close(self) -> None:
        """Restore the mode of the encoder."""
        self._modes.close()

    @cached_property
    def plan(self) -> Plan:
        """Everything that determines the bytes."""
        source, encoder = self.source, self.encoder
        what = {
            "format": FORMAT,
            "verb": "embed",
            "shards": shard_rule(),
            "data": source.identity(),
            "rows": None if source.root is None else array_digest(np.ascontiguousarray(source.index)),
            "model": encoder.spec,
            "weights": None if encoder.weights is None else weights_digest(encoder.weights),
            "encoder": dict(encoder.about),
            "inputs": self.feed.describe() if encoder.reads == "inputs" else None,
            "dtype": self.dtype,
            "batch_size": self.batch,
            "recipe": {"threads": self.threads},
            **self.hardware.for_plan(),
        }
        return Plan(what)

    def _trial(self) -> int:
        """The width of the vectors of one or two examples.

        Raises:
            OptionError: the encoder cannot take the data, or returns anything but one vector per example.
        """
        rows = np.arange(min(2, len(self.source)))
        try:
            return int(self._vectors(*next(self._batches(rows))).shape[1])
        except (OptionError, DataError):
            raise
        except Exception as error:  # the encoder may be the user's own
            what = "these texts" if self.source.holds_texts else f"inputs of shape {self.source.shape}"
            raise OptionError(
                f"{self.encoder.spec} cannot take {what} ({named(error)}): choose another encoder, or convert the data."
            ) from error

    def _part(self, lo: int, hi: int) -> np.ndarray:
        """The vectors of a range of rows; texts of similar length are read together, which needs the least padding."""
        order = np.arange(lo, hi)
        if self.encoder.reads == "texts":
            order = order[np.argsort([len(text) for text in self.source.texts(order)], kind="stable")]
        code = self.encoder.encode if self.encoder.weights is None else self.encoder.weights
        vectors: np.ndarray | None = None
        for rows, batch in self._batches(order):
            with user_code(f"{self.encoder.spec} fails at {self._name(int(rows[0]))}", code):
                found = self._vectors(rows, batch)
            if vectors is None:
                vectors = np.empty((hi - lo, found.shape[1]), dtype=self.dtype)
            if found.shape[1] != vectors.shape[1]:
                raise DataError(
                    f"{self.encoder.spec} gives vectors of {vectors.shape[1]} numbers, but of {found.shape[1]} for "
                    f"{self._name(int(rows[0]))}: they must all have the same length."
                )
            vectors[rows - lo] = self._rounded(found, rows)
        assert vectors is not None, "no range is empty"
        return vectors

    @torch.inference_mode()
    def _vectors(self, rows: np.ndarray, batch: Any) -> np.ndarray:
        """(B, d) float32 of some rows and what was read for them, as the encoder returns them."""
        encoder = self.encoder
        found = encoder.encode(batch)
        found = found.detach().float().cpu().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
        if found.ndim != 2 or len(found) != len(rows) or found.dtype.kind not in "fiu" or not found.shape[1]:
            raise OptionError(
                f"{encoder.spec} gives {found.dtype} of shape {found.shape} for {len(rows)} examples: an encoder "
                f"returns one vector each, ({len(rows)}, d)."
            )
        return found.astype(np.float32, copy=False)

    def _batches(self, order: np.ndarray) -> Iterator[tuple[np.ndarray, Any]]:
        """The rows of each batch, and what the encoder reads for them."""
        reads, source = self.encoder.reads, self.source
        if reads == "inputs":
            batches = self.feed.batches(order, self.batch)
            yield from ((batch.rows.numpy(), batch.inputs) for batch in batches)
            return
        if source.holds_texts:
            read: Callable[[np.ndarray], Any] = source.texts
        else:
            read = source.items if reads == "images" or not source.uniform else source.take
        chunks = np.split(order, range(self.batch, len(order), self.batch))
        yield from zip(chunks, read_ahead(read, chunks, 0 if source.holds_texts else self.job.workers), strict=True)

    def _rounded(self, found: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The vectors in the dtype of the files.

        Raises:
            BadVector: one is all zeros, before or after rounding, or not finite.
            DataError: a number is too large for float16.
        """
        largest = np.abs(found).max(axis=1)
        for bad, problem in ((~np.isfinite(found).all(axis=1), "not finite"), (largest == 0, "all zeros")):
            if bad.any():
                row = int(rows[bad.argmax()])
                raise BadVector(row, problem, self._name(row))
        with np.errstate(over="ignore"):
            kept = found.astype(self.dtype)
        infinite, lost = np.isinf(kept).any(axis=1), (kept == 0).all(axis=1)
        for bad, how in ((infinite, "overflows float16 at 65504"), (lost, "is too small for float16")):
            if bad.any():
                at = int(bad.argmax())
                raise DataError(
                    f"the vector of {self._name(int(rows[at]))} {how} (its largest number is {largest[at]:.4g}): store "
                    "the vectors with dtype=float32 (--dtype float32)."
                )
        return kept

    def _name(self, row: int) -> str:
        return f"the example {self.source.ids[row].as_py()!r}"
