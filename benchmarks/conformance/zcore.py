"""The authors' code of ZCore: the whole of it from the draws of ours, and its own draws without the random start."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, relative_difference, script

DRAWS, NEIGHBOURS, DIMS, EXPONENT = 20_000, 50, 2, 4


def spread(n: int) -> Arrays:
    """Vectors of 8 numbers whose lengths differ much, so that scores are more than the noise of the draws."""
    rng = np.random.default_rng(0)
    return {"x": (rng.normal(size=(n, 8)) * np.exp(rng.normal(size=(n, 1)))).astype(np.float32)}


def drawn(n: int) -> Arrays:
    """The same, with all that ours draws."""
    from datadiet.geometry import Matrix
    from datadiet.randomness import Keys
    from datadiet.scorers.subspace import DimensionBlocks
    from datadiet.scorers.zcore import _points

    x = spread(n)["x"]
    axes, points = _points(DimensionBlocks(Matrix.open(x), DIMS), DRAWS, DIMS, 0)
    return {"x": x, "axes": axes, "points": points, "start": Keys(0, "zcore", n).uniform()}


def ours(data: Arrays, *, seeds: int) -> Arrays:
    """Scores, (seeds, n)."""
    from datadiet.scorers import zcore

    return {"score": np.stack([zcore(data["x"], draws=DRAWS, neighbours=NEIGHBOURS, seed=i) for i in range(seeds)])}


def theirs(data: Arrays) -> Arrays:
    """Scores of one of their workers, which does all the draws."""
    np.random.seed(0)  # noqa: NPY002  theirs draws from the global state
    code = script("core/coreset/zcore.py")
    code.init_worker(data["x"])
    return {"score": code.sample_score(options(), code.embedding_preprocess(data["x"]), DRAWS)}


def theirs_as_drawn(data: Arrays) -> Arrays:
    """Scores by all of their code, in this process, from the draws in the arrays."""
    code = script("core/coreset/zcore.py")
    axes, points = iter(data["axes"]), iter(data["points"])
    draws = SimpleNamespace(
        choice=lambda *_, **__: next(axes), triangular=lambda *_: next(points), uniform=lambda *_: data["start"].copy()
    )
    code.np = SimpleNamespace(**{**vars(np), "random": draws})
    code.multiprocessing = SimpleNamespace(Pool=Here)
    return {"score": code.zcore_score(options(), data["x"])}


def options() -> SimpleNamespace:
    """Of their command line."""
    return SimpleNamespace(
        dataset="", trial=0, sample_dim=DIMS, redund_nn=NEIGHBOURS, redund_exp=EXPONENT, n_sample=DRAWS, num_workers=1,
        rand_init=True,
    )  # fmt: skip


class Here:
    """A pool of workers that is this process."""

    def __init__(self, workers: int, initializer: Callable[..., None], initargs: tuple[Any, ...]) -> None:
        initializer(*initargs)

    def starmap(self, function: Callable[..., Any], given: list[tuple[Any, ...]]) -> list[Any]:
        """The results of one worker after the other."""
        return [function(*arguments) for arguments in given]

    close = None  # named there, and not called


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Correlation with theirs, and between two seeds of ours; ranks also depend on the random start of ours."""
    first, other = a["score"]
    return {
        "correlation": float(np.corrcoef(first, b["score"])[0, 1]),
        "between two seeds of ours": float(np.corrcoef(first, other)[0, 1]),
    }


def same_draws_agree(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart."""
    return {"largest relative difference": relative_difference(a["score"][0], b["score"])}


PEER = Peer(
    "zcore",
    (
        Case("zcore", "500 vectors, 50 neighbours, the same 20,000 draws and random start", 500, drawn,
             partial(ours, seeds=1), theirs_as_drawn, same_draws_agree, {"largest relative difference": (0, 1e-5)}),
        Case("zcore", "500 vectors, 50 neighbours, 20,000 draws of each (ours twice)", 500, spread,
             partial(ours, seeds=2), theirs, agreement,
             {"correlation": (0.97, 1), "between two seeds of ours": (0.97, 1)},
             "draws are random; the random start, which both have, is left out of theirs"),
    ),
    repository="voxel51/zcore",
)  # fmt: skip
