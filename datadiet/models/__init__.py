"""Models: what a model spec opens, small networks of our own, and the task that gives outputs their meaning.

Loaded on first use, so that listing models needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.lazy import lazy

if TYPE_CHECKING:
    from datadiet.models.head import HeadTap
    from datadiet.models.mode import evaluating
    from datadiet.models.spec import ModelSource, load_checkpoint, open_model
    from datadiet.models.task import Classification, Task

__all__ = ["Classification", "HeadTap", "ModelSource", "Task", "evaluating", "load_checkpoint", "open_model"]

__getattr__ = lazy(
    __name__,
    {
        "Classification": "task",
        "HeadTap": "head",
        "ModelSource": "spec",
        "Task": "task",
        "evaluating": "mode",
        "load_checkpoint": "spec",
        "open_model": "spec",
    },
)
