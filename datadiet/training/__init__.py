"""Training: the recipe, the loop, evaluation and resuming. What needs torch is loaded on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datadiet.training.budget import training_steps
    from datadiet.training.evaluation import Evaluation, evaluate
    from datadiet.training.loop import Trainer
    from datadiet.training.recipe import Recipe
    from datadiet.training.schedule import lr_factor

__all__ = ["Evaluation", "Recipe", "Trainer", "evaluate", "lr_factor", "training_steps"]

_HOME = {
    "Evaluation": "evaluation",
    "Recipe": "recipe",
    "Trainer": "loop",
    "evaluate": "evaluation",
    "lr_factor": "schedule",
    "training_steps": "budget",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"datadiet.training.{_HOME[name]}"), name)
