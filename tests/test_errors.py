"""Errors: they keep their text and what they know through a process boundary."""

from __future__ import annotations

import ast
import inspect
import pickle
import re
from pathlib import Path

import pytest

import datadiet
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


PACKAGE = Path(datadiet.__file__).parent
ELSEWHERE = {
    "cli", "report",  # the command line itself; style sheets
    "workflow/comparing/demo.py", "workflow/reporting/commands.py",  # show commands
    "selectors/budget.py",  # what only the command line reaches
}  # fmt: skip


def texts_in(tree):
    """Every text of a module, with {} for what an f-string puts in; not its docstrings."""
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else "{}" for p in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (inner | docs):
            yield node.value


def test_a_message_that_names_an_option_also_says_it_in_python():
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if place.parts[0] in ELSEWHERE or str(place) in ELSEWHERE:
            continue
        for text in texts_in(ast.parse(path.read_text(encoding="utf-8"))):
            if re.search(r"(?<!var\()--[a-z]", text) and "--debug" not in text:
                assert re.search(r"(?<![\w-])[a-z_{}]+=", re.sub(r"--\S+", "", text)), f"{place}: {text}"


@pytest.mark.parametrize("mark", ["\u202e", "\u202a", "\u2066", "\u2069"])
def test_a_name_cannot_reverse_the_text_around_it(mark):
    # U+202E and its kin would show "gpj.exe" as "exe.jpg", in a terminal as on a page.
    assert errors.one_line(f"photo{mark}gnp.exe") == f"photo\\u{ord(mark):04x}gnp.exe"
    assert str(errors.DataError(f"photo{mark}gnp.exe")) == f"photo\\u{ord(mark):04x}gnp.exe"
    assert errors.one_line("\u05d0\u200f!") == "\u05d0\u200f!"  # right-to-left script keeps its own marks
