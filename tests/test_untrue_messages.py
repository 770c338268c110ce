"""Messages that once said what was not so: each names the real cause."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from torch import nn

import datadiet as dd
from datadiet.errors import DataError, OptionError
from datadiet.models import load_checkpoint
from datadiet.scorers import influence
from datadiet.workflow.selecting.inspect import inspect

X = np.random.default_rng(0).normal(size=(20, 3))
Y = np.arange(20) % 2


class Tokens(nn.Module):
    """Embeds five token ids."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 4), nn.Linear(4, 2)

    def forward(self, ids):
        return self.head(self.embed(ids).mean(1))


def el2n(data, model="datadiet:mlp"):
    return dd.score(data, model, "el2n", epochs=1)


@pytest.mark.parametrize("form", ["arrays", "frame", "csv", "parquet", "lists", "npz", "items"])
def test_numbers_beyond_float32_are_said_to_be(tmp_path, form):
    big = X.copy()
    big[3, 1] = 1e300
    frame = pd.DataFrame(big, columns=list("abc")).assign(label=Y)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    pd.DataFrame({"x": list(big), "label": Y}).to_parquet(tmp_path / "l.parquet")
    np.savez(tmp_path / "t.npz", x=big, y=Y)
    data = {
        "arrays": (big, Y), "frame": frame, "csv": tmp_path / "t.csv", "parquet": tmp_path / "t.parquet",
        "lists": tmp_path / "l.parquet", "npz": tmp_path / "t.npz", "items": list(zip(big, Y.tolist(), strict=True)),
    }  # fmt: skip
    with pytest.raises(DataError, match=r"example '3'.*missing or infinite value, or one beyond ±3.4e38"):
        el2n(data[form])


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array, sparse.coo_matrix])
def test_sparse_matrices_are_named(kind):
    for call in (
        lambda: el2n((kind(X), Y)),
        lambda: el2n(kind(X)),
        lambda: dd.embed(kind(X), lambda batch: batch),
        lambda: dd.select(kind(X), "k_center", keep=2),
        lambda: dd.kmeans(kind(X), 2),
    ):
        with pytest.raises((DataError, OptionError), match=r"sparse, a c.._.*: give X.toarray\(\)"):
            call()


def test_token_ids_of_different_lengths_are_to_be_padded(tmp_path):
    ids = [[1] * (1 + row % 3) for row in range(20)]
    pd.DataFrame({"ids": ids, "label": Y}).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"\(1,\) and \(3,\): .*pad token ids to one length"):
        el2n(tmp_path / "t.parquet", Tokens)


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (np.arange(60), "go up to 5, so give a network whose embedding"),
        (np.arange(60) - 3, "go down to -3, so count"),
        (np.minimum(np.arange(60) // 4, 9), "go up to 9, so give a network whose embedding"),  # a later batch
    ],
)
def test_token_ids_past_the_vocabulary_are_no_features(ids, words):
    with pytest.raises(OptionError, match=words) as caught:
        el2n((ids.reshape(20, 3), Y), Tokens)
    assert "integers" not in str(caught.value)


def test_a_damaged_checkpoint_is_removed_only_if_a_run_wrote_it(tmp_path):
    dd.score((X, Y), "datadiet:mlp", "el2n", epochs=1, out=tmp_path / "run")
    ours, theirs = tmp_path / "run" / "checkpoints" / "seed-0" / "epoch-1.safetensors", tmp_path / "mine.safetensors"
    theirs.write_bytes(ours.read_bytes()[:-9])
    ours.write_bytes(ours.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"mine.safetensors is not .*: save it again\.$"):
        dd.score((X, Y), "datadiet:mlp", "el2n", checkpoints=theirs)
    with pytest.raises(DataError, match=r"remove it, and run the command that made it again\.$"):
        dd.score((X, Y), "datadiet:mlp", "el2n", checkpoints=tmp_path / "run")


@pytest.mark.parametrize("mean", [1e-45, 40.0])
def test_weights_of_another_mean_say_what_that_does(tmp_path, caplog, mean):
    path = dd.select(np.arange(4.0), "top_k", prefer="hardest", keep=2).write(tmp_path / "s.parquet")
    frame = pd.read_parquet(path)
    frame["weight"] = np.where(frame["keep"], np.float32(mean), np.float32(0))
    frame.to_parquet(path)
    dd.Selection.read(path)
    assert "are multiplied by it" in caplog.text


def test_labels_with_huge_gaps_are_to_be_numbered():
    with pytest.raises(OptionError, match="number the classes 0, 1, 2 … without gaps"):
        influence(X, np.where(Y, 10**7, 0), X, Y)
    with pytest.raises(OptionError, match="reduce the features to 3 or fewer"):
        influence(np.c_[X, X], Y * 2047, np.c_[X, X], Y)


def test_nothing_to_select_from_is_said(tmp_path):
    np.save(tmp_path / "e.npy", np.zeros(0))
    for empty in ([], np.zeros(0), tmp_path / "e.npy"):
        with pytest.raises(OptionError, match="keep=2 of no examples: give scores"):
            dd.select(empty, "top_k", prefer="hardest", keep=2)


def test_inspect_says_what_it_reads(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(DataError, match="is not a Parquet file: inspect reads the run folders, score files and"):
        inspect(tmp_path / "x.jsonl")


@pytest.mark.parametrize("names", [("net", "model"), ("model", "net"), ("state_dict", "weights")])
def test_two_networks_that_fit_are_named(tmp_path, names):
    nets = [nn.Linear(3, 2) for _ in names]
    torch.save({name: one.state_dict() for name, one in zip(names, nets, strict=True)}, tmp_path / "w.pt")
    first, second = sorted(names)
    with pytest.raises(DataError, match=rf"several tables of tensors \({first}, {second}\).*--strip-prefix {first}"):
        load_checkpoint(nn.Linear(3, 2), tmp_path / "w.pt")
    for name, one in zip(names, nets, strict=True):
        assert torch.equal(load_checkpoint(nn.Linear(3, 2), tmp_path / "w.pt", name).weight, one.weight)


def test_of_two_usual_names_the_one_that_fits_is_taken(tmp_path):
    net = nn.Linear(3, 2)
    torch.save({"model": nn.Linear(9, 9).state_dict(), "net": net.state_dict()}, tmp_path / "w.pt")
    assert torch.equal(load_checkpoint(nn.Linear(3, 2), tmp_path / "w.pt").weight, net.weight)


def test_sub_packages_are_there_in_a_fresh_interpreter_without_torch():
    code = (
        "import sys, datadiet as dd; dd.scorers.el2n, dd.selectors.leaks, dd.evaluate.lds, dd.geometry, dd.table; "
        "assert 'scorers' in dir(dd) and 'torch' not in sys.modules; dd.sampling.shard, dd.training.Recipe, dd.signals"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
