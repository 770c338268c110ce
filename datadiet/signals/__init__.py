"""Signals: what is measured on a model's outputs, during training and at checkpoints."""

from __future__ import annotations

from datadiet.signals.outputs import OUTPUT_SIGNALS, output_signals
from datadiet.signals.record import Recorder, record_outputs

__all__ = ["OUTPUT_SIGNALS", "Recorder", "output_signals", "record_outputs"]
