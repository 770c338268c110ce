"""The random states of the process, which no method may draw from or seed."""

from __future__ import annotations

import random as python_random
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from numpy.random import get_state

from datadiet.testing.laws import expect

__all__ = ["untouched"]


@contextmanager
def untouched(given: str) -> Iterator[None]:
    """Raise Broken if the block changes the state of random, numpy.random or torch.

    Args:
        given: what the block gives to the method.
    """
    before = _states()
    yield
    after = _states()
    changed = [name for name, state in before.items() if after[name] != state]
    expect(not changed, given, f"a changed global state of {' and '.join(changed)}")


def _states() -> dict[str, Any]:
    numpy_state: Any = get_state(legacy=False)  # noqa: NPY002 - it is only read
    words = numpy_state["state"].pop("key")
    states: dict[str, Any] = {
        "random": python_random.getstate(),
        "numpy.random": (words.tobytes(), numpy_state),
    }
    if find_spec("torch") is not None:
        import torch

        states["torch"] = torch.get_rng_state().numpy().tobytes()
    return states
