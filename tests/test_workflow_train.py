"""train: what is trained on, for how long, and what it gives and leaves behind."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.data import measure_normalisation, open_data
from datadiet.errors import DataError, FingerprintMismatch, OptionError
from datadiet.models import load_checkpoint, open_model
from datadiet.workflow.fitting.schedules import open_schedule, rows_kept

pytestmark = pytest.mark.usefixtures("one_thread")

FAST = {"batch_size": 128}


def train(selection=None, **options):
    return dd.train("digits", options.pop("model", "datadiet:mlp"), selection, **{"recipe": FAST, **options})


def weights_of(result):
    return torch.cat([p.detach().flatten() for p in result.model.parameters()])


@pytest.fixture(scope="module")
def kept():
    """200 digits, as a selection with the identity of the digits."""
    source = open_data("digits")
    scores = dd.Scores(
        source.index, {"s": np.arange(1438, dtype=np.float32)}, source.ids, source.labels,
        {"columns": {"s": {"hardness": 1}}, "data": source.identity()},
    )  # fmt: skip
    return dd.select(scores, "random", keep=200, seed=1)


def test_the_result(kept):
    result = train(kept, epochs=10)
    assert (result.kept, result.steps, len(result.history)) == (200, 20, 10)
    assert set(result.history[0]) == {"epoch", "step", "loss", "accuracy", "lr", "seconds"}
    assert [entry["step"] for entry in result.history] == list(range(2, 21, 2))
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert not result.model.training and result.seconds > 0
    evaluation = open_data("digits", split="eval")
    x = measure_normalisation(open_data("digits"))(evaluation.take(np.arange(len(evaluation))))
    with torch.no_grad():
        right = result.model(x).argmax(1).numpy() == evaluation.labels
    assert result.accuracy == pytest.approx(right.mean()) and result.accuracy > 0.5
    recall = [right[evaluation.labels == c].mean() for c in range(10)]
    assert result.evaluation.class_recall == pytest.approx(recall)


def test_held_out_examples_are_left_out_of_a_selection_that_read_no_scores(kept, caplog):
    source = open_data("digits")
    rest, _ = source.split_off(0.15, seed=0)
    there = np.isin(kept.indices, rest.index)
    result = train(kept, epochs=1, eval="15%")
    assert result.kept == there.sum() < 200
    left = 200 - there.sum()
    assert f"{left} of the 200 kept examples are held out or skipped here: training leaves them out" in caplog.text
    weighted = dataclasses.replace(kept, weight=np.linspace(0.5, 1.5, 200).astype(np.float32))
    rows, weights = rows_kept(weighted, rest)
    assert np.array_equal(rest.index[rows], kept.indices[there]) and weights.dtype == np.float32
    np.testing.assert_allclose(weights, weighted.weights[there] / weighted.weights[there].mean(), rtol=1e-6)
    by_score = dataclasses.replace(kept, meta={**kept.meta, "columns": {"score": "s"}})
    all_held_out = dd.select(np.ones((1438, 2)), "random", keep=200)
    with pytest.raises(DataError, match="use the same eval= "):
        rows_kept(by_score, rest)
    with pytest.raises(DataError, match="use the same eval= "):
        rows_kept(all_held_out, source.subset(np.setdiff1d(np.arange(1438), all_held_out.indices)))


def test_only_the_selection_is_trained_on(kept, tmp_path):
    """As good as training on the exported part alone, apart from the normalisation, which is that of all data."""
    seen = set()

    class Watch(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

        def forward(self, x):
            if self.training:
                seen.update(row.numpy().tobytes() for row in x.flatten(1))
            return self.net(x)

    train(kept, epochs=2, model=Watch)
    source = open_data("digits")
    x = measure_normalisation(source)(source.take(kept.indices)).flatten(1)
    assert seen == {row.numpy().tobytes() for row in x}


@pytest.mark.parametrize(
    ("options", "steps", "kept_"),
    [
        ({"epochs": 2}, 24, 1438),
        ({"steps": 17}, 17, 1438),
        ({"epochs": 2, "sampler": "rs2:keep=10%"}, 4, 144),
        ({"epochs": 2, "sampler": "rs2:keep=10%", "match": "full-steps"}, 24, 144),
        ({"epochs": 1, "sampler": "rs2:keep=n=300,replacement=true"}, 3, 300),
        ({"epochs": 1, "sampler": "rs2:keep=0.1,stratified=true"}, 2, 144),
    ],
)
def test_the_budget_is_explicit(options, steps, kept_):
    result = train(**options)
    assert (result.steps, result.kept, result.history[-1]["step"]) == (steps, kept_, steps)


def test_equal_steps_with_a_selection(kept):
    assert train(kept, epochs=2, match="full-steps").steps == 24


def test_the_order_of_rs2_is_that_of_the_sampler(monkeypatch):
    from datadiet.randomness import derive
    from datadiet.training import Trainer

    seen, step = [], Trainer._step
    monkeypatch.setattr(
        Trainer, "_step", lambda self, batch, lr: (seen.extend(batch.rows.tolist()), step(self, batch, lr))[1]
    )
    train(sampler="rs2:keep=10%", epochs=3, seed=5)
    sampler = dd.RS2Sampler(1438, keep="10%", seed=derive(5, "order"))
    assert seen == [i for _ in range(3) for i in sampler]


def test_a_sampler_object_is_used():
    a, b = (train(sampler=dd.SubsetSampler(range(100), seed=s), epochs=1) for s in (0, 1))
    assert a.kept == 100 and not torch.equal(weights_of(a), weights_of(b))


def test_weights_of_a_selection_multiply_the_loss(kept):
    from dataclasses import replace

    even = replace(kept, weight=np.ones(200, np.float32))
    skewed = replace(kept, weight=np.linspace(0.01, 1.99, 200, dtype=np.float32))
    plain = weights_of(train(kept, epochs=1))
    assert torch.equal(plain, weights_of(train(even, epochs=1)))
    assert not torch.equal(plain, weights_of(train(skewed, epochs=1)))


def test_seeds(kept):
    same, again, other = (weights_of(train(kept, epochs=1, seed=s)) for s in (0, 0, 1))
    assert torch.equal(same, again) and not torch.equal(same, other)


def test_files_and_a_second_call(kept, tmp_path):
    first = train(kept, epochs=3, out=tmp_path / "run")
    files = sorted(str(p.relative_to(tmp_path / "run")) for p in (tmp_path / "run").rglob("*") if p.is_file())
    evaluated = "evaluation/seed-0.parquet"
    assert files == ["checkpoints/seed-0/epoch-3.safetensors", evaluated, "log.jsonl", "manifest.json", "run.json"]
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert log == first.history
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert (run["accuracy"], run["steps"], run["kept"]) == (first.accuracy, 6, 200)
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*") if p.is_file() and p.name != "run.json"}
    second = train(kept, epochs=3, out=tmp_path / "run")
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert (second.history, second.accuracy, second.steps) == (first.history, first.accuracy, first.steps)
    assert torch.equal(weights_of(second), weights_of(first)) and second.seconds == first.seconds
    net = open_model("datadiet:mlp", (1, 8, 8), 10).fresh(7)
    load_checkpoint(net, tmp_path / "run/checkpoints/seed-0/epoch-3.safetensors")
    assert torch.equal(torch.cat([p.detach().flatten() for p in net.parameters()]), weights_of(first))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 2}, "epochs"),
        ({"seed": 1}, "seed"),
        ({"sampler": "rs2:keep=20%"}, "sampler"),
        ({"recipe": {"batch_size": 128, "lr": 0.2}}, "recipe.lr"),
    ],
)
def test_another_training_in_the_same_folder_is_refused(tmp_path, change, named):
    options = {"epochs": 3, "sampler": "rs2:keep=10%"}
    train(**options, out=tmp_path / "run")
    with pytest.raises(OptionError, match=f"holds a run with {named} = "):
        train(**{**options, **change}, out=tmp_path / "run")


@pytest.mark.parametrize(
    "pair",
    [
        (dd.SubsetSampler(range(100)), dd.SubsetSampler(range(200, 300))),
        (dd.SubsetSampler(1438), dd.SubsetSampler(1438, shuffle=False)),
        (dd.RS2Sampler(1438, keep=100), dd.RS2Sampler(1438, keep=100, replacement=True)),
    ],
    ids=["indices", "shuffle", "replacement"],
)
def test_another_sampler_object_is_another_training(tmp_path, pair):
    """The first one's result must not be handed out as the second's."""
    train(sampler=pair[0], epochs=1, out=tmp_path / "run")
    with pytest.raises(OptionError, match="holds a run with sampler"):
        train(sampler=pair[1], epochs=1, out=tmp_path / "run")


@pytest.mark.parametrize(
    "sampler", [dd.SubsetSampler(100), dd.RS2Sampler(100, keep=10), torch.utils.data.RandomSampler(range(1438))]
)
def test_a_sampler_of_other_data_or_of_another_kind_is_refused(sampler):
    with pytest.raises(OptionError, match=r"the sampler draws from 100 examples|is not a schedule"):
        train(sampler=sampler, epochs=1)


def test_the_positions_of_a_sampler_count_in_the_whole_data_set():
    part, held_out = open_data("digits").split_off(0.2, 0)
    sampler = open_schedule(dd.SubsetSampler(part.index[[3, 1, 700]], shuffle=False), None, None, part, seed=0)
    assert sampler.order(0)(np.arange(3)).tolist() == [3, 1, 700]  # rows of the part
    with pytest.raises(DataError, match="held out or skipped here"):
        open_schedule(dd.SubsetSampler(held_out.index[:2]), None, None, part, seed=0)


def test_another_selection_is_another_training(tmp_path, kept):
    from dataclasses import replace

    train(kept, epochs=1, out=tmp_path / "run")
    with pytest.raises(OptionError, match="rows_kept"):
        train(replace(kept, chosen=kept.chosen[:-1]), epochs=1, out=tmp_path / "run")
    with pytest.raises(OptionError, match="weights"):
        train(replace(kept, weight=np.linspace(0.01, 1.99, 200, dtype=np.float32)), epochs=1, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "give exactly one of epochs=E .* and steps=S"),
        ({"epochs": 1, "steps": 1}, "give exactly one of epochs=E .* and steps=S"),
        ({"epochs": 0}, "at least 1"),
        ({"epochs": 1, "match": "steps"}, "the only form is match='full-steps'"),
        ({"epochs": 1, "sampler": "rs3:keep=1%"}, "'rs3' is not a sampler: did you mean 'rs2'"),
        ({"epochs": 1, "sampler": "rs2"}, "write rs2:keep=10%"),
        ({"epochs": 1, "sampler": "rs2:kep=10%"}, "'kep' is not a parameter of rs2: did you mean 'keep'"),
        ({"epochs": 1, "sampler": "rs2:keep"}, "give keep one value: keep=…"),
        ({"epochs": 1, "sampler": "rs2:keep=9%,keep=8%"}, "give keep one value"),
        ({"epochs": 1, "sampler": "rs2:keep=9%,seed=1"}, "the run sets seed itself: leave it out"),
        ({"epochs": 1, "sampler": "rs2:keep=9%,labels=1"}, "the run sets labels itself: leave it out"),
        ({"epochs": 1, "sampler": "rs2:keep=10"}, "could be a percentage or a count"),
        ({"epochs": 1, "sampler": "rs2:keep=10%,replacement=perhaps"}, "replacement='perhaps': give true or false"),
        ({"epochs": 1, "recipe": {"lr": 0}}, "lr > 0"),
        ({"epochs": 1, "recipe": {"augment": "flop"}}, "'flop' is not an? augmentation"),
        ({"epochs": 1, "eval": "x%"}, "x%"),
        (
            {"epochs": 1, "model": nn.Sequential(nn.Flatten(), nn.Linear(64, 10))},
            "is a trained model, and training needs fresh ones",
        ),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(tmp_path, options, words):
    with pytest.raises(OptionError, match=words):
        train(**options, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_selection_and_a_sampler_contradict_each_other(kept):
    with pytest.raises(OptionError, match="a selection or a sampler, not both"):
        train(kept, sampler="rs2:keep=10%", epochs=1)


def test_a_selection_of_other_data_is_refused_naming_the_difference(kept):
    from dataclasses import replace

    with pytest.raises(FingerprintMismatch, match="differ in the number of examples"):
        dd.train(open_data("digits", split="eval"), "datadiet:mlp", kept, epochs=1)
    foreign = replace(kept, meta={**kept.meta, "data": {**kept.meta["data"], "ids": "0" * 32}})
    with pytest.raises(FingerprintMismatch, match="differ in the ids or their order"):
        train(foreign, epochs=1)


def test_divergence_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"training diverged: .* lower the learning rate.*\(--set lr="):
        train(epochs=20, recipe={"lr": 1e9, "batch_size": 128})


def test_evaluation_data_must_look_like_the_training_data(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 2
    np.savez(tmp_path / "a.npz", x=rng.random((20, 3), dtype=np.float32), y=labels)
    np.savez(tmp_path / "wide.npz", x=rng.random((20, 4), dtype=np.float32), y=labels)
    np.savez(tmp_path / "more.npz", x=rng.random((20, 3), dtype=np.float32), y=labels + 1)
    for other, words in (("wide", r"shape \(4,\).*must be the same"), ("more", "class '2', which is not among")):
        with pytest.raises(DataError, match=words):
            dd.train(
                f"npz:{tmp_path}/a.npz",
                "datadiet:mlp",
                epochs=1,
                eval=f"npz:{tmp_path}/{other}.npz",
                out=tmp_path / "run",
            )
    assert not (tmp_path / "run").exists()
    result = dd.train(f"npz:{tmp_path}/a.npz", "datadiet:mlp", epochs=1)
    assert result.accuracy is None and result.evaluation is None


def test_batches_of_one_that_batch_norm_cannot_take_are_told_in_one_sentence(tmp_path):
    """Over one value per channel there is no variance. 17 examples in batches of 16 make 9 and 8, not 16 and 1."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", x=rng.random((17, 6), dtype=np.float32), y=np.arange(17) % 2)

    def make():
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))

    assert dd.train(f"npz:{tmp_path}/a.npz", make, epochs=2, recipe={"batch_size": 16}).steps == 4
    with pytest.raises(OptionError, match="batch size"):
        dd.train(f"npz:{tmp_path}/a.npz", make, epochs=1, recipe={"batch_size": 1})


def test_what_the_network_says_of_each_held_out_example_is_kept(tmp_path: Path) -> None:
    result = dd.train("digits", "datadiet:mlp", epochs=2, out=tmp_path / "run")
    held = dd.open_data("digits", split="eval")
    kept = pq.read_table(tmp_path / "run" / "evaluation" / "seed-0.parquet")
    assert kept.column_names == ["index", "id", "label", "predicted", "correct", "loss"]
    assert kept["id"].to_pylist() == held.ids.to_pylist() and (kept["label"].to_numpy() == held.labels).all()
    assert result.evaluation is not None and kept["correct"].to_numpy().mean() == result.accuracy
    assert ((kept["predicted"].to_numpy() == held.labels) == kept["correct"].to_numpy()).all()
    assert kept["loss"].to_numpy().mean() == pytest.approx(result.evaluation.loss, rel=1e-5)
    dd.score("digits", "datadiet:mlp", "el2n", epochs=2, out=tmp_path / "scored")
    scored = pq.read_table(tmp_path / "scored" / "evaluation" / "seed-0.parquet")
    assert scored.equals(kept), "recording changes nothing"
