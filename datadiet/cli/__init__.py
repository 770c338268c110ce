"""The command line: one file per command, each a thin wrapper of one function. Showing help does not import torch."""

from __future__ import annotations

from datadiet.cli.app import main

__all__ = ["main"]
