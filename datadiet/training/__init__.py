"""Training: the recipe, the loop, evaluation and resuming. What needs torch is loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.lazy import lazy

if TYPE_CHECKING:
    from datadiet.training.budget import training_steps
    from datadiet.training.evaluation import Evaluation, evaluate
    from datadiet.training.loop import Trainer
    from datadiet.training.recipe import Recipe
    from datadiet.training.schedule import lr_factor

__all__ = ["Evaluation", "Recipe", "Trainer", "evaluate", "lr_factor", "training_steps"]

__getattr__ = lazy(
    __name__,
    {
        "Evaluation": "evaluation",
        "Recipe": "recipe",
        "Trainer": "loop",
        "evaluate": "evaluation",
        "lr_factor": "schedule",
        "training_steps": "budget",
    },
)
