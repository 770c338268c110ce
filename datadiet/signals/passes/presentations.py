"""Presentations during training: recorded by a `Recorder` while the network learns, for free."""

from __future__ import annotations

from datadiet.signals.passes.spec import Pass

__all__ = ["PASS"]

PASS = Pass("train", measure=None, finite=False, begins={"shift": 2}, forwards=0)
