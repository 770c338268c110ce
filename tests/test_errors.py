"""Errors: they keep their text and what they know through a process boundary."""

from __future__ import annotations

import inspect
import pickle

import pytest

from datadiet import errors

EXAMPLES = {
    "BadVector": (3, "all zeros", "example 'a'"),
    "NotFinite": (2, 8),
}
KINDS = [
    value for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, Exception) and not value.__name__.startswith("_")
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_comes_back_as_it_was(kind):
    error = kind(*EXAMPLES.get(kind.__name__, ("the given was 1: give 2.",)))
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind and str(back) == str(error) and back.args == error.args
    assert vars(back) == vars(error) and back.exit_code == error.exit_code


def test_a_renamed_error_keeps_its_row():
    back = pickle.loads(pickle.dumps(errors.BadVector(3, "not finite")))
    assert (back.row, back.problem) == (3, "not finite") and "row 3 is not finite" in str(back)
