"""Models: what a model spec opens, small networks of our own, and how any network is run.

Loaded on first use, so that listing models needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.lazy import lazy

if TYPE_CHECKING:
    from datadiet.models.checkpoint import load_checkpoint
    from datadiet.models.head import HeadTap
    from datadiet.models.running import call, call_in_run, evaluating
    from datadiet.models.spec import ModelSource, open_model

__all__ = ["HeadTap", "ModelSource", "call", "call_in_run", "evaluating", "load_checkpoint", "open_model"]

__getattr__ = lazy(
    __name__,
    {
        "head": ("HeadTap",),
        "running": ("call", "call_in_run", "evaluating"),
        "checkpoint": ("load_checkpoint",),
        "spec": ("ModelSource", "open_model"),
    },
)
