"""The three artefacts: signals, scores and selections, with their files. No torch."""

from __future__ import annotations

from datadiet.table.scores import Scores
from datadiet.table.selection import Selection
from datadiet.table.signals import Signals

__all__ = ["Scores", "Selection", "Signals"]
