"""What a session is opened from, in this process or in a worker elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from datadiet.data.specs import opened_elsewhere
from datadiet.models.running import brought_to_cpu
from datadiet.training import Recipe
from datadiet.workflow.trained_network import Builder

__all__ = ["JobSpec"]


@dataclass(frozen=True)
class JobSpec:
    """Data, model and recipe, as users give them.

    Attributes:
        dataset: a data spec, a torch or Hugging Face data set, or an opened `Source`.
        model: a model spec, a function that makes a network, or a trained network.
        eval: held-out data, or a share such as "10%" to split off; digits come with their own.
        reference: reference data, or a share to split off.
        checkpoints: weights that will be evaluated.
        fallback: what to do with layers whose per-example gradient is not known: None or "vmap".
        recipe: a Recipe, or some of its fields, or None.
        device: "auto" or a torch device.
        threads: of the run to continue; 0 for a new one.
        strip_prefix: what to remove from the names of weights in the checkpoints.
        against: a trained network to compare with: a run, a checkpoint or a module.
        against_model: what its weights belong to: see `open_trained`.
    """

    dataset: Any
    model: Any
    eval: Any = None
    reference: Any = None
    checkpoints: tuple[Path | None, ...] = ()
    fallback: Literal["vmap"] | None = None
    recipe: Recipe | Mapping[str, Any] | None = None
    device: str | torch.device = "auto"
    threads: int = 0
    strip_prefix: str = ""
    against: Any = None
    against_model: Builder | None = None

    def elsewhere(self) -> JobSpec:
        """The same for another process, which opens the data anew if a spec names it."""
        data = {name: opened_elsewhere(getattr(self, name)) for name in ("dataset", "eval", "reference")}
        networks = {name: brought_to_cpu(getattr(self, name)) for name in ("model", "against")}
        return replace(self, **networks, **data)
