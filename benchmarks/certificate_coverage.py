"""How often does a limit of the certificate fail?

Normal losses of a crossed design: 2 to 10 seeds, 20 to 2,000 evaluation examples, variances between seeds and between
examples in several proportions. 100,000 comparisons of each, drawn as mean squares. Compared are the limit of
`datadiet.evaluate.loss_interval`, the widest of three, and the first of the three alone. The largest rate over the
examples and proportions counts.

Losses of right and wrong answers: networks that are right on 80 or 95 % of the examples, and a subset that loses 3
points. `shared` is the part of the variance that the difficulty of an example has, beside what differs from one
training to the next: the larger it is, the fewer examples differ between two networks. 4,000 comparisons of each.

`python benchmarks/certificate_coverage.py`: one cell, about five minutes.
"""

from __future__ import annotations

from itertools import product
from math import sqrt
from typing import Any

import numpy as np
from bench import cell
from scipy import stats

from datadiet.evaluate import loss_interval

SEEDS, EXAMPLES, ALPHAS, DRAWS = (2, 3, 4, 5, 10), (20, 200, 2000), (0.05, 0.0167), 100_000
PROPORTIONS = (0.0, 0.25, 1.0, 4.0, 16.0, 1000.0)  # of the variance between seeds
REST = ((0.02, 0.1), (0.1, 0.02), (0.0, 0.1))  # variances between examples, and of what is left
ACCURACIES, SHARED, ANSWERED, MARGIN = (0.8, 0.95), (0.7, 0.97), (100, 200, 1000), 0.03
BINARY_DRAWS = 4000


def coverage() -> dict[str, Any]:
    """alpha -> seeds -> the largest rate of failures of each limit; and that of right and wrong answers."""
    rng = np.random.default_rng(0)
    found: dict[str, Any] = {str(alpha): {str(seeds): [0.0, 0.0] for seeds in SEEDS} for alpha in ALPHAS}
    for seeds, examples, proportion, (between, rest) in product(SEEDS, EXAMPLES, PROPORTIONS, REST):
        of_seeds = proportion * max(between, rest / 10) / examples
        for alpha in ALPHAS:
            rates = failures(rng, seeds, examples, (of_seeds, between, rest), alpha)
            worst = found[str(alpha)][str(seeds)]
            found[str(alpha)][str(seeds)] = [max(pair) for pair in zip(worst, rates, strict=True)]
    answers = [
        {"seeds": seeds, "examples": examples, "accuracy": accuracy, "shared": shared}
        | answered(rng, (seeds, examples), accuracy, shared)
        for seeds, examples, accuracy, shared in product((2, 3, 5, 10), ANSWERED, ACCURACIES, SHARED)
    ]
    limits = ["crossed", "widest of the three"]
    return {"draws": DRAWS, "limits": limits, "largest_rate": found, "binary_draws": BINARY_DRAWS, "answers": answers}


def failures(
    rng: np.random.Generator, seeds: int, examples: int, variances: tuple[float, float, float], alpha: float
) -> list[float]:
    """How often the true loss, 0, is above the upper limit: of the crossed variance alone, and of the widest one."""
    s, i = seeds - 1, examples - 1
    free, (of_seeds, of_examples, both) = (s, i, s * i), variances
    expected = (examples * of_seeds + both, seeds * of_examples + both, both)
    a, b, c = (mean * rng.chisquare(df, DRAWS) / df for mean, df in zip(expected, free, strict=True))
    mean = rng.standard_normal(DRAWS) * sqrt((expected[0] + expected[1] - expected[2]) / (seeds * examples))
    total = np.maximum(a + b - c, a)
    df = total**2 / (a**2 / s + b**2 / i + c**2 / (s * i))
    plain = np.where(a + b - c > a, df, s)
    crossed, *three = (
        stats.t.isf(alpha, free) * np.sqrt(square / (seeds * examples))
        for free, square in ((plain, total), (np.maximum(df, s), total), (s, a), (i, b))
    )
    return [float((mean + width < 0).mean()) for width in (crossed, np.max(three, axis=0))]


def answered(rng: np.random.Generator, shape: tuple[int, int], accuracy: float, shared: float) -> dict[str, Any]:
    """How often a loss equal to the margin is called smaller, and how many examples differ between the networks."""
    upper: dict[float, list[float]] = {alpha: [] for alpha in ALPHAS}
    differ = 0.0
    for _ in range(BINARY_DRAWS):
        difficulty = rng.standard_normal((1, shape[1]))
        full, part = (
            sqrt(shared) * difficulty + sqrt(1 - shared) * rng.standard_normal(shape) < stats.norm.ppf(right)
            for right in (accuracy, accuracy - MARGIN)
        )
        differ += (full != part).any(0).sum() / BINARY_DRAWS
        for alpha in ALPHAS:
            upper[alpha].append(loss_interval(full.astype(float) - part, alpha).upper)
    return {"differ": differ, "rate": {str(alpha): float(np.mean(np.less(upper[alpha], MARGIN))) for alpha in ALPHAS}}


def main() -> None:
    """Measure, and print the largest rates."""
    print(cell("certificate_coverage", coverage))


if __name__ == "__main__":
    main()
