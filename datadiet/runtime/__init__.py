"""Running: what is to be done, where the parts go, what is done already."""

from __future__ import annotations

from datadiet.runtime.folder import RunFolder, planned_threads
from datadiet.runtime.plan import Plan, shards
from datadiet.runtime.settings import pick_device, settings

__all__ = ["Plan", "RunFolder", "pick_device", "planned_threads", "settings", "shards"]
