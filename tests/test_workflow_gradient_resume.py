"""Scorers that read gradients or features: interrupted, and going on; what a further scorer records."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import datadiet as dd
from datadiet.errors import DataError, OptionError
from datadiet.runtime import Sink
from datadiet.signals.passes import Pass

pytestmark = pytest.mark.usefixtures("one_thread")


def test_killed_after_every_second_part_it_goes_on_to_the_same_bytes(
    tmp_path, monkeypatch, small_parts, contents, gradient_scorers, score_small, written
):
    wanted = score_small(tmp_path / "whole", gradient_scorers)
    rename, left, kills = os.replace, 0, 0

    def watched(temporary, target):
        nonlocal left
        if Path(target).name.startswith("part-"):
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
        rename(temporary, target)

    monkeypatch.setattr(os, "replace", watched)
    while kills < 50:
        left = 2
        try:
            again = score_small(tmp_path / "run", gradient_scorers)
            break
        except KeyboardInterrupt:
            kills += 1
    parts = [name for name in written(tmp_path / "whole") if "/part-" in name]
    assert len(parts) == 2 + 3 * 9 + 2 * 3 and kills == (len(parts) - 1) // 2
    assert again.meta == wanted.meta
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    "where",
    [
        "workflow.scoring.recording_worker.measured",
        "runtime.layout.Layout.reference_labels",  # when the labels of the reference are written
        "workflow.scoring.scoring_run.compute_scores",
        "runtime.Sink.note_plan",
    ],
)
def test_stopped_between_two_steps_it_goes_on(tmp_path, monkeypatch, small_parts, where, contents, score_small):
    def stop(*args, **options):
        raise KeyboardInterrupt

    score_small(tmp_path / "whole", "knn_shapley,grad_dot")
    with monkeypatch.context() as patch:
        patch.setattr(f"datadiet.{where}", stop)
        with pytest.raises(KeyboardInterrupt):
            score_small(tmp_path / "run", "knn_shapley,grad_dot")
    assert not (tmp_path / "run/scores.parquet").exists() and not list(tmp_path.rglob("*.tmp"))
    score_small(tmp_path / "run", "knn_shapley,grad_dot")
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_half_a_reference_is_not_taken_for_the_whole(tmp_path, monkeypatch, small_parts, score_small):
    """Its size is not that of the data, so nothing but the run knows it."""
    run = tmp_path / "run"
    score_small(run, "knn_shapley")
    write, done = Sink.note_plan, []

    def once(sink, path):
        if "projected@" in str(path):
            done.append(path)
        if len(done) == 2:
            raise KeyboardInterrupt
        write(sink, path)

    with monkeypatch.context() as patch:
        patch.setattr(Sink, "note_plan", once)
        with pytest.raises(KeyboardInterrupt):
            score_small(run, "datainf")
    with pytest.raises((DataError, OptionError)):
        dd.rescore(run, "datainf")
    assert np.array_equal(score_small(run, "datainf")["datainf"], score_small(None, "datainf")["datainf"])


def test_a_pass_that_was_interrupted_does_not_keep_others_from_being_scored(
    tmp_path, monkeypatch, small_parts, score_small
):
    measured = Sink.write

    def stop(sink, product):
        measured(sink, product)
        if "signals/grad/" in product.path and "part-0-" in product.path:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Sink, "write", stop)
        with pytest.raises(KeyboardInterrupt):
            score_small(tmp_path / "run", "grand")
    assert np.array_equal(score_small(tmp_path / "run", "loss")["loss"], score_small(None, "loss")["loss"])
    with pytest.raises((DataError, OptionError)):
        dd.rescore(tmp_path / "run", "grand")
    assert np.array_equal(score_small(tmp_path / "run", "grand")["grand"], score_small(None, "grand")["grand"])


@pytest.fixture
def started(monkeypatch):
    """The passes that were begun, in order."""
    names, begin = [], Pass.begin
    monkeypatch.setattr(Pass, "begin", lambda kind, setup: names.append(kind.name) or begin(kind, setup))
    return names


def test_further_scorers_record_only_what_is_missing(
    tmp_path, started, contents, gradient_scorers, score_small, stamps
):
    run = tmp_path / "run"
    first = score_small(run, "self_influence,knn_shapley")
    assert started == ["grad", "grad", "features", "features"]
    before = stamps(run), contents(run, "signals", "embeddings", "checkpoints")
    started.clear()
    second = score_small(run, "grand,influence,grad_dot")
    assert started == ["dots"]
    assert all(np.array_equal(second[name], first[name]) for name in first.columns)
    started.clear()
    third = score_small(run, gradient_scorers)
    assert sorted(started) == sorted(["vog", "ekfac", *2 * ["projected_margin"], "eval", *2 * ["projected"]])
    assert stamps(run).items() >= before[0].items() and contents(run).items() >= before[1].items()
    started.clear()
    assert score_small(run, gradient_scorers).meta == third.meta and not started
    alone = score_small(None, gradient_scorers)
    assert all(np.array_equal(third[name], alone[name]) for name in gradient_scorers)


def test_epochs_whose_weights_were_not_kept_are_trained_again_to_the_same(
    tmp_path, started, contents, score_small, written
):
    run = tmp_path / "run"
    score_small(run, "el2n", epochs=3)
    before = contents(run, "signals", "checkpoints")
    assert not any("epoch-1" in name for name in written(run, "checkpoints"))
    both = score_small(run, "vog", epochs=3)
    assert started == ["eval", "vog"] and contents(run).items() >= before.items()
    assert np.array_equal(both["vog"], score_small(None, "vog", epochs=3)["vog"])
