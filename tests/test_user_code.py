"""Functions and objects of the user's own: whatever goes wrong in them is one sentence that names them."""

from __future__ import annotations

import builtins
import functools
import math
import os
import sys

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.attributes import user_code
from datadiet.cli import main
from datadiet.errors import DataError, OptionError
from datadiet.runtime.vectors import open_vectors
from datadiet.selectors.explained import Explained

N = 12
SIGNALS = dd.Recorder(N)
SIGNALS.update(torch.arange(N), torch.randn(N, 3, generator=torch.Generator().manual_seed(0)), torch.arange(N) % 3)
SIGNALS.end_epoch()
SIGNALS = SIGNALS.finish()
X = (np.arange(N * 4, dtype=np.float32).reshape(N, 4), np.arange(N) % 3)


def _fails(*values, **options):
    raise ZeroDivisionError("my own mistake")


def failing(loss):
    _fails()


def returning(value):
    def scorer(loss):
        return value

    return scorer


class Net(nn.Module):
    def forward(self, x):
        _fails()


class Unreadable:
    def __len__(self):
        return N

    __getitem__ = _fails


class WithoutLength(Unreadable):
    __len__ = _fails


ODD = [torch.zeros, int, dict, type, print, os.getcwd, math.sqrt, nn.Linear, np.max, sys.exit, functools.partial(int)]


def check_one_sentence(call, *words):
    with pytest.raises((OptionError, DataError)) as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    for word in words:
        assert word in str(caught.value)
    return caught.value


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: getattr(odd, "__name__", "partial"))
def test_functions_of_other_kinds_are_refused_everywhere(odd):
    check_one_sentence(lambda: dd.score(SIGNALS, scorers=odd))
    check_one_sentence(lambda: dd.select(np.arange(9.0), odd, keep=3))
    check_one_sentence(lambda: dd.score(X, odd, "el2n", epochs=1))
    check_one_sentence(lambda: dd.score(odd, "datadiet:mlp", "el2n", epochs=1))
    check_one_sentence(lambda: dd.embed(X, odd))
    check_one_sentence(lambda: dd.train(X, "datadiet:mlp", sampler=odd, epochs=1))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: dd.score(SIGNALS, scorers=failing), "the scorer failing fails"),
        (lambda: dd.select(np.arange(9.0), _fails, keep=3), "the selection method _fails fails"),
        (lambda: dd.score(X, _fails, "el2n", epochs=1), "_fails makes no network"),
        (lambda: dd.score(X, Net, "el2n", epochs=1), "Net cannot take inputs"),
        (lambda: dd.score(_fails, "datadiet:mlp", "el2n", epochs=1), "gives no data set"),
        (lambda: dd.score(Unreadable(), "datadiet:mlp", "el2n", epochs=1), "Unreadable, item 0"),
        (lambda: dd.score(WithoutLength(), "datadiet:mlp", "el2n", epochs=1), "how many examples"),
        (lambda: dd.embed(X, failing), "failing cannot take inputs"),
    ],
)
def test_a_mistake_in_the_users_code_keeps_its_type_and_message(call, name):
    error = check_one_sentence(call, name, "ZeroDivisionError: my own mistake")
    while error.__cause__ is not None:
        error = error.__cause__
    assert isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize("use", ["score", "train", "embed"])
def test_a_network_that_fails_only_later_is_named(use):
    class Late(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            if len(x) > 5 and (x == x[0, 0]).any():
                raise ZeroDivisionError("my own mistake")
            return self.head(x)

    calls = {
        "score": lambda: dd.score(X, Late, "el2n", epochs=1),
        "train": lambda: dd.train(X, Late, epochs=1),
        "embed": lambda: dd.embed(X, Late()),
    }
    error = check_one_sentence(calls[use], " fails ", "ZeroDivisionError: my own mistake")
    assert isinstance(error.__cause__, ZeroDivisionError)


def test_datadiets_own_mistakes_are_not_said_to_be_the_users():
    with pytest.raises(ZeroDivisionError), user_code("the scorer el2n fails", dd.score):
        _fails()
    for error in (OptionError("as it is."), DataError("as it is."), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, user_code("mine fails"):
            raise error
        assert caught.value is error


@pytest.mark.parametrize(
    "value",
    [
        None, "abc", ["a"] * N, [object()] * N, [[1], [1, 2]], (x for x in range(N)), np.zeros(3), {}, set(range(N)),
        {1: np.zeros(N)}, {"a/b": np.zeros(N)}, {None: np.zeros(N)}, np.zeros(N, complex), np.full(N, np.nan),
        torch.zeros(N, requires_grad=True),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_a_scorer_may_return(value):
    check_one_sentence(lambda: dd.score(SIGNALS, scorers=returning(value)), "scorer")


@pytest.mark.parametrize(
    "value",
    [
        None, "abc", [[1], [1, 2]], {0, 1, 2}, [object()] * 3, [0, 0, 1], [0.0, 1.0, 2.0], [0, 1, 9], range(2),
        (1, 2, 3), (range(3), "heavy"), (range(3), [1, 2]), (range(3), [1, -1, 1]),
        Explained(np.arange(3), stratum=np.zeros(4)), Explained(np.arange(3), similarity="high"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_a_selection_method_may_return(value):
    def mine(scores, k):
        return value

    check_one_sentence(lambda: dd.select(np.arange(9.0), mine, keep=3), "mine")


def test_a_scorer_of_unknown_signals_is_refused_before_training(tmp_path):
    def mine(los):
        return los

    check_one_sentence(lambda: dd.score(X, "datadiet:mlp", mine, epochs=1, out=tmp_path / "run"), "mine", "mean 'loss'")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [3, None, np.ones((3, 2)), [1], builtins.open])
def test_vectors_are_opened_by_path(value):
    check_one_sentence(lambda: open_vectors(value), "is not a path")


def test_the_command_line_says_where_to_look(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("s.npy", np.arange(9.0))
    (tmp_path / "mine.py").write_text(
        "import sys\ndef f(scores, k):\n    sys.exit(0)\ndef g(scores, k):\n    return 1 / 0\n"
    )
    for name, words in (("f", "SystemExit: 0"), ("g", "ZeroDivisionError: division by zero")):
        with pytest.raises(SystemExit) as stopped:
            main(["select", "s.npy", "--method", f"py:mine.py:{name}", "--keep", "n=2"])
        err = capsys.readouterr().err
        assert stopped.value.code == 2 and words in err and "--debug shows where" in err and "Traceback" not in err
