"""dd.embed and datadiet embed: what is recorded, resumed and refused, for images, vectors and texts."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.cli import main
from datadiet.data import Feed
from datadiet.errors import BadVector
from datadiet.runtime import RunFolder, Sink
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.local import LocalFleet
from datadiet.runtime.units import MakeWorker
from datadiet.runtime.vectors import parts_of
from datadiet.table import Signals
from datadiet.workflow.fitting.embedding_worker import EmbeddingJob, EmbeddingWorker
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.session import open_session

PART = "embeddings/features/seed-0/epoch-1"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training on digits whose checkpoint embeds."""
    folder = tmp_path_factory.mktemp("run") / "digits"
    dd.score("digits", "datadiet:mlp", "el2n", epochs=2, recipe={"batch_size": 256}, out=folder)
    return folder


@pytest.fixture
def vectors():
    """30 examples of 6 numbers."""
    return np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)


@pytest.fixture
def small(monkeypatch):
    """Parts of at least 8 rows."""
    monkeypatch.setattr("datadiet.runtime.units.SMALLEST", 8)


def double(batch):
    return batch * 2


def scaled(factor):
    """A function of the same name and another text."""
    if factor == 2:
        return lambda batch: batch * 2
    return lambda batch: batch * 3


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def part_names(out):
    return sorted(path.name for path in (out / PART).glob("part-*"))


def test_the_vectors_are_the_penultimate_features(run, tmp_path):
    found = dd.embed("digits", "datadiet:mlp", checkpoint=run, dtype="float32", out=tmp_path / "v")
    job = json.loads((run / "manifest.json").read_text())["plan"]
    from safetensors.torch import load_file

    w = load_file(run / "checkpoints" / "seed-0" / "epoch-2.safetensors")
    scale = job["inputs"]["normalisation"]
    source = dd.open_data("digits")
    x = (source.take(range(len(source))).float().flatten(1) - scale["mean"][0]) / scale["std"][0]
    hidden = torch.relu(torch.relu(x @ w["1.weight"].T + w["1.bias"]) @ w["3.weight"].T + w["3.bias"])
    assert found.shape == (1438, 128) and found.dtype == np.float32
    np.testing.assert_allclose(np.asarray(found), hidden.numpy(), rtol=1e-4, atol=1e-5)


def test_what_a_run_holds_is_what_readers_look_for(run, tmp_path):
    found = dd.embed("digits", "datadiet:mlp", checkpoint=run, out=tmp_path / "v")
    table = pq.read_table(tmp_path / "v" / "scores.parquet")
    assert table.column_names == ["index", "id", "label"] and table.num_rows == 1438
    scores = dd.Scores.read(tmp_path / "v")
    facts = json.loads((tmp_path / "v" / "manifest.json").read_text())["facts"]
    assert scores.meta["facts"] == facts and facts["epochs"] == 1 and facts["checkpoints"] is True
    assert facts["vectors"] == {"dim": 128, "dtype": "float16"} and facts["num_classes"] == 10
    signals = Signals.open(tmp_path / "v", len(scores), index=scores.index)
    recorded = np.asarray(signals.vectors("features", [1]))
    assert np.array_equal(recorded.reshape(1438, 128), np.asarray(found))
    assert scores.meta["data"] == dd.open_data("digits").identity()


def test_a_scorer_reads_them(run, tmp_path):
    dd.embed("digits", "datadiet:mlp", checkpoint=run, out=tmp_path / "v")
    scores = dd.rescore(tmp_path / "v", "prototypes")
    assert scores["prototypes"].shape == (1438,)
    before = files(tmp_path / "v")
    dd.embed("digits", "datadiet:mlp", checkpoint=run, out=tmp_path / "v")
    assert files(tmp_path / "v") == before  # the score is still there


def test_parts_are_made_again_where_they_are_missing_and_only_there(vectors, tmp_path, small):
    out, calls = tmp_path / "v", []

    def counted(batch):
        calls.append(len(batch))
        return batch

    whole = np.asarray(dd.embed(vectors, counted, batch_size=4, dtype="float32", out=out))
    assert part_names(out) == [f"part-{lo}-{hi}.npy" for lo, hi in ((0, 8), (16, 24), (24, 30), (8, 16))]
    hash_ = json.loads((out / "manifest.json").read_text())["plan_hash"]
    assert json.loads((out / PART / "plan.json").read_text()) == {"plan": hash_}
    assert np.array_equal(whole, vectors)
    before = files(out)
    (out / PART / "part-8-16.npy").unlink()
    calls.clear()
    dd.embed(vectors, counted, batch_size=4, dtype="float32", out=out)
    assert calls == [2, 4, 4]  # the trial, and the one part
    after = files(out)
    assert {k: v for k, v in after.items() if k.name != "run.json"} == {
        k: v for k, v in before.items() if k.name != "run.json"
    }


def test_parts_of_a_network_come_back_with_the_same_bytes(run, tmp_path, small):
    out = tmp_path / "v"
    given = {"checkpoint": run, "batch_size": 100, "out": out}
    found = dd.embed("digits", "datadiet:mlp", **given)
    assert len(found._parts) == 15 and all(isinstance(part, np.memmap) for part in found._parts)
    before = {path.name: path.read_bytes() for path in (out / PART).iterdir()}
    lost = ["part-300-400.npy", "part-1400-1438.npy"]
    for name in lost:
        (out / PART / name).unlink()
    stamps = {path.name: path.stat().st_mtime_ns for path in (out / PART).iterdir()}
    again = dd.embed("digits", "datadiet:mlp", **given)
    assert {path.name: path.read_bytes() for path in (out / PART).iterdir()} == before
    assert {name: (out / PART / name).stat().st_mtime_ns for name in before if name not in lost} == stamps
    assert all(isinstance(part, np.memmap) for part in again._parts)


def test_a_run_that_was_stopped_goes_on(vectors, tmp_path, small):
    out, stop = tmp_path / "v", [True]

    def stopped(batch):
        if stop[0] and (out / PART / "part-8-16.npy").exists():
            raise KeyboardInterrupt
        return batch

    with pytest.raises(KeyboardInterrupt):
        dd.embed(vectors, stopped, batch_size=4, out=out)
    assert part_names(out) == ["part-0-8.npy", "part-8-16.npy"]
    assert not (out / "scores.parquet").exists()
    stop[0] = False
    found = dd.embed(vectors, stopped, batch_size=4, out=out)
    assert np.array_equal(np.asarray(found), vectors.astype(np.float16))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dtype": "float32"}, 'dtype = "float16", and this one has "float32"'),
        ({"batch_size": 5}, "batch_size = 4"),
        ({"dataset": np.ones((30, 6), dtype=np.float32)}, r"data\.content"),
        ({"model": scaled(3)}, r"encoder\.code"),
    ],
)
def test_another_plan_is_refused(vectors, tmp_path, change, words):
    given = {"dataset": vectors, "model": scaled(2), "batch_size": 4, "out": tmp_path / "v"}
    dd.embed(**given)
    before = files(tmp_path / "v")
    with pytest.raises(dd.OptionError, match=words):
        dd.embed(**(given | change))
    assert files(tmp_path / "v") == before


def test_other_weights_are_another_plan(run, tmp_path):
    dd.embed("digits", "datadiet:mlp", checkpoint=run, out=tmp_path / "v")
    dd.train("digits", "datadiet:mlp", epochs=1, seed=5, recipe={"batch_size": 256}, out=tmp_path / "other")
    with pytest.raises(dd.OptionError, match="weights"):
        dd.embed("digits", "datadiet:mlp", checkpoint=tmp_path / "other", out=tmp_path / "v")


@pytest.mark.parametrize(("bad", "problem"), [(0.0, "all zeros"), (np.nan, "not finite"), (np.inf, "not finite")])
def test_bad_vectors_are_named_and_their_part_is_not_written(vectors, tmp_path, small, bad, problem):
    ids = [f"row-{i}" for i in range(30)]
    np.savez(tmp_path / "a.npz", x=vectors, ids=ids)

    def encode(batch):
        out = batch.clone()
        out[(batch == torch.from_numpy(vectors[20])).all(dim=1)] = bad
        return out

    with pytest.raises(BadVector, match=f"the example 'row-20' is {problem}") as caught:
        dd.embed(f"npz:{tmp_path}/a.npz", encode, batch_size=4, out=tmp_path / "v")
    assert caught.value.row == 20
    assert part_names(tmp_path / "v") == ["part-0-8.npy", "part-8-16.npy"]
    assert not (tmp_path / "v" / "scores.parquet").exists()


def test_float16_has_its_limits(vectors):
    largest = np.abs(vectors).max()
    assert np.isfinite(np.asarray(dd.embed(vectors, lambda b: b * (65000 / largest)))).all()
    with pytest.raises(dd.DataError, match=r"overflows float16 at 65504.*dtype=float32"):
        dd.embed(vectors, lambda b: b * (66000 / largest))
    with pytest.raises(dd.DataError, match=r"'0' is too small for float16.*--dtype float32"):
        dd.embed(vectors, lambda b: b * 1e-9)
    assert np.asarray(dd.embed(vectors, lambda b: b * 1e-9, dtype="float32")).dtype == np.float32


def test_vectors_do_not_depend_on_the_batch_size(run):
    one, other = (dd.embed("digits", "datadiet:mlp", checkpoint=run, batch_size=b, dtype="float32") for b in (7, 512))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_texts_come_back_in_their_own_order(tmp_path, small):
    """The encoder sees texts of like length together."""
    words = ["a" * (1 + 7 * i % 31) for i in range(30)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"body": w}) + "\n" for w in words))
    from datadiet.models.encoders import Encoder

    encoder = Encoder("test", "texts", lambda texts: np.array([[len(t), 1.0] for t in texts]), batch=4)
    source = dd.open_data(tmp_path / "t.jsonl", text="body")
    job = EmbeddingJob(None, None, None, None, None, 4, "float32", "cpu", None, threads=1)
    worker = EmbeddingWorker(job, source, encoder, Feed(source, None, torch.device("cpu")), Hardware.here())
    folder, units = RunFolder.open(tmp_path / "v", worker.plan), worker.units()
    make = MakeWorker(lambda path: worker, lambda path: worker)
    LocalFleet(Hardware.here()).run(worker.plan, units, make, Sink(folder))
    found = np.asarray(parts_of(tmp_path / "v"))
    assert len(units) == 4
    assert found[:, 0].tolist() == [len(w) for w in words]


def test_functions_get_what_the_data_holds(vectors, tmp_path):
    seen = []

    def look(batch):
        seen.append(batch)
        return [[float(len(item)), 1.0] for item in batch]

    found = dd.embed(["a", "bcd", "ef"], look)
    assert found.tolist() == [[1, 1], [3, 1], [2, 1]] and seen[0] == ["a", "bcd"]
    seen.clear()
    dd.embed("digits", lambda b: seen.append(b) or b.flatten(1).float() + 1)
    assert seen[0].dtype == torch.uint8 and seen[0].shape == (2, 1, 8, 8)
    (tmp_path / "mine.py").write_text("def encode(batch):\n    return batch[:, :2]\n")
    assert dd.embed(vectors, f"py:{tmp_path}/mine.py:encode").shape == (30, 2)


def test_unlabelled_images_of_several_sizes_and_a_trained_network(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for i, size in enumerate((16, 20, 24)):
        Image.fromarray(rng.integers(0, 255, (size, size + 2, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    table = "file\n" + "".join(f"{tmp_path}/{i}.png\n" for i in range(3))
    (tmp_path / "images.csv").write_text(table)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 5))
    net.train()
    data = dd.open_data(tmp_path / "images.csv", image="file")
    found = dd.embed(data, net)
    assert found.shape == (3, 16) and net.training and net[1].training
    assert not any(m._forward_pre_hooks for m in net.modules())
    assert np.array_equal(found, dd.embed(data, net))
    sizes = []
    dd.embed(data, lambda batch: sizes.append([x.shape for x in batch]) or np.ones((len(batch), 2)))
    assert sizes[0] == [(3, 16, 18), (3, 20, 22)]


def test_a_part_of_the_data_keeps_its_positions(run, tmp_path):
    whole = dd.open_data("digits")
    some = whole.subset([3, 10, 500])
    found = dd.embed(some, "datadiet:mlp", checkpoint=run, out=tmp_path / "v")
    assert dd.Scores.read(tmp_path / "v").index.tolist() == [3, 10, 500]
    every = dd.embed(whole, "datadiet:mlp", checkpoint=run)
    np.testing.assert_allclose(np.asarray(found), every[[3, 10, 500]], rtol=2e-3)


def test_normalisation_is_that_of_the_run_and_not_of_other_data(run):
    bright = dd.open_data("digits").take(range(20)).numpy() // 2 + 100
    alone = dd.embed(bright[:5], "datadiet:mlp", checkpoint=run, dtype="float32")
    together = dd.embed(bright, "datadiet:mlp", checkpoint=run, dtype="float32")
    np.testing.assert_allclose(alone, together[:5], rtol=1e-4, atol=1e-5)
    file = run / "checkpoints" / "seed-0" / "epoch-2.safetensors"
    assert np.array_equal(dd.embed(bright[:5], "datadiet:mlp", checkpoint=file, dtype="float32"), alone)


def test_a_bare_file_of_weights_is_fed_by_the_statistics_of_the_data(run, tmp_path):
    shutil.copy(run / "checkpoints" / "seed-0" / "epoch-2.safetensors", tmp_path / "w.safetensors")
    found = dd.embed("digits", "datadiet:mlp", checkpoint=tmp_path / "w.safetensors", dtype="float32")
    np.testing.assert_allclose(
        found, dd.embed("digits", "datadiet:mlp", checkpoint=run, dtype="float32"), rtol=1e-4, atol=1e-4
    )


MISTAKES = [
    ({"model": "datadiet:mlp"}, "random weights"),
    ({"model": "datadiet:mlp", "checkpoint": "nothing"}, "there is no checkpoint nothing"),
    ({"model": "datadiet:mlp", "checkpoint": "."}, "holds no checkpoints"),
    ({"model": "datadiet:mlp", "checkpoint": "pretrained"}, "has no pretrained weights"),
    ({"model": double, "pool": "max"}, "pool='max': there are mean and cls"),
    ({"model": double, "dtype": "int8"}, "dtype='int8'"),
    ({"model": double, "batch_size": 0}, "at least one example"),
    ({"model": double, "pool": "mean"}, "used as it is, but pool='mean' was given"),
    ({"model": double, "checkpoint": "x"}, "used as it is, but checkpoint='x' was given"),
    ({"model": "model2vec:folder"}, "reads texts, but digits holds images"),
    ({"model": "sentence-transformers:folder"}, "reads texts, but digits holds images"),
    ({"model": "hf:folder", "checkpoint": "x"}, "brings its own weights"),
    ({"model": "hf"}, "has no scheme"),
    ({"model": "htf:folder"}, "did you mean 'hf'"),
    ({"model": lambda batch: batch.sum()}, r"returns one vector each, \(2, d\)"),
    ({"model": lambda batch: batch @ torch.ones(3)}, "cannot take inputs of shape"),
    ({"model": double, "dataset": ["a"]}, "cannot take these texts|returns one vector each"),
    ({"model": nn.Linear(3, 2)}, "cannot take inputs of shape"),
    ({"model": nn.Linear(64, 2), "dataset": ["a"]}, "this network reads images or numbers"),
]


@pytest.mark.parametrize(
    ("change", "words"), MISTAKES, ids=lambda value: ",".join(value) if isinstance(value, dict) else value[:50]
)
def test_mistakes_are_told_before_anything_is_written(tmp_path, monkeypatch, change, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((dd.OptionError, dd.DataError), match=words):
        dd.embed(**({"dataset": "digits", "out": "v"} | change))
    assert list(tmp_path.iterdir()) == []


def test_a_table_whose_texts_were_not_named(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"body": "a", "title": "b"}\n')
    for model in ("model2vec:folder", "hf:folder"):
        with pytest.raises(dd.OptionError, match="choose one of 'body', 'title' with --text COLUMN"):
            dd.embed(tmp_path / "t.jsonl", model)
    with pytest.raises(dd.DataError, match="'bodi' is not a column"):
        dd.embed(tmp_path / "t.jsonl", "model2vec:folder", text="bodi")


def command(capsys, *line):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in line])
    return stopped.value.code, *capsys.readouterr()


def test_the_command(run, tmp_path, capsys):
    line = ["embed", "digits", "--model", "datadiet:mlp", "--checkpoint", run, "--out", tmp_path / "v"]
    code, out, err = command(capsys, *line)
    assert code == 0 and "1438 vectors of 128 numbers in float16, 368.3 kB" in out, err
    assert "epoch-2.safetensors" in err and "the input of the layer '5'" in err
    code, out, _ = command(capsys, *line, "--json")
    found = json.loads(out)
    assert (found["n"], found["d"], found["dtype"]) == (1438, 128, "float16") and found["bytes"] > 368_000
    code, _, err = command(capsys, *line, "--dtype", "float32")
    assert code == 2 and "choose another out= (--out)" in err


def test_the_command_on_texts(tmp_path, capsys):
    (tmp_path / "t.jsonl").write_text('{"body": "abc", "id": "x"}\n{"body": "defg", "id": "y"}\n{"id": "z"}\n')
    (tmp_path / "mine.py").write_text("def encode(texts):\n    return [[len(t), 1.0] for t in texts]\n")
    line = ["embed", tmp_path / "t.jsonl", "--text", "body", "--model", f"py:{tmp_path}/mine.py:encode"]
    code, _, err = command(capsys, *line, "--out", tmp_path / "v")
    assert code == 3 and "example 'z': its text is missing" in err and not (tmp_path / "v").exists()
    code, out, err = command(capsys, *line, "--on-error", "skip", "--out", tmp_path / "v")
    assert code == 0 and "2 vectors of 2 numbers" in out and "skipped 'z'" in err


def test_of_a_run_the_first_seed_at_its_last_epoch_is_taken(run, tmp_path):
    whole = run / "checkpoints" / "seed-0" / "epoch-2.safetensors"
    for place in ("seed-1/epoch-9", "seed-1/epoch-20", "seed-10/epoch-30"):
        other = tmp_path / "checkpoints" / f"{place}.safetensors"
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(whole.read_bytes() if place == "seed-1/epoch-20" else b"not this one")
    assert dd.embed("digits", "datadiet:mlp", checkpoint=tmp_path).shape == (1438, 128)


class Tokens(nn.Module):
    """A classifier of the last of eight tokens."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 16), nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.body(x.flatten(1).unflatten(1, (8, 8))).tanh())[:, -1]


def test_the_features_of_a_model_of_tokens_are_those_that_scorers_read(tmp_path):
    """Those of the token that gives the logits; with pool=, the mean over all."""
    torch.manual_seed(0)
    model = Tokens()
    found = dd.embed("digits", model, out=tmp_path / "embedded", dtype="float32")
    dd.score("digits", model, "prototypes", out=tmp_path / "scored")
    measured = np.load(next((tmp_path / "scored").glob("embeddings/features/*/*/*.npy")))
    np.testing.assert_allclose(found, measured, rtol=1e-5)
    images = next(open_session(JobSpec("digits", model)).feed.batches(np.arange(3), 3)).inputs
    with torch.no_grad():
        hidden = model.body(images.flatten(1).unflatten(1, (8, 8))).tanh()
    np.testing.assert_allclose(found[:3], hidden[:, -1], rtol=1e-4)
    pooled = dd.embed("digits", model, pool="mean", dtype="float32")
    np.testing.assert_allclose(pooled[:3], hidden.mean(1), rtol=1e-4, atol=1e-6)
