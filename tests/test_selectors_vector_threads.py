"""The number of threads, of torch and of BLAS, changes nothing that is selected or scored by vectors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import threadpoolctl
import torch

from datadiet.randomness import Keys
from datadiet.scorers.density import density
from datadiet.scorers.moderate import moderate
from datadiet.scorers.prototypes import prototypes
from datadiet.scorers.supervised_prototypes import supervised_prototypes
from datadiet.scorers.zcore import zcore
from datadiet.selectors import SELECTORS, Column, Explained, FurtherVectors

N, D = 400, 37
NAMES = [name for name, spec in SELECTORS.items() if spec.first == "embeddings"]
LABELS = np.arange(N) % 5
SCORERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "prototypes": prototypes,
    "prototypes-euclidean": lambda x: prototypes(x, spherical=False),
    "density": density,
    "density-euclidean": lambda x: density(x, metric="euclidean"),
    "zcore": zcore,
    "supervised_prototypes": lambda x: supervised_prototypes(x, LABELS),
    "moderate": lambda x: moderate(x, LABELS),
}


def normal(n: int = N, seed: int = 0) -> np.ndarray:
    """Vectors whose products are rounded, so that the order of a sum shows."""
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


@pytest.fixture
def with_threads() -> Iterator[Callable[[int, Callable[[], Any]], Any]]:
    """A function that calls another with so many threads of torch and of BLAS."""
    before = torch.get_num_threads()

    def call(number: int, work: Callable[[], Any]) -> Any:
        torch.set_num_threads(number)
        with threadpoolctl.threadpool_limits(number, user_api="blas"):
            pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
            assert pools and set(pools) == {number} and torch.get_num_threads() == number
            return work()

    yield call
    torch.set_num_threads(before)


def told(found: Any) -> list[bytes]:
    """All that a selector or scorer says, bit for bit."""
    if isinstance(found, Explained):
        found = (found.chosen, found.witness, found.similarity, found.stratum, found.weight)
    arrays = found if isinstance(found, tuple) else (found,)
    return [b"" if array is None else np.asarray(array).tobytes() for array in arrays]


@pytest.mark.parametrize("k", [40, 250])
@pytest.mark.parametrize("name", NAMES)
def test_a_selector_keeps_the_same_with_any_number_of_threads(name: str, k: int, with_threads: Callable) -> None:
    spec = SELECTORS[name]
    needed = [parameter for parameter, column in spec.reading(Column).items() if not column.optional]
    more = {parameter: np.random.default_rng(1).uniform(1, 2, N) for parameter in needed}
    if "reference" in spec.reading(FurtherVectors):
        more["reference"] = normal(90, seed=2)
    fn = spec.explain or spec.fn
    one, three = (
        told(with_threads(number, lambda: fn(normal(), k, **more, keys=Keys(3, "t", N)))) for number in (1, 3)
    )
    assert one == three


@pytest.mark.parametrize("name", SCORERS)
def test_a_scorer_of_vectors_gives_the_same_bits_with_any_number_of_threads(name: str, with_threads: Callable) -> None:
    one, three = (told(with_threads(number, lambda: SCORERS[name](normal()))) for number in (1, 3))
    assert one == three
