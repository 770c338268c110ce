"""Examples with their positions, on their way through a loader whose collator and items are the user's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from datadiet.errors import OptionError

__all__ = ["INDEX", "Collate", "Numbered"]

INDEX = "datadiet_index"  # the key under which a batch carries the positions of its examples


class Numbered(Dataset[Any]):
    """A data set whose items are pairs: the item and its position. A dict would lose the key with the other columns
    that the model does not take."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.dataset[index], index

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, int]]:
        read = getattr(self.dataset, "__getitems__", None)
        items = [self.dataset[index] for index in indices] if read is None else read(indices)
        return list(zip(items, indices, strict=True))


class Collate:
    """A collator of pairs. The positions become an array, which no trainer moves to a device: reading them back there
    would wait for it in every step."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate

    def __call__(self, pairs: Sequence[tuple[Any, int]]) -> dict[str, Any]:
        batch = self.collate([item for item, _ in pairs])
        if not isinstance(batch, Mapping):
            raise OptionError(f"the data collator returns a {type(batch).__name__}: let it return a dict.")
        return {**batch, INDEX: np.array([index for _, index in pairs], dtype=np.int64)}
