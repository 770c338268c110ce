"""How long a comparison will take, said once: as soon as its first training on all the data is done."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from datadiet.workflow.comparing.arms import Arm
from datadiet.workflow.comparing.paired_trainings import PairedTrainings
from datadiet.workflow.comparing.screening import Effort

__all__ = ["Forecast"]

_log = logging.getLogger("datadiet")
_UNITS = (("h", 3600), ("min", 60), ("s", 1))


@dataclass
class Forecast:
    """Called whenever a training on all the data may have ended; it reports the first one, and what is left after it.

    Attributes:
        base: the trainings.
        arms: those beside all the data.
        max_hours: of the arms; None = there is no limit.
        later: what follows after these trainings.
    """

    base: PairedTrainings
    arms: Sequence[Arm]
    max_hours: float | None = None
    later: Effort = field(default_factory=Effort)
    _said: bool = field(default=False, init=False)

    def __call__(self) -> None:
        """Log one line, the first time that there is something to say."""
        took = [] if self._said else self.base.full_seconds()
        if not took:
            return
        self._said = True
        full, rest = self.base.left(self.arms)
        left = full + rest + self.later
        if not left.trainings:
            return
        each = float(np.mean(took)) / self.base.steps
        limit = float("inf") if self.max_hours is None else 3600 * self.max_hours
        seconds = each * (full.steps + self.later.steps) + min(each * rest.steps, limit)
        _log.info(
            "a training on all the data took %s; the %s left will take about %s of training, summed over all workers",
            _duration(each * self.base.steps), left, _duration(seconds),
        )  # fmt: skip


def _duration(seconds: float) -> str:
    """Seconds in human-readable form.

    >>> _duration(3.21), _duration(150), _duration(360000)
    ('3.2 s', '2.5 min', '100 h')
    """
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= size), _UNITS[-1])
    return f"{seconds / size:.{0 if seconds / size >= 10 else 1}f} {unit}"
