"""The command line: one file per command, each a thin face of one function. No torch is imported to show help."""

from __future__ import annotations

from datadiet.cli.app import main

__all__ = ["main"]
