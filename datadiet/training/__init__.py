"""Training: the recipe, the loop, evaluation and resuming."""

from __future__ import annotations

from datadiet.training.budget import training_steps
from datadiet.training.evaluate import Evaluation, evaluate
from datadiet.training.loop import Trainer
from datadiet.training.recipe import Recipe
from datadiet.training.schedule import lr_factor

__all__ = ["Evaluation", "Recipe", "Trainer", "evaluate", "lr_factor", "training_steps"]
