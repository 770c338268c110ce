"""Models: what a model spec opens, small networks of our own, and the task that gives outputs their meaning.

Loaded on first use, so that listing models needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datadiet.models.head import HeadTap
    from datadiet.models.mode import evaluating
    from datadiet.models.spec import ModelSource, load_checkpoint, open_model
    from datadiet.models.task import Classification, Task

__all__ = ["Classification", "HeadTap", "ModelSource", "Task", "evaluating", "load_checkpoint", "open_model"]

_HOME = {
    "Classification": "task",
    "HeadTap": "head",
    "ModelSource": "spec",
    "Task": "task",
    "evaluating": "mode",
    "load_checkpoint": "spec",
    "open_model": "spec",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"datadiet.models.{_HOME[name]}"), name)
