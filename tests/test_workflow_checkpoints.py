"""Files of weights where they are given: to be scored, to start from and to embed with."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

import datadiet as dd
from datadiet.errors import DataError, OptionError
from datadiet.models.networks import mlp
from datadiet.workflow.checkpoints import checkpoints_given

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
