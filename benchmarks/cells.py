"""Reading measured cells, and means with intervals, for the scripts that make tables."""

from __future__ import annotations

import json
from math import sqrt
from typing import Any

import numpy as np
from bench import RESULTS

__all__ = ["Cell", "commits", "half_width", "interval", "load", "pick", "spread"]

Cell = dict[str, Any]

# Two-sided 95 % factor of the t distribution, by number of seeds.
STUDENT_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}


def load(pattern: str) -> list[Cell]:
    """All cells of a pattern."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob(pattern))]


def commits(cells: list[Cell]) -> str:
    """At which commits they were measured."""
    found = sorted({c["commit"] for c in cells})
    return f"commit{'s' * (len(found) > 1)} {', '.join(found)}"


def half_width(values: list[float]) -> float:
    """Half of the 95 % interval of the mean, by the t distribution."""
    return STUDENT_95[len(values)] * float(np.std(values, ddof=1)) / sqrt(len(values))


def interval(values: list[float]) -> str:
    """Mean and half of the 95 % interval, in percent."""
    return f"{100 * np.mean(values):.1f} ± {100 * half_width(values):.1f}"


def spread(values: list[float]) -> str:
    """An interval, or of two values their mean and both of them, in percent."""
    if len(values) > 2:
        return interval(values)
    return f"{100 * np.mean(values):.1f} ({', '.join(f'{100 * value:.1f}' for value in sorted(values))})"


def pick(cells: list[Cell], **wanted: Any) -> list[Cell]:
    """The cells with these values, by seed."""
    return sorted((c for c in cells if all(c[k] == v for k, v in wanted.items())), key=lambda c: c["seed"])
