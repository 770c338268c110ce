"""Signals: what is measured on a model's outputs, during training and at checkpoints. Loaded on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.lazy import lazy

if TYPE_CHECKING:
    from datadiet.signals.gradients import grad_norms
    from datadiet.signals.parts import measured
    from datadiet.signals.record import Recorder
    from datadiet.tasks import OUTPUT_SIGNALS, output_signals

__all__ = ["OUTPUT_SIGNALS", "Recorder", "grad_norms", "measured", "output_signals"]

_LOAD = lazy(__name__, {"gradients": ("grad_norms",), "parts": ("measured",), "record": ("Recorder",)})


def __getattr__(name: str) -> object:
    """Load names that need torch; those of the tasks were here in version 0.1."""
    if name in ("OUTPUT_SIGNALS", "output_signals"):
        import datadiet.tasks as tasks

        return getattr(tasks, name)
    return _LOAD(name)
