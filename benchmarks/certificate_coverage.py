"""How often does a limit of the certificate fail?

Normal losses of a crossed design: 2 to 10 seeds, 20 to 2,000 evaluation examples, variances between seeds and between
examples in several proportions. 100,000 comparisons of each, drawn as mean squares. Compared are the limit of
`datadiet.evaluate.loss_interval`, the wider of two, and the first of the two alone. The largest rate over the examples
and proportions counts.

`python benchmarks/certificate_coverage.py`: one cell, about two minutes.
"""

from __future__ import annotations

from itertools import product
from math import sqrt
from typing import Any

import numpy as np
from bench import cell
from scipy import stats

SEEDS, EXAMPLES, ALPHAS, DRAWS = (2, 3, 4, 5, 10), (20, 200, 2000), (0.05, 0.0167), 100_000
PROPORTIONS = (0.0, 0.25, 1.0, 4.0, 16.0, 1000.0)  # of the variance between seeds
REST = ((0.02, 0.1), (0.1, 0.02), (0.0, 0.1))  # variances between examples, and of what is left


def coverage() -> dict[str, Any]:
    """alpha -> seeds -> the largest rate of failures of each limit."""
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {str(alpha): {str(seeds): [0.0, 0.0] for seeds in SEEDS} for alpha in ALPHAS}
    for seeds, examples, proportion, (between, rest) in product(SEEDS, EXAMPLES, PROPORTIONS, REST):
        of_seeds = proportion * max(between, rest / 10) / examples
        for alpha in ALPHAS:
            rates = failures(rng, seeds, examples, (of_seeds, between, rest), alpha)
            worst = found[str(alpha)][str(seeds)]
            found[str(alpha)][str(seeds)] = [max(pair) for pair in zip(worst, rates, strict=True)]
    return {"draws": DRAWS, "limits": ["crossed", "wider of the two"], "largest_rate": found}


def failures(
    rng: np.random.Generator, seeds: int, examples: int, variances: tuple[float, float, float], alpha: float
) -> list[float]:
    """How often the true loss, 0, is above the upper limit: of the crossed variance alone, and of the wider one."""
    s, i = seeds - 1, examples - 1
    free, (of_seeds, of_examples, both) = (s, i, s * i), variances
    expected = (examples * of_seeds + both, seeds * of_examples + both, both)
    a, b, c = (mean * rng.chisquare(df, DRAWS) / df for mean, df in zip(expected, free, strict=True))
    mean = rng.standard_normal(DRAWS) * sqrt((expected[0] + expected[1] - expected[2]) / (seeds * examples))
    total = np.maximum(a + b - c, a)
    df = total**2 / (a**2 / s + b**2 / i + c**2 / (s * i))
    plain = np.where(a + b - c > a, df, s)
    crossed = stats.t.isf(alpha, plain) * np.sqrt(total / (seeds * examples))
    floored = stats.t.isf(alpha, np.maximum(df, s)) * np.sqrt(total / (seeds * examples))
    alone = stats.t.isf(alpha, s) * np.sqrt(a / (seeds * examples))
    return [float((mean + width < 0).mean()) for width in (crossed, np.maximum(floored, alone))]


def main() -> None:
    """Measure, and print the largest rates."""
    print(cell("certificate_coverage", coverage))


if __name__ == "__main__":
    main()
