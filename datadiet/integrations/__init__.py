"""datadiet inside other trainers: thin adapters, each of which imports its library when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.lazy import lazy

if TYPE_CHECKING:
    from datadiet.integrations.attached import Attached
    from datadiet.integrations.dynamics import Dynamics
    from datadiet.integrations.lightning import DynamicsCallback
    from datadiet.integrations.teaching import Teaching
    from datadiet.integrations.transformers import attach

_HOMES = {
    "attached": ("Attached",),
    "dynamics": ("Dynamics",),
    "lightning": ("DynamicsCallback",),
    "teaching": ("Teaching",),
    "transformers": ("attach",),
}

__getattr__ = lazy(__name__, _HOMES)

__all__ = ["Attached", "Dynamics", "DynamicsCallback", "Teaching", "attach"]
