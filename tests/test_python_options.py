"""Options that cannot be used as given, in Python: one sentence each, before any work."""

from __future__ import annotations

import errno

import numpy as np
import pytest

import datadiet as dd
from datadiet import scorers, selectors
from datadiet.errors import OptionError
from datadiet.randomness import Keys, derive, generator, mix64
from datadiet.runtime import folder as runs

VALUES = np.arange(4.0)
DATA = (np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32), np.arange(12) % 2)
TAKES_SEED = {
    "select": lambda seed: dd.select(VALUES, "top_k", prefer="hardest", keep=2, seed=seed),
    "score": lambda seed: dd.score(DATA, "datadiet:mlp", epochs=1, seed=seed),
    "train": lambda seed: dd.train(DATA, "datadiet:mlp", epochs=1, seed=seed),
    "kmeans": lambda seed: dd.kmeans(DATA[0], 2, seed=seed),
    "subset": lambda seed: dd.SubsetSampler(3, seed=seed),
    "rs2": lambda seed: dd.RS2Sampler(3, keep=0.5, seed=seed),
    "infobatch": lambda seed: dd.InfoBatchSampler(3, epochs=2, seed=seed),
    "recorder": lambda seed: dd.Recorder(3, seed=seed),
    "keys": lambda seed: Keys(seed, "t", 3),
    "derive": derive,
    "generator": generator,
    "mix64": lambda seed: mix64(seed, "t", np.arange(3)),
}


@pytest.mark.parametrize("seed", ["x", "1", 1.7, -1, None, True, float("nan"), [1]], ids=str)
@pytest.mark.parametrize("what", TAKES_SEED)
def test_seeds_are_whole_numbers_of_at_least_0_everywhere(what, seed):
    with pytest.raises(OptionError, match=r"seed=.*: give a whole number"):
        TAKES_SEED[what](seed)


@pytest.mark.parametrize("what", TAKES_SEED)
def test_seeds_may_be_numbers_of_numpy(what):
    assert TAKES_SEED[what](np.int64(3)) is not None


@pytest.mark.parametrize("higher_is", [{"s": "easier"}, ["easier"], None, 1, np.array(["easier"])], ids=str)
def test_what_a_high_value_means_is_one_of_two_words(tmp_path, higher_is):
    np.save(tmp_path / "s.npy", VALUES)
    for call in (
        lambda: dd.Scores.from_arrays({"s": VALUES}, higher_is=higher_is),
        lambda: dd.Scores.read(tmp_path / "s.npy", higher_is=higher_is),
        lambda: dd.select(VALUES, "top_k", prefer="hardest", keep=2, higher_is=higher_is),
    ):
        with pytest.raises(OptionError, match="say 'harder' or 'easier'"):
            call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: dd.shard(dd.SubsetSampler(5), "0", 2), "rank='0': give a whole number"),
        (lambda: dd.shard(dd.SubsetSampler(5), 0.5, 2), "rank=0.5: give a whole number"),
        (lambda: dd.shard(dd.SubsetSampler(5), -1, 2), "rank=-1: give a whole number"),
        (lambda: dd.shard(dd.SubsetSampler(5), 0, 2.0), "world=2.0: give a whole number"),
        (lambda: dd.shard(dd.SubsetSampler(5), 0, 0), "world=0: give a whole number"),
        (lambda: dd.shard(dd.SubsetSampler(5), 2, 2), "rank=2 of world=2 .*rank from 0 to 1"),
        (lambda: dd.RS2Sampler(n=2.5, keep=0.5), "n=2.5: give a whole number"),
        (lambda: dd.RS2Sampler(n="9", keep=0.5), "n='9': give a whole number"),
        (lambda: dd.SubsetSampler(5).set_epoch("1"), "epoch='1': give a whole number"),
        (lambda: dd.SubsetSampler([[1], [1, 2]]), "indices, a list, cannot be read as an array"),
        (lambda: dd.SubsetSampler(np.ma.masked_equal([1, 2], 2)), "indices has 1 masked"),
        (lambda: dd.SubsetSampler(np.array([2**63], dtype=np.uint64)), "below 2.63"),
        (lambda: dd.SubsetSampler(2, loss_weights=["x", "y"]), "loss_weights has the type <U1"),
        (lambda: dd.SubsetSampler(2, loss_weights=[1, np.nan]), "loss_weights has 1 NaN"),
        (lambda: dd.SubsetSampler(2, loss_weights=[[1], [1, 2]]), "loss_weights, a list, cannot be read"),
        (lambda: dd.SubsetSampler(2, loss_weights=[1]), "loss_weights of shape .1,. for 2 examples"),
        (lambda: dd.SubsetSampler(2).load_state_dict({}), "The state has nothing: give what state_dict"),
        (lambda: dd.train(DATA, "datadiet:mlp", epochs="3"), "epochs='3': give a whole number or None"),
        (lambda: dd.train(DATA, "datadiet:mlp", steps=1.5), "steps=1.5: give a whole number or None"),
        (lambda: dd.Recipe(augment_seed=-1), "augment_seed=-1"),
    ],
)
def test_numbers_are_checked(call, words):
    with pytest.raises(OptionError, match=words):
        call()


def test_a_place_where_no_folder_can_be_made_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "x", "/proc/x"):
        for verb in (dd.score, dd.train):
            with pytest.raises(OptionError, match=r"cannot be written \(.*another out= \(--out\)"):
                verb(DATA, "datadiet:mlp", epochs=1, out=place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_the_system_s_error(tmp_path, monkeypatch):
    def full(**options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(runs.tempfile, "TemporaryDirectory", full)
    with pytest.raises(OSError, match="No space left"):
        dd.score(DATA, "datadiet:mlp", epochs=1, out=tmp_path / "run")


@pytest.mark.parametrize("epsilon", [None, "x", [1], float("nan"), -1, 2], ids=str)
def test_the_threshold_of_leaks_is_a_number(epsilon):
    with pytest.raises(OptionError, match="epsilon="):
        selectors.leaks(DATA[0], DATA[0], epsilon=epsilon)


def test_draws_that_no_memory_holds_are_refused():
    with pytest.raises(OptionError, match="draws=1000000000: each takes memory, so give at most 100,000,000"):
        scorers.zcore(DATA[0], draws=10**9)
