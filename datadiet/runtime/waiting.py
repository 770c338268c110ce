"""Waiting for workers in other processes: a note while some have not started, an error when none does."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from datadiet.errors import OptionError, counted, first_line

__all__ = ["Waiting"]

_log = logging.getLogger("datadiet")

_SAY = 60.0  # seconds between two notes


class Waiting:
    """Watches whether workers are there.

    Args:
        needs: the resources of each, in words.
        free: those that nobody uses, in words.
        patience: seconds without a worker after which to give up.
    """

    def __init__(self, needs: str, free: Callable[[], str], patience: float) -> None:
        self.needs, self.free, self.patience = needs, free, patience
        self.restart()

    def restart(self) -> None:
        """Count from now on."""
        self._active = self._complete = time.monotonic()  # when a worker last did something, and none was missing

    def check(self, active: bool, missing: int, workers: int, cause: BaseException | None) -> None:
        """Check the workers, and report what is missing.

        Args:
            active: whether a worker does something.
            missing: how many have not started.
            workers: how many there should be.
            cause: of the death of the last one that died while it started.

        Raises:
            OptionError: none does anything for too long.
        """
        now = time.monotonic()
        if active:
            self._active = now
        if not missing:
            self._complete = now
        if now - self._active > self.patience:
            last = "" if cause is None else f" (the last one died: {first_line(cause)})"
            raise OptionError(
                f"no worker has started for {self.patience:g} s{last}: each needs {self.needs}, and the cluster has "
                f"{self.free()} free: free some, add machines, or ask for less per worker with gpus_per_actor= "
                "(--gpus-per-actor) or, without GPUs, threads= (--set threads=)."
            )
        if now - self._complete > _SAY:
            self._complete = now
            _log.warning(
                "%d of %s not started yet: each needs %s, and the cluster has %s free",
                missing, counted(workers, "worker"), self.needs, self.free(),
            )  # fmt: skip
