"""Tasks: what the outputs of a network mean. The loop, the passes and the evaluation read outputs only through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.lazy import lazy

if TYPE_CHECKING:
    from datadiet.tasks.classification import OUTPUT_SIGNALS, Classification, output_signals
    from datadiet.tasks.task import Evaluation, Task

__all__ = ["OUTPUT_SIGNALS", "Classification", "Evaluation", "Task", "output_signals"]

__getattr__ = lazy(
    __name__,
    {"classification": ("Classification", "OUTPUT_SIGNALS", "output_signals"), "task": ("Evaluation", "Task")},
)
