"""The files that describe a run: whatever was changed in them is one sentence, from every command that reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import datadiet as dd
from datadiet.errors import DataError
from datadiet.files import digest
from datadiet.runtime.layout import Layout
from datadiet.runtime.plan import FORMAT
from datadiet.runtime.records import read_history, read_manifest, read_record
from datadiet.workflow.selecting.inspect import inspect

X = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
Y = np.arange(30) % 3


def scored(out, data=(X, Y)):
    return dd.score(data, "datadiet:mlp", "el2n", epochs=1, out=out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of score, and one of train."""
    root = tmp_path_factory.mktemp("records")
    scored(root / "score")
    dd.train((X, Y), "datadiet:mlp", epochs=1, out=root / "train")
    return root


@pytest.fixture
def runs(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "runs"))


def change(path, names, value, hashed=False):
    """Put another value into a JSON file; KeyError removes it; with `hashed`, the hash of the plan follows."""
    found = json.loads(path.read_text())
    inside = found
    for name in names[:-1]:
        inside = inside[name]
    if value is KeyError:
        del inside[names[-1]]
    else:
        inside[names[-1]] = value
    if hashed:
        found["plan_hash"] = digest(found["plan"])
    path.write_text(json.dumps(found))


READERS = {
    "inspect": inspect,
    "rescore": lambda run: dd.rescore(run, "loss"),
    "score": scored,
    "checkpoints": lambda run: dd.score((X, Y), "datadiet:mlp", "el2n", checkpoints=run),
    "select": lambda run: dd.select(np.arange(90.0).reshape(30, 3), "decontaminate", reference=str(run), epsilon=0.1),
}
SCALE = ("plan", "inputs", "normalisation")
PLANS = [
    (("plan",), value) for value in (None, 1.5, [], "x", {}, KeyError)
] + [
    (("plan_hash",), KeyError), (("plan_hash",), None), (("plan", "epochs"), 7), ((*SCALE, "std"), [2.0] * 4),
    ((*SCALE, "mean"), KeyError), (SCALE, []), (("version",), {}), (("version",), 99), (("facts", "lr"), ["fast"]),
    (("facts",), []), (("plan", "recipe"), {"threads": []}), (("plan", "model"), "\ud800"),
]  # fmt: skip


@pytest.mark.parametrize(("names", "value"), PLANS)
@pytest.mark.parametrize("reader", READERS)
def test_a_changed_manifest_is_refused(runs, reader, names, value):
    change(runs / "score" / "manifest.json", names, value)
    before = {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=r"manifest\.json (was changed|has|is not)") as caught:
        READERS[reader](runs / "score")
    assert "\n" not in str(caught.value)
    assert before == {path: path.read_bytes() for path in runs.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("names", "value"),
    [
        ((*SCALE, "std"), KeyError), ((*SCALE, "mean"), "x"), (("plan", "recipe", "threads"), []),
        (("plan", "recipe"), 1), (("plan", "inputs", "shape"), {"a": 1}), (("plan", "inputs", "shape"), [None]),
    ],
)  # fmt: skip
def test_values_of_another_type_are_named_before_they_are_used(runs, names, value):
    change(runs / "score" / "manifest.json", names, value, hashed=True)
    with pytest.raises(DataError, match=rf"damaged description \({'.'.join(names)}[^\n]*: make the run again\.$"):
        read_manifest(runs / "score")


@pytest.mark.parametrize(
    ("names", "value"),
    [
        (("train seed 0",), 1.5), (("train seed 0",), []), (("train seed 0", "history"), {}),
        (("train seed 0", "history"), [1]), (("train seed 0", "history"), KeyError),
        (("train seed 0", "history"), [{"lr": "x"}]), (("evaluate seed 0 epoch 1", "seconds"), []),
        (("latest_seconds",), "long"), (("host",), []), (("host", "seconds"), "\udfff"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("reader", ["inspect", "score"])
def test_a_changed_log_is_refused(runs, reader, names, value):
    change(runs / "score" / "run.json", names, value)
    with pytest.raises(DataError, match=r"run\.json (has a damaged description|is not a JSON file)") as caught:
        READERS[reader](runs / "score")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["manifest.json", "run.json"])
@pytest.mark.parametrize("text", ["[]", "1", "null", '"x"', "", "{", "[" * 9999])
def test_another_json_value_is_refused(runs, name, text):
    (runs / "score" / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name}"):
        inspect(runs / "score")


@pytest.mark.parametrize("text", ["", "[]\n", "1\n", "{}\n", '{"epoch": "1"}\n', "{\n"])
def test_a_changed_history_is_refused(runs, text):
    assert [entry["epoch"] for entry in read_history(Layout(runs / "train"))] == [1]
    (runs / "train" / "log.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"log\.jsonl"):
        dd.train((X, Y), "datadiet:mlp", epochs=1, out=runs / "train")


def test_runs_are_read_again_and_continued(runs):
    for reader in set(READERS) - {"select"}:
        READERS[reader](runs / "score")
    assert len(dd.train((X, Y), "datadiet:mlp", epochs=1, out=runs / "train").history) == 1
    assert read_record(runs / "nowhere" / "run.json") == {}


def test_a_run_of_an_older_version_is_read(runs):
    change(runs / "score" / "manifest.json", ("version",), FORMAT - 1)
    assert inspect(runs / "score")["plan"]["verb"] == "score"
    change(runs / "score" / "manifest.json", ("plan_hash",), KeyError)
    assert inspect(runs / "score")["plan"]["verb"] == "score"


def test_a_folder_without_a_manifest_is_no_run(tmp_path):
    with pytest.raises(DataError, match="is not a run folder"):
        read_manifest(tmp_path)
