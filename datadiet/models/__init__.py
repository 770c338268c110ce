"""Models: what a model spec opens, small networks of our own, and the task that gives outputs their meaning."""

from __future__ import annotations

from datadiet.models.head import HeadTap
from datadiet.models.spec import ModelSource, load_checkpoint, open_model
from datadiet.models.task import Classification, Task

__all__ = ["Classification", "HeadTap", "ModelSource", "Task", "load_checkpoint", "open_model"]
