"""What a scorer would refuse is refused before anything is trained or written; its own words, at no cost."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from torch import nn

import datadiet as dd
from datadiet.data import open_data
from datadiet.errors import OptionError
from datadiet.runtime.layout import part_name
from datadiet.scorers import SCORERS, Need, ScorerSpec
from datadiet.workflow.scoring.dry_run import MadeUp, try_scorers
from datadiet.workflow.scoring.needs import resolve
from datadiet.workflow.scoring.recording_worker import RecordingWorker
from datadiet.workflow.scoring.requests import make_requests

WIDE = {"features", "projected", "projected_margin"}
REFERENCE = "0123456789ab"


def tiny(width=16):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def made_up(width, epochs=20, classes=4):
    widths = {part_name(wide, reference=reference): width for wide in WIDE for reference in ("", REFERENCE)}
    facts = {"epochs": epochs, "lr": [0.1] * epochs, "head_bias": True, "reference": REFERENCE, "against": REFERENCE}
    ends = np.array([0, classes - 1])
    return MadeUp(2, {}, labels=ends, reference_labels=ends, meta={"facts": facts}, widths=widths)


@pytest.mark.parametrize("name", SCORERS)
def test_every_registered_scorer_takes_made_up_signals_of_any_width_at_no_cost(name):
    """Each sees two examples, and takes no more memory than some copies of them: nothing of width x width."""
    width, given = 2000 if name == "influence" else 1 << 18, []
    signals = made_up(width)
    (request,) = resolve(make_requests(name), signals.meta["facts"])
    spec = request.spec

    def check(*arrays, **params):
        given.append([np.shape(array) for array in arrays])
        return (spec.check or spec.fn)(*arrays, **params)

    tracemalloc.start()
    try_scorers([replace(request, spec=replace(spec, check=check))], signals)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    (shapes,) = given
    for need, shape in zip(spec.needs, shapes, strict=True):
        assert shape[-2:] == (2, width) if need.signal in WIDE else shape[-1] == 2
    assert peak < 16 * signals.vectors("features", [1])[0][0].nbytes


@pytest.mark.parametrize(
    ("name", "params", "width"),
    [
        ("trak", {"l2": -1.0}, 6),
        ("trak", {"blocks": 0}, 6),
        ("trak", {"blocks": 7}, 6),
        ("datainf", {"damping": -1.0}, 6),
        ("datainf", {"damping": float("inf")}, 6),
        ("influence", {"l2": 0.0}, 6),
        ("influence", {"l2": float("inf")}, 6),
        ("influence", {}, 2048),
        ("knn_shapley", {"k": 0}, 6),
        ("knn_shapley", {"block": 0}, 6),
        ("self_influence", {"lr": [0.0] * 20}, 6),
        ("tdds", {"window": 21}, 6),
        ("tdds", {"decay": 0.0}, 6),
        ("dual", {"window": 21}, 6),
        ("dual", {"window": 1}, 6),
        ("dyn_unc", {"window": 20}, 6),
    ],
)
def test_the_sentence_is_the_scorer_s_own(name, params, width):
    """Of 30 examples of four classes, as against two that are made up."""
    spec, rng, signals = SCORERS[name], np.random.default_rng(0), made_up(width)
    with pytest.raises(OptionError) as early:
        try_scorers(resolve(make_requests(name, {name: params}), signals.meta["facts"]), signals)
    arrays = []
    for need in spec.needs:
        shape = (2, 30, width) if need.pass_name in WIDE else (2, 19 if need.signal == "shift" else 20, 30)
        shape = (2, 30) if need.signal == "p_true" and name == "trak" else shape
        values = rng.uniform(0, 1, shape)
        arrays.append(np.arange(30) % 4 if need.signal == "labels" else values[0] if spec.each else values)
    with pytest.raises(OptionError) as late:
        spec.fn(*arrays, **params)
    assert str(early.value) == str(late.value)


@pytest.mark.parametrize(
    ("scorers", "params", "options", "words"),
    [
        ("influence", {"l2": 0}, {}, "l2=0: the curvature of a softmax head"),
        ("influence", {}, {"model": partial(tiny, 819)}, "820 inputs has 8200 parameters.*to 818 or fewer"),
        ("knn_shapley", {"k": 0}, {}, "k=0: give a whole number of at least 1"),
        ("trak", {"blocks": 65, "dim": 64}, {}, "blocks=65: give from 1 to 64, the number of columns"),
        ("datainf", {"damping": -1}, {}, "damping=-1: give a multiple"),
        ("self_influence", {"lr": [1.0, 2.0, 3.0]}, {}, "the signal 2 checkpoints"),
        ("tdds", {}, {}, "tdds uses windows of 10 epochs and 2 were recorded"),
        ("tdds", {"window": 3}, {"epochs": 1}, "record at least two epochs"),
        ("dual", {}, {}, r"dual uses windows of 10 .* only 2 to fill them.*\(-p dual.window=2\)"),
        ("dual", {"mode": "eval"}, {}, "dual uses windows of 10"),
        ("dual", {"window": 3, "at": "1-2"}, {"epochs": 3}, "an example has only 2"),
        ("dyn_unc", {"window": 1}, {}, "needs at least 2 presentations per window"),
        ("aum", {"at": "1-3"}, {}, "aum.at='1-3' is outside the 2 recorded epochs"),
    ],
)  # fmt: skip
def test_it_is_refused_before_anything_is_trained_or_written(tmp_path, monkeypatch, scorers, params, options, words):
    monkeypatch.setattr(RecordingWorker, "_train", lambda *_: pytest.fail("it was trained"))
    data, reference = open_data("digits"), open_data("digits", split="eval").subset(np.arange(60))
    fixed = {"model": tiny, "epochs": 2, "reference": reference, "out": tmp_path / "run"}
    with pytest.raises(OptionError, match=words):
        dd.score(data, scorers=f"el2n,{scorers}", params={scorers: params}, **{**fixed, **options})
    assert not (tmp_path / "run").exists()


def test_the_largest_head_is_taken(monkeypatch):
    """10 classes on 818 features and a bias have 8190 parameters."""
    data, reference = open_data("digits"), open_data("digits", split="eval").subset(np.arange(60))
    monkeypatch.setattr(RecordingWorker, "_train", lambda *_: (_ for _ in ()).throw(InterruptedError))
    with pytest.raises(InterruptedError):
        dd.score(data, partial(tiny, 818), "influence", epochs=1, reference=reference)


def test_checkpoints_and_what_is_known_of_them_are_tried_alike(tmp_path):
    data = open_data("digits").subset(np.arange(60))
    dd.score(data, tiny, "self_influence", epochs=2, out=tmp_path / "run")
    options = {"checkpoints": tmp_path / "run", "out": tmp_path / "new"}
    with pytest.raises(OptionError, match=r"lr has shape \(3,\) and the signal 2 checkpoints"):
        dd.score(data, tiny, "self_influence", params={"self_influence": {"lr": [1.0, 2.0, 3.0]}}, **options)
    assert not (tmp_path / "new").exists()
    assert np.isfinite(dd.score(data, tiny, "self_influence", **options)["self_influence"]).all()


def test_functions_of_ones_own_see_real_data_only():
    data, seen = open_data("digits").subset(np.arange(60)), []

    def own(loss):
        seen.append(loss.shape)
        return loss.mean(axis=(0, 1))

    dd.score(data, tiny, [own, ScorerSpec(partial(own), (Need("loss", "train", "1-2"),))], epochs=2)
    assert seen == [(1, 2, 60), (1, 2, 60)]


def test_epochs_of_a_function_of_ones_own_are_checked_before(tmp_path):
    def own(loss):
        return loss.mean(axis=(0, 1))

    with pytest.raises(OptionError, match=r"own.at='1-3' is outside the 2 recorded epochs"):
        dd.score("digits", tiny, own, epochs=2, params={"own": {"at": "1-3"}}, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
