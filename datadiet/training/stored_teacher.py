"""A teacher that was asked beforehand: its logits for each view of each example, stored by a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datadiet.data.batch import Batch, sent
from datadiet.runtime.packed_logits import packed_width, unpack
from datadiet.runtime.vectors import Parts

__all__ = ["StoredLogits"]


@dataclass(frozen=True, eq=False)
class StoredLogits:
    """The logits of one network. Augmented views are functions of the example and the view, so they fit exactly.

    Attributes:
        vectors: (n, views x width), float16, or uint8 if only the largest are stored; memory-mapped.
        rows: the row of `vectors` for each example that a batch may hold.
        views: how many augmented views there are; 0 = only the clean one, which then stands for all.
        top: how many of the largest are stored; 0 = all.
        classes: C.
    """

    vectors: Parts
    rows: np.ndarray
    views: int
    top: int
    classes: int

    def __call__(self, batch: Batch) -> Tensor:
        """The logits (B, C) for the view of the examples that the batch holds, float32."""
        width = packed_width(self.top) if self.top else self.classes
        lo = width * (batch.view - 1) if self.views else 0
        found = self.vectors.take(self.rows[batch.rows.numpy()], slice(lo, lo + width))
        stored = sent(torch.from_numpy(found), batch.targets.device)
        return unpack(stored, self.top, self.classes) if self.top else stored.float()
