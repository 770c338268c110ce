"""Descriptions of tables: a value of another type is one sentence, wherever the description stands."""

from __future__ import annotations

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

import datadiet as dd
from datadiet.data import open_data
from datadiet.errors import DataError
from datadiet.files import write_parquet
from datadiet.files.descriptions import LOG, check_description
from datadiet.table.classes import ClassCounts
from datadiet.workflow.selecting.inspect import inspect

X = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
SCORES = dd.Scores.from_arrays({"s": np.arange(9.0)}, labels=np.array(list("abcabcabc")))
CHOSEN = dd.select(SCORES, "top_k", keep=3, prefer="hardest")
OTHER = [None, 1.5, "x", [], [1], {"a": 1}, True]
FITS = {
    "data": [{"a": 1}], "facts": [{"a": 1}], "class_names": [[]], "columns": [], "params": [{"a": 1}],
    "method": ["x"], "classes": [None], "stability": [],
}  # fmt: skip
CASES = [
    (kind, name, value)
    for kind, names in {
        "scores": ("data", "facts", "class_names", "columns", "stability"),
        "selection": ("data", "params", "method", "columns", "classes"),
    }.items()
    for name in names
    for value in OTHER
    if value not in FITS[name]
]
READERS = {
    "scores": [dd.Scores.read, lambda path: dd.select(path, "top_k", keep=3, prefer="hardest")],
    "selection": [dd.Selection.read, lambda path: dd.Selection.read(path).placed(open_data((X, np.arange(9) % 3)))],
}


def written(folder, kind, changes, place):
    """A table whose description has changes: in the file, or beside it."""
    made, path = {"scores": SCORES, "selection": CHOSEN}[kind], folder / "t.parquet"
    identity = {**made.meta, "format": f"datadiet.{kind}", "version": 1, **changes}
    write_parquet(path, made.to_arrow(), identity, beside=False)
    if place == "beside":
        pq.write_table(made.to_arrow(), path)
        path.with_suffix(".json").write_text(json.dumps(identity))
    return path


@pytest.mark.parametrize("place", ["inside", "beside"])
@pytest.mark.parametrize(("kind", "name", "value"), CASES)
def test_a_value_of_another_type_is_named(tmp_path, kind, name, value, place):
    path = written(tmp_path, kind, {name: value}, place)
    for read in (inspect, *READERS[kind]):
        with pytest.raises(
            DataError, match=rf"t\.parquet has a damaged description \({name}[^\n]*: make the file again"
        ):
            read(path)


@pytest.mark.parametrize("place", ["inside", "beside"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", {"n": "9"}), ("data", {"ids": []}), ("facts", {"epochs": "2"}), ("facts", {"lr": 0.1}),
        ("facts", {"reference": 3}), ("facts", {"checkpoints": {}}), ("columns", {"s": {"seeds": 1}}),
        ("columns", {"s": {"scorer": []}}), ("class_names", ["a", 2, "c"]), ("format", []), ("version", {}),
    ],
)  # fmt: skip
def test_values_within_a_description_are_checked_too(tmp_path, name, value, place):
    path = written(tmp_path, "scores", {name: value}, place)
    if (name, place) == ("format", "beside"):
        with pytest.warns(UserWarning, match="has no description"):  # it is not one of ours
            dd.Scores.read(path)
        return
    for read in (inspect, dd.Scores.read):
        with pytest.raises(DataError, match=rf"t\.parquet has (a damaged description \({name}|format version)"):
            read(path)


@pytest.mark.parametrize("place", ["inside", "beside"])
@pytest.mark.parametrize("kind", ["scores", "selection"])
def test_a_whole_description_is_read(tmp_path, kind, place):
    path = written(tmp_path, kind, {}, place)
    assert inspect(path)["format"] == f"datadiet.{kind}" and all(len(read(path)) for read in READERS[kind])


def test_names_with_a_star_and_long_values():
    for name in ("train seed 0", "evaluate seed 0 epoch 3"):
        with pytest.raises(DataError, match=rf"p has a damaged description \({name}.seconds is missing\)"):
            check_description({name: {}}, LOG, "p")
    with pytest.raises(DataError, match=re.escape(f'(steps is "{"x" * 39}…, not a whole number): make the run again.')):
        check_description({"steps": "x" * 99}, LOG, "p", "run")


def test_class_counts_of_different_lengths_are_none():
    assert ClassCounts.read({"names": ["a"], "before": [1, 2], "after": [1]}) is None
