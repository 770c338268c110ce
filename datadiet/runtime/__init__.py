"""Running: the plan, its units of work, where the files go and which are already there. Loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.lazy import lazy

if TYPE_CHECKING:
    from datadiet.runtime.folder import RunFolder, Sink, plan_in, planned_hardware, planned_threads
    from datadiet.runtime.layout import Layout
    from datadiet.runtime.plan import Plan
    from datadiet.runtime.process import pick_device, settings

__all__ = [
    "Layout", "Plan", "RunFolder", "Sink", "pick_device", "plan_in", "planned_hardware", "planned_threads", "settings",
]  # fmt: skip

__getattr__ = lazy(
    __name__,
    {
        "folder": ("RunFolder", "Sink", "plan_in", "planned_hardware", "planned_threads"),
        "layout": ("Layout",),
        "plan": ("Plan",),
        "process": ("pick_device", "settings"),
    },
)
