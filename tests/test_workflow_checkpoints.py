"""Files of weights where they are given: to be scored, to start from and to embed with."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.errors import DataError, OptionError
from datadiet.files import digest
from datadiet.models.networks import mlp
from datadiet.runtime import Plan, RunFolder, Sink
from datadiet.runtime.records import read_manifest
from datadiet.runtime.units import Product
from datadiet.workflow.checkpoints import checkpoints_given
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.selecting.inspect import inspect
from datadiet.workflow.session import open_session

DOORS = {
    "score": lambda given, **options: dd.score("digits", "datadiet:mlp", "el2n", checkpoints=given, **options),
    "train": lambda given, **options: dd.train("digits", "datadiet:mlp", start=given, steps=1, **options),
    "embed": lambda given, **options: dd.embed("digits", "datadiet:mlp", checkpoint=given, **options),
}


def state():
    torch.manual_seed(0)
    return mlp((1, 8, 8), 10).state_dict()


@pytest.mark.parametrize("door", DOORS)
def test_a_file_near_the_root_and_one_whose_name_looks_like_a_glob(tmp_path, door):
    shallow = Path(tempfile.mkdtemp(dir="/tmp")).with_suffix(".pt")
    try:
        for path in (shallow, tmp_path / "a[1].pt"):
            torch.save(state(), path)
            assert all(DOORS[door](given) is not None for given in (path, str(path)))
    finally:
        shallow.unlink(missing_ok=True)
        shutil.rmtree(shallow.with_suffix(""))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("prefix", ["", "model", "lit."])
def test_the_model_in_a_larger_checkpoint(tmp_path, door, prefix):
    parts = {f"{prefix.rstrip('.') or 'model'}.{name}": value for name, value in state().items()}
    torch.save({"state_dict": parts | {"criterion.weight": torch.ones(10)}}, tmp_path / "w.pt")
    DOORS[door](tmp_path / "w.pt", strip_prefix=prefix)


@pytest.mark.parametrize("door", DOORS)
def test_weights_are_not_a_file(door):
    with pytest.raises(OptionError, match=r"is a table of weights, not a file|<OrderedDict>: give a string, a path"):
        DOORS[door](state())
    with pytest.raises(OptionError, match=r"is of type int, not a file|checkpoints=3: give a string, a path"):
        DOORS[door](3)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["nothing.pt", "n" * 300, "n" * 5000])
def test_a_file_that_is_not_there(tmp_path, door, name):
    with pytest.raises(DataError, match="checkpoint") as caught:
        DOORS[door](tmp_path / name)
    assert "\n" not in str(caught.value)


def test_weights_among_files_are_refused(tmp_path):
    torch.save(state(), tmp_path / "w.pt")
    assert checkpoints_given([tmp_path / "w.pt"]) == [(0, 1, tmp_path / "w.pt")]
    for given in ([tmp_path / "w.pt", state()], mlp((1, 8, 8), 10), np.zeros(3)):
        with pytest.raises(OptionError, match="not a file: save it"):
            checkpoints_given(given)


REMOVED = {"1": {"out": [5, 7]}, "3": {"in": [5, 7]}}


def narrow_run(path, removed=REMOVED):
    """A run of a network without two units, made by hand; the network."""
    session = open_session(JobSpec("digits", "datadiet:mlp"))
    session = replace(session, model=replace(session.model, removed=(removed,)))
    network, folder = session.fresh(0), RunFolder.open(path, Plan(session.what() | {"verb": "train"}))
    content = network.state_dict(), {"epoch": 1, "step": 1}
    Sink(folder).write(Product(folder.layout.relative(folder.layout.checkpoint(0, 1)), content))
    return network.eval()


@pytest.mark.parametrize("door", DOORS)
def test_checkpoints_of_a_run_that_removed_channels(tmp_path, door):
    narrow_run(tmp_path / "run")
    assert DOORS[door](tmp_path / "run") is not None
    path = tmp_path / "run/checkpoints/seed-0/epoch-1.safetensors"
    assert DOORS[door](path) is not None
    shutil.copy(path, tmp_path / "alone.safetensors")
    with pytest.raises(DataError, match="only its run says which, so give the file in its run folder"):
        DOORS[door](tmp_path / "alone.safetensors")


def test_what_a_run_says_of_removed_channels_is_checked(tmp_path):
    narrow_run(tmp_path / "run")
    manifest = tmp_path / "run/manifest.json"
    good = json.loads(manifest.read_text())
    for removed, why in (
        ("all", "plan.removed is"),
        ([{"1": {"out": ["5"]}}], "plan.removed.*not a whole number"),
        ([{"1": {"out": [True]}}], "plan.removed.*not a whole number"),
        ([{"9": {"out": [5]}}], "not those of datadiet:mlp .*'9' is not a layer"),
        ([{"1": {"out": [10**30]}}], "not those of datadiet:mlp .*128 channels"),
        ([{"1": {"out": [-1]}}], "not those of datadiet:mlp"),
        ([{"1": {"up": [5]}}], "no channels called 'up'"),
        ([REMOVED, REMOVED], "has shape"),
        ([], "has shape"),
    ):
        plan = good["plan"] | {"removed": removed}
        manifest.write_text(json.dumps(good | {"plan": plan, "plan_hash": digest(plan)}))
        with pytest.raises(DataError, match=why) as caught:
            dd.score("digits", "datadiet:mlp", "el2n", checkpoints=tmp_path / "run")
        assert len(str(caught.value)) < 700


def test_networks_that_lost_different_channels_are_not_scored_together(tmp_path):
    paths = [tmp_path / f"run-{place}" for place in range(2)]
    for place, path in enumerate(paths):
        narrow_run(path, {"1": {"out": [place]}, "3": {"in": [place]}})
    files = [path / "checkpoints/seed-0/epoch-1.safetensors" for path in paths]
    with pytest.raises(OptionError, match="from which other channels were removed: give checkpoints of one run"):
        dd.score("digits", "datadiet:mlp", "el2n", checkpoints=files)
    first = dd.score("digits", "datadiet:mlp", "el2n", checkpoints=paths[0], out=tmp_path / "scores")
    assert first is not None
    with pytest.raises(OptionError) as caught:
        dd.score("digits", "datadiet:mlp", "el2n", checkpoints=paths[1], out=tmp_path / "scores")
    assert "holds a run with" in str(caught.value) and len(str(caught.value)) < 400


def test_the_plan_of_a_narrow_network_is_another_and_is_shown_in_short(tmp_path):
    narrow_run(tmp_path / "run")
    plan = read_manifest(tmp_path / "run")["plan"]
    whole = open_session(JobSpec("digits", "datadiet:mlp")).what()
    assert plan["removed"] == [REMOVED] and "removed" not in whole
    assert plan["model"] == whole["model"] and plan["architecture"] != whole["architecture"]
    assert inspect(tmp_path / "run")["plan"]["removed"] == ["channels of 2 layers"]
