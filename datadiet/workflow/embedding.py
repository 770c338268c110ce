"""embed: from data and an encoder to one vector per example, recorded like any signal.

The vectors lie in the run as parts of a range of rows each, whole or not at all, so that the same call goes on after
any interruption, and every scorer and selector that reads features finds them.
"""

from __future__ import annotations

import logging
import platform
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

import datadiet
from datadiet.data import Feed, Source, open_data
from datadiet.errors import BadVector, DataError, OptionError, first_line
from datadiet.files import array_digest
from datadiet.models import evaluating
from datadiet.models.encoders import POOLS, Encoder
from datadiet.runtime import Plan, RunFolder, pick_device, planned_threads, settings, shards
from datadiet.table import Scores
from datadiet.table.vectors import Parts, parts_of
from datadiet.training.state import weights_digest
from datadiet.workflow.encoding import open_encoder

__all__ = ["DTYPES", "embed"]

DTYPES = ("float16", "float32")
_BATCHES, _ROWS = 64, 4096  # a part has so many batches, and at least so many rows
_PASS = ("features", 0, 1)

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
    out: str | Path | None = None,
) -> np.ndarray | Parts:
    """Embed every example of a data set. No labels are needed.

    Args:
        dataset: a data spec, a torch or Hugging Face data set, a list of texts, or a `Source`.
        model: a classifier, whose penultimate features are taken ("datadiet:cnn", "timm:NAME", "torchvision:NAME", a
            trained network …); "hf:", "sentence-transformers:" or "model2vec:" with a folder or a name on the hub; or a
            function of a batch that returns (B, d), which gets texts or tensors as the data holds them.
        checkpoint: the weights of a classifier: a file, a run, or "pretrained" for those of timm's or torchvision's hub
            with the transform that belongs to them. A run also tells how its inputs were normalised.
        pool: how a transformer's outputs become one vector: "mean" over the tokens of the text (if not given), or
            "cls", the first token.
        head: the layer of a classifier whose input is the vector, where it cannot be found.
        batch_size: how many examples at once; 64 for what is large, 512 otherwise.
        dtype: of the vectors on disk. They are kept as the encoder gives them, of whatever length.
        device: "auto" or a torch device.
        text: the column of texts, where `dataset` is a spec.
        out: the run folder; the same call with the same folder continues. None keeps no files.

    Returns:
        (n, d): with `out` the parts on disk, memory-mapped, as one array; without, an array.

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
    source = open_data(dataset) if text is None else open_data(dataset, text=text)
    begun = planned_threads(out)
    source, encoder, feed = open_encoder(source, model, checkpoint, pool, head, pick_device(device))
    if not begun and (source.holds_texts or source.uniform):
        source.look_through()
    batch = batch_size or encoder.batch
    work = Embedding(source, encoder, feed, batch, dtype, begun or torch.get_num_threads())
    with closing(encoder), settings(work.threads), evaluating(encoder.weights or nn.Identity()):
        width = work.trial()
        _log.info("%d examples, vectors of %d numbers by %s on %s", len(source), width, encoder.spec, feed.device)
        if out is not None:
            return work.run(Path(out))
        with tempfile.TemporaryDirectory(prefix="datadiet-") as folder:
            return np.asarray(work.run(Path(folder) / "run"))


@dataclass(frozen=True)
class Embedding:
    """One run in the making.

    Attributes:
        source: the examples.
        encoder: what makes the vectors.
        feed: prepares inputs for a classifier.
        batch: how many examples at once.
        dtype: of the vectors.
        threads: of torch.
    """

    source: Source
    encoder: Encoder
    feed: Feed
    batch: int
    dtype: str
    threads: int

    def trial(self) -> int:
        """The width of the vectors of one or two examples.

        Raises:
            OptionError: the encoder cannot take the data, or returns something else than one vector per example.
        """
        rows = np.arange(min(2, len(self.source)))
        try:
            return int(self._vectors(rows).shape[1])
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, (OptionError, DataError)):
                raise
            what = "these texts" if self.source.holds_texts else f"inputs of shape {self.source.shape}"
            raise OptionError(
                f"{self.encoder.spec} cannot take {what} ({first_line(error)}): choose another encoder, or convert the "
                "data."
            ) from None

    def run(self, out: Path) -> Parts:
        """Make the parts that are not there, and describe the run."""
        folder = RunFolder.open(out, Plan(self.what()))
        spans = shards(len(self.source), -(-max(_ROWS, _BATCHES * self.batch) // self.batch) * self.batch)
        parts = {folder.vectors(*_PASS, lo, hi): (lo, hi) for lo, hi in spans}
        missing = {path: span for path, span in parts.items() if not folder.has_part(path)}
        started = time.monotonic()
        total = sum(hi - lo for lo, hi in missing.values())
        with tqdm(total=total, desc="embed", unit="ex", disable=None, leave=False) as bar:
            for path, (lo, hi) in missing.items():
                folder.write_vectors(path, self._part(lo, hi, bar))
        for note in self.encoder.notes():
            _log.info(note)
        if missing:
            before = folder.read("run.json").get("embed", {}).get("seconds", 0.0)
            host = {
                "python": platform.python_version(),
                "machine": platform.machine(),
                "datadiet": datadiet.__version__,
            }
            seconds = {"seconds": round(before + time.monotonic() - started, 3)}
            folder.update("run.json", {"embed": seconds, "host": host})
        return self._described(folder)

    def what(self) -> dict[str, Any]:
        """What decides the bytes, as JSON values for a plan."""
        source, encoder = self.source, self.encoder
        return {
            "data": source.identity(),
            "rows": None if source.root is None else array_digest(np.ascontiguousarray(source.index)),
            "model": encoder.spec,
            "weights": None if encoder.weights is None else weights_digest(encoder.weights),
            "encoder": dict(encoder.about),
            "inputs": self.feed.describe() if encoder.reads == "inputs" else None,
            "dtype": self.dtype,
            "batch_size": self.batch,
            "recipe": {"threads": self.threads},
            "device": self.feed.device.type,
            "torch": torch.__version__,
        }

    def _described(self, folder: RunFolder) -> Parts:
        """Write what readers of the run look for: the facts, and a table of the examples that has no score yet."""
        vectors = parts_of(folder.path)
        assert vectors is not None, "a run holds parts"
        source = self.source
        facts = {"epochs": 1, "checkpoints": True, "vectors": {"dim": vectors.shape[1], "dtype": self.dtype}}
        if source.labels is not None:
            facts["num_classes"] = len(source.class_names)
        table = folder.path / "scores.parquet"
        if not table.exists():
            meta = {
                "data": source.identity(),
                "plan": dict(folder.plan.what),
                "facts": facts,
                "columns": {},
                "skipped": [list(entry) for entry in source.skipped],
                "class_names": list(source.class_names),
            }
            Scores(np.asarray(source.index), {}, source.ids, source.labels, meta).write(table)
        if "facts" not in folder.read("manifest.json"):
            folder.update("manifest.json", {"facts": facts})
        return vectors

    def _part(self, lo: int, hi: int, bar: Any) -> np.ndarray:
        """The vectors of a range of rows; texts of like length are read together, which pads them least."""
        order = np.arange(lo, hi)
        if self.encoder.reads == "texts":
            order = order[np.argsort([len(text) for text in self.source.texts(order)], kind="stable")]
        vectors: np.ndarray | None = None
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            found = self._vectors(rows)
            if vectors is None:
                vectors = np.empty((hi - lo, found.shape[1]), dtype=self.dtype)
            if found.shape[1] != vectors.shape[1]:
                raise DataError(
                    f"{self.encoder.spec} gives vectors of {vectors.shape[1]} numbers, and of {found.shape[1]} for "
                    f"{self._name(int(rows[0]))}: they must all have one length."
                )
            vectors[rows - lo] = self._rounded(found, rows)
            bar.update(len(rows))
        assert vectors is not None, "no range is empty"
        return vectors

    @torch.inference_mode()
    def _vectors(self, rows: np.ndarray) -> np.ndarray:
        """(B, d) float32 of some rows, as the encoder gives them."""
        encoder = self.encoder
        found = encoder.encode(self._batch(rows))
        found = found.detach().float().cpu().numpy() if isinstance(found, torch.Tensor) else np.asarray(found)
        if found.ndim != 2 or len(found) != len(rows) or found.dtype.kind not in "fiu" or not found.shape[1]:
            raise OptionError(
                f"{encoder.spec} gives {found.dtype} of shape {found.shape} for {len(rows)} examples: an encoder "
                f"returns one vector each, ({len(rows)}, d)."
            )
        return found.astype(np.float32, copy=False)

    def _batch(self, rows: np.ndarray) -> Any:
        reads, source = self.encoder.reads, self.source
        if reads == "inputs":
            return next(self.feed.batches(rows, len(rows)))[0]
        if reads == "images":
            return source.items(rows)
        if source.holds_texts:
            return source.texts(rows)
        return source.take(rows) if source.uniform else source.items(rows)

    def _rounded(self, found: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The vectors in the type of the files.

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
                    f"the vector of {self._name(int(rows[at]))} {how} (its largest number is {largest[at]:.4g}): keep "
                    "them with dtype=float32 (--dtype float32)."
                )
        return kept

    def _name(self, row: int) -> str:
        return f"the example {self.source.ids[row].as_py()!r}"
